fleet_refuse() {
    printf 'fleet: %s; the script was not started\n' "$1" >&2
    exit 125
}

# True if the text of an error says that the disk, or this user's share of it, is full.
fleet_says_full() {
    case $1 in
        *'No space left'* | *[Qq]'uota exceeded'*) ;;
        *) return 1 ;;
    esac
}

# True if no file can grow in folder $1. Free space is not asked for: quotas and reserved blocks are not in it.
fleet_full() {
    fleet_error=$({
        LC_ALL=C
        export LC_ALL
        printf '%8192s' '' | cat >"$1/full.$$"
    } 2>&1)
    rm -f "$1/full.$$"
    fleet_says_full "$fleet_error"
}

# The receipt proves that nothing was started, so the delivery may be sent again.
fleet_refuse_full() {
    fleet_error="fleet: the disk is full; the script was not started"
    fleet_started=$(date +%s)
    fleet_digest=$(fleet_script | fleet_sha256 /dev/stdin)
    printf '\nfleet-receipt v1 nonce=%s replayed=0 script=%s exit=125 signal=-' "$fleet_nonce" "$fleet_digest"
    printf ' timed_out=0 interrupted=0 fault=no_room stdout=0:- stderr=%s:-' "$((${#fleet_error} + 1))"
    printf ' boot=%s' "$(fleet_boot_id)"
    printf ' started=%s ended=%s end\n' "$fleet_started" "$fleet_started"
    echo "$fleet_error" >&2
    exit 125
}

# The dot keeps trailing line ends, which a command substitution would drop.
fleet_decode() {
    fleet_value=$(printf '%s\n' "$1" | fleet_base64 && echo .) || fleet_refuse 'base64 cannot be decoded here'
    fleet_value=${fleet_value%.}
}

# A lone "=" stands for an empty secret: the handler drops parameters without a value.
fleet_secret() {
    case $2 in
        '') fleet_refuse "the secret $1 did not arrive" ;;
        '=') fleet_value= ;;
        *) fleet_decode "$2" ;;
    esac
}

fleet_describe() {
    echo "$(fleet_size "$1"):$(fleet_sha256 "$1")"
}

fleet_now() {
    if [ -r /proc/uptime ]; then
        read -r fleet_up fleet_idle </proc/uptime
        echo "${fleet_up%.*}${fleet_up#*.}"
    else
        echo "$(date +%s)00"
    fi
    : "${fleet_idle-}"
}

fleet_open() {
    fleet_first=${FLEET_SPOOL:-/var/lib/fleet/receipts}
    fleet_second=${FLEET_SPOOL:-${TMPDIR:-/tmp}/fleet-$(id -u)}
    if [ -L "$fleet_second/$fleet_key/claim" ]; then
        fleet_first=$fleet_second
    fi
    for fleet_spool in "$fleet_first" "$fleet_second"; do
        fleet_dir=$fleet_spool/$fleet_key
        if fleet_private "$fleet_spool" && fleet_private "$fleet_dir"; then
            return
        fi
    done
    for fleet_spool in "$fleet_first" "$fleet_second"; do
        fleet_says_full "$(LC_ALL=C mkdir -p "$fleet_spool/$fleet_key" 2>&1)" && fleet_refuse_full
    done
    fleet_refuse "no private folder for receipts can be made in $fleet_first or $fleet_second"
}

# Makes every file that the run needs before anything is claimed: where the disk is full, nothing is started.
# What is written later has its room in the files that end in .new.
fleet_prepare() {
    fleet_new=$fleet_dir/new.$$
    rm -rf "$fleet_new"
    {
        mkdir "$fleet_new" && fleet_script >"$fleet_new/script" &&
            [ "$(fleet_size "$fleet_new/script")" = "$fleet_script_bytes" ] && chmod 500 "$fleet_new/script" &&
            for fleet_each in started group passed answer over timed_out; do
                printf '%700s\n' '' >"$fleet_new/$fleet_each.new" || return 1
            done && true >"$fleet_new/stdout.live" && true >"$fleet_new/stderr.live"
    } 2>/dev/null
}

