#!/bin/sh
# shutdown.exe: notes what it was asked for, and restarts nothing. It ends with the number in the file shutdown-says, if any.
# Documentation: learn.microsoft.com/windows-server/administration/windows-commands/shutdown
echo "$*" >>"${FLEET_PLAYED_WINDOWS:?}/shutdowns"
exit "$(cat "$FLEET_PLAYED_WINDOWS/shutdown-says" 2>/dev/null || echo 0)"
