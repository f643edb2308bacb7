# Asks this machine for one restart, unless it has restarted since EXPECT_BOOT_ID was read.
$question = Start-FleetQuestion 'Win32_OperatingSystem'
$boot = Get-FleetBoot $question 15000
function Tell([int]$Code, [string]$State) {
    "FLEET-RESULT code=$Code state=$State boot_id=$boot"
    Exit-Fleet $Code $question
}
switch (Compare-FleetBoot $env:EXPECT_BOOT_ID $boot) {
    'unknown' { Tell 84 'refused_boot_id_unknown' }
    'unclear' { Tell 84 'refused_boot_id_unclear' }
    'other' { Tell 0 'already_restarted' }
}
# A minute to report: a command whose machine goes down inside it is left without an answer.
shutdown.exe /r /t 60 /d p:2:17 /c 'fleet: restart asked for by a maintenance run'
if ($LASTEXITCODE -eq 1190) { Tell 81 'restart_was_scheduled_already' }
if ($LASTEXITCODE -ne 0) { Tell 87 "shutdown_$LASTEXITCODE" }
Tell 81 'restart_scheduled'
