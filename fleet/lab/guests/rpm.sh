#!/bin/sh
# The lab's stand-in for dnf, dnf5, tdnf, zypper, rpm and needs-restarting, as far as updating goes: what they say, and their exit
# codes. Installed: "name version" lines in /var/lib/rpm/lab. In the mirror: "name version security reboot fails" lines.
# Where the real ones differ from what one would expect, so does this: a failed %post ends with 0, and so on.
export LC_ALL=C
db=/var/lib/rpm/lab held=/etc/dnf/versionlock.list log=/var/log/dnf.rpm.log since=/run/lab-updated arch=noarch
mirror=$(sed -n 's|^baseurl=file://||p' /etc/yum.repos.d/lab.repo 2>/dev/null)/packages

installed() { awk -v name="$1" '$1 == name {print $2; found = 1} END {exit !found}' "$db"; }

rpm_query() {
    case $* in
        '-qa --qf %{NAME} %{EVR}\n') cat "$db" ;;
        '-qa --qf %{NAME} %{INSTALLTIME}\n') # what was updated since the boot came just now, all else with the image
            [ -e "$since" ] || : >"$since"
            awk -v now="$(date +%s)" 'FILENAME ~ /lab-updated$/ {new[$1] = 1; next} {print $1, ($1 in new ? now : 1)}' "$since" "$db" ;;
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
    awk -v only="$security" -v without="$exclude" -v names="$names" -v unlock="${locked_too-}" '
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
        ($1 in has) && has[$1] != $2 && (unlock || !($1 in locked)) && !fits($1, without) && (only == "" || $3 == "yes") &&
            (names == "" || fits($1, names))
    ' held="$held" db="$db" "$held" "$db" "$mirror"
}

upgrade() { # what is said of a script that fails
    found=$(waiting)
    [ -n "$found" ] || { [ -n "$quiet" ] || echo 'Nothing to do.'; return 0; }
    [ "$answer" = yes ] || { echo 'Operation aborted.' >&2; exit 1; }
    [ -z "$only_fetch" ] || return 0
    install "$found" "$1"
    echo 'Complete!'
}

install() { # lines as those of waiting, what else is said of a script that fails; %s is the package
    printf '%s\n' "$1" | while read -r name version _ reboot fails; do
        printf '  Upgrading        : %s-%s.%s\n' "$name" "$version" "$arch"
        sed -i "s/^$name .*/$name $version/" "$db"
        echo "$(date -u +%FT%TZ) SUBDEBUG Upgrade: $name-$version.$arch" >>"$log"
        [ "$reboot" != yes ] || echo "$name" >>"$since"
        if [ "$fails" = yes ]; then
            echo "warning: %post($name-$version.$arch) scriptlet failed, exit status 1" >&2
            # shellcheck disable=SC2059
            [ -z "$2" ] || printf "$2\n" "$name" "$name-$version.$arch"
        fi
    done
}

dnf() {
    quiet='' answer='' security='' exclude='' names='' verb='' fails_when_locked='' only_fetch='' all=''
    [ "$*" != --version ] || { if [ -n "$five" ]; then echo 'dnf5 version 5.2.12.0'; else echo 4.14.0; fi; exit; }
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
            --refresh | --setopt=* | --best | --nobest | -C | --cacheonly | -r) ;;
            -*) echo "dnf: the lab's guests do not know the option $word" >&2; exit 1 ;;
            *) if [ -z "$verb" ]; then verb=$word; else names="$names $word"; fi ;;
        esac
    done
    case $verb in
        versionlock)
            [ "$names" = ' list' ] || return 1
            if [ -n "$five" ]; then sed 's/^/Package name: /' "$held"; else sed 's/$/-*/' "$held"; fi
            return ;;
        needs-restarting) needs_restarting -r; return ;;
        check-update | check-upgrade | upgrade | update | updateinfo | advisory | makecache | repolist) ;;
        *) echo "No such command: $verb. The lab's guests only know how to update." >&2; exit 1 ;;
    esac
    exec 9>>/var/lib/dnf/lock
    wait_for_lock
    if [ "$verb" = repolist ]; then
        printf '%-10s %s\n' 'repo id' 'repo name' lab lab
        return
    fi
    if [ ! -r "$mirror" ]; then
        echo "Error: Failed to download metadata for repo 'lab': Cannot download repomd.xml: All mirrors were tried" >&2
        exit 1
    fi
    case $verb in
        makecache) [ -n "$quiet" ] || echo 'Metadata cache created.' ;;
        check-update | check-upgrade)
            found=$(waiting)
            [ -n "$found" ] || return 0
            [ -z "$five" ] || printf Upgrades
            printf '%s\n' "$found" | awk -v arch=$arch '{printf "\n%s.%s  %s  lab", $1, arch, $2} END {print ""}'
            [ -z "$five" ] || echo
            exit 100 ;;
        updateinfo | advisory)
            names=''
            { if [ -n "$all" ]; then cat "$mirror"; else waiting; fi; } | awk -v arch=$arch '$3 == "yes" {printf "LAB-2024:%04d Important/Sec. %s-%s.%s\n", NR, $1, $2, arch}' ;;
        *)
            if [ -n "$five" ]; then
                upgrade '>>> Non-critical error in %%post scriptlet: %s%.0s' >&2
            else
                upgrade 'Error in POSTIN scriptlet in rpm package %s%.0s'
            fi ;;
    esac
}

