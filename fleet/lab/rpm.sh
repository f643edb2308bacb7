#!/bin/sh
# The lab's stand-in for dnf, zypper, rpm and needs-restarting, as far as updating goes: what they say, and their exit codes.
# Installed: "name version" lines in /var/lib/rpm/lab. In the mirror: "name version security reboot fails" lines.
# Where the real ones differ from what one would expect, so does this: a failed %post ends with 0, and so on.
export LC_ALL=C
db=/var/lib/rpm/lab held=/etc/dnf/versionlock.list log=/var/log/dnf.rpm.log since=/run/lab-updated arch=noarch
mirror=$(sed -n 's|^baseurl=file://||p' /etc/yum.repos.d/lab.repo 2>/dev/null)/packages

installed() { awk -v name="$1" '$1 == name {print $2; found = 1} END {exit !found}' "$db"; }

rpm_query() {
    case $* in
        '-qa --qf %{NAME} %{EVR}\n') cat "$db" ;;
        -qa) awk -v arch=$arch '{printf "%s-%s.%s\n", $1, $2, arch}' "$db" ;;
        -q\ *)
            shift
            failed=0
            for name; do
                version=$(installed "$name") || { echo "package $name is not installed"; failed=$((failed + 1)); continue; }
                printf '%s-%s.%s\n' "$name" "$version" "$arch"
            done
            exit "$failed" ;;
        *) echo "rpm: the lab's guests only answer -q and -qa, the latter with one --qf" >&2; exit 1 ;;
    esac
}

needs_restarting() {
    [ "$1" = -r ] || { echo "the lab's guests answer -r only" >&2; exit 1; }
    if [ -s "$since" ]; then
        echo 'Core libraries or services have been updated since boot-up:'
        sort -u "$since" | sed 's/^/  * /'
        printf '\nReboot is required to fully utilize these updates.\n'
        exit 1
    fi
    echo 'No core libraries or services have been updated since boot-up.'
    echo 'Reboot should not be necessary.'
}

# Lines "name version security reboot fails" of what waits, without what is locked, excluded or not asked for.
waiting() {
    awk -v only="$security" -v without="$exclude" -v names="$names" '
        function fits(name, globs,   list, n, i, glob) {
            n = split(globs, list, /[ ,]+/)
            for (i = 1; i <= n; i++) {
                glob = list[i]
                gsub(/[.+]/, "[&]", glob); gsub(/\*/, ".*", glob); gsub(/\?/, ".", glob)
                if (glob != "" && name ~ ("^" glob "$")) return 1
            }
            return 0
        }
        FILENAME == held {locked[$1] = 1; next}
        FILENAME == db {has[$1] = $2; next}
        ($1 in has) && has[$1] != $2 && !($1 in locked) && !fits($1, without) && (only == "" || $3 == "yes") &&
            (names == "" || fits($1, names))
    ' held="$held" db="$db" "$held" "$db" "$mirror"
}

upgrade() {
    found=$(waiting)
    [ -n "$found" ] || { [ -n "$quiet" ] || echo 'Nothing to do.'; return 0; }
    [ "$answer" = yes ] || { echo 'Operation aborted.' >&2; exit 1; }
    [ -z "$only_fetch" ] || return 0
    install "$found" 'Error in POSTIN scriptlet in rpm package'
    echo 'Complete!'
}

install() { # lines as those of waiting, what else is said of a script that fails
    printf '%s\n' "$1" | while read -r name version _ reboot fails; do
        printf '  Upgrading        : %s-%s.%s\n' "$name" "$version" "$arch"
        sed -i "s/^$name .*/$name $version/" "$db"
        echo "$(date -u +%FT%TZ) SUBDEBUG Upgrade: $name-$version.$arch" >>"$log"
        [ "$reboot" != yes ] || echo "$name" >>"$since"
        if [ "$fails" = yes ]; then
            echo "warning: %post($name-$version.$arch) scriptlet failed, exit status 1" >&2
            [ -z "$2" ] || echo "$2 $name"
        fi
    done
}

