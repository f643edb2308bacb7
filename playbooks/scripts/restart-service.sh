#!/bin/sh
# Restarts one service and waits until it is up, and stays up. SERVICE is its name, WAIT how many seconds it may take, STABLE for
# how many seconds it must then stay active without a restart of its own: one look takes a service that crashes for a healthy one.
set -u
export LC_ALL=C

: "${SERVICE:?set SERVICE to the name of the service}"
wait=${WAIT:-30}
stable=${STABLE:-5}

give_up() { # exit code, text
    echo "$2" >&2
    systemctl status --no-pager --lines=20 "$SERVICE" >&2 || true
    exit "$1"
}
is_active() { systemctl is-active --quiet "$SERVICE"; }
life() { systemctl show --property=NRestarts --property=ActiveEnterTimestampMonotonic --property=MainPID "$SERVICE"; }

if ! command -v systemctl >/dev/null 2>&1 || [ ! -d /run/systemd/system ]; then
    echo "systemd does not run here" >&2
    exit 69
fi
if ! systemctl cat "$SERVICE" >/dev/null 2>&1; then
    echo "there is no service $SERVICE" >&2
    exit 66
fi

code=0
systemctl restart "$SERVICE" || code=$?
[ "$code" -eq 0 ] || give_up "$code" "$SERVICE: restart failed"
until is_active; do
    wait=$((wait - 1))
    [ "$wait" -gt 0 ] || give_up 1 "$SERVICE: not active"
    sleep 1
done
before=$(life) || before=unknown
while [ "$stable" -gt 0 ]; do
    sleep 1
    stable=$((stable - 1))
    is_active || give_up 1 "$SERVICE: active, and then not any more"
done
after=$(life) || after=unknown
[ "$before" = "$after" ] || give_up 1 "$SERVICE: it restarts again and again"
echo "$SERVICE: active"
