#!/bin/sh
# Brings the packages of a Linux machine up to date (apt, dnf, dnf5, tdnf, zypper). It never restarts it, and may run again at
# any time.
#
# Given   SCOPE        security or all
#         EXCLUDE      names of packages to leave alone, with commas; * and ? fit anything
#         DRY_RUN      true: fetch the lists of packages and say what waits, and change nothing else
#         BUDGET       seconds for all of it; nothing is started in its last tenth
#         LOCK_WAIT    seconds to wait while something else holds the package manager's locks
#         MIN_FREE_MB  what must be free on /var
# Prints  a line for each update, and last a line that begins with FLEET-RESULT; on stderr the end of what failed
# Ends    with an exit code that says how it went: docs/patching.md
#
# The exit code of a package manager is believed before its text, and an answer that cannot be read is a failure, never "nothing
# to do". For the same reason every list goes through a file whose writing is checked, and no list through a pipe.
# shellcheck disable=SC2016,SC2317  # awk has variables too; what begins with a manager's name is called as "${manager}_..."
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1
export NEEDRESTART_MODE=l # list services that should restart, and restart none: one of them may be the agent that runs this
: "${SCOPE:=security}" "${EXCLUDE:=}" "${DRY_RUN:=false}" "${BUDGET:=2700}" "${LOCK_WAIT:=300}" "${MIN_FREE_MB:=512}"
manager=none updated=0 remaining=0 failed=0 held=0 reboot=unknown failed_units=unknown also_patches=unknown
problem='' stopped='' changing=no looking_again=no work='' scope_option=''
[ "$SCOPE" = all ] || scope_option=--security

clock() { cut -d. -f1 /proc/uptime; }
left() { echo $((BUDGET - $(clock) + started)); }
is_late() { [ "$(left)" -le $((BUDGET / 10)) ]; }
time_limit() { # seconds for a command that may be cut off: what is left of the budget, or a minute
    seconds=$(left)
    echo $((seconds > 60 ? seconds : 60))
}
count() { awk 'NF {n++} END {print n + 0}' "$1"; }
word() { cut -c1-150 | tr -c "A-Za-z0-9.:/+\n-" _; }

require() {
    for program; do
        command -v "$program" >/dev/null 2>&1 || finish 84 refused "no_$program"
    done
}

# A list that could not be written is not an empty list.
save() { # file, command
    into=$1
    shift
    "$@" >"$into" || cannot_write
}
cannot_write() {
    [ "$changing" = no ] || {
        updated=unknown
        finish 82 partial cannot_write_lists
    }
    finish 84 refused cannot_write_lists
}

# What the package manager gave as its reason, an error before any warning.
reason() {
    awk '
        function keep(name) { if (!(name in said)) said[name] = $0 }
        after_error && NF { keep("after"); after_error = 0 }
        /[Nn]o space left on device|not enough free space|t have enough free space|more space (needed )?on the/ { keep("space") }
        /^ *[Pp]roblem[ 0-9]*: / { keep("problem") }
        /GPG check FAILED|not have any GPG public keys|ublic key .* not installed|not signed/ { keep("signature") }
        /^E: / { keep("e") }
        /^Error *:? *$/ { after_error = 1; next }
        /^(Error|error)( *\([0-9]+\) *)?: ?./ { keep("error") }
        /^W: Failed to fetch/ { keep("fetch") }
        /^W: / { keep("warning") }
        END {
            order = "space problem e signature error after fetch warning"
            for (i = 1; i <= split(order, names, " "); i++) if (names[i] in said) { print said[names[i]]; exit }
        }' "$log" | sed 's/^ *//' >"$work/reason"
    if [ -s "$work/reason" ]; then word <"$work/reason"; else echo "${manager}_said_$code"; fi
}

blame() { # what went wrong, in a word; keeps what the package manager said of it
    problem=$1
    cp "$log" "$work/trouble"
}

# The end of what was said, the errors last: twenty warnings must not push out the one line that tells why.
excerpt() {
    awk '/^(E: |[Ee]rror| *[Pp]roblem[ 0-9]*: |  - )|GPG/ { errors[++n] = $0; next } NF { others[++m] = $0 }
        END {
            if (n > 10) n = 10
            from = m - 19 + n
            for (i = from < 1 ? 1 : from; i <= m; i++) print others[i]
            for (i = 1; i <= n; i++) print errors[i]
        }' "$1"
}

finish() { # exit code, state, note
    if [ "$1" -ge 82 ] && [ -n "$work" ]; then
        for said in "$work/trouble" "$work/log"; do
            [ -s "$said" ] || continue
            excerpt "$said" >&2
            break
        done
    fi
    printf 'FLEET-RESULT code=%s state=%s manager=%s updated=%s remaining=%s failed=%s held=%s reboot=%s failed_units=%s also_patches=%s note=%s\n' \
        "$1" "$2" "$manager" "$updated" "$remaining" "$failed" "$held" "$reboot" "$failed_units" "$also_patches" "${3:--}"
    exit "$1"
}

# Runs a command, its streams in $out and $err and both in $log, its exit code in $code, again and again while it finds locks held.
attempt() {
    patience=$(($(clock) + LOCK_WAIT))
    while :; do
        code=0
        rm -f "$work/locked"
        case $manager in
            dnf5 | tdnf) run_watched "$@" ;;
            *) "$@" >"$out" 2>"$err" </dev/null || code=$? ;;
        esac
        cat "$out" "$err" >"$log" || cannot_write
        "${manager}_is_locked_out" || return 0
        if [ "$(clock)" -ge "$patience" ]; then
            cp "$log" "$work/trouble"
            return 1
        fi
        sleep 2
    done
}
attempt_or_finish() { attempt "$@" || finish 83 blocked locks_held; }

# dnf5 and tdnf wait for a lock for as long as it is held. While they wait they have done nothing yet, and may be ended.
run_watched() {
    "$@" >"$out" 2>"$err" </dev/null &
    running=$!
    end_if_locked_out "$running" </dev/null >/dev/null 2>&1 &
    watcher=$!
    { wait "$running"; } 2>/dev/null || code=$?
    kill "$watcher" 2>/dev/null
    { wait "$watcher"; } 2>/dev/null
}
end_if_locked_out() {
    while sleep 1; do
        [ "$(clock)" -ge "$patience" ] || continue
        is_waiting_for_a_lock || continue
        : >"$work/locked"
        kill "$1"
        return
    done
}
is_waiting_for_a_lock() { # whether the last that was said is that it waits, by whom and how to go without
    awk '/[Ww]aiting for (a lock on the system repository|tdnf_instance lock)/ { waits = 1; next }
        /^[0-9]+($|[ \t])/ || /--skip-file-locks/ || !NF { next }
        { waits = 0 }
        END { exit !waits }' "$err" "$out"
}