wait_for_lock() {
    ! flock -n 9 || return 0
    if [ -n "$five" ]; then
        [ -n "$quiet" ] || echo 'Waiting for a lock on the system repository. The following processes are currently accessing it:' >&2
        [ -z "$quiet" ] || :
        flock 9
        return
    fi
    echo 'Waiting for process with pid 1 to finish.' >&2
    [ -z "$fails_when_locked" ] || { echo 'Failed to obtain the transaction lock' >&2; exit 200; }
    flock 9
}

# Its errors have numbers above 1000, of which the exit code keeps the last eight bits.
tdnf_fails() { # number, text
    echo "Error($1) : $2" >&2
    exit $(($1 % 256))
}

tdnf() {
    quiet='' answer='' security='' exclude='' names='' verb='' only_fetch=''
    for word; do
        case $word in
            -q | --quiet) quiet=1 ;;
            -y | --assumeyes) answer=yes ;;
            --assumeno) answer=no ;;
            --security) security=1 ;;
            --downloadonly) only_fetch=1 ;;
            --exclude=*) exclude="$exclude ${word#*=}" ;;
            --refresh | --setopt=* | -C | --cacheonly) ;;
            -*) tdnf_fails 902 "Unknown option $word" ;;
            *) if [ -z "$verb" ]; then verb=$word; else names="$names $word"; fi ;;
        esac
    done
    exec 9>>/var/lib/dnf/lock
    flock -n 9 || { echo 'waiting for tdnf_instance lock on /var/run/.tdnf-instance-lockfile'; flock 9; }
    case $verb in
        repolist) printf 'repo id             repo name                               status\nlab                 lab                                     enabled\n'; return ;;
        makecache | check-update | upgrade | update) ;;
        *) tdnf_fails 901 'There was an error. Try tdnf --help.' ;;
    esac
    [ -r "$mirror" ] || { echo "Error: Failed to synchronize cache for repo 'lab'" >&2; tdnf_fails 1238 "Couldn't read a file:// file"; }
    case $verb in
        makecache) [ -n "$quiet" ] || echo 'Metadata cache created.'; return ;;
        check-update) waiting | awk -v arch=$arch '{printf "%80s\r%s.%s\n", "lab", $1, arch}'; return ;;
    esac
    found=$(waiting)
    [ -n "$found" ] || { echo 'Nothing to do.' >&2; return; }
    printf '\nUpgrading:\n'
    printf '%s\n' "$found" | awk -v arch=$arch '{printf "%-16s %-12s %-16s %-12s %8s %8s\n", $1, arch, $2, "lab", "0.00b", "5.36k"}'
    printf '\nTotal installed size:   0.00b\nTotal download size:   5.36k\n'
    [ "$answer" = yes ] || tdnf_fails 1032 'Operation aborted.'
    [ -z "$only_fetch" ] || { echo 'tdnf will only download packages needed for the transaction'; return; }
    install "$found" 'package %.0s%s: script warning in %%postin'
}

