# Is a Windows machine well after its updates? Reads only, and may run again and again.
#
# Given   SERVICES  names of services that must be running, with commas; a name may have spaces in it
#         WAIT      seconds to wait while the updates are still being finished; none if left out
# Prints  last a line that begins with FLEET-RESULT; on standard error what could not be found out
# Ends    with 0 (healthy), 83 (still busy with the updates), 84 (what was given is not understood) or 89 (not healthy)
#
# A question that fails is no good answer. Only a value that is not there says that nothing is being done.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$Servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Interface'

function Write-Problem([string]$Text) { [Console]::Error.WriteLine(($Text -replace '[^ -~]', '?')) }

function Stop-With([int]$Code, [string]$State, [string[]]$Bad = @()) {
    $names = @($Bad | ForEach-Object { $_ -replace '[^A-Za-z0-9._$-]', '_' }) -join ','
    if (-not $names) { $names = '-' }
    [Console]::Out.WriteLine("FLEET-RESULT code=$Code state=$State bad=$names")
    exit $Code
}

# 0 and 1 are quiet, 2 and above busy, -1 if it cannot be found out.
function Get-Servicing {
    try { $value = (Get-ItemProperty $Servicing -ErrorAction Stop).ServicingInProgress }
    catch {
        if ($_.CategoryInfo.Category -eq 'ObjectNotFound') { return 0 }
        Write-Problem "whether updates are still being finished: $($_.Exception.Message)"
        return -1
    }
    if ($null -eq $value) { return 0 }
    $number = 0
    if ([int]::TryParse("$value", [ref]$number) -and $number -ge 0) { return $number }
    Write-Problem "whether updates are still being finished: $value"
    return -1
}

# Whether one service runs. One that is not there, or cannot be asked for, does not.
function Test-Running([string]$Name) {
    try {
        $found = @(Get-Service -Name ($Name -replace '([\[\]*?`])', '`$1') -ErrorAction Stop)
        if ($found.Count -eq 1 -and "$($found[0].Status)" -eq 'Running') { return $true }
        Write-Problem "$($Name): $($found[0].Status)"
    } catch { Write-Problem "$($Name): $($_.Exception.Message)" }
    return $false
}

try {
    $wait = 0
    if ($env:WAIT -and -not [int]::TryParse($env:WAIT, [ref]$wait)) {
        Write-Problem "WAIT is no number: $env:WAIT"
        Stop-With 84 'refused' 'wait'
    }
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $busy = Get-Servicing
    while ($busy -gt 1 -and $clock.Elapsed.TotalSeconds -lt $wait) {
        Start-Sleep -Seconds 10
        $busy = Get-Servicing
    }
    if ($busy -gt 1) { Stop-With 83 'starting' }
    $bad = @(if ($busy -lt 0) { 'servicing_unknown' })
    foreach ($name in "$env:SERVICES" -split '[,\r\n]+') {
        $name = $name.Trim()
        if ($name -and -not (Test-Running $name)) { $bad += $name }
    }
    if ($bad) { Stop-With 89 'unhealthy' $bad }
    Stop-With 0 'healthy'
} catch {
    Write-Problem "after-patch: $($_.Exception.Message)"
    Stop-With 89 'unhealthy' 'unknown'
}