is_short_of_space() { grep -Eqi 'no space left on device|enough free space|out of disk space|more space (needed )?on the' "$log"; }
refuse_if_short_of_space() { ! is_short_of_space || finish 84 refused "$(reason)"; }

# A word of a list with commas or spaces that is a glob for this name.
is_named_in() { # name, globs
    set -f
    for glob in $(echo "$2" | tr , ' '); do
        # shellcheck disable=SC2254
        case $1 in
            $glob)
                set +f
                return 0
                ;;
        esac
    done
    set +f
    return 1
}

# The units that have failed already, so that what fails after the updates can be told from them.
list_failed_units() {
    [ -d /run/systemd/system ] || return 0
    systemctl list-units --state=failed --plain --no-legend >"$work/units" 2>/dev/null || return 0
    save "$work/unit-names" awk '{ names = names (NR > 1 ? "," : "") $1 } END { print names == "" ? "none" : names }' "$work/units"
    failed_units=$(cat "$work/unit-names")
}

# Other programs on this machine that install updates by themselves: names, none, or unknown.
find_other_patchers() {
    found='' unsure=''
    "${manager}_other_patchers"
    also_patches=${found:-${unsure:+unknown}}
    also_patches=${also_patches:-none}
}
add_patcher() { found=${found:+$found,}$1; }
look_at_timers() { # units of timers that install updates
    for timer; do
        there=''
        for folder in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
            [ ! -e "$folder/$timer" ] || there=yes
        done
        [ -n "$there" ] || continue
        answer=$(systemctl is-enabled "$timer" 2>/dev/null)
        case $answer in
            enabled* | static | linked* | alias | generated) add_patcher "${timer%.timer}" ;;
            disabled | masked* | indirect) ;;
            *) unsure=yes ;;
        esac
    done
}
does_apply() { # settings of dnf-automatic and its kin: whether they say that updates are installed
    awk -F= '{ gsub(/[ \t]/, ""); key = tolower($1); value = tolower($2) }
        key == "apply_updates" { applies = value ~ /^(yes|true|1|on)$/ }
        END { exit !applies }' "$@" 2>/dev/null
}

check_space() {
    save "$work/df" df -P -m /var
    free=$(awk 'NR == 2 {print $4}' "$work/df")
    case $free in
        '' | *[!0-9]*) finish 84 refused free_on_/var:unknown ;;
    esac
    [ "$free" -ge "$MIN_FREE_MB" ] || finish 84 refused "free_on_/var:${free}MiB"
    [ -d /boot ] || return 0
    save "$work/df" df -P -m /boot
    [ "$(awk 'NR == 2 {print $6}' "$work/df")" = /boot ] || return 0
    free=$(awk 'NR == 2 {print $4}' "$work/df")
    [ "$free" -ge 100 ] || finish 84 refused "free_on_/boot:${free}MiB" # a kernel with its initrd
}

# A newer kernel that came since this boot. One that was there before and was not booted is somebody's choice.
has_newer_kernel() {
    touch -d "@$(awk '$1 == "btime" {print $2}' /proc/stat)" "$work/boot" || return 1
    kernel=$(uname -r)
    find /lib/modules/ -mindepth 1 -maxdepth 1 -type d -newer "$work/boot" ! -name "$kernel" >"$work/kernels" 2>/dev/null
    while read -r folder; do
        name=${folder##*/}
        [ -e "$folder/modules.dep" ] || [ -e "$folder/vmlinuz" ] || [ -e "/boot/vmlinuz-$name" ] || continue
        [ "$(printf '%s\n' "$kernel" "$name" | sort -V | tail -n 1)" = "$kernel" ] || return 0
    done <"$work/kernels"
    return 1
}

# Lines "name version" in $work/before and $work/after: those that are new, with the version before where there was one.
report_updated() {
    save "$work/new" comm -13 "$work/before" "$work/after"
    updated=$(count "$work/new")
    awk 'FILENAME ~ /before$/ {old[$1] = $2; next} {print "updated:", $1, ($1 in old ? old[$1] " -> " $2 : $2)}' "$work/before" "$work/new"
}

# A list cannot be had: before the installation that ends it, afterwards it must not hide what was done.
give_up_listing() { # exit code, state, note
    [ "$looking_again" = yes ] || finish "$@"
    blame "$3"
    : >"$work/waiting"
    cp "$work/planned" "$work/again" || cannot_write
    return 1
}

# ---- Debian, Ubuntu

# apt says 100 whatever went wrong, so the text tells.
apt_is_locked_out() {
    [ "$code" -ne 0 ] && grep -Eq 'Could not get lock|Unable to (lock|acquire)|locked by another process' "$log"
}

apt_installed() { # file
    attempt dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\n'
    [ "$code" -eq 0 ] || cannot_read_database
    save "$work/list" sed -n 's/^.i. *//p' "$out"
    save "$1" sort "$work/list"
}
cannot_read_database() {
    [ "$changing" = no ] || {
        updated=unknown
        finish 82 partial cannot_read_database
    }
    finish 87 failed "$(reason)"
}

# What dpkg left unpacked, half installed or half configured. (dpkg --audit also names what is merely untidy.)
apt_count_broken() {
    attempt dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n'
    [ "$code" -eq 0 ] || cannot_read_database
    save "$work/broken" sed -n 's/^.[UFH]. *//p' "$out"
    failed=$(count "$work/broken")
}

apt_count_held() {
    apt-mark showhold >"$work/held" 2>/dev/null || return 1
    held=$(count "$work/held")
}

apt_other_patchers() {
    command -v unattended-upgrade >/dev/null 2>&1 || return 0
    apt-config dump APT::Periodic >"$work/periodic" 2>/dev/null || {
        unsure=yes
        return 0
    }
    awk '$1 == "APT::Periodic::Enable" && $2 ~ /^"0"/ { off = 1 }
        $1 == "APT::Periodic::Unattended-Upgrade" { on = $2 !~ /^"0?";?$/ }
        END { exit !(on && !off) }' "$work/periodic" || return 0
    [ -d /run/systemd/system ] || {
        if [ -e /etc/cron.daily/apt-compat ]; then add_patcher unattended-upgrades; else unsure=yes; fi
        return 0
    }
    case $(systemctl is-enabled apt-daily-upgrade.timer 2>/dev/null) in
        enabled* | static) add_patcher unattended-upgrades ;;
        disabled | masked*) ;;
        *) unsure=yes ;;
    esac
}

