
# Prints what a script has printed since, as base64 over stdout and stderr, and what it is. Nothing is kept of it.
fleet_say() {
    printf '\nfleet-news v1 nonce=%s %s end\n' "$fleet_nonce" "$1"
}

# Sets where stream $1 is, how many bytes of it are there, and how many there have been: of long ones the end is kept.
fleet_measure() {
    fleet_file=$fleet_dir/$1$fleet_live fleet_there=0
    if [ -f "$fleet_file" ]; then
        fleet_there=$(fleet_size "$fleet_file")
    fi
    fleet_all=$fleet_there
    if [ -z "$fleet_live" ]; then
        fleet_all=${fleet_answer#* "$1"=}
        fleet_all=${fleet_all%%:*}
    fi
}

# True while stream $1 has no more than $2 bytes.
fleet_still() {
    fleet_measure "$1"
    [ "$2" = - ] || [ "$fleet_all" -le "$2" ]
}

fleet_await_news() {
    while [ "$fleet_wait" -gt 0 ] && [ ! -f "$fleet_dir/answer" ] &&
        fleet_still stdout "$fleet_stdout" && fleet_still stderr "$fleet_stderr"; do
        fleet_wait=$((fleet_wait - 1))
        sleep 1
    done
}

# Copies stream $1 from byte $2 on, at most so many; of one that ran far ahead only the end, so that nobody lags behind.
fleet_cut() {
    fleet_part=$fleet_dir/$1.$fleet_nonce fleet_about="$1=0:0:0"
    : >"$fleet_part"
    [ "$2" = - ] && return
    fleet_measure "$1"
    fleet_from=$2
    [ "$((fleet_all - fleet_from))" -le "$fleet_far" ] || fleet_from=$((fleet_all - fleet_most))
    [ "$fleet_from" -ge "$((fleet_all - fleet_there))" ] || fleet_from=$((fleet_all - fleet_there))
    if [ "$fleet_from" -lt "$fleet_all" ]; then
        tail -c "+$((fleet_from - fleet_all + fleet_there + 1))" "$fleet_file" | head -c "$fleet_most" >"$fleet_part"
    fi
    fleet_about="$1=$fleet_from:$(fleet_size "$fleet_part"):$fleet_all"
}

fleet_take() {
    fleet_cut stdout "$fleet_stdout"
    fleet_parts=$fleet_about
    fleet_cut stderr "$fleet_stderr"
    fleet_parts="$fleet_parts $fleet_about"
    cat "$fleet_dir/stdout.$fleet_nonce" "$fleet_dir/stderr.$fleet_nonce" >"$fleet_dir/news.$fleet_nonce"
}

# How the wrapper itself ends with this answer.
fleet_end() {
    case $fleet_answer in
        *' timed_out=1 '*) echo 124 ;;
        *' interrupted=1 '*) echo 125 ;;
        *' signal=- '*) fleet_value=${fleet_answer#* exit=} && echo "${fleet_value%% *}" ;;
        *) fleet_value=${fleet_answer#* signal=} && echo "$((128 + ${fleet_value%% *}))" ;;
    esac
}

fleet_show() {
    fleet_await_news
    fleet_live=.live fleet_exit=-
    if [ -f "$fleet_dir/answer" ]; then
        fleet_live=
        read -r fleet_answer <"$fleet_dir/answer"
        fleet_exit=$(fleet_end)
    fi
    fleet_text=
    for fleet_most in 32768 8192 2800; do
        fleet_form=gzip
        fleet_take
        fleet_text=$(fleet_gzip <"$fleet_dir/news.$fleet_nonce" | fleet_encode)
        if [ -n "$fleet_text" ] && [ "${#fleet_text}" -le 7600 ]; then
            break
        fi
        fleet_form=plain
    done
    if [ "$fleet_form" = plain ]; then
        fleet_text=$(fleet_encode <"$fleet_dir/news.$fleet_nonce")
    fi
    # The answer came meanwhile, and with it the files that were read may have gone: now they have their last place.
    if [ -n "$fleet_live" ] && [ -f "$fleet_dir/answer" ]; then
        fleet_show
        return
    fi
    fleet_head=$(printf %.3800s "$fleet_text")
    fleet_rest=${fleet_text#"$fleet_head"}
    fleet_sum=$(fleet_sha256 "$fleet_dir/news.$fleet_nonce")
    rm -f "$fleet_dir"/*."$fleet_nonce"
    printf %s "$fleet_head"
    fleet_say "exit=$fleet_exit $fleet_parts form=$fleet_form sum=$fleet_sum base64=${#fleet_head}:${#fleet_rest}"
    printf %s "$fleet_rest" >&2
}

umask 077
fleet_live=.live
if fleet_find; then
    fleet_show
else
    fleet_say error=missing
fi
