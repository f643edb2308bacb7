#!/bin/sh
# Brings the packages of a Linux machine up to date (apt, dnf, zypper). It never restarts it, and may run again at any time.
#
# Given   SCOPE        security or all
#         EXCLUDE      names of packages to leave alone, with commas; * and ? fit anything
#         DRY_RUN      true: fetch the lists of packages and say what waits, and change nothing else
#         BUDGET       seconds for all of it; nothing is begun in its last tenth
#         LOCK_WAIT    seconds to wait while something else holds the package manager's locks
#         MIN_FREE_MB  what must be free on /var
# Prints  a line for each update, and last a line that begins with FLEET-RESULT; on stderr the end of what failed
# Ends    with an exit code that tells how it went: docs/patching.md
# shellcheck disable=SC2317  # what begins with apt_, dnf_ or zypper_ is called as "${manager}_..."
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1
export NEEDRESTART_MODE=l # list services that should restart, and restart none: one of them may be the agent that runs this
: "${SCOPE:=security}" "${EXCLUDE:=}" "${DRY_RUN:=false}" "${BUDGET:=2700}" "${LOCK_WAIT:=300}" "${MIN_FREE_MB:=512}"
manager=none updated=0 remaining=0 failed=0 held=0 reboot=unknown problem='' stopped=''

clock() { cut -d. -f1 /proc/uptime; }
left() { echo $((BUDGET - $(clock) + begun)); }
is_late() { [ "$(left)" -le $((BUDGET / 10)) ]; }
fetching() { # a command that may be cut off: in what is left of the budget, or in a minute
    seconds=$(left)
    timeout $((seconds > 60 ? seconds : 60)) "$@"
}
lines() { grep -c . "$1"; }
first_error() { grep -m1 -E '^(E|W|Error): ?' "$log" | cut -c1-150 | tr -c 'A-Za-z0-9.:/\n-' _; }

blame() { # what went wrong, in a word; keeps what the package manager said of it
    problem=$1
    cp "$log" "$work/trouble"
}

finish() { # exit code, state, note
    if [ "$1" -ge 82 ]; then
        for said in "${work:-}/trouble" "${work:-}/log"; do
            [ -s "$said" ] || continue
            tail -n 20 "$said" >&2
            break
        done
    fi
    printf 'FLEET-RESULT code=%s state=%s manager=%s updated=%s remaining=%s failed=%s held=%s reboot=%s failed_units=%s note=%s\n' \
        "$1" "$2" "$manager" "$updated" "$remaining" "$failed" "$held" "$reboot" "$failed_units" "${3:--}"
    exit "$1"
}

# Runs a command, its output in $log and its exit code in $code, again and again while it finds the locks held.
attempt() {
    patience=$(($(clock) + LOCK_WAIT))
    while :; do
        code=0
        "$@" >"$log" 2>&1 </dev/null || code=$?
        "${manager}_is_locked_out" || return 0
        [ "$(clock)" -lt "$patience" ] || return 1
        sleep 2
    done
}
attempt_or_finish() { attempt "$@" || finish 83 blocked locks_held; }

# The units that have failed already, so that what fails after the updates can be told from them.
list_failed_units() {
    if [ ! -d /run/systemd/system ]; then
        echo unknown
        return
    fi
    found=$(systemctl list-units --state=failed --plain --no-legend 2>/dev/null | awk '{print $1}' | head -n 20 | paste -sd, -)
    echo "${found:-none}"
}

check_space() {
    free=$(df -P -m /var | awk 'NR == 2 {print $4}')
    [ "$free" -ge "$MIN_FREE_MB" ] || finish 84 refused "free_on_/var:${free}MiB"
    [ "$(df -P /boot 2>/dev/null | awk 'NR == 2 {print $6}')" = /boot ] || return 0
    free=$(df -P -m /boot | awk 'NR == 2 {print $4}')
    [ "$free" -ge 100 ] || finish 84 refused "free_on_/boot:${free}MiB" # a kernel with its initrd
}

