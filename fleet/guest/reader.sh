# Prints one piece of a kept stream.

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
    fleet_emit "$fleet_source" "$fleet_form" "$fleet_dir"
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
