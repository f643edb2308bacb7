#!/bin/sh
# Is a Linux machine well after its updates? Only looks, takes a moment, may run again and again.
#
# Given   SERVICES       units that must be active, with commas
#         FAILED_BEFORE  units that had failed before the updates, with commas, as linux-patch.sh told them
# Prints  last a line that begins with FLEET-RESULT
# Ends    with 0 (healthy), 83 (still starting) or 89 (not healthy)
set -u
bad=''

finish() { # exit code, state
    printf 'FLEET-RESULT code=%s state=%s kernel=%s bad=%s\n' "$1" "$2" "$(uname -r)" "${bad:--}"
    exit "$1"
}
add() { bad=${bad:+$bad,}$1; }

if [ -d /run/systemd/system ]; then
    case $(systemctl is-system-running 2>/dev/null) in
        initializing | starting) finish 83 starting ;;
    esac
    if ! units=$(systemctl list-units --state=failed --plain --no-legend 2>/dev/null) && [ -z "$units" ]; then
        add units_unknown
    fi
    for unit in $(printf '%s\n' "$units" | awk '{print $1}'); do
        case ",${FAILED_BEFORE:-}," in
            *",$unit,"*) ;;
            *) add "$unit" ;;
        esac
    done
fi
# Twice, some seconds apart: a service that crashes and is started again is active at many a moment.
look() {
    for service in $services; do
        if systemctl is-active --quiet "$service" 2>/dev/null; then
            since=$(systemctl show --property=NRestarts --property=ActiveEnterTimestampMonotonic "$service" 2>/dev/null | tr '\n' ' ')
            printf '%s up %s\n' "$service" "$since"
        else
            printf '%s down\n' "$service"
        fi
    done
}
services=$(echo "${SERVICES:-}" | tr , ' ')
if [ -n "$services" ]; then
    first=$(look)
    sleep 3
    second=$(look)
    for service in $(printf '%s\n--\n%s\n' "$first" "$second" | awk '
        $0 == "--" { later = 1; next }
        !later { was[$1] = $0; next }
        $2 == "down" || was[$1] != $0 { print $1 }'); do
        add "$service"
    done
fi
[ ! -e /run/nologin ] || add no_logins
[ -z "$bad" ] || finish 89 unhealthy
finish 0 healthy
