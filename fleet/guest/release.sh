# Ends the process group of one delivery's script, and nothing else: TERM, and after the grace KILL.

fleet_parent() {
    fleet_stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # the fields after the name in brackets are plain words
    set -- ${fleet_stat##*) }
    echo "$2"
}

# True if the group's leader is this delivery's: the child of the living wrapper that claimed the key, or, where that is
# gone, a process that was started with the delivery's own script. A number that was used again is neither.
fleet_is_ours() {
    fleet_read_group
    [ -n "$fleet_group" ] || return 1
    if [ "$fleet_is" = alive ]; then
        [ "$(fleet_parent "$fleet_group")" = "$fleet_pid" ]
    else
        tr '\000' '\n' <"/proc/$fleet_group/cmdline" 2>/dev/null | grep -qxF -e "$fleet_dir/script"
    fi
}

fleet_tell() {
    kill "$1" "-$fleet_group" 2>/dev/null || kill "$1" "$fleet_group" 2>/dev/null
}

# A dead process that nobody has buried yet counts for nothing.
fleet_lives() {
    cat /proc/[0-9]*/stat 2>/dev/null | awk -v group="$fleet_group" '
        { p = $1; sub(/^.*\) /, "") }
        (p == group || $3 == group) && $1 !~ /[ZX]/ { found = 1 }
        END { exit !found }'
}

# $1 seconds
fleet_await_end() {
    fleet_turns=0
    while fleet_lives; do
        [ "$fleet_turns" -lt "$1" ] || return 1
        fleet_turns=$((fleet_turns + 1))
        sleep 1
    done
}

fleet_release() {
    case $fleet_is in
        alive | gone) ;;
        *) return 0 ;;
    esac
    if ! fleet_is_ours; then
        fleet_fact refused "the script's process cannot be told for sure"
        return
    fi
    fleet_fact group "$fleet_group"
    fleet_tell -TERM
    fleet_last=TERM
    if ! fleet_await_end "$fleet_grace"; then
        fleet_tell -KILL
        fleet_last=KILL
        fleet_await_end 5 || fleet_fact stayed 1
    fi
    fleet_fact signal "$fleet_last"
    fleet_turns=0
    while [ ! -f "$fleet_dir/answer" ] && [ "$fleet_turns" -lt 5 ]; do
        fleet_turns=$((fleet_turns + 1))
        sleep 1
    done
    if [ -f "$fleet_dir/answer" ]; then
        fleet_fact answered 1
    fi
}

fleet_is=$(fleet_state)
fleet_find && fleet_read_claim
{
    fleet_fact state "$fleet_is"
    fleet_release
    printf '\n%s end\n' "$fleet_nonce"
} >"$fleet_place/report"
fleet_send
