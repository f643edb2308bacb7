fleet_refuse() {
    printf 'fleet: %s; the script was not started\n' "$1" >&2
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
    fleet_pump=
    if [ "$fleet_live" = 1 ] && fleet_has tail && fleet_has head; then
        fleet_follow </dev/null &
        fleet_pump=$!
    fi
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
        : >"$fleet_dir/over"
        [ -z "$fleet_pump" ] || wait "$fleet_pump"
    } 2>/dev/null
    fleet_exit=$fleet_status fleet_signal=-
    # A shell says 128+n both for a signal and for an exit code as large; signals end at 64.
    if [ "$fleet_status" -gt 128 ] && [ "$fleet_status" -le 192 ]; then
        fleet_exit=- fleet_signal=$((fleet_status - 128))
    fi
    fleet_keep 0
    rm -f "$fleet_dir/stdout.live" "$fleet_dir/stderr.live"
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
        if [ -f "$fleet_dir/over" ] || ! kill -0 "$$" 2>/dev/null; then
            fleet_last=1
        fi
        fleet_pass stdout "$fleet_out_at"
        fleet_out_at=$fleet_at
        fleet_pass stderr "$fleet_err_at" >&2
        fleet_err_at=$fleet_at
        [ "$fleet_last" = 1 ] || sleep 1
    done
    echo "$fleet_out_at $fleet_err_at" >"$fleet_dir/passed"
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

# Of a stream above 64 MiB only the end is kept; the answer tells the length and digest of all of it.
fleet_bound() {
    if [ "$(fleet_size "$fleet_dir/$1")" -gt 67108864 ] && fleet_has tail; then
        tail -c 67108864 "$fleet_dir/$1" >"$fleet_dir/$1.$$" && mv -f "$fleet_dir/$1.$$" "$fleet_dir/$1"
    fi
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
    fleet_bound stdout
    fleet_bound stderr
    echo "$fleet_answer" >"$fleet_dir/answer.$$" && mv -f "$fleet_dir/answer.$$" "$fleet_dir/answer"
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

# Answers stay until they are seven days old; the output beside them goes sooner, oldest first, above 256 MiB in all.
fleet_tidy() {
    find "$fleet_spool/." ! -name . -prune -type d ! -name "$fleet_key" -mtime +7 -exec rm -rf {} + 2>/dev/null
    fleet_has du || return
    # shellcheck disable=SC2012,SC2045,SC2046 # keys are plain words, and du says a number first
    for fleet_old in $(ls -tr "$fleet_spool"); do
        set -- $(du -sk "$fleet_spool" 2>/dev/null)
        [ "${1:-0}" -gt 262144 ] || return
        if [ "$fleet_old" != "$fleet_key" ] && [ -f "$fleet_spool/$fleet_old/answer" ]; then
            rm -f "$fleet_spool/$fleet_old/stdout" "$fleet_spool/$fleet_old"/*.gz "$fleet_spool/$fleet_old/stderr"
        fi
    done
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
