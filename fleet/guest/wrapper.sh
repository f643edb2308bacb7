fleet_refuse() {
    printf 'fleet: %s; the script was not started\n' "$1" >&2
    exit 125
}

fleet_has() {
    command -v "$1" >/dev/null 2>&1
}

fleet_base64() {
    if fleet_has base64; then
        base64 -d
    elif fleet_has openssl; then
        openssl base64 -d -A
    elif fleet_has busybox; then
        busybox base64 -d
    else
        return 1
    fi
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

fleet_sha256() {
    if fleet_has sha256sum; then
        fleet_sum=$(sha256sum <"$1")
    elif fleet_has openssl; then
        fleet_sum=$(openssl dgst -sha256 -r <"$1")
    elif fleet_has busybox; then
        fleet_sum=$(busybox sha256sum <"$1")
    elif fleet_has shasum; then
        fleet_sum=$(shasum -a 256 <"$1")
    else
        fleet_sum=-
    fi
    fleet_sum=${fleet_sum%% *}
    echo "${fleet_sum:--}"
}

fleet_size() {
    echo "$(($(wc -c <"$1")))"
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

fleet_boot_id() {
    cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo -
}

fleet_pid_space() {
    fleet_space=$(readlink /proc/self/ns/pid 2>/dev/null)
    fleet_space=${fleet_space#*\[}
    echo "${fleet_space%\]}"
}

# The start time of process $1 in ticks since boot: with it, a process id that was used again is told apart.
fleet_birth() {
    fleet_stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # the fields after the name in brackets are plain words
    set -- ${fleet_stat##*) }
    echo "${20}"
}

# True if $1 is, or could be made, a directory of ours that nobody else may enter.
fleet_private() {
    mkdir -p "$1" 2>/dev/null
    [ -d "$1" ] && [ ! -L "$1" ] && [ -w "$1" ] || return 1
    # shellcheck disable=SC2012,SC2046 # mode and owner come before the name, and stat is not everywhere
    set -- $(ls -nd "$1")
    case $1 in
        drwx------*) [ "$3" = "$(id -u)" ] ;;
        *) return 1 ;;
    esac
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
    fleet_refuse "no private folder for receipts can be made in $fleet_first or $fleet_second"
}

fleet_write_script() {
    fleet_copy=$fleet_dir/script.$$
    fleet_script >"$fleet_copy"
    if [ "$(fleet_size "$fleet_copy")" != "$fleet_script_bytes" ]; then
        rm -f "$fleet_copy"
        fleet_refuse "the script could not be written whole to $fleet_dir"
    fi
}

# One atomic call both claims the key and says who did: a claim without an owner can never be seen.
fleet_claim() {
    if ln -s "$$.$(fleet_birth $$).$(fleet_pid_space).$(fleet_boot_id)" "$fleet_dir/claim" 2>/dev/null; then
        return 0
    fi
    rm -f "$fleet_copy"
    [ -L "$fleet_dir/claim" ] || fleet_refuse "the claim in $fleet_dir cannot be made"
    return 1
}

fleet_exec() {
    if [ -z "$fleet_shell_path" ]; then
        echo "fleet: $fleet_shell is not installed on this machine" >&2
        exit 127
    fi
    exec ${fleet_setsid:+"$fleet_setsid"} "$fleet_shell_path" "$fleet_dir/script" "$@"
}

# The script runs in the foreground: a background child of a shell would ignore SIGINT and SIGQUIT.
fleet_run() {
    mv "$fleet_copy" "$fleet_dir/script"
    fleet_digest=$(fleet_sha256 "$fleet_dir/script")
    fleet_started=$(date +%s)
    echo "$fleet_started $fleet_digest" >"$fleet_dir/started"
    fleet_setsid=$(command -v setsid)
    fleet_shell_path=$(command -v "$fleet_shell")
    ${fleet_setsid:+"$fleet_setsid"} /bin/sh -c "$fleet_watchdog" fleet-watchdog \
        "$fleet_dir" "$$" "$fleet_limit" </dev/null >/dev/null 2>&1 &
    fleet_watch=$!
    {
        (
            # shellcheck disable=SC2016 # the inner shell shall expand it: its parent is this subshell
            fleet_self=$(exec /bin/sh -c 'echo "$PPID"')
            echo "$fleet_self" >"$fleet_dir/group"
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
    } 2>/dev/null
    fleet_exit=$fleet_status fleet_signal=-
    # A shell says 128+n both for a signal and for an exit code as large; signals end at 64.
    if [ "$fleet_status" -gt 128 ] && [ "$fleet_status" -le 192 ]; then
        fleet_exit=- fleet_signal=$((fleet_status - 128))
    fi
    fleet_keep 0
    rm -f "$fleet_dir/stdout.live" "$fleet_dir/stderr.live"
}

# Processes that the script left behind may go on writing, so what is measured and shown is a copy.
fleet_snapshot() {
    if [ -f "$fleet_dir/$1.live" ]; then
        cat "$fleet_dir/$1.live" >"$fleet_dir/$1.$$" || cp -f "$fleet_dir/$1.live" "$fleet_dir/$1.$$"
    else
        : >"$fleet_dir/$1.$$"
    fi
    mv -f "$fleet_dir/$1.$$" "$fleet_dir/$1"
}

# $1 is 1 when the wrapper that claimed the key is gone without an answer.
fleet_keep() {
    fleet_ended=$(date +%s)
    fleet_snapshot stdout 2>/dev/null
    fleet_snapshot stderr 2>/dev/null
    fleet_answer="script=$fleet_digest exit=$fleet_exit signal=$fleet_signal timed_out=$fleet_timed_out"
    fleet_answer="$fleet_answer interrupted=$1 stdout=$(fleet_describe "$fleet_dir/stdout")"
    fleet_answer="$fleet_answer stderr=$(fleet_describe "$fleet_dir/stderr") boot=$(fleet_boot_id)"
    fleet_answer="$fleet_answer started=$fleet_started ended=$fleet_ended end"
    echo "$fleet_answer" >"$fleet_dir/answer.$$" && mv -f "$fleet_dir/answer.$$" "$fleet_dir/answer"
}

# True while the wrapper that claimed the key, or the script it started, may still be alive.
fleet_owner_lives() {
    fleet_owner=$(readlink "$fleet_dir/claim" || ls -ld "$fleet_dir/claim") 2>/dev/null
    fleet_owner=${fleet_owner##* -> }
    fleet_rest=${fleet_owner#*.}
    fleet_where=${fleet_rest#*.}
    [ "${fleet_where#*.}" = "$(fleet_boot_id)" ] || return 1
    # Another pid namespace hides its processes; the time limit decides then.
    [ "${fleet_where%%.*}" = "$(fleet_pid_space)" ] || return 0
    if kill -0 "${fleet_owner%%.*}" 2>/dev/null; then
        [ "${fleet_rest%%.*}" != "$(fleet_birth "${fleet_owner%%.*}")" ] || return 0
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
            fleet_refuse "an earlier delivery still holds $fleet_dir and has not ended"
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

fleet_print() {
    cat "$fleet_dir/stdout"
    printf '\nfleet-receipt v1 nonce=%s replayed=%s %s\n' "$fleet_nonce" "$fleet_replayed" "$fleet_answer"
    cat "$fleet_dir/stderr" >&2
}

fleet_tidy() {
    find "$fleet_spool/." ! -name . -prune -type d ! -name "$fleet_key" -mtime +7 -exec rm -rf {} + 2>/dev/null
}

fleet_main() {
    fleet_umask=$(umask)
    umask 077
    fleet_open
    fleet_replayed=1 fleet_answer=
    if [ ! -f "$fleet_dir/answer" ]; then
        fleet_values
        fleet_write_script
        if fleet_claim; then
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
