#!/bin/sh
# Says whether this machine has restarted since EXPECT_BOOT_ID was read, and is up again.
set -u
boot=$(cat /proc/sys/kernel/random/boot_id)
read -r up _ </proc/uptime
tell() {
    printf 'FLEET-RESULT code=%s state=%s boot_id=%s uptime_s=%s\n' "$1" "$2" "$boot" "${up%%.*}"
    exit "$1"
}
[ "$boot" != "$EXPECT_BOOT_ID" ] || tell 83 not_restarted
case $(systemctl is-system-running 2>/dev/null) in
    initializing | starting) tell 83 still_starting ;;
esac
[ ! -e /run/nologin ] || tell 83 no_logins_yet
tell 0 back
