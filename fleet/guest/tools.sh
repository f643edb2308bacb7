# What the wrapper and the reader of its folder share.

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

# Base64 on one line, from stdin.
fleet_encode() {
    if fleet_has base64; then
        base64
    elif fleet_has openssl; then
        openssl base64
    elif fleet_has busybox; then
        busybox base64
    fi 2>/dev/null | while read -r fleet_line || [ -n "$fleet_line" ]; do printf %s "$fleet_line"; done
}

# Without a name and a time in it, so that equal input gives equal output.
fleet_gzip() {
    if fleet_has gzip; then
        gzip -9 -n -c
    elif fleet_has busybox; then
        busybox gzip -9 -c
    else
        return 1
    fi 2>/dev/null
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

