#!/bin/sh
# The state of a Linux machine as "key: value" lines. Reads only, changes nothing, takes well under a second.
# What changes from minute to minute is told coarsely, so that machines in the same state print the same and fold into one
# group of the report.
set -u

say() { printf '%s: %s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }

# What the machine is.
os=unknown
if [ -r /etc/os-release ]; then
    # shellcheck source=/dev/null
    os=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-${ID:-unknown}}")
fi
say os "$os"
say kernel "$(uname -r)"
say architecture "$(uname -m)"
say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo unknown)"
say memory_total_mib "$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo 2>/dev/null)"

# Units that failed. Where systemd does not run, there is nothing to ask.
if has systemctl && [ -d /run/systemd/system ]; then
    failed=$(systemctl list-units --state=failed --plain --no-legend 2>/dev/null | awk '{print $1}' | paste -sd, -)
    say failed_units "${failed:-none}"
else
    say failed_units unknown
fi

# Pending updates, from what the package manager knows already. Without its cache it would need seconds to think, and
# a health check should not load the machine, so the answer is then "unknown".
if has apt-get && [ -s /var/cache/apt/pkgcache.bin ]; then
    say pending_updates "$(apt-get -s -o Debug::NoLocking=true upgrade 2>/dev/null | grep -c '^Inst ')"
else
    say pending_updates unknown
fi
if [ -e /var/run/reboot-required ]; then say reboot_required yes; else say reboot_required no; fi

# How it fares.
df -P -k -l 2>/dev/null | awk '
    NR > 1 && $1 ~ "^/dev/" && !seen[$1]++ { printf "disk_used_percent %s: %d\n", $6, $5 }'
say root_used_percent "$(df -P -k / 2>/dev/null | awk 'NR == 2 {print int($5)}')"
say memory_available "$(awk '/^MemTotal:/ {total = $2} /^MemAvailable:/ {available = $2}
    END {if (total) printf "%d%% or more", int(10 * available / total) * 10; else print "unknown"}' /proc/meminfo 2>/dev/null)"
say load "$(awk -v cpus="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" \
    '{if ($2 <= 2 * cpus) print "fair"; else print "high, " $2 " over five minutes"}' /proc/loadavg 2>/dev/null)"
say uptime_days "$(awk '{print int($1 / 86400)}' /proc/uptime 2>/dev/null)"
