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
    for unit in $(systemctl list-units --state=failed --plain --no-legend 2>/dev/null | awk '{print $1}'); do
        case ",${FAILED_BEFORE:-}," in
            *",$unit,"*) ;;
            *) add "$unit" ;;
        esac
    done
fi
for service in $(echo "${SERVICES:-}" | tr , ' '); do
    systemctl is-active --quiet "$service" 2>/dev/null || add "$service"
done
[ ! -e /run/nologin ] || add no_logins
[ -z "$bad" ] || finish 89 unhealthy
finish 0 healthy
