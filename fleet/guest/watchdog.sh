# Ends the script's process group when its time is up, or when the wrapper that started it is gone (a deleted
# run command kills the wrapper's process group only, and the script lives in a group of its own).
# $1 spool entry, $2 pid of the wrapper, $3 limit in hundredths of a second
fleet_now() {
    if [ -r /proc/uptime ]; then
        read -r up idle </proc/uptime
        echo "${up%.*}${up#*.}"
    else
        echo "$(date +%s)00"
    fi
    : "${idle-}"
}
fleet_tell() {
    kill "$1" "-$group" 2>/dev/null || kill "$1" "$group" 2>/dev/null
}
begun=$(fleet_now)
while kill -0 "$2" 2>/dev/null; do
    if [ "$(($(fleet_now) - begun))" -ge "$3" ]; then
        mv -f "$1/timed_out.new" "$1/timed_out" 2>/dev/null || true >"$1/timed_out"
        break
    fi
    sleep 1
done
# The script may be starting at this very moment.
[ -s "$1/group" ] || sleep 1
[ -s "$1/group" ] || exit 0
read -r group <"$1/group"
fleet_tell -TERM
for _ in 1 2 3 4 5; do
    fleet_tell -0 || exit 0
    sleep 1
done
fleet_tell -KILL