# Excluded packages are pinned to what is installed, so that apt itself leaves them alone, whoever depends on them.
apt_prepare() {
    : >"$work/pins" || cannot_write
    [ ! -e /etc/apt/preferences ] || save "$work/pins" cat /etc/apt/preferences
    set -f
    for glob in $(echo "$EXCLUDE" | tr , ' '); do
        printf '\nPackage: %s\nPin: version *\nPin-Priority: -1\n' "$glob" >>"$work/pins" || cannot_write
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
    attempt_or_finish timeout "$(time_limit)" apt-get -q -o APT::Update::Error-Mode=any update
    if [ "$code" -ne 0 ] || grep -q '^W: Failed to fetch' "$log"; then
        refuse_if_short_of_space
        finish 86 no_metadata "$(reason)"
    fi
}

# What waits in this scope: an upgrade that may add packages, as kernels need, and never removes one. For security also what an
# ordinary update has overtaken: a version above the installed one in a security archive is enough.
apt_plan() {
    attempt apt-get -s -o Debug::NoLocking=true -o Dir::Etc::Preferences="$work/pins" --with-new-pkgs upgrade
    [ "$code" -eq 0 ] || give_up_listing 87 failed "$(reason)" || return 0
    cp "$out" "$work/simulated" || cannot_write
    : >"$work/behind"
    [ "$SCOPE" = all ] || apt_find_behind || return 0
    save "$work/waiting" awk -v scope="$SCOPE" '
        FILENAME ~ /behind$/ { behind[$1] = $0; next }
        /^Inst / && $3 ~ /^\[/ {
            from = substr($0, index($0, "("))
            if (scope == "all" || from ~ /-[Ss]ecurity/ || ($2 in behind))
                print $2, substr($3, 2, length($3) - 2), "->", substr($4, 2)
            delete behind[$2]
        }
        END { for (name in behind) { split(behind[name], it, " "); print name, it[2], "->", it[3], "kept_back" } }
    ' "$work/behind" "$work/simulated"
    save "$work/names" cut -d' ' -f1 "$work/waiting"
    save "$1" sort "$work/names"
}

# Lines "name installed version" of packages for which a security archive has a version above the installed one, unless somebody
# keeps them where they are, by a hold or by a pin.
apt_find_behind() {
    attempt apt-cache -o Dir::Etc::Preferences="$work/pins" policy
    [ "$code" -eq 0 ] || give_up_listing 87 failed "$(reason)" || return 1
    cp "$out" "$work/archives" || cannot_write
    apt_installed "$work/installed"
    save "$work/installed-names" cut -d' ' -f1 "$work/installed"
    # shellcheck disable=SC2046
    attempt apt-cache -o Dir::Etc::Preferences="$work/pins" policy $(cat "$work/installed-names")
    [ "$code" -eq 0 ] || give_up_listing 87 failed "$(reason)" || return 1
    apt-mark showhold >"$work/held" 2>/dev/null || : >"$work/held"
    save "$work/behind" awk '
        FILENAME ~ /held$/ { holds[$1] = 1; next }
        FILENAME ~ /archives$/ {
            if ($1 ~ /^-?[0-9]+$/) { source = $0; sub(/^ *-?[0-9]+ /, "", source) }
            else if ($1 == "release" && $0 ~ /-[Ss]ecurity/) secure[source] = 1
            next
        }
        /^[^ ].*:$/ { name = substr($0, 1, length($0) - 1); above = 1; version = best = ""; next }
        $1 == "Installed:" { installed = $2; next }
        $1 == "Candidate:" { candidate = $2; next }
        /^ \*\*\* / { above = 0; next }
        /^     [^ ]/ { version = $1; next }
        above && best == "" && /^      +-?[0-9]+ / && $1 > 0 {
            source = $0
            sub(/^ *-?[0-9]+ /, "", source)
            if ((source in secure) && candidate != installed && candidate != "(none)" && !(name in holds)) {
                best = version
                print name, installed, best
            }
        }
    ' "$work/held" "$work/archives" "$out"
}

apt_with() { # how long it may take, or nothing; options and names
    limit=$1
    shift
    set -- apt-get -y -q --no-remove --only-upgrade -o Dir::Etc::Preferences="$work/pins" \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@"
    [ -z "$limit" ] || set -- timeout "$limit" "$@"
    attempt "$@"
}

# What apt keeps back by itself (a phased update, say) is asked for in the version of the security archive, each alone.
apt_pick() {
    : >"$work/picked"
    while read -r name _ _ version kept; do
        [ -n "$kept" ] || continue
        apt_with '' -s -o Debug::NoLocking=true "$name=$version"
        if [ "$code" -eq 0 ]; then
            echo "$name=$version" >>"$work/picked" || cannot_write
        else
            blame "kept_back:$name"
        fi
    done <"$work/waiting"
    save "$work/plain" awk '$5 == "" {print $1}' "$work/waiting"
}

# In batches, between which the clock is looked at: dpkg itself is never cut off.
apt_install() {
    apt_pick
    # shellcheck disable=SC2046
    set -- $(cat "$work/plain" "$work/picked")
    [ $# -gt 0 ] || return 0
    apt_with '' -s -o Debug::NoLocking=true "$@" # what it will not do for the sake of other packages is no matter of a mirror
    [ "$code" -eq 0 ] || finish 87 failed "$(reason)"
    apt_with "$(time_limit)" --download-only "$@" || finish 83 blocked locks_held
    if [ "$code" -ne 0 ]; then
        refuse_if_short_of_space
        ! grep -q unauthenticated "$log" || finish 87 failed "$(reason)"
        finish 86 download_failed "$(reason)"
    fi
    save "$work/batches" xargs -n 20 <"$work/plain"
    cat "$work/picked" >>"$work/batches" || cannot_write
    while read -r batch; do
        [ -n "$batch" ] || continue
        if is_late; then
            stopped=out_of_time
            break
        fi
        # shellcheck disable=SC2086
        if ! apt_with '' $batch; then
            stopped=locks_held
            break
        fi
        [ "$code" -eq 0 ] || blame "$(reason)"
    done <"$work/batches"
    apt_count_broken
    if [ "$failed" -gt 0 ]; then
        attempt dpkg --configure -a
        apt_count_broken
    fi
}

apt_wants_reboot() {
    reboot=no
    if [ -e /run/reboot-required ] || [ -e /var/run/reboot-required ] || has_newer_kernel; then reboot=yes; fi
}

# ---- What has rpm below it

rpm_installed() { # file
    code=0
    rpm -qa --qf '%{NAME} %{EVR}\n' >"$out" 2>"$err" || code=$?
    cat "$out" "$err" >"$log" || cannot_write
    [ "$code" -eq 0 ] || cannot_read_database
    save "$1" sort "$out"
}

# Whatever holds it: another package manager, an agent that installs its extension, a configuration manager.
rpm_is_locked_out() {
    [ "$code" -ne 0 ] && grep -Eq "can't create transaction lock|Failed to obtain (the |rpm )?transaction lock" "$log"
}

# Of packages that only a restart puts to use: whether one was installed since this boot. Fails where rpm does not answer.
rpm_wants_reboot() {
    boot=$(awk '$1 == "btime" {print $2}' /proc/stat)
    rpm -qa --qf '%{NAME} %{INSTALLTIME}\n' >"$work/times" 2>/dev/null && [ -s "$work/times" ] || return 1
    if awk -v boot="$boot" '$1 ~ /^(glibc|systemd|dbus|dbus-broker|dbus-daemon|linux-firmware|microcode_ctl|ucode-intel)$/ ||
        $1 ~ /^(kernel|kernel-core|kernel-rt|kernel-rt-core|kernel-uek|kernel-uek-core|kernel-default|kernel-azure|kernel-hwe)$/ {
            if ($2 > boot) found = 1
        }
        END { exit !found }' "$work/times"; then reboot=yes; else reboot=no; fi
}

# Where nothing waits: is there anything that could say so? Names of enabled repositories by the answer to "repolist", else by files.
find_repositories() {
    [ "$code" -eq 0 ] || : >"$out"
    save "$work/repositories" awk 'NF && !/^(repo id|Last metadata)/ {print $1}' "$out"
    [ ! -s "$work/repositories" ] || return 0
    cat /etc/yum.repos.d/*.repo /etc/dnf/repos.d/*.repo /usr/share/dnf5/repos.d/*.repo >"$work/repo-files" 2>/dev/null
    save "$work/repositories" awk '
        function tell() { if (id != "" && enabled) print id }
        /^\[.*\]/ { tell(); id = substr($0, 2, index($0, "]") - 2); enabled = 1; next }
        tolower($0) ~ /^enabled *= *(0|no|false|off)/ { enabled = 0 }
        END { tell() }' "$work/repo-files"
    [ -s "$work/repositories" ] || finish 86 no_metadata no_enabled_repositories
}

# Whether any enabled repository says which updates are about security: names of them, then the folders where their lists are kept.
tells_security() { # file of names; folders
    names=$1
    shift
    while read -r id; do
        for folder; do
            for lists in "$folder/$id"-*/repodata/repomd.xml; do
                if [ -e "$lists" ] && grep -q 'type="updateinfo"' "$lists"; then return 0; fi
            done
        done
    done <"$names"
    return 1
}

# ---- Red Hat and its kin; dnf4 and dnf5 differ in what they wait for and in a few words

dnf_tool=dnf
dnf_is_locked_out() { [ "$code" -eq 200 ] || rpm_is_locked_out; }
dnf5_is_locked_out() { [ -e "$work/locked" ] || rpm_is_locked_out; }
dnf_prepare() { :; }
dnf_installed() { rpm_installed "$@"; }

# Without the options dnf waits for its lock for ever, and a mirror that is away passes for an empty one. dnf5 knows no way not to
# wait, and with -q it would not say that it does.
dnf_with() { # how long it may take, or nothing; command and options
    limit=$1
    shift
    set -- "$dnf_tool" '--setopt=*.skip_if_unavailable=0' ${EXCLUDE:+"--exclude=$EXCLUDE"} "$@"
    if [ "$manager" = dnf ]; then
        shift
        set -- "$dnf_tool" -q --setopt=exit_on_lock=1 "$@"
    fi
    [ -z "$limit" ] || set -- timeout "$limit" "$@"
    attempt "$@"
}
dnf_with_or_finish() { dnf_with "$@" || finish 83 blocked locks_held; }

dnf_count_held() {
    "$dnf_tool" -q versionlock list >"$out" 2>"$err" || {
        grep -Eqi 'no such command|unknown argument' "$out" "$err" # without the plugin no lock is in force either
        return
    }
    if [ "$manager" = dnf5 ]; then
        save "$work/held" sed -n '/^Package name:/p' "$out"
    else
        save "$work/held" sed '/^Last metadata/d' "$out"
    fi
    held=$(count "$work/held")
}

dnf_other_patchers() {
    look_at_timers dnf-automatic-install.timer yum-cron.timer
    if does_apply /etc/dnf/automatic.conf; then look_at_timers dnf-automatic.timer dnf5-automatic.timer; fi
}

dnf_refresh() {
    dnf_with_or_finish "$(time_limit)" --refresh makecache
    if [ "$code" -ne 0 ]; then
        refuse_if_short_of_space
        finish 86 no_metadata "$(reason)"
    fi
}

# Lines "name.arch -> version" of $out: a name that ends in an architecture, a version, a repository. A long name may stand on a line
# of its own. What replaces another package stands below "Obsoleting", what it replaces indented below it.
dnf_read_list() {
    save "$work/waiting" awk '
        function is_package(text) { return text ~ /^[A-Za-z0-9_][^ ]*\.(noarch|x86_64|aarch64|i[3-6]86|s390x|ppc64le|armv[0-9a-z]*|riscv64|athlon|amd64)$/ }
        function is_version(text) { return text ~ /^([0-9]|[A-Za-z][^ ]*-[^ ])[^ ]*$/ }
        /^Obsoleting/ { obsoleting = 1; long = ""; next }
        obsoleting && /^[ \t]/ { next }
        long != "" { name = long; long = ""; if (NF <= 2 && is_version($1)) { print name, "->", $1; next } }
        NF == 1 && is_package($1) { long = $1; next }
        (NF == 2 || NF == 3) && is_package($1) && is_version($2) && !seen[$1 $2]++ { print $1, "->", $2 }' "$out"
    [ -s "$work/waiting" ]
}

# check-update says 100 where something waits and 0 where nothing does, whatever it prints beside.
dnf_plan() { # file
    from_cache=''
    [ "$looking_again" = no ] || from_cache=-C
    # shellcheck disable=SC2086
    dnf_with "$(time_limit)" $from_cache check-update $scope_option || {
        give_up_listing 83 blocked locks_held
        return 0
    }
    case $code in
        0) : >"$work/waiting" ;;
        100) dnf_read_list || give_up_listing 87 failed cannot_read_list || return 0 ;;
        *)
            [ "$looking_again" = yes ] || refuse_if_short_of_space
            give_up_listing 86 no_metadata "$(reason)" || return 0
            ;;
    esac
    save "$work/names" cut -d' ' -f1 "$work/waiting"
    save "$1" sort -u "$work/names"
    if [ "$code" -ne 0 ] || [ "$looking_again" = yes ]; then return; fi
    dnf_with_or_finish "$(time_limit)" repolist
    find_repositories
    [ "$SCOPE" = all ] || dnf_check_security_data
}

