# Says whether this machine has restarted since EXPECT_BOOT_ID was read, and is up again.
$question = Start-FleetQuestion 'Win32_OperatingSystem'
$boot = Get-FleetBoot $question 15000
$up = Get-FleetUptime $boot
function Tell([int]$Code, [string]$State) {
    "FLEET-RESULT code=$Code state=$State boot_id=$boot uptime_s=$up"
    Exit-Fleet $Code $question
}
switch (Compare-FleetBoot $env:EXPECT_BOOT_ID $boot) {
    'unknown' { Tell 83 'boot_id_unknown' }
    'same' { Tell 83 'not_restarted' }
}
$servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Interface'
$busy = (Get-ItemProperty $servicing -ErrorAction SilentlyContinue).ServicingInProgress
if ($busy -and $busy -notin 0, 1) { Tell 83 'servicing' }
Tell 0 'back'