# Writes the line $2 to file $1, where the disk is full into the room that was made for it.
fleet_put() {
    {
        echo "$2" >"$fleet_dir/$1.$$" && mv -f "$fleet_dir/$1.$$" "$fleet_dir/$1" && return
        rm -f "$fleet_dir/$1.$$"
        echo "$2" 1<>"$fleet_dir/$1.new" && mv -f "$fleet_dir/$1.new" "$fleet_dir/$1"
    } 2>/dev/null
}

# One atomic call both claims the key and says who did: a claim without an owner can never be seen.
fleet_claim() {
    ln -s "$$.$(fleet_birth $$).$(fleet_pid_space).$(fleet_boot_id)" "$fleet_dir/claim" 2>/dev/null
}

fleet_is_own() {
    fleet_read_claim
    [ "$fleet_pid" = "$$" ]
}

# True if this delivery is the one that runs the script.
fleet_wins() {
    [ ! -L "$fleet_dir/claim" ] || return 1
    fleet_values
    if fleet_prepare && fleet_claim; then
        return 0
    fi
    rm -rf "$fleet_new"
    [ ! -L "$fleet_dir/claim" ] || return 1
    fleet_full "$fleet_dir" && fleet_refuse_full
    fleet_refuse "the script and the claim cannot be written to $fleet_dir"
}

# $1 exit code, $2 why. The mark tells the wrapper that it was not the script that ended so.
fleet_unfit() {
    echo "fleet: $2" >&2
    true >"$fleet_dir/unfit"
    exit "$1"
}

# Starts what the kernel would start for the first line, with the same words. The file need not be executable, which it
# never is where the disk is mounted noexec.
fleet_exec() {
    if [ -z "$fleet_interpreter" ]; then
        fleet_interpreter=$fleet_shell_path
        [ -n "$fleet_interpreter" ] || fleet_unfit 127 "$fleet_shell is not installed on this machine"
    elif [ ! -e "$fleet_interpreter" ]; then
        fleet_unfit 127 "the script's interpreter $fleet_interpreter is not on this machine"
    elif [ ! -f "$fleet_interpreter" ] || [ ! -x "$fleet_interpreter" ]; then
        fleet_unfit 126 "the script's interpreter $fleet_interpreter cannot be executed"
    elif [ -n "$fleet_looked_up" ] && ! fleet_has "$fleet_looked_up"; then
        fleet_unfit 127 "the script's interpreter $fleet_looked_up is not on the search path of this machine"
    fi
    exec ${fleet_setsid:+"$fleet_setsid"} "$fleet_interpreter" ${fleet_option:+"$fleet_option"} "$fleet_dir/script" "$@"
}

# Kills by the kernel for want of memory so far: of this machine, and of the wrapper's own control group.
fleet_oom_kills() {
    fleet_count_kills /proc/vmstat
    [ -r /proc/self/cgroup ] || return 0
    while IFS=: read -r _ fleet_kind fleet_path; do
        case ,$fleet_kind, in
            ,,) fleet_count_kills "/sys/fs/cgroup$fleet_path/memory.events" ;;
            *,memory,*) fleet_count_kills "/sys/fs/cgroup/memory$fleet_path/memory.oom_control" ;;
        esac
    done </proc/self/cgroup
}

fleet_count_kills() {
    [ -r "$1" ] || return 0
    while read -r fleet_word fleet_count; do
        [ "$fleet_word" != oom_kill ] || printf '%s ' "$fleet_count"
    done <"$1"
}

fleet_group_lives() {
    [ -n "$fleet_group" ] && kill -0 "-$fleet_group" 2>/dev/null
}