dnf() {
    quiet='' answer='' security='' exclude='' names='' verb='' fails_when_locked='' only_fetch='' all=''
    for word; do
        case $word in
            -q | --quiet) quiet=1 ;;
            -y | --assumeyes) answer=yes ;;
            --assumeno) answer=no ;;
            --security) security=1 ;;
            --all) all=1 ;;
            --downloadonly) only_fetch=1 ;;
            --exclude=*) exclude="$exclude ${word#*=}" ;;
            --setopt=exit_on_lock=1) fails_when_locked=1 ;;
            --refresh | --setopt=* | --best | --nobest) ;;
            -*) echo "dnf: the lab's guests do not know the option $word" >&2; exit 1 ;;
            *) if [ -z "$verb" ]; then verb=$word; else names="$names $word"; fi ;;
        esac
    done
    case $verb in
        versionlock) [ "$names" = ' list' ] && sed 's/$/-*/' "$held"; return ;;
        check-update | upgrade | update | updateinfo | makecache) ;;
        *) echo "No such command: $verb. The lab's guests only know how to update." >&2; exit 1 ;;
    esac
    exec 9>>/var/lib/dnf/lock
    if ! flock -n 9; then
        echo 'Waiting for process with pid 1 to finish.' >&2
        [ -z "$fails_when_locked" ] || { echo 'Failed to obtain the transaction lock' >&2; exit 200; }
        flock 9
    fi
    if [ ! -r "$mirror" ]; then
        echo "Error: Failed to download metadata for repo 'lab': Cannot download repomd.xml: All mirrors were tried" >&2
        exit 1
    fi
    case $verb in
        makecache) [ -n "$quiet" ] || echo 'Metadata cache created.' ;;
        check-update)
            found=$(waiting)
            [ -n "$found" ] || return 0
            printf '%s\n' "$found" | awk -v arch=$arch '{printf "\n%s.%s  %s  lab", $1, arch, $2} END {print ""}'
            exit 100 ;;
        updateinfo)
            names=''
            { if [ -n "$all" ]; then cat "$mirror"; else waiting; fi; } | awk -v arch=$arch '$3 == "yes" {printf "LAB-2024:%04d Important/Sec. %s-%s.%s\n", NR, $1, $2, arch}' ;;
        *) upgrade ;;
    esac
}

# Each package that waits is a patch of its own. One that asks for a restart is interactive, and left out unless one says
# otherwise; the update stack goes first, alone, and wants to be called again.
zypper() {
    security='' exclude='' names='' verb='' interactive='' category=''
    for word; do
        case $word in
            --with-interactive) interactive=1 ;;
            --category) category=next ;;
            -*) ;;
            *)
                if [ "$category" = next ]; then
                    category=$word
                    [ "$word" != security ] || security=1
                elif [ -z "$verb" ]; then
                    verb=$word
                fi ;;
        esac
    done
    exec 9>>/var/lib/dnf/lock
    flock -n 9 || { echo 'System management is locked by the application with pid 1 (packagekitd).' >&2; exit 7; }
    case $verb in
        refresh)
            [ -r "$mirror" ] || { echo 'Skipping repository lab because of the above error.' >&2; exit 4; }
            echo 'All repositories have been refreshed.' ;;
        locks) awk '{printf "%d | %s | package | (any)\n", NR, $1}' "$held" ;;
        needs-rebooting) [ ! -s "$since" ] || exit 102 ;;
        list-updates) waiting | awk '{printf "v | lab | %s | installed | %s | noarch\n", $1, $2}' ;;
        list-patches)
            waiting | awk '{printf "lab | LAB-2024-%s | %s | important | %s | needed | Update of %s\n",
                $1, ($3 == "yes" ? "security" : "recommended"), ($4 == "yes" ? "reboot" : "---"), $1}' ;;
        patch) apply_patches ;;
        *) echo "Unknown command '$verb'" >&2; exit 2 ;;
    esac
}

apply_patches() {
    found=$(waiting)
    stack=$(printf '%s\n' "$found" | grep -E '^(zypper|libzypp) ')
    found=${stack:-$found}
    [ -n "$interactive" ] || found=$(printf '%s\n' "$found" | awk '$4 != "yes"')
    [ -n "$found" ] || { echo 'Nothing to do.'; return; }
    install "$found" ''
    [ -z "$stack" ] || exit 103
    ! printf '%s\n' "$found" | awk '$4 == "yes" {wanted = 1} END {exit !wanted}' || exit 102
}

case ${0##*/} in
    zypper) zypper "$@" ;;
    rpm) rpm_query "$@" ;;
    needs-restarting) needs_restarting "$@" ;;
    *)
        if [ "${1-}" = -q ] && [ "${2-}" = needs-restarting ]; then
            needs_restarting "$3"
        else
            dnf "$@"
        fi ;;
esac