# Some repositories do not say which updates are about security. Nothing to do would be a false answer there, if anything waits at all.
dnf_check_security_data() {
    ! tells_security "$work/repositories" /var/cache/dnf /var/cache/libdnf5 || return 0
    dnf_with_or_finish "$(time_limit)" updateinfo list --all
    if [ "$code" -eq 0 ] && grep -Eq '\.(noarch|x86_64|aarch64|i[3-6]86)' "$out"; then return; fi
    dnf_with_or_finish "$(time_limit)" check-update
    case $code in
        0) ;;
        100) finish 84 refused no_security_data ;;
        *) finish 86 no_metadata "$(reason)" ;;
    esac
}

# A transaction with a failed script ends with 0, one that failed in parts with 1: what is left tells.
dnf_install() {
    # shellcheck disable=SC2086
    dnf_with_or_finish "$(time_limit)" -y upgrade $scope_option --downloadonly
    if [ "$code" -ne 0 ]; then
        refuse_if_short_of_space
        if [ "$code" -eq 124 ] || grep -Eqi 'error downloading|(cannot|failed to) download|curl error|all mirrors were|no more mirrors|checksum' "$log"; then
            finish 86 download_failed "$(reason)"
        fi
        finish 87 failed "$(reason)" # packages that conflict, or are not signed: another mirror would not help
    fi
    if is_late; then
        stopped=out_of_time
        return
    fi
    # shellcheck disable=SC2086
    if dnf_with '' -y upgrade $scope_option; then
        [ "$code" -eq 0 ] || blame "$(reason)"
    else
        stopped=locks_held
    fi
    failed=$(grep -cEi '^(>>> )?(non-critical )?error in .* scriptlet' "$log")
    [ "$failed" -eq 0 ] || blame "${problem:-scripts_of_packages_failed}"
}

