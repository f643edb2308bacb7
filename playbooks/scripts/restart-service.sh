#!/bin/sh
# Restarts one service and waits until it is up. SERVICE is its name, WAIT how many seconds it may take.
set -eu

: "${SERVICE:?set SERVICE to the name of the service}"
wait=${WAIT:-30}

if ! command -v systemctl >/dev/null 2>&1 || [ ! -d /run/systemd/system ]; then
    echo "systemd does not run here" >&2
    exit 69
fi
if ! systemctl cat "$SERVICE" >/dev/null 2>&1; then
    echo "there is no service $SERVICE" >&2
    exit 66
fi

systemctl restart "$SERVICE"
while ! systemctl is-active --quiet "$SERVICE"; do
    wait=$((wait - 1))
    if [ "$wait" -le 0 ]; then
        systemctl status --no-pager --lines=20 "$SERVICE" >&2 || true
        exit 1
    fi
    sleep 1
done
echo "$SERVICE: active"
