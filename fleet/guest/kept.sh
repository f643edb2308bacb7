# What reads the folder of a delivery and answers in one piece: base64 over stdout and stderr, and what it is.
fleet_say() {
    printf '\nfleet-piece v1 nonce=%s %s end\n' "$fleet_nonce" "$1"
}

# $1 a file, $2 how it holds what is shown, $3 a private folder for the piece
fleet_emit() {
    fleet_piece=$3/piece.$fleet_nonce
    dd if="$1" of="$fleet_piece" bs="$fleet_bytes" skip="$fleet_number" count=1 2>/dev/null
    fleet_text=$(fleet_encode <"$fleet_piece")
    fleet_head=$(printf %.3800s "$fleet_text")
    fleet_rest=${fleet_text#"$fleet_head"}
    fleet_about="stream=$fleet_stream number=$fleet_number form=$2 total=$(fleet_size "$1")"
    fleet_about="$fleet_about length=$(fleet_size "$fleet_piece"):$(fleet_sha256 "$fleet_piece")"
    rm -f "$fleet_piece"
    printf %s "$fleet_head"
    fleet_say "$fleet_about base64=${#fleet_head}:${#fleet_rest}"
    printf %s "$fleet_rest" >&2
}