# 0: no. 1 with its sentence: yes. Anything else, the missing plugin too, is no answer; then when packages came decides.
dnf_wants_reboot() {
    code=0
    timeout 300 "$dnf_tool" -q needs-restarting -r >"$out" 2>"$err" </dev/null || code=$?
    if [ "$code" -eq 0 ] && grep -q 'Reboot should not be necessary' "$out"; then
        reboot=no
    elif [ "$code" -ne 0 ] && grep -q 'Reboot is required' "$out"; then
        reboot=yes
    else
        rpm_wants_reboot || reboot=unknown
    fi
    ! has_newer_kernel || reboot=yes
}

for each in prepare installed count_held other_patchers refresh plan install wants_reboot; do
    eval "dnf5_$each() { dnf_$each \"\$@\"; }"
done

# ---- Azure Linux 3, whose tdnf has no list of advisories for what waits, says errors by numbers above 1000 whose last eight bits
# are its exit code (so 1024 and 1280 look like success), and leaves out in silence what it cannot resolve

tdnf_is_locked_out() { [ -e "$work/locked" ] || rpm_is_locked_out; }
tdnf_prepare() { :; }
tdnf_installed() { rpm_installed "$@"; }
tdnf_knows_error() { grep -Eq "^Error\\((${1:-[0-9]+})\\)" "$err"; }
tdnf_is_fine() { [ "$code" -eq 0 ] && ! tdnf_knows_error; }

tdnf_with() { # how long it may take, or nothing; command and options
    limit=$1
    shift
    set -f
    for glob in $(echo "$EXCLUDE" | tr , ' '); do set -- "$@" "--exclude=$glob"; done
    set +f
    set -- tdnf "$@"
    [ -z "$limit" ] || set -- timeout "$limit" "$@"
    attempt "$@"
}
tdnf_with_or_finish() { tdnf_with "$@" || finish 83 blocked locks_held; }

