#!/bin/sh
# The state of a Linux machine as "key: value" lines. Reads only, changes nothing, takes well under a second.
#
# Given   MAX_USED     percent of a file system that may be used
#         MAX_RESTART  days for which a restart may be pending
# Prints  facts, one of them the number of findings, and last a line "finding: ..." for each
# Ends    with 0: the playbook decides what findings mean
#
# Findings are failed units, a full file system, a read-only root, a restart that is pending for too long, and what of these could
# not be found out. Load and memory are facts. What changes from minute to minute is told coarsely, so that machines in the same
# state print the same and fold into one group of the report.
set -u
export LC_ALL=C
: "${MAX_USED:=90}" "${MAX_RESTART:=14}"
count=0 findings=''

say() { printf '%s: %s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }
find_fault() {
    count=$((count + 1))
    findings="${findings}finding: $1
"
}

# What the machine is.
os=unknown
if [ -r /etc/os-release ]; then
    # shellcheck source=/dev/null
    os=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-${ID:-unknown}}")
fi
cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || cpus=unknown
say os "$os"
say kernel "$(uname -r)"
say architecture "$(uname -m)"
say cpus "$cpus"
say memory_total_mib "$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo 2>/dev/null)"

# Units that failed. Where systemd does not run, there is nothing to ask.
if [ ! -d /run/systemd/system ]; then
    say failed_units unknown
elif units=$(systemctl list-units --state=failed --plain --no-legend 2>/dev/null); then
    failed=$(printf '%s\n' "$units" | awk 'NF {names = names (names == "" ? "" : ",") $1} END {print names}')
    say failed_units "${failed:-none}"
    [ -z "$failed" ] || find_fault "failed units: $failed"
else
    say failed_units unknown
    find_fault "systemd does not say which units failed"
fi

# Pending updates, from what the package manager knows already. Without its cache it would need seconds to think, and
# a health check should not load the machine, so the answer is then "unknown".
updates=unknown
if has apt-get && [ -s /var/cache/apt/pkgcache.bin ]; then
    if simulated=$(apt-get -s -o Debug::NoLocking=true upgrade 2>/dev/null); then
        updates=$(printf '%s\n' "$simulated" | awk '/^Inst / {n++} END {print n + 0}')
    fi
fi
say pending_updates "$updates"

# Whether a restart is pending, by the marks that package managers leave and by kernels that are newer than the running one, and
# for how many whole days.
since=''
note_restart() { # a file or folder that came with the wish
    when=$(stat -c %Y "$1" 2>/dev/null) || when=0
    if [ -z "$since" ] || [ "$when" -lt "$since" ]; then since=$when; fi
}
for mark in /run/reboot-required /var/run/reboot-required /run/reboot-needed /run/fleet-reboot-needed; do
    [ ! -e "$mark" ] || note_restart "$mark"
done
running=$(uname -r)
started=$(awk '$1 == "btime" {print $2}' /proc/stat 2>/dev/null)
for folder in /lib/modules/*/; do
    folder=${folder%/} name=${folder%/}
    name=${name##*/}
    [ -e "$folder/modules.dep" ] || [ -e "$folder/vmlinuz" ] || continue
    [ "$(stat -c %Y "$folder" 2>/dev/null || echo 0)" -gt "${started:-0}" ] || continue # somebody chose not to boot it
    newest=$(printf '%s\n' "$running" "$name" | sort -V 2>/dev/null | tail -n 1)
    [ "$newest" = "$running" ] || [ -z "$newest" ] || note_restart "$folder"
done
if [ -z "$since" ]; then
    say reboot_required no
else
    say reboot_required yes
    days=$((($(date +%s) - since) / 86400))
    say reboot_required_days "$days"
    [ "$days" -le "$MAX_RESTART" ] || find_fault "a restart has been pending for $days days"
fi

# File systems on disks, each once; the root whatever it is on.
disks=$(df -P -k -l 2>/dev/null) # it fails as soon as one of many mounts cannot be read: what it did say counts
listed=$(printf '%s\n' "$disks" | awk '
    NR > 1 && ($1 ~ "^/dev/" || $6 == "/") && $1 !~ "^/dev/(loop|sr)" && $5 ~ /^[0-9]+%$/ && !seen[$1]++ { print $6, int($5) }')
if [ -n "$listed" ]; then
    while read -r place used; do
        [ -n "$place" ] || continue
        say "disk_used_percent $place" "$used"
        [ "$used" -le "$MAX_USED" ] || find_fault "$place is $used % full"
    done <<END
$listed
END
else
    find_fault "df does not say how full the disks are"
fi
root=$(printf '%s\n' "$disks" | awk '$6 == "/" && $5 ~ /^[0-9]+%$/ {print int($5); exit}')
[ -n "$root" ] || root=$(df -P -k / 2>/dev/null | awk 'NR == 2 && $5 ~ /^[0-9]+%$/ {print int($5)}')
say root_used_percent "${root:-unknown}"
if [ -z "$root" ]; then
    find_fault "df does not say how full / is"
elif [ "$root" -gt "$MAX_USED" ] && ! printf '%s' "$findings" | grep -q '^finding: / is '; then
    find_fault "/ is $root % full"
fi
options=$(awk '$2 == "/" {options = $4} END {print options}' /proc/mounts 2>/dev/null)
case ",$options," in
    ,,) find_fault "/proc does not say how / is mounted" ;;
    *,ro,*)
        say root_read_only yes
        find_fault "/ is read-only"
        ;;
    *) say root_read_only no ;;
esac

say findings "$count"

# How it fares.
say memory_available "$(awk '/^MemTotal:/ {total = $2} /^MemAvailable:/ {available = $2}
    END {if (total) printf "%d%% or more", int(10 * available / total) * 10; else print "unknown"}' /proc/meminfo 2>/dev/null)"
say load "$(awk -v cpus="$cpus" 'BEGIN {if (cpus !~ /^[0-9]+$/) cpus = 1} {print ($2 <= 2 * cpus ? "fair" : "high")}' /proc/loadavg 2>/dev/null)"
say uptime_days "$(awk '{print int($1 / 86400)}' /proc/uptime 2>/dev/null)"
printf '%s' "$findings"
