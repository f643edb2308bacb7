#!/bin/sh
# shutdown.exe of the lab's guests: /r restarts after the seconds behind /t (30), /a takes that back, and nothing else is done.
# It ends with 1190 where a restart is scheduled already, and with 1116 where none is: of both 8 bits arrive, 166 and 92.
# Documentation: learn.microsoft.com/windows-server/administration/windows-commands/shutdown
restart='' abort='' seconds=30
while [ $# -gt 0 ]; do
    case $1 in
        [-/][rg]) restart=1 ;;
        [-/]a) abort=1 ;;
        [-/]t)
            seconds=${2:-}
            shift
            ;;
        [-/][cd]) shift ;;
        [-/]f | [-/]soft) ;;
        *) exit 87 ;;
    esac
    [ $# -eq 0 ] || shift
done
if [ -n "$abort" ]; then
    [ -e /run/lab-restart ] || {
        echo 'Unable to abort the system shutdown because no shutdown was in progress.(1116)' >&2
        exit 92
    }
    rm -f /run/lab-restart
    exit 0
fi
case $seconds in
    '' | *[!0-9]* | ???????*) exit 87 ;;
esac
[ -n "$restart" ] || {
    echo 'guests of the lab restart (/r) and do nothing else' >&2
    exit 1
}
[ ! -e /run/lab-restart ] || {
    echo 'A system shutdown has already been scheduled.(1190)' >&2
    exit 166
}
printf %s "$seconds" >"/run/lab-restart.$$"
mv "/run/lab-restart.$$" /run/lab-restart
