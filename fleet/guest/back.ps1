# Says whether this machine has restarted since EXPECT_BOOT_ID was read, and is up again.
$last = (Get-CimInstance Win32_OperatingSystem).LastBootUpTime
$boot = $last.ToUniversalTime().ToString('yyyyMMddTHHmmssZ')
$up = [long]((Get-Date) - $last).TotalSeconds
function Tell([int]$Code, [string]$State) {
    "FLEET-RESULT code=$Code state=$State boot_id=$boot uptime_s=$up"
    exit $Code
}
if ($boot -eq $env:EXPECT_BOOT_ID) { Tell 83 'not_restarted' }
$servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Interface'
$busy = (Get-ItemProperty $servicing -ErrorAction SilentlyContinue).ServicingInProgress
if ($busy -and $busy -notin 0, 1) { Tell 83 'servicing' }
Tell 0 'back'
