# Is a Windows machine well after its updates? Only looks, takes a moment, may run again and again.
#
# Given   SERVICES  services that must be running, with commas
# Prints  last a line that begins with FLEET-RESULT
# Ends    with 0 (healthy), 83 (still busy with the updates) or 89 (not healthy)
function Stop-With([int]$Code, [string]$State, [string]$Bad = '-') {
    Write-Output "FLEET-RESULT code=$Code state=$State bad=$Bad"
    exit $Code
}
$servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Interface'
$busy = (Get-ItemProperty $servicing -ErrorAction SilentlyContinue).ServicingInProgress
if ($busy -and $busy -notin 0, 1) { Stop-With 83 'starting' }
$bad = foreach ($name in "$env:SERVICES" -split '[ ,]+') {
    if ($name -and (Get-Service -Name $name -ErrorAction SilentlyContinue).Status -ne 'Running') { $name }
}
if ($bad) { Stop-With 89 'unhealthy' (@($bad) -join ',') }
Stop-With 0 'healthy'
