# Restarts one Windows service and waits until it runs, and stays up. Services that depend on it are stopped before and started
# after it, and must then run as well.
#
# Given   SERVICE  its name, which may have spaces in it
#         WAIT     seconds in all that stopping may take, and again starting
#         STABLE   seconds for which it must then stay up, in the same process: one look takes a service that crashes for a healthy one
# Ends    with 0 (it runs), 1 (it does not), 64 (what was given is not understood), 66 (no such service), 77 (it may not be asked)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

function Stop-With([int]$Code, [string]$Text) {
    [Console]::Error.WriteLine(($Text -replace '[^ -~]', '?'))
    exit $Code
}

function Read-Number([string]$Name, [string]$Text, [int]$Default) {
    $number = 0
    if (-not $Text) { return $Default }
    if ([int]::TryParse($Text, [ref]$number) -and $number -ge 0) { return $number }
    Stop-With 64 "$Name is no number: $Text"
}

function Find-Service([string]$Name) {
    try { $found = @(Get-Service -Name ($Name -replace '([\[\]*?`])', '`$1') -ErrorAction Stop) }
    catch {
        if ($_.CategoryInfo.Category -eq 'ObjectNotFound') { Stop-With 66 "there is no service $Name" }
        Stop-With 77 "$($Name): $($_.Exception.Message)"
    }
    if ($found.Count -ne 1) { Stop-With 66 "there is no service $Name" }
    return $found[0]
}

function Get-State([string]$Name) { return "$((Find-Service $Name).Status)" }

# The innermost message: what Windows itself says.
function Get-Reason($Thrown) {
    while ($Thrown.InnerException) { $Thrown = $Thrown.InnerException }
    return $Thrown.Message
}

# Waits for a state. False if it has not come in time; $Clock counts for all services that are stopped, or started.
function Wait-State([string]$Name, [string]$Wanted) {
    while ((Get-State $Name) -ne $Wanted) {
        if ($Clock.Elapsed.TotalSeconds -ge $Wait) { return $false }
        Start-Sleep -Seconds 1
    }
    return $true
}

# What depends on it and runs, the farthest first, each once. Those are stopped in this order and started in the other one.
function Get-Users($Service) {
    foreach ($user in $Service.DependentServices) {
        if ("$($user.Status)" -eq 'Stopped') { continue }
        Get-Users (Find-Service $user.Name)
        $user.Name
    }
}

function Stop-One([string]$Name) {
    if ((Get-State $Name) -eq 'Stopped') { return }
    try { (Find-Service $Name).Stop() }
    catch { if ((Get-State $Name) -notin 'Stopped', 'StopPending') { Stop-With 1 "$($Name): not stopped: $(Get-Reason $_.Exception)" } }
    if (-not (Wait-State $Name 'Stopped')) { Stop-With 1 "$($Name): $(Get-State $Name), not stopped within $Wait seconds" }
}

function Start-One([string]$Name) {
    if ((Get-State $Name) -eq 'Running') { return }
    try { (Find-Service $Name).Start() }
    catch { if ((Get-State $Name) -notin 'Running', 'StartPending') { Stop-With 1 "$($Name): not started: $(Get-Reason $_.Exception)" } }
    if (-not (Wait-State $Name 'Running')) { Stop-With 1 "$($Name): $(Get-State $Name), not running within $Wait seconds" }
}

# The number of the process that it runs in, or 'unknown': then only its state shows that it stays up.
function Get-Life([string]$Name) {
    $ErrorActionPreference = 'Continue' # in 5.1 a program's line on standard error would be thrown
    try { $said = @(& sc.exe queryex $Name) | Where-Object { $_ -match 'PID\s*:\s*([1-9][0-9]*)' } | Select-Object -First 1 }
    catch { $said = $null }
    if ($said -match ':\s*([1-9][0-9]*)') { return $Matches[1] }
    [Console]::Error.WriteLine("$($Name): its process is unknown")
    return 'unknown'
}

try {
    $Name = "$env:SERVICE".Trim()
    if (-not $Name) { Stop-With 64 'set SERVICE to the name of the service' }
    $Wait = Read-Number 'WAIT' $env:WAIT 30
    $Stable = Read-Number 'STABLE' $env:STABLE 5
    $service = Find-Service $Name
    $Name = $service.Name
    if ("$($service.StartType)" -eq 'Disabled') { Stop-With 1 "$($Name): it is disabled, and would not start again" }
    $users = @(Get-Users $service | Select-Object -Unique)
    $Clock = [System.Diagnostics.Stopwatch]::StartNew()
    foreach ($each in $users) { Stop-One $each }
    Stop-One $Name
    $Clock = [System.Diagnostics.Stopwatch]::StartNew()
    Start-One $Name
    for ($i = $users.Count - 1; $i -ge 0; $i--) { Start-One $users[$i] }
    $before = Get-Life $Name
    for ($second = 0; $second -lt $Stable; $second++) {
        Start-Sleep -Seconds 1
        if ((Get-State $Name) -ne 'Running') { Stop-With 1 "$($Name): running, and then not any more" }
    }
    foreach ($each in $users) { if ((Get-State $each) -ne 'Running') { Stop-With 1 "$($each): running, and then not any more" } }
    if ((Get-Life $Name) -ne $before) { Stop-With 1 "$($Name): it restarts again and again" }
    [Console]::Out.WriteLine("$($Name): running")
    exit 0
} catch { Stop-With 1 "$($env:SERVICE): $(Get-Reason $_.Exception)" }