tdnf_count_held() {
    : >"$work/held"
    for locks in /etc/tdnf/locks.d/*.conf; do
        [ ! -e "$locks" ] || cat "$locks" >>"$work/held" || return 1
    done
    held=$(count "$work/held")
}

tdnf_other_patchers() {
    look_at_timers tdnf-automatic-install.timer
    if does_apply /etc/tdnf/automatic.conf; then look_at_timers tdnf-automatic.timer; fi
}

# Azure Linux sets skip_if_unavailable: a mirror that is away is a word on stdout and the exit code 0.
tdnf_refresh() {
    tdnf_with_or_finish "$(time_limit)" makecache
    if ! tdnf_is_fine || grep -Eq '^Disabling Repo|Failed to synchronize cache' "$log"; then
        if tdnf_knows_error 1036; then finish 84 refused "$(reason)"; fi
        refuse_if_short_of_space
        finish 86 no_metadata "$(reason)"
    fi
}

# 8 is 1032, "Operation aborted": somebody said no to what waits. 0 is "Nothing to do".
tdnf_plan() { # file
    from_cache=''
    [ "$looking_again" = no ] || from_cache=-C
    # shellcheck disable=SC2086
    tdnf_with "$(time_limit)" $from_cache --assumeno upgrade $scope_option || {
        give_up_listing 83 blocked locks_held
        return 0
    }
    if [ "$code" -eq 8 ] && tdnf_knows_error 1032; then
        save "$work/waiting" awk '
            !NF { part = ""; next }
            /^[A-Z][a-z]+:$/ { part = $1; next }
            part == "Upgrading:" && NF >= 4 { print $1 "." $2, "->", $3; upgrades++ }
            part == "Installing:" && NF >= 4 { added[++n] = $1 "." $2 " -> " $3 }
            part == "Obsoleting:" && NF >= 4 { replaces = 1 }
            END { if (!upgrades || replaces) for (i = 1; i <= n; i++) print added[i] }' "$out"
        [ -s "$work/waiting" ] || give_up_listing 87 failed cannot_read_list || return 0
    elif tdnf_is_fine; then
        : >"$work/waiting"
        if [ "$looking_again" = no ]; then
            tdnf_with_or_finish "$(time_limit)" repolist
            tdnf_is_fine || : >"$out"
            find_repositories
            [ "$SCOPE" = all ] || tdnf_check_security_data
        fi
    else
        tdnf_give_up || return 0
    fi
    [ "$SCOPE" != all ] || tdnf_add_unresolved || return 0
    save "$work/names" cut -d' ' -f1 "$work/waiting"
    save "$1" sort -u "$work/names"
}
tdnf_give_up() {
    if grep -Eq '^Error\((13[0-9][0-9]|15[0-9][0-9])\)' "$err"; then
        give_up_listing 87 failed "$(reason)"
    else
        give_up_listing 86 no_metadata "$(reason)"
    fi
}

# check-update names what upgrade leaves out because something that it needs is nowhere. A name stands behind the last carriage return.
tdnf_add_unresolved() {
    # shellcheck disable=SC2086
    tdnf_with "$(time_limit)" $from_cache check-update || {
        give_up_listing 83 blocked locks_held
        return 1
    }
    if [ "$code" -ne 100 ] && ! tdnf_is_fine; then tdnf_give_up || return 1; fi
    save "$work/listed" awk '{ sub(/^.*\r/, "") } $1 ~ /\.(noarch|x86_64|aarch64)$/ {print $1}' "$out"
    tdnf_count_held || :
    while read -r name; do
        ! is_named_in "${name%.*}" "$EXCLUDE" || continue
        ! grep -qx "${name%.*}" "$work/held" || continue
        grep -q "^$name " "$work/waiting" || echo "$name -> newer" >>"$work/waiting" || cannot_write
    done <"$work/listed"
}

tdnf_check_security_data() {
    ! tells_security "$work/repositories" /var/cache/tdnf || return 0
    tdnf_with_or_finish "$(time_limit)" check-update
    if [ "$code" -ne 100 ] && ! tdnf_is_fine; then finish 86 no_metadata "$(reason)"; fi
    ! awk '{ sub(/^.*\r/, "") } $1 ~ /\.(noarch|x86_64|aarch64)$/ {found = 1} END {exit !found}' "$out" || finish 84 refused no_security_data
}

tdnf_install() {
    # shellcheck disable=SC2086
    tdnf_with_or_finish "$(time_limit)" -y --downloadonly upgrade $scope_option
    if ! tdnf_is_fine; then
        refuse_if_short_of_space
        if [ "$code" -eq 124 ] || grep -Eq '^Error\((10[0-9][0-9]|12[0-9][0-9]|14[0-9][0-9]|152[78]|250[0-2])\)' "$err"; then
            finish 86 download_failed "$(reason)"
        fi
        finish 87 failed "$(reason)"
    fi
    if is_late; then
        stopped=out_of_time
        return
    fi
    # shellcheck disable=SC2086
    if tdnf_with '' -y upgrade $scope_option; then
        tdnf_is_fine || blame "$(reason)"
    else
        stopped=locks_held
    fi
    failed=$(grep -cE '^package .*: script (warning|error) in ' "$out")
    [ "$failed" -eq 0 ] || blame "${problem:-scripts_of_packages_failed}"
}

tdnf_wants_reboot() {
    rpm_wants_reboot || reboot=unknown
    ! has_newer_kernel || reboot=yes
}

# ---- SUSE, which updates by patches: what a patch has in it cannot be left out

xml=''
zypper_is_locked_out() { [ "$code" -eq 7 ] || rpm_is_locked_out; }
zypper_installed() { rpm_installed "$@"; }
zypper_prepare() { :; }
zypper_is_fine() { # 100 to 103 tell what waits or what comes next
    case $code in 0 | 100 | 101 | 102 | 103) ;; *) return 1 ;; esac
}

zypper_with() { # how long it may take, or nothing; command and options
    limit=$1
    shift
    # shellcheck disable=SC2086
    set -- zypper $xml -n --no-refresh "$@"
    [ -z "$limit" ] || set -- timeout "$limit" "$@"
    attempt "$@"
}
zypper_with_or_finish() { zypper_with "$@" || finish 83 blocked locks_held; }

# The columns of a table by their names, with tabs. Fails where there is neither a table nor zypper's word for an empty one.
zypper_columns() { # file; names of columns
    into=$1
    shift
    awk -F'|' -v wanted="$*" '
        function trimmed(text) { gsub(/^ +| +$/, "", text); return text }
        BEGIN { n = split(wanted, names, " ") }
        /^(No updates found|There are no package locks|No repositories|Warning: No repositories)/ { none = 1 }
        !header && NF > 2 { for (i = 1; i <= NF; i++) column[trimmed($i)] = i; header = 1; next }
        header && NF > 2 {
            line = ""
            for (i = 1; i <= n; i++) { name = names[i]; gsub(/_/, " ", name); line = line (i > 1 ? "\t" : "") trimmed($(column[name])) }
            print line
        }
        END {
            for (i = 1; i <= n; i++) { name = names[i]; gsub(/_/, " ", name); if (header && !(name in column)) exit 1 }
            exit !(header || none)
        }' "$out" >"$into"
}

zypper_count_held() {
    [ -s "$work/locks-known" ] || return 1
    held=$(count "$work/locks")
}

zypper_other_patchers() {
    look_at_timers transactional-update.timer os-update.timer
    for job in /etc/cron.daily /etc/cron.weekly /etc/cron.monthly; do
        [ ! -e "$job/opensuse.org-online_update" ] || add_patcher online_update
    done
}

# Without lists everything seems to be up to date: whatever is wrong with one of them ends it here.
zypper_refresh() {
    attempt_or_finish timeout "$(time_limit)" zypper -n refresh
    if [ "$code" -ne 0 ]; then
        refuse_if_short_of_space
        finish 86 no_metadata "zypper_said_$code"
    fi
    zypper_with_or_finish "$(time_limit)" repos -E
    if [ "$code" -eq 0 ] && zypper_columns "$work/repositories" Alias; then
        [ -s "$work/repositories" ] || finish 86 no_metadata no_enabled_repositories
        while read -r alias; do zypper_check_repository "$alias"; done <"$work/repositories"
    fi
    : >"$work/locks"
    zypper_with_or_finish "$(time_limit)" locks
    if [ "$code" -eq 0 ] && zypper_columns "$work/locks" Name Type; then echo yes >"$work/locks-known"; fi
}

# A page of HTML, or an empty folder, passes for a repository without packages.
zypper_check_repository() { # alias
    ! grep -q '<repomd' "/var/cache/zypp/raw/$1/repodata/repomd.xml" 2>/dev/null || return 0
    zypper_with_or_finish "$(time_limit)" search -r "$1" -t package
    [ "$code" -eq 0 ] || finish 86 no_metadata "no_packages_from:$(echo "$1" | word)"
}

# For security the patches that are needed; for all the packages for which an update waits, in a patch or not.
zypper_plan() { # file
    category=''
    [ "$SCOPE" = all ] || category='--category security'
    # shellcheck disable=SC2086
    zypper_with "$(time_limit)" list-patches $category || {
        give_up_listing 83 blocked locks_held
        return 0
    }
    [ "$code" -eq 0 ] || give_up_listing 87 failed "zypper_said_$code" || return 0
    zypper_columns "$work/listed" Name Status || give_up_listing 87 failed cannot_read_list || return 0
    save "$work/needed" awk -F'\t' '$2 == "needed" && !seen[$1]++ {print $1}' "$work/listed"
    zypper_drop_locked || return 0
    cp "$work/patches" "$work/waiting" || cannot_write
    if [ "$SCOPE" = all ] || { [ "$looking_again" = no ] && [ ! -s "$work/listed" ]; }; then zypper_add_updates || return 0; fi
    save "$work/names" cut -d' ' -f1 "$work/waiting"
    save "$1" sort -u "$work/names"
}

# For all, the packages instead of the patches; for security a look whether anything waits of which no patch tells.
zypper_add_updates() {
    zypper_with "$(time_limit)" list-updates || {
        give_up_listing 83 blocked locks_held
        return 1
    }
    [ "$code" -eq 0 ] || give_up_listing 87 failed "zypper_said_$code" || return 1
    zypper_columns "$work/updates" Name Current_Version Available_Version || give_up_listing 87 failed cannot_read_list || return 1
    if [ ! -s "$work/updates" ]; then return; fi
    if [ "$SCOPE" = all ]; then
        save "$work/waiting" awk -F'\t' '{print $1, $2, "->", $3}' "$work/updates"
    else
        zypper_with_or_finish "$(time_limit)" list-patches --all
        if [ "$code" -ne 0 ] || ! zypper_columns "$work/listed" Name; then finish 87 failed cannot_read_list; fi
        [ -s "$work/listed" ] || finish 84 refused no_security_data
    fi
}

# Patches that an update of a locked package belongs to can never be installed, and are left alone like the package.
zypper_drop_locked() {
    cp "$work/needed" "$work/patches" || cannot_write
    save "$work/locked-names" awk -F'\t' '$2 == "" || $2 ~ /package/ {print $1}' "$work/locks"
    if [ ! -s "$work/locked-names" ] || [ ! -s "$work/needed" ]; then return 0; fi
    # shellcheck disable=SC2046
    zypper_with "$(time_limit)" info -t patch $(cat "$work/needed") || {
        give_up_listing 83 blocked locks_held
        return 1
    }
    [ "$code" -eq 0 ] || give_up_listing 87 failed "zypper_said_$code" || return 1
    save "$work/conflicts" awk '
        /^Information for patch / { patch = $4; sub(/:$/, "", patch); inside = 0; next }
        /^Conflicts/ { inside = 1; sub(/^Conflicts *: */, "") ; if ($0 ~ /^\[[0-9]+\]/) next; print patch, $1; next }
        /^[A-Z]/ { inside = 0 }
        inside && NF { print patch, $1 }' "$out"
    : >"$work/dropped"
    while read -r patch name; do
        name=${name%.noarch}
        name=${name%.x86_64}
        name=${name%.aarch64}
        while read -r locked; do
            ! is_named_in "$name" "$locked" || echo "$patch" >>"$work/dropped" || cannot_write
        done <"$work/locked-names"
    done <"$work/conflicts"
    [ ! -s "$work/dropped" ] || save "$work/patches" awk 'FILENAME ~ /dropped$/ {out[$1] = 1; next} !($1 in out)' "$work/dropped" "$work/needed"
}