# A kernel that came since this boot. One that lies there for longer and was not booted is somebody's choice.
has_newer_kernel() {
    touch -d "@$(awk '$1 == "btime" {print $2}' /proc/stat)" "$work/boot" || return 1
    [ -n "$(find /lib/modules/ -mindepth 1 -maxdepth 1 -type d -newer "$work/boot" ! -name "$(uname -r)" 2>/dev/null)" ]
}

# Lines "name version" in $work/before and $work/after: those that are new, with the version before where there was one.
tell_updated() {
    comm -13 "$work/before" "$work/after" >"$work/new"
    updated=$(lines "$work/new")
    awk 'NR == FNR {old[$1] = $2; next} {print "updated:", $1, ($1 in old ? old[$1] " -> " $2 : $2)}' "$work/before" "$work/new"
}

# ---- Debian, Ubuntu

# apt says 100 whatever went wrong, so the text tells.
apt_is_locked_out() {
    [ "$code" -ne 0 ] && grep -Eq 'Could not get lock|Unable to (lock|acquire)|locked by another process' "$log"
}

apt_installed() {
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\n' | sed -n 's/^.i. *//p' | sort
}

# What dpkg left unpacked, half installed or half configured. (dpkg --audit also names what is merely untidy.)
apt_count_broken() {
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' | sed -n 's/^.[UFH]. *//p' >"$work/broken"
    failed=$(lines "$work/broken")
}

apt_held() { apt-mark showhold; }

# Excluded packages are pinned to what is installed, so that apt itself leaves them alone, whoever depends on them.
apt_prepare() {
    cat /etc/apt/preferences >"$work/pins" 2>/dev/null
    set -f
    for glob in $(echo "$EXCLUDE" | tr , ' '); do
        printf '\nPackage: %s\nPin: version *\nPin-Priority: -1\n' "$glob" >>"$work/pins"
    done
    set +f
    apt_count_broken
    if [ "$failed" -eq 0 ] || [ "$DRY_RUN" = true ]; then return; fi
    attempt_or_finish dpkg --configure -a
    apt_count_broken
    [ "$failed" -eq 0 ] || finish 84 refused "half_configured_before:$(paste -sd, "$work/broken")"
}

# Without the option a mirror that cannot be reached is a mere warning, and old lists pass for new ones. Old apts have no
# such option, so the warning counts as well.
apt_refresh() {
    attempt_or_finish fetching apt-get -q -o APT::Update::Error-Mode=any update
    [ "$code" -eq 0 ] || finish 86 no_metadata "$(first_error)"
    ! grep -q '^W: Failed to fetch' "$log" || finish 86 no_metadata "$(first_error)"
}

# What waits in this scope: an upgrade that may add packages, as kernels need, and never removes one.
apt_plan() {
    attempt apt-get -s -o Debug::NoLocking=true -o Dir::Etc::Preferences="$work/pins" --with-new-pkgs upgrade
    [ "$code" -eq 0 ] || finish 87 failed "$(first_error)"
    awk -v scope="$SCOPE" '/^Inst / && $3 ~ /^\[/ {
        from = substr($0, index($0, "("))
        if (scope == "all" || from ~ /-[Ss]ecurity/) print $2, substr($3, 2, length($3) - 2), "->", substr($4, 2)
    }' "$log" >"$work/waiting"
    cut -d' ' -f1 "$work/waiting" | sort >"$1"
}

apt_install_with() {
    apt-get -y -q --no-remove --only-upgrade -o Dir::Etc::Preferences="$work/pins" \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@"
}

# In batches, between which the clock is looked at: dpkg itself is never cut off.
apt_install() {
    # shellcheck disable=SC2046
    set -- $(cat "$work/planned")
    attempt_or_finish fetching apt-get -y -q -o Dir::Etc::Preferences="$work/pins" --only-upgrade --download-only install "$@"
    [ "$code" -eq 0 ] || finish 86 download_failed "$(first_error)"
    printf '%s\n' "$@" | xargs -n 20 >"$work/batches"
    while read -r batch; do
        if is_late; then
            stopped=out_of_time
            break
        fi
        # shellcheck disable=SC2086
        if ! attempt apt_install_with $batch; then
            stopped=locks_held
            break
        fi
        [ "$code" -eq 0 ] || blame "$(first_error)"
    done <"$work/batches"
    apt_count_broken
    [ "$failed" -eq 0 ] || attempt dpkg --configure -a
    apt_count_broken
}

