# Sets the folder of the delivery that a reader asks for.
fleet_find() {
    for fleet_spool in "${FLEET_SPOOL:-/var/lib/fleet/receipts}" "${FLEET_SPOOL:-${TMPDIR:-/tmp}/fleet-$(id -u)}"; do
        fleet_dir=$fleet_spool/$fleet_key
        if [ -d "$fleet_dir" ] && fleet_private "$fleet_dir" && [ -L "$fleet_dir/claim" ]; then
            return
        fi
    done
    return 1
}

