#!/bin/sh
# Asks this machine for one restart, unless it has restarted since EXPECT_BOOT_ID was read.
set -u
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
tell() {
    printf 'FLEET-RESULT code=%s state=%s boot_id=%s\n' "$1" "$2" "$boot"
    exit "$1"
}
case $EXPECT_BOOT_ID in
    '' | -) tell 84 refused_boot_id_unknown ;;
esac
[ -n "$boot" ] || tell 84 refused_boot_id_unknown
[ "$boot" = "$EXPECT_BOOT_ID" ] || tell 0 already_restarted
# Not dpkg --audit: it also names packages that only lack a list of checksums, which is no reason to stay.
if command -v dpkg-query >/dev/null 2>&1 && dpkg-query -W -f '${db:Status-Abbrev}\n' 2>/dev/null | grep -q '^.[UFH]'; then
    tell 84 refused_packages_half_configured
fi
# A minute to report: a command whose machine goes down inside it is left without an answer.
shutdown -r +1 'fleet: restart asked for by a maintenance run' >/dev/null 2>&1 || tell 87 shutdown_refused
tell 81 restart_scheduled