apt_wants_reboot() {
    [ -e /run/reboot-required ] || [ -e /var/run/reboot-required ] || has_newer_kernel
}

# ---- Red Hat and its kin

dnf_is_locked_out() { [ "$code" -eq 200 ]; }
dnf_installed() { rpm -qa --qf '%{NAME} %{EVR}\n' | sort; }
dnf_held() { dnf -q versionlock list 2>/dev/null; }
dnf_prepare() { :; }

# Without the first two options dnf waits for its lock for ever, and a mirror that is away passes for an empty one.
dnf_with() { # what runs it: fetching or env; arguments
    how=$1
    shift
    [ "$SCOPE" = all ] || set -- "$@" --security
    "$how" dnf -q --setopt=exit_on_lock=1 '--setopt=*.skip_if_unavailable=0' ${EXCLUDE:+"--exclude=$EXCLUDE"} "$@"
}

dnf_refresh() {
    attempt_or_finish dnf_with fetching --refresh makecache
    [ "$code" -eq 0 ] || finish 86 no_metadata "$(first_error)"
    # Some repositories do not say which updates are about security. Nothing to do would be a false answer there.
    [ "$SCOPE" = all ] || [ -n "$(dnf -q updateinfo list --all 2>/dev/null)" ] || finish 84 refused no_security_data
}

# check-update says 100 where something waits. What only replaces something else stands below "Obsoleting".
dnf_plan() {
    attempt_or_finish dnf_with fetching check-update
    case $code in
        0 | 100) sed '/^Obsoleting/,$d' "$log" | awk 'NF == 3 {print $1, "->", $2}' >"$work/waiting" ;;
        *) finish 86 no_metadata "$(first_error)" ;;
    esac
    cut -d' ' -f1 "$work/waiting" | sort >"$1"
}

# A transaction with a failed script ends with 0, one that failed in parts with 1: what is left tells.
dnf_install() {
    attempt_or_finish dnf_with fetching -y upgrade --downloadonly
    [ "$code" -eq 0 ] || finish 86 download_failed "$(first_error)"
    if is_late; then
        stopped=out_of_time
        return
    fi
    attempt dnf_with env -y upgrade || stopped=locks_held
    [ "$code" -eq 0 ] || blame "$(first_error)"
    failed=$(grep -cE '^Error in [A-Z]+ scriptlet' "$log")
    [ "$failed" -eq 0 ] || blame "${problem:-scripts_of_packages_failed}"
}

# 1 means a restart, or that it could not be told.
dnf_wants_reboot() {
    if dnf -q needs-restarting -r 2>/dev/null | grep -q 'Reboot is required'; then return 0; fi
    has_newer_kernel
}

# ---- SUSE, which updates by patches: what a patch has in it cannot be left out

zypper_is_locked_out() { [ "$code" -eq 7 ]; }
zypper_installed() { dnf_installed; }
zypper_held() { zypper -n locks 2>/dev/null | grep -E '^[0-9]'; }
zypper_prepare() { :; }

# Without lists everything seems to be up to date: whatever is wrong with one of them ends it here.
zypper_refresh() {
    attempt_or_finish fetching zypper -n refresh
    [ "$code" -eq 0 ] || finish 86 no_metadata "zypper_said_$code"
    attempt_or_finish fetching zypper -n --no-refresh list-updates
    awk -F'|' '$1 ~ /^v/ {gsub(/ /, "", $3); print $3}' "$log" >"$work/updates"
    set -f
    for glob in $(echo "$EXCLUDE" | tr , ' '); do
        while read -r name; do
            # shellcheck disable=SC2254
            case $name in $glob) finish 84 refused "cannot_leave_out:$name" ;; esac
        done <"$work/updates"
    done
    set +f
}

