#!/bin/sh
# Compares settings of a Linux machine with what is wanted, and changes nothing.
# Exit code: 0 all as wanted, 80 at least one deviation. Each finding is one line: PASS or FAIL, what, what was found.
set -u

deviations=0

judge() { # what, wanted, found
    if [ "$2" = "$3" ]; then
        printf 'PASS %s: %s\n' "$1" "$3"
    else
        printf 'FAIL %s: %s, wanted %s\n' "$1" "${3:-nothing}" "$2"
        deviations=$((deviations + 1))
    fi
}

# The first value that sshd would use; its own default where the file is silent.
sshd_setting() { # key, default
    value=$(awk -v key="$1" 'tolower($1) == tolower(key) {print tolower($2); exit}' /etc/ssh/sshd_config 2>/dev/null)
    printf '%s' "${value:-$2}"
}

if [ -r /etc/ssh/sshd_config ]; then
    judge ssh.permit_root_login "${ROOT_LOGIN:-no}" "$(sshd_setting PermitRootLogin prohibit-password)"
    judge ssh.password_authentication no "$(sshd_setting PasswordAuthentication yes)"
fi
judge passwd.mode 644 "$(stat -c %a /etc/passwd 2>/dev/null)"
judge shadow.world_readable no "$(if [ -n "$(find /etc/shadow -perm -004 2>/dev/null)" ]; then echo yes; else echo no; fi)"
judge sysctl.ip_forward 0 "$(cat /proc/sys/net/ipv4/ip_forward 2>/dev/null)"

[ "$deviations" -eq 0 ] || exit 80
