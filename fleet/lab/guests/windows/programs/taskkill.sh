#!/bin/sh
# taskkill.exe /PID number /T /F: a process and what descends from it, found by their parents, as Windows does.
# Documentation: learn.microsoft.com/windows-server/administration/windows-commands/taskkill
while [ $# -gt 0 ]; do
    [ "$1" != /PID ] || root=$2
    shift
done
[ -d "/proc/${root:?}" ] || {
    echo "ERROR: The process \"$root\" not found." >&2
    exit 128
}
below() {
    cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^\([0-9]*\) .*) [^ ]* \([0-9]*\) .*/\1 \2/' |
        awk -v parent="$1" '$2 == parent { print $1 }'
}
tree() {
    echo "$1"
    for child in $(below "$1"); do tree "$child"; done
}
for each in $(tree "$root"); do kill -KILL "$each" 2>/dev/null; done
exit 0