zypper_with() {
    [ "$SCOPE" = all ] || set -- "$@" --category security
    zypper -n --no-refresh "$@"
}

zypper_plan() {
    attempt_or_finish zypper_with list-patches
    [ "$code" -eq 0 ] || finish 87 failed "zypper_said_$code"
    awk -F'|' '$6 ~ /needed/ {gsub(/ /, "", $2); print $2}' "$log" >"$work/waiting"
    sort "$work/waiting" >"$1"
}

# A patch that wants a restart counts as interactive, and is left out in silence unless it is asked for. 103: the update stack
# came first, and the rest waits for another call. 102: a restart is wanted, which is said once in a boot.
zypper_install() {
    for _ in 1 2 3 4; do
        if is_late; then
            stopped=out_of_time
            return
        fi
        attempt zypper_with patch --with-interactive --auto-agree-with-licenses || stopped=locks_held
        failed=$((failed + $(grep -c 'scriptlet failed' "$log")))
        case $code in
            103) continue ;;
            102) : >/run/fleet-reboot-needed ;;
            0) ;;
            *) blame "zypper_said_$code" ;;
        esac
        break
    done
    [ "$failed" -eq 0 ] || blame "${problem:-scripts_of_packages_failed}"
}

zypper_wants_reboot() {
    [ ! -e /run/fleet-reboot-needed ] || return 0
    code=0
    zypper -n needs-rebooting >/dev/null 2>&1 || code=$?
    [ "$code" -eq 102 ] || has_newer_kernel
}

# ---- All of it

find_manager() {
    # shellcheck source=/dev/null
    family=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}")
    case " $family " in
        *' debian '* | *' ubuntu '*) wanted='apt apt-get' ;;
        *' sles '* | *' suse '*) wanted='zypper zypper' ;;
        *' rhel '* | *' fedora '* | *' centos '*) wanted='dnf dnf' ;;
        *) finish 90 unsupported "distribution:${family%% *}" ;;
    esac
    command -v "${wanted#* }" >/dev/null 2>&1 || finish 90 unsupported "no_${wanted#* }"
    manager=${wanted% *}
}

conclude() {
    [ "$failed" -eq 0 ] || [ "$manager" != apt ] || finish 88 inconsistent "half_configured:$(paste -sd, "$work/broken")"
    if [ "$remaining" -eq 0 ] && [ "$failed" -eq 0 ]; then
        [ "$reboot" = no ] || finish 80 reboot_needed
        [ "$updated" -eq 0 ] || finish 0 updated
        finish 0 nothing_to_do
    fi
    [ "$stopped" != out_of_time ] || finish 85 out_of_time
    [ "$updated" -eq 0 ] || finish 82 partial "${problem:-$stopped}"
    [ "$stopped" != locks_held ] || finish 83 blocked locks_held
    finish 87 failed "$problem"
}

begun=$(clock)
failed_units=$(list_failed_units)
work=$(mktemp -d) || finish 84 refused no_temporary_files
trap 'rm -rf "$work"' EXIT
log=$work/log
find_manager
[ "$DRY_RUN" = true ] || check_space
"${manager}_prepare"
"${manager}_refresh"
"${manager}_plan" "$work/planned"
held=$("${manager}_held" | grep -c .)
remaining=$(lines "$work/planned")
if [ "$DRY_RUN" = true ]; then
    sed 's/^/waiting: /' "$work/waiting"
elif [ "$remaining" -gt 0 ]; then
    "${manager}_installed" >"$work/before"
    "${manager}_install"
    "${manager}_installed" >"$work/after"
    tell_updated
    "${manager}_plan" "$work/again"
    remaining=$(comm -12 "$work/planned" "$work/again" | grep -c .)
fi
reboot=no
if "${manager}_wants_reboot"; then reboot=yes; fi
[ "$DRY_RUN" != true ] || finish 0 "$(if [ "$remaining" -gt 0 ]; then echo planned; else echo nothing_to_do; fi)"
conclude
