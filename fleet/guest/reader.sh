
# Prints one piece of a kept stream, as base64 over stdout and stderr, and what it is.
fleet_say() {
    printf '\nfleet-piece v1 nonce=%s %s end\n' "$fleet_nonce" "$1"
}

# The stream is packed as a whole, once, beside it: so its pieces are few, and the same for whoever asks.
fleet_open() {
    fleet_source=$fleet_dir/$fleet_stream.gz fleet_form=gzip
    if [ ! -f "$fleet_source" ]; then
        fleet_copy=$fleet_source.$fleet_nonce
        if ! fleet_gzip <"$fleet_dir/$fleet_stream" >"$fleet_copy" || ! mv -f "$fleet_copy" "$fleet_source"; then
            rm -f "$fleet_copy"
            fleet_source=$fleet_dir/$fleet_stream fleet_form=plain
        fi
    fi
}

fleet_show() {
    fleet_open
    fleet_piece=$fleet_dir/piece.$fleet_nonce
    dd if="$fleet_source" of="$fleet_piece" bs="$fleet_bytes" skip="$fleet_number" count=1 2>/dev/null
    fleet_text=$(fleet_encode <"$fleet_piece")
    fleet_head=$(printf %.3800s "$fleet_text")
    fleet_rest=${fleet_text#"$fleet_head"}
    fleet_about="stream=$fleet_stream number=$fleet_number form=$fleet_form total=$(fleet_size "$fleet_source")"
    fleet_about="$fleet_about length=$(fleet_size "$fleet_piece"):$(fleet_sha256 "$fleet_piece")"
    rm -f "$fleet_piece"
    printf %s "$fleet_head"
    fleet_say "$fleet_about base64=${#fleet_head}:${#fleet_rest}"
    printf %s "$fleet_rest" >&2
}

umask 077
if ! fleet_find; then
    fleet_say error=missing
elif [ ! -f "$fleet_dir/answer" ]; then
    fleet_say error=running
elif [ ! -f "$fleet_dir/$fleet_stream" ]; then
    fleet_say error=missing
else
    fleet_show
fi