# What to install: all patches of the scope, or by name those that can be installed; for all, then every other update.
# A patch that wants a restart counts as interactive, and is left out in silence unless it is asked for.
zypper_do_patches() { # how long it may take, or nothing; more options
    limit=$1
    shift
    if [ "$by_name" = yes ]; then
        # shellcheck disable=SC2046
        zypper_with "$limit" install "$@" --auto-agree-with-licenses -t patch $(cat "$work/chosen")
    else
        # shellcheck disable=SC2086
        zypper_with "$limit" patch "$@" $category --with-interactive --auto-agree-with-licenses
    fi
}
zypper_do_updates() { # the same
    limit=$1
    shift
    zypper_with "$limit" update "$@" --with-interactive --auto-agree-with-licenses
}

# One patch that cannot be installed stops all others, so those that can be are found one by one.
zypper_choose() {
    by_name=no
    cp "$work/patches" "$work/chosen" || cannot_write
    if [ ! -s "$work/patches" ]; then return; fi
    [ "$(count "$work/needed")" -eq "$(count "$work/patches")" ] || by_name=yes
    zypper_do_patches "$(time_limit)" --dry-run || finish 83 blocked locks_held
    [ "$code" -eq 4 ] || return 0
    blame "$(reason)"
    by_name=yes
    : >"$work/chosen"
    while read -r patch; do
        zypper_with "$(time_limit)" install --dry-run --auto-agree-with-licenses -t patch "$patch" || finish 83 blocked locks_held
        if zypper_is_fine; then echo "$patch" >>"$work/chosen" || cannot_write; fi
    done <"$work/patches"
}

zypper_refuse_excluded() { # zypper_do_patches or zypper_do_updates
    [ -n "$EXCLUDE" ] || return 0
    xml=-x
    "$1" "$(time_limit)" --dry-run || finish 83 blocked locks_held
    xml=''
    zypper_is_fine || return 0
    : >"$log"
    save "$work/touched" sed -n 's/.*<solvable type="package" name="\([^"]*\)".*/\1/p' "$out"
    while read -r name; do
        ! is_named_in "$name" "$EXCLUDE" || finish 84 refused "cannot_leave_out:$name"
    done <"$work/touched"
}

