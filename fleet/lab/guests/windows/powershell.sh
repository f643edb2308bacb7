#!/bin/sh
# Stands for powershell.exe and pwsh.exe: the same PowerShell, which plays Windows before it runs a script or a command.
# A PowerShell's exit code has 32 bits on Windows and 8 here, so each one writes its own into a file named after its process.
mkdir -p /run/lab-exit
rm -f "/run/lab-exit/$$"
left=$#
while [ $left -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    case $word in
        -[Ff] | -[Ff][Ii] | -[Ff][Ii][Ll] | -[Ff][Ii][Ll][Ee] | *.[Pp][Ss]1)
            case $word in
                -*)
                    [ $left -gt 0 ] || break
                    file=$1
                    shift
                    left=$((left - 1))
                    ;;
                *) file=$word ;;
            esac
            [ -f "$file" ] || {
                set -- "$@" -File "$file"
                break
            }
            set -- "$@" -File /opt/lab/windows/launch.ps1 "$file"
            break
            ;;
        -[Cc] | -[Cc][Oo][Mm][Mm][Aa][Nn][Dd])
            [ $left -gt 0 ] || break
            text=$1
            shift
            left=$((left - 1))
            set -- "$@" -Command ". /opt/lab/windows/prelude.ps1; $text"
            break
            ;;
        *) set -- "$@" "$word" ;;
    esac
done
while [ $left -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    set -- "$@" "$word"
done
export LAB_SHELL="$0"
exec /opt/lab/powershell/pwsh "$@"
