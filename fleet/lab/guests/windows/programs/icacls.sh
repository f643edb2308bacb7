#!/bin/sh
# icacls.exe, as far as folders are made private with it: /inheritance:r, /grant:r and /remove by security identifier.
# A list is kept in a file for each folder, read by Get-Acl: a line "owner SID", "protected", or "rule SID".
# Documentation: learn.microsoft.com/windows-server/administration/windows-commands/icacls
lists=${FLEET_PLAYED_WINDOWS:?}/lists
mkdir -p "$lists"
[ -d "$1" ] || exit 2
list=$lists/$(printf %s "$1" | sha256sum | cut -c 1-16)
[ -f "$list" ] || printf 'owner %s\ninherited S-1-5-32-545\n' "$(cat "$FLEET_PLAYED_WINDOWS/user")" >"$list"
shift
mode=
for word; do
    case $word in
        /inheritance:r)
            grep -v '^inherited ' "$list" >"$list.new"
            mv "$list.new" "$list"
            echo protected >>"$list"
            ;;
        /grant:r | /remove) mode=$word ;;
        '*'*)
            sid=${word#\*}
            sid=${sid%%:*}
            grep -vx "rule $sid" "$list" >"$list.new"
            mv "$list.new" "$list"
            [ "$mode" != /grant:r ] || echo "rule $sid" >>"$list"
            ;;
        *) exit 87 ;;
    esac
done