zypper_step() { # zypper_do_patches or zypper_do_updates: fetch, then install
    "$1" "$(time_limit)" --download-only || finish 83 blocked locks_held
    if ! zypper_is_fine; then
        if [ "$has_installed" = yes ] || [ "$code" -eq 4 ]; then
            blame "$(reason)"
            return 0
        fi
        refuse_if_short_of_space
        finish 86 download_failed "zypper_said_$code"
    fi
    for _ in 1 2 3 4; do # 103: the update stack came first, and the rest waits for another call
        if is_late; then
            stopped=out_of_time
            return
        fi
        "$1" '' || {
            stopped=locks_held
            return
        }
        has_installed=yes
        broken=$(grep -c 'scriptlet failed' "$log")
        failed=$((failed + broken))
        [ "$broken" -eq 0 ] || blame scripts_of_packages_failed
        case $code in
            103) continue ;;
            102) : >/run/fleet-reboot-needed ;; # a restart is wanted, which is said once in a boot
            0) ;;
            107)
                [ "$failed" -gt 0 ] || failed=1
                blame scripts_of_packages_failed
                ;;
            *) blame "zypper_said_$code" ;;
        esac
        break
    done
}

zypper_install() {
    has_installed=no
    zypper_choose
    [ ! -s "$work/chosen" ] || zypper_refuse_excluded zypper_do_patches
    [ "$SCOPE" != all ] || zypper_refuse_excluded zypper_do_updates
    [ ! -s "$work/chosen" ] || zypper_step zypper_do_patches
    if [ "$SCOPE" = all ] && [ -z "$stopped" ]; then zypper_step zypper_do_updates; fi
}

zypper_wants_reboot() {
    code=0
    zypper -n needs-rebooting >/dev/null 2>&1 || code=$?
    case $code in
        0) reboot=no ;;
        102) reboot=yes ;;
        *) rpm_wants_reboot || reboot=unknown ;;
    esac
    if [ -e /run/fleet-reboot-needed ] || [ -e /run/reboot-needed ] || has_newer_kernel; then reboot=yes; fi
}

# ---- All of it

find_manager() {
    # shellcheck source=/dev/null
    family=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}")
    if [ -e /run/ostree-booted ]; then finish 90 unsupported image_based_system; fi
    case " $family " in
        *' debian '* | *' ubuntu '*) candidates=apt-get ;;
        *micro*) finish 90 unsupported "distribution:${family%% *}" ;;
        *' sles '* | *' suse '*) candidates=zypper ;;
        *' azurelinux '* | *' mariner '*) candidates='tdnf dnf5 dnf' ;;
        *' rhel '* | *' fedora '* | *' centos '*) candidates='dnf dnf5' ;;
        *) finish 90 unsupported "distribution:${family%% *}" ;;
    esac
    for dnf_tool in $candidates; do
        command -v "$dnf_tool" >/dev/null 2>&1 && break
    done
    command -v "$dnf_tool" >/dev/null 2>&1 || finish 90 unsupported "no_${candidates%% *}"
    manager=${dnf_tool%-get}
    if [ "$manager" = dnf ]; then
        case $(dnf --version 2>/dev/null) in
            dnf5*) manager=dnf5 ;; # Fedora 41, Azure Linux 4
        esac
    fi
    case $manager in
        apt) require apt-cache apt-mark dpkg dpkg-query xargs ;;
        *) require rpm ;;
    esac
}

open_work_folder() {
    work=$(mktemp -d) || {
        work=''
        finish 84 refused no_temporary_files
    }
    trap 'rm -rf "$work"' EXIT
    out=$work/out err=$work/err log=$work/log
    : >"$log" || finish 84 refused "no_room_in_${work%/*}"
    dd if=/dev/zero of="$work/room" bs=1024 count=4096 2>/dev/null || finish 84 refused "no_room_in_${work%/*}"
    [ "$(wc -c <"$work/room")" -eq 4194304 ] || finish 84 refused "no_room_in_${work%/*}"
    rm "$work/room"
}

# Of a success: what is not as it seems.
remark() {
    if [ "$manager" = apt ] && [ "$SCOPE" = all ] && [ -s "$work/simulated" ]; then
        awk -v held="$work/held" '
            BEGIN { while ((getline name <held) > 0) out[name] = 1 }
            /kept back:$/ { inside = 1; next }
            inside && /^ / { for (i = 1; i <= NF; i++) if (!($i in out)) names = names (names == "" ? "" : ",") $i; next }
            { inside = 0 }
            END { if (names != "") print "kept_back:" names }' "$work/simulated" >"$work/kept-back"
        if [ -s "$work/kept-back" ]; then
            tr , + <"$work/kept-back" | word
            return
        fi
    fi
    if [ "$reboot" = unknown ]; then echo restart_unknown; fi
}

conclude() {
    [ "$failed" -eq 0 ] || [ "$manager" != apt ] || finish 88 inconsistent "half_configured:$(paste -sd, "$work/broken")"
    # The database of dpkg says what is broken: that a batch failed and was repaired is no failure.
    [ "$manager" != apt ] || [ "$remaining" -gt 0 ] || problem=''
    if [ "$remaining" -eq 0 ] && [ "$failed" -eq 0 ] && [ -z "$problem" ]; then
        [ "$reboot" != yes ] || finish 80 reboot_needed "$(remark)"
        [ "$updated" -eq 0 ] || finish 0 updated "$(remark)"
        finish 0 nothing_to_do "$(remark)"
    fi
    [ "$stopped" != out_of_time ] || finish 85 out_of_time
    if [ -z "$problem$stopped" ] && [ -s "$work/both" ]; then problem=left:$(sed -n 1,3p "$work/both" | paste -sd+ - | word); fi
    [ "$updated" -eq 0 ] || finish 82 partial "${problem:-$stopped}"
    [ "$stopped" != locks_held ] || finish 83 blocked locks_held
    finish 87 failed "$problem"
}

require awk cat comm cp cut dd df find grep mktemp paste rm sed sleep sort tail timeout touch tr uname wc
started=$(clock)
open_work_folder
list_failed_units
find_manager
find_other_patchers
[ "$DRY_RUN" = true ] || check_space
"${manager}_prepare"
"${manager}_refresh"
"${manager}_plan" "$work/planned"
"${manager}_count_held" || held=unknown
remaining=$(count "$work/planned")
if [ "$DRY_RUN" = true ]; then
    sed 's/^/waiting: /' "$work/waiting"
elif [ "$remaining" -gt 0 ]; then
    "${manager}_installed" "$work/before"
    changing=yes
    "${manager}_install"
    "${manager}_installed" "$work/after"
    report_updated
    looking_again=yes
    "${manager}_plan" "$work/again"
    save "$work/both" comm -12 "$work/planned" "$work/again"
    remaining=$(count "$work/both")
fi
"${manager}_wants_reboot"
if [ "$DRY_RUN" = true ]; then
    if [ "$remaining" -gt 0 ]; then finish 0 planned "$(remark)"; else finish 0 nothing_to_do "$(remark)"; fi
fi
conclude