# True while a process has a stream of the script open for writing. As another user than root, a process of the script's
# group that cannot be looked into may have one.
fleet_held() {
    if ! fleet_has grep || [ ! -r /proc/self/fd ]; then
        fleet_group_lives
        return
    fi
    fleet_last=live
    [ -f "$fleet_dir/stdout.live" ] || fleet_last=
    # shellcheck disable=SC2010 # the names are numbers, and the mode of a link is how the file is open
    ls -ln /proc/[0-9]*/fd 2>/dev/null | grep -F -e " -> $fleet_real/std" | grep -q "^l.w.*$fleet_last\$" && return
    [ "$(id -u)" != 0 ] || return 1
    for fleet_process in /proc/[0-9]*; do
        [ ! -r "$fleet_process/fd" ] || continue
        fleet_stat=$(cat "$fleet_process/stat" 2>/dev/null) || continue
        # shellcheck disable=SC2086 # the fields after the name in brackets are plain words
        set -- ${fleet_stat##*) }
        [ "${3-}" != "$fleet_group" ] || return 0
    done
    return 1
}

# Processes of the script may print after its end: what feeds its output through another program does. They are waited
# for, two seconds after the last byte and five in all. Where one holds a stream still, more may come: the answer says so.
fleet_drain() {
    fleet_begun=$(fleet_now) fleet_grown=$fleet_begun fleet_sizes=
    # A process may start another one and end between two looks, so while the group lives one look is not enough.
    while fleet_held || { fleet_group_lives && fleet_held; }; do
        fleet_time=$(fleet_now)
        fleet_before=$fleet_sizes
        fleet_sizes="$(fleet_size "$fleet_dir/stdout.live") $(fleet_size "$fleet_dir/stderr.live")"
        [ "$fleet_sizes" = "$fleet_before" ] || fleet_grown=$fleet_time
        if [ "$((fleet_time - fleet_grown))" -ge 200 ] || [ "$((fleet_time - fleet_begun))" -ge 500 ]; then
            fleet_holders=1 fleet_partial=1
            return
        fi
        sleep 0.1 2>/dev/null || sleep 1
    done
}

fleet_save() {
    [ -f "$fleet_dir/$1.live" ] || cat "/proc/$$/fd/$2" >"$fleet_dir/$1.live"
}

# A script may remove the files of its streams: they are open here. Where it removed the claim as well, nothing would keep
# a later delivery from running it again, so nothing is proven.
fleet_restore() {
    if fleet_is_own; then
        fleet_save stdout 3
        fleet_save stderr 4
        return
    fi
    fleet_lost=1
}

fleet_give_up() {
    if [ -z "$fleet_pump" ]; then
        cat <&3
        cat <&4 >&2
    fi
    echo "fleet: the script removed $fleet_dir, and with it the proof of how it ended" >&2
    exit 2
}

# The script runs in the foreground: a background child of a shell would ignore SIGINT and SIGQUIT.
fleet_run() {
    mv -f "$fleet_new"/* "$fleet_dir" && rm -rf "$fleet_new"
    fleet_real=$(cd "$fleet_dir" && pwd -P)
    fleet_digest=$(fleet_sha256 "$fleet_dir/script")
    fleet_started=$(date +%s)
    fleet_put started "$fleet_started $fleet_digest"
    fleet_setsid=$(command -v setsid)
    fleet_shell_path=$(command -v "$fleet_shell")
    ${fleet_setsid:+"$fleet_setsid"} /bin/sh -c "$fleet_watchdog" fleet-watchdog \
        "$fleet_dir" "$$" "$fleet_limit" </dev/null >/dev/null 2>&1 &
    fleet_watch=$!
    fleet_pump=
    if [ "$fleet_live" = 1 ] && fleet_has tail && fleet_has head; then
        fleet_follow </dev/null &
        fleet_pump=$!
    fi
    fleet_kills=$(fleet_oom_kills)
    exec 3<"$fleet_dir/stdout.live" 4<"$fleet_dir/stderr.live" 5<"$fleet_dir/group.new"
    {
        (
            exec 3<&- 4<&- 5<&-
            # shellcheck disable=SC2016 # the inner shell shall expand it: its parent is this subshell
            fleet_self=$(exec /bin/sh -c 'echo "$PPID"')
            echo "$fleet_self" 1<>"$fleet_dir/group.new" || exit 125
            mv -f "$fleet_dir/group.new" "$fleet_dir/group"
            umask "$fleet_umask"
            fleet_child
        ) </dev/null >"$fleet_dir/stdout.live" 2>"$fleet_dir/stderr.live"
        fleet_status=$?
        fleet_timed_out=0
        if [ -f "$fleet_dir/timed_out" ]; then
            fleet_timed_out=1
        else
            kill "$fleet_watch"
        fi
        wait "$fleet_watch"
        read -r fleet_group <&5
        fleet_drain
        mv -f "$fleet_dir/over.new" "$fleet_dir/over"
        fleet_restore
        [ -z "$fleet_pump" ] || wait "$fleet_pump"
    } 2>/dev/null
    [ -z "$fleet_lost" ] || fleet_give_up
    fleet_judge
    rm -f "$fleet_dir/stdout.live" "$fleet_dir/stderr.live"
}

# How the script ended, and what the machine knows of it that no exit code tells.
fleet_judge() {
    fleet_exit=$fleet_status fleet_signal=-
    # A shell says 128+n both for a signal and for an exit code as large; signals end at 64.
    if [ "$fleet_status" -gt 128 ] && [ "$fleet_status" -le 192 ]; then
        fleet_exit=- fleet_signal=$((fleet_status - 128))
    fi
    if [ -f "$fleet_dir/unfit" ]; then
        fleet_fault=no_interpreter
    elif [ "$fleet_signal$fleet_timed_out" = 90 ] && [ "$fleet_kills" != "$(fleet_oom_kills)" ]; then
        fleet_fault=out_of_memory
    fi
    if fleet_full "$fleet_dir"; then
        fleet_partial=1 fleet_fault=${fleet_fault:-disk_full}
    fi
    if [ -z "$fleet_group" ]; then
        fleet_fault='' fleet_exit=- fleet_signal=- fleet_timed_out=0
        fleet_keep 1
    else
        fleet_keep 0
    fi
}

# Passes on stream $1 from byte $2 to where it ends now, and sets how far that is.
fleet_pass() {
    fleet_at=$2
    [ -f "$fleet_dir/$1.live" ] || return 0
    fleet_there=$(fleet_size "$fleet_dir/$1.live")
    if [ "$fleet_there" -gt "$2" ]; then
        tail -c "+$(($2 + 1))" "$fleet_dir/$1.live" | head -c "$((fleet_there - $2))"
        fleet_at=$fleet_there
    fi
}

# The handler uploads what the wrapper prints: where streams go to blobs, they are passed on as they come.
fleet_follow() {
    fleet_out_at=0 fleet_err_at=0 fleet_last=0
    while [ "$fleet_last" = 0 ]; do
        if [ -f "$fleet_dir/over" ] || [ ! -d "$fleet_dir" ] || ! kill -0 "$$" 2>/dev/null; then
            fleet_last=1
        fi
        fleet_pass stdout "$fleet_out_at"
        fleet_out_at=$fleet_at
        fleet_pass stderr "$fleet_err_at" >&2
        fleet_err_at=$fleet_at
        [ "$fleet_last" = 1 ] || sleep 1
    done
    fleet_put passed "$fleet_out_at $fleet_err_at"
}

# Where a process may write to a stream still, what is measured and shown is a copy. Else it is the file itself, which
# takes no room, and so it is where there is none for a copy.
fleet_snapshot() {
    if [ ! -f "$fleet_dir/$1.live" ]; then
        fleet_partial=1
        true >"$fleet_dir/$1"
    elif [ -n "$fleet_holders" ] || ! ln -f "$fleet_dir/$1.live" "$fleet_dir/$1"; then
        fleet_there=$(fleet_size "$fleet_dir/$1.live")
        cat "$fleet_dir/$1.live" >"$fleet_dir/$1.$$"
        if [ "$(fleet_size "$fleet_dir/$1.$$")" -ge "$fleet_there" ]; then
            mv -f "$fleet_dir/$1.$$" "$fleet_dir/$1"
        else
            rm -f "$fleet_dir/$1.$$"
            mv -f "$fleet_dir/$1.live" "$fleet_dir/$1"
        fi
    fi
}

# Of a stream above 64 MiB only the end is kept; the answer tells the length and digest of all of it.
fleet_bound() {
    if [ "$(fleet_size "$fleet_dir/$1")" -gt 67108864 ] && fleet_has tail; then
        tail -c 67108864 "$fleet_dir/$1" >"$fleet_dir/$1.$$" && mv -f "$fleet_dir/$1.$$" "$fleet_dir/$1"
        rm -f "$fleet_dir/$1.$$"
    fi
}

# $1 is 1 when the wrapper that claimed the key is gone without an answer.
fleet_keep() {
    fleet_ended=$(date +%s)
    fleet_snapshot stdout 2>/dev/null
    fleet_snapshot stderr 2>/dev/null
    fleet_answer="script=$fleet_digest exit=$fleet_exit signal=$fleet_signal timed_out=$fleet_timed_out"
    fleet_answer="$fleet_answer interrupted=$1${fleet_partial:+ partial=1}${fleet_fault:+ fault=$fleet_fault} stdout=$(fleet_describe "$fleet_dir/stdout")"
    fleet_answer="$fleet_answer stderr=$(fleet_describe "$fleet_dir/stderr") boot=$(fleet_boot_id)"
    fleet_answer="$fleet_answer started=$fleet_started ended=$fleet_ended end"
    fleet_bound stdout
    fleet_bound stderr
    fleet_put answer "$fleet_answer" && rm -f "$fleet_dir"/*.new
}

# True while the wrapper that claimed the key, or the script it started, may still be alive.
fleet_owner_lives() {
    fleet_read_claim
    [ "$fleet_claim_boot" = "$(fleet_boot_id)" ] || return 1
    # Another pid namespace hides its processes; the time limit decides then.
    [ "$fleet_claim_space" = "$(fleet_pid_space)" ] || return 0
    if kill -0 "$fleet_pid" 2>/dev/null; then
        [ "$fleet_born" != "$(fleet_birth "$fleet_pid")" ] || return 0
    fi
    [ -f "$fleet_dir/group" ] || return 1
    read -r fleet_group <"$fleet_dir/group"
    kill -0 "-$fleet_group" 2>/dev/null
}

fleet_interrupted() {
    fleet_started=$(date +%s) fleet_digest=- fleet_exit=- fleet_signal=- fleet_timed_out=0
    if [ -s "$fleet_dir/started" ]; then
        read -r fleet_started fleet_digest <"$fleet_dir/started"
    fi
    fleet_group=
    [ ! -s "$fleet_dir/group" ] || read -r fleet_group <"$fleet_dir/group"
    fleet_real=$(cd "$fleet_dir" && pwd -P)
    fleet_held && fleet_holders=1 fleet_partial=1
    fleet_keep 1
}

# The first delivery ends within the limit, the grace after it, and a little; nobody waits longer for it.
fleet_await() {
    fleet_begun=$(fleet_now)
    while [ ! -f "$fleet_dir/answer" ]; do
        if ! fleet_owner_lives; then
            [ -f "$fleet_dir/answer" ] || fleet_interrupted
            return
        fi
        if [ "$(($(fleet_now) - fleet_begun))" -ge "$((fleet_limit + 1500))" ]; then
            echo "fleet: an earlier delivery still holds $fleet_dir and has not ended; the script was not started again" >&2
            exit 125
        fi
        sleep 1
    done
}

fleet_field() {
    fleet_value=${fleet_answer#* "$1"=}
    fleet_value=${fleet_value%% *}
}

fleet_leave() {
    fleet_field timed_out
    [ "$fleet_value" = 0 ] || exit 124
    fleet_field interrupted
    [ "$fleet_value" = 0 ] || exit 125
    fleet_field signal
    [ "$fleet_value" = - ] || exit "$((128 + fleet_value))"
    fleet_field exit
    exit "$fleet_value"
}

# Azure keeps the last 4,096 bytes of each stream. What is longer goes packed: the ends of both streams, one behind the
# other, gzipped, in base64, divided over stdout and stderr. $1 is how much of the end of each is taken.
fleet_pack() {
    fleet_packed_out=$(fleet_least "$fleet_out" "$1") fleet_packed_err=$(fleet_least "$fleet_err" "$1")
    fleet_packed=$({
        tail -c "$fleet_packed_out" "$fleet_dir/stdout"
        tail -c "$fleet_packed_err" "$fleet_dir/stderr"
    } | fleet_gzip | fleet_encode)
    [ -n "$fleet_packed" ] && [ "${#fleet_packed}" -le "$((fleet_room + 4096))" ]
}

fleet_least() {
    echo "$(($1 < $2 ? $1 : $2))"
}

# Takes the first, so the longest, of these ends that fits.
fleet_choose() {
    if fleet_has tail; then
        for fleet_end in 65536 32768 24576 16384 12288 8192 6144; do
            if [ "$fleet_end" = 65536 ] && [ "$((fleet_out + fleet_err))" -gt 65536 ]; then
                continue
            fi
            fleet_pack "$fleet_end" && return
        done
    fi
    return 1
}

# Prints what is kept of stream $1 behind byte $2; of a stream of which the end is kept, from there.
fleet_print_rest() {
    fleet_field "$1"
    fleet_gone=$((${fleet_value%%:*} - $(fleet_size "$fleet_dir/$1")))
    if [ "$2" -gt "$fleet_gone" ]; then
        tail -c "+$(($2 - fleet_gone + 1))" "$fleet_dir/$1"
    else
        cat "$fleet_dir/$1"
    fi
}

fleet_print() {
    fleet_out_at=0 fleet_err_at=0
    if [ "$fleet_replayed" = 0 ] && [ -s "$fleet_dir/passed" ]; then
        read -r fleet_out_at fleet_err_at <"$fleet_dir/passed"
    fi
    fleet_out=0 fleet_err=0
    if [ -f "$fleet_dir/stdout" ]; then
        fleet_out=$(fleet_size "$fleet_dir/stdout") fleet_err=$(fleet_size "$fleet_dir/stderr")
    fi
    fleet_frame="nonce=$fleet_nonce replayed=$fleet_replayed"
    # 20 more for the line ends and the name, 60 for the numbers of a pack.
    fleet_room=$((4096 - ${#fleet_frame} - ${#fleet_answer} - 80))
    if [ ! -f "$fleet_dir/stdout" ]; then
        printf '\nfleet-receipt v1 %s packed=0:0:0:0 %s\n' "$fleet_frame" "$fleet_answer"
    elif [ "$fleet_live" = 0 ] && { [ "$fleet_out" -gt "$fleet_room" ] || [ "$fleet_err" -gt 4096 ]; } && fleet_choose; then
        fleet_head=$(printf "%.${fleet_room}s" "$fleet_packed")
        fleet_rest=${fleet_packed#"$fleet_head"}
        fleet_frame="$fleet_frame packed=$fleet_packed_out:$fleet_packed_err:${#fleet_head}:${#fleet_rest}"
        printf '%s\nfleet-receipt v1 %s %s\n' "$fleet_head" "$fleet_frame" "$fleet_answer"
        printf %s "$fleet_rest" >&2
    else
        fleet_print_rest stdout "$fleet_out_at"
        printf '\nfleet-receipt v1 %s %s\n' "$fleet_frame" "$fleet_answer"
        fleet_print_rest stderr "$fleet_err_at" >&2
    fi
}

# How much room a folder takes, in KiB.
fleet_used() {
    # shellcheck disable=SC2046 # du says a number first
    set -- $(du -sk "$1" 2>/dev/null)
    echo "${1:-0}"
}

# Answers stay until they are seven days old; the output beside them goes sooner, oldest first, above 256 MiB in all.
fleet_tidy() {
    find "$fleet_spool/." ! -name . -prune -type d ! -name "$fleet_key" -mtime +7 -exec rm -rf {} + 2>/dev/null
    fleet_has du || return
    fleet_total=$(fleet_used "$fleet_spool")
    # shellcheck disable=SC2012,SC2045 # keys are plain words
    for fleet_old in $(ls -tr "$fleet_spool"); do
        [ "$fleet_total" -gt 262144 ] || return
        fleet_old=$fleet_spool/$fleet_old
        if [ "$fleet_old" != "$fleet_dir" ] && [ -f "$fleet_old/answer" ]; then
            fleet_before=$(fleet_used "$fleet_old")
            rm -f "$fleet_old/stdout" "$fleet_old/stderr" "$fleet_old"/*.gz "$fleet_old"/*.live
            fleet_total=$((fleet_total - fleet_before + $(fleet_used "$fleet_old")))
        fi
    done
}

fleet_main() {
    fleet_umask=$(umask)
    umask 077
    fleet_open
    fleet_replayed=1 fleet_answer='' fleet_lost='' fleet_holders='' fleet_partial='' fleet_fault=''
    # Half an answer, as a machine that lost its power leaves it, is none.
    if [ -f "$fleet_dir/answer" ]; then
        read -r fleet_answer <"$fleet_dir/answer"
        case $fleet_answer in
            *' end') ;;
            *) fleet_answer='' && rm -f "$fleet_dir/answer" ;;
        esac
    fi
    if [ ! -f "$fleet_dir/answer" ]; then
        if fleet_wins; then
            fleet_replayed=0
            fleet_run
        else
            fleet_await
        fi
    fi
    [ -n "$fleet_answer" ] || read -r fleet_answer <"$fleet_dir/answer"
    fleet_print
    fleet_tidy
    fleet_leave
}

fleet_main
