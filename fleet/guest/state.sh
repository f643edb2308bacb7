# How a delivery stands in this machine, and the one piece that a report about it goes out in.

# missing, ended, rebooted, hidden (another pid namespace), starting, alive, or gone (without an answer)
fleet_state() {
    fleet_group=
    if ! fleet_find; then
        echo missing
        return
    fi
    fleet_read_claim
    if [ -f "$fleet_dir/answer" ]; then
        echo ended
    elif [ "$fleet_claim_boot" != "$(fleet_boot_id)" ]; then
        echo rebooted
    elif [ "$fleet_claim_space" != "$(fleet_pid_space)" ]; then
        echo hidden
    elif [ "$fleet_born" != "$(fleet_birth "$fleet_pid")" ]; then
        echo gone
    elif [ ! -s "$fleet_dir/group" ]; then
        echo starting
    else
        echo alive
    fi
}

# The process group of the script; nothing if what the file says is no number.
fleet_read_group() {
    fleet_group=
    if [ -s "$fleet_dir/group" ]; then
        read -r fleet_group <"$fleet_dir/group"
    fi
    case $fleet_group in
        '' | *[!0-9]* | 0 | 1) fleet_group= ;;
    esac
}

fleet_fact() {
    printf '%s=%s\n' "$1" "$2"
}

# Cuts the report from its end until, gzipped, it fits into one piece.
fleet_send() {
    for fleet_most in 65536 24576 16384 12288 8192 6144 "$fleet_bytes"; do
        dd if="$fleet_place/report" of="$fleet_place/cut" bs="$fleet_most" count=1 2>/dev/null
        fleet_form=gzip
        if ! fleet_gzip <"$fleet_place/cut" >"$fleet_place/packed"; then
            fleet_form=plain
            cp -f "$fleet_place/cut" "$fleet_place/packed"
        fi
        [ "$(fleet_size "$fleet_place/packed")" -gt "$fleet_bytes" ] || break
    done
    fleet_emit "$fleet_place/packed" "$fleet_form" "$fleet_place"
}

umask 077
fleet_stream=stdout fleet_number=0
fleet_place=$(mktemp -d) || exit 125
trap 'rm -rf "$fleet_place"' EXIT