# Each package that waits is a patch of its own. One that asks for a restart is interactive, and left out unless one says
# otherwise; the update stack goes first, alone, and wants to be called again. A locked package makes its patch unsolvable.
zypper() {
    security='' exclude='' names='' verb='' interactive='' category='' dry='' all='' kind='' locked_too=''
    for word; do
        case $word in
            --with-interactive) interactive=1 ;;
            --dry-run | --download-only) dry=1 ;;
            --all) all=1 ;;
            --category) category=next ;;
            -t) kind=next ;;
            -*) ;;
            *)
                if [ "$category" = next ]; then
                    category=$word
                    [ "$word" != security ] || security=1
                elif [ "$kind" = next ]; then
                    kind=$word
                elif [ -z "$verb" ]; then
                    verb=$word
                else
                    names="$names ${word#LAB-2024-}"
                fi ;;
        esac
    done
    exec 9>>/var/lib/dnf/lock
    flock -n 9 || { echo 'System management is locked by the application with pid 1 (packagekitd).' >&2; exit 7; }
    case $verb in
        refresh)
            [ -r "$mirror" ] || { echo 'Skipping repository lab because of the above error.' >&2; exit 4; }
            echo 'All repositories have been refreshed.' ;;
        repos) printf '# | Alias | Name | Enabled | GPG Check | Refresh\n--+-------+------+---------+-----------+--------\n1 | lab   | lab  | Yes     | (  ) No   | Yes\n' ;;
        search) [ -s "$mirror" ] || exit 104 ;;
        locks)
            [ -s "$held" ] || { echo 'There are no package locks defined.'; return; }
            printf '# | Name | Type | Repository\n--+------+------+-----------\n'
            awk '{printf "%d | %s | package | (any)\n", NR, $1}' "$held" ;;
        needs-rebooting) [ ! -s "$since" ] || exit 102 ;;
        list-updates)
            found=$(waiting)
            [ -n "$found" ] || { echo 'No updates found.'; return; }
            printf 'S | Repository | Name | Current Version | Available Version | Arch\n--+------+------+------+------+-----\n'
            printf '%s\n' "$found" | while read -r name version _; do
                printf 'v | lab | %s | %s | %s | noarch\n' "$name" "$(installed "$name")" "$version"
            done ;;
        list-patches) list_patches ;;
        info) locked_too=1; waiting | awk '{printf "Information for patch LAB-2024-%s:\nStatus : needed\nConflicts   : %s < %s\n\n", $1, $1, $2}' ;;
        patch) locked_too=1; apply_patches ;;
        install) interactive=1; apply_patches ;;
        update) interactive=1; apply_patches ;;
        *) echo "Unknown command '$verb'" >&2; exit 2 ;;
    esac
}

list_patches() {
    locked_too=1
    if [ -n "$all" ]; then found=$(cat "$mirror"); else found=$(waiting); fi
    [ -n "$found" ] || { echo 'No updates found.'; return; }
    printf 'Repository | Name | Category | Severity | Interactive | Status | Summary\n-----+-----+-----+-----+-----+-----+-----\n'
    printf '%s\n' "$found" | awk '{printf "lab | LAB-2024-%s | %s | important | %s | needed | Update of %s\n",
        $1, ($3 == "yes" ? "security" : "recommended"), ($4 == "yes" ? "reboot" : "---"), $1}'
}

apply_patches() {
    found=$(waiting)
    locked=$(printf '%s\n' "$found" | awk -v held="$held" 'BEGIN {while ((getline name <held) > 0) locked[name] = 1} $1 in locked {print $1}')
    if [ -n "$locked" ]; then
        echo "Problem: patch:LAB-2024-$locked conflicts with $locked" >&2
        exit 4
    fi
    stack=$(printf '%s\n' "$found" | grep -E '^(zypper|libzypp) ')
    [ "$verb" = update ] || found=${stack:-$found}
    [ -n "$interactive" ] || found=$(printf '%s\n' "$found" | awk '$4 != "yes"')
    [ -n "$found" ] || { echo 'Nothing to do.'; return; }
    if [ -n "$dry" ]; then
        printf '%s\n' "$found" | awk '{printf "<solvable type=\"package\" name=\"%s\" edition=\"%s\" arch=\"noarch\">\n", $1, $2}'
        return
    fi
    install "$found" ''
    [ "$verb" = update ] || [ -z "$stack" ] || exit 103
    ! printf '%s\n' "$found" | awk '$4 == "yes" {wanted = 1} END {exit !wanted}' || exit 102
}

five=''
case ${0##*/} in
    zypper) zypper "$@" ;;
    rpm) rpm_query "$@" ;;
    needs-restarting) needs_restarting "$@" ;;
    tdnf) tdnf "$@" ;;
    *)
        [ ! -e /opt/lab/sbin/dnf5 ] || five=1
        if [ "${1-}" = -q ] && [ "${2-}" = needs-restarting ]; then
            needs_restarting "$3"
        else
            dnf "$@"
        fi ;;
esac
