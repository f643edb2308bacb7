# The state of a Windows machine as "key: value" lines. Reads only, changes nothing.
#
# Given   MAX_USED         percent of a fixed drive that may be used
#         MAX_UPDATE_DAYS  days that may have passed since the last update was installed; 0: any number
#         RESTART_FAILS    true: a pending restart is a finding
#         IGNORE_SERVICES  services that start with Windows and need not run, with commas; * and ? fit anything
# Prints  facts, a line "finding: ..." for each finding, and the number of findings
# Ends    with 0: the playbook decides what findings mean; 64 if what was given is not understood
#
# What could not be found out is "unknown", and a finding. WMI is asked last and for some seconds at most: where it hangs or
# fails, all that does not need it has been printed. What changes from minute to minute is said coarsely, so that machines in the
# same state print the same.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$Seconds = 15 # for one question to WMI
$Found = @{ Count = 0 }
$Windows = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion'
$Control = 'HKLM:\SYSTEM\CurrentControlSet'

function Write-Fact([string]$Key, $Value) {
    [Console]::Out.WriteLine(("${Key}: $Value" -replace '[^ -~]', '?'))
    [Console]::Out.Flush()
}

function Add-Finding([string]$Text) {
    $Found.Count++
    Write-Fact 'finding' $Text
}

function Read-Number([string]$Name, [string]$Text, [int]$Default) {
    $number = 0
    if (-not $Text) { return $Default }
    if ([int]::TryParse($Text, [ref]$number) -and $number -ge 0) { return $number }
    [Console]::Error.WriteLine("$Name is no number: $Text")
    exit 64
}

# The values of a registry key, or $null if it is not there. Any other failure is thrown.
function Get-Key([string]$Path) {
    try { return Get-ItemProperty $Path -ErrorAction Stop }
    catch {
        if ($_.CategoryInfo.Category -eq 'ObjectNotFound') { return $null }
        throw
    }
}

# Whether a key is there. Many of them have no values: that they are there is all that they say.
function Test-Key([string]$Path) { return [bool](Test-Path $Path -ErrorAction Stop) }

# Asks one thing. What it throws is a finding, and no reason to leave out the rest.
function Invoke-Question([string]$What, [string]$Key, [scriptblock]$Question) {
    try { & $Question }
    catch {
        if ($Key) { Write-Fact $Key 'unknown' }
        Add-Finding "$($What) cannot be found out: $($_.Exception.Message)"
    }
}

function Show-Disks {
    $seen = 0
    foreach ($code in 65..90) {
        $name = [string][char]$code + ':'
        $drive = New-Object System.IO.DriveInfo $name
        if ("$($drive.DriveType)" -ne 'Fixed') { continue }
        $seen++
        try {
            if (-not $drive.IsReady -or $drive.TotalSize -le 0 -or $null -eq $drive.AvailableFreeSpace) { throw 'it is not ready' }
            $used = [int][Math]::Ceiling(100 * ($drive.TotalSize - $drive.AvailableFreeSpace) / $drive.TotalSize)
        } catch {
            Write-Fact "disk_used_percent $name" 'unknown'
            Add-Finding "$name cannot be read: $($_.Exception.Message)"
            continue
        }
        Write-Fact "disk_used_percent $name" $used
        if ($name -eq $env:SystemDrive) { Write-Fact 'system_used_percent' $used }
        if ($used -gt $MaxUsed) { Add-Finding "$name is $used % full" }
    }
    if (-not $seen) { throw 'there is no fixed drive' }
}

function Get-Agent {
    $wanted = (New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired
    if ($null -eq $wanted) { throw 'the Windows Update Agent does not say it' }
    return $wanted
}

function Test-Renames {
    $key = Get-Key "$Control\Control\Session Manager"
    return [bool](@($key.PendingFileRenameOperations) + @($key.PendingFileRenameOperations2) | Where-Object { $_ })
}

function Test-Name {
    $is = (Get-Key "$Control\Control\ComputerName\ActiveComputerName").ComputerName
    $becomes = (Get-Key "$Control\Control\ComputerName\ComputerName").ComputerName
    return $is -and $becomes -and $is -ne $becomes
}

function Test-Join {
    $key = Get-Key "$Control\Services\Netlogon"
    return $key.JoinDomain -or $key.AvoidSpnSet
}

# Why a restart is pending. Those of $Updates are about updates; the others are said, and are no finding: programs leave them behind.
$Updates = 'CBS', 'WindowsUpdate', 'UpdateAgent'
$Reasons = [ordered]@{
    CBS = { Test-Key "$Windows\Component Based Servicing\RebootPending" }
    WindowsUpdate = { Test-Key "$Windows\WindowsUpdate\Auto Update\RebootRequired" }
    UpdateAgent = { Get-Agent }
    CBSInProgress = { Test-Key "$Windows\Component Based Servicing\RebootInProgress" }
    CBSPackages = { Test-Key "$Windows\Component Based Servicing\PackagesPending" }
    PostRebootReporting = { Test-Key "$Windows\WindowsUpdate\Auto Update\PostRebootReporting" }
    PendingFileRenameOperations = { Test-Renames }
    ComputerName = { Test-Name }
    DomainJoin = { Test-Join }
    UpdateExeVolatile = { (Get-Key 'HKLM:\SOFTWARE\Microsoft\Updates').UpdateExeVolatile }
    ServerManager = { Test-Key 'HKLM:\SOFTWARE\Microsoft\ServerManager\CurrentRebootAttempts' }
}

function Show-Restart {
    $pending = @()
    $unknown = @()
    foreach ($name in $Reasons.Keys) {
        try { if (& $Reasons[$name]) { $pending += $name } }
        catch {
            $unknown += $name
            Add-Finding "whether a restart is pending cannot be found out: $($name): $($_.Exception.Message)"
        }
    }
    $because = @($pending | Where-Object { $_ -in $Updates })
    $words = if ($pending) { $pending -join ',' } else { 'none' }
    $wanted = if ($because) { 'yes' } elseif ($unknown | Where-Object { $_ -in $Updates }) { 'unknown' } else { 'no' }
    Write-Fact 'restart_pending' $wanted
    Write-Fact 'restart_reasons' $words
    if ($because -and $RestartFails) { Add-Finding "a restart is pending: $($because -join ', ')" }
}

# A service that starts with Windows and does not run; not one that starts late or by a trigger, which may well have ended.
function Test-Stopped($Service) {
    if (-not $Service.StartType) { throw "how $($Service.Name) starts is unknown" }
    if ("$($Service.StartType)" -ne 'Automatic' -or "$($Service.Status)" -in 'Running', 'StartPending', 'ContinuePending') { return $false }
    foreach ($pattern in $Ignored) { if ($Service.Name -like $pattern) { return $false } }
    $path = "$Control\Services\$($Service.Name)"
    if ((Get-Key $path).DelayedAutostart -eq 1) { return $false }
    return -not (Test-Key "$path\TriggerInfo")
}

function Show-Services {
    $faults = @()
    $all = @(Get-Service -ErrorAction SilentlyContinue -ErrorVariable faults)
    if (-not $all) { throw 'no service is listed' }
    $stopped = @()
    foreach ($service in $all) {
        try { if (Test-Stopped $service) { $stopped += $service.Name } }
        catch { $faults += $_ }
    }
    $words = if ($stopped) { ($stopped | Sort-Object) -join ',' } else { 'none' }
    Write-Fact 'stopped_services' $words
    if ($stopped) { Add-Finding "services that start with Windows do not run: $(($stopped | Sort-Object) -join ', ')" }
    if ($faults) { Add-Finding "services cannot be read: $($faults.Count): $($faults[0])" }
}

# The newest installation that the update agent remembers.
function Get-LastUpdate {
    $searcher = (New-Object -ComObject Microsoft.Update.Session).CreateUpdateSearcher()
    $count = $searcher.GetTotalHistoryCount()
    if ($count -lt 1) { return $null }
    $dates = foreach ($entry in $searcher.QueryHistory(0, $count)) {
        if ($entry.Operation -eq 1 -and $entry.ResultCode -in 2, 3) { [DateTime]$entry.Date }
    }
    return $dates | Sort-Object | Select-Object -Last 1
}

# An image that was never updated has no history, but the fixes that it was made with.
function Get-LastFix {
    $dates = foreach ($fix in Get-CimInstance Win32_QuickFixEngineering -OperationTimeoutSec $Seconds) {
        $on = $fix.InstalledOn
        $date = [DateTime]::MinValue
        if ($on -is [DateTime]) { $on }
        elseif ([DateTime]::TryParse("$on", [System.Globalization.CultureInfo]::InvariantCulture, 'None', [ref]$date)) { $date }
    }
    return $dates | Sort-Object | Select-Object -Last 1
}

function Show-LastUpdate {
    $last = Get-LastUpdate
    if (-not $last) {
        $last = Get-LastFix
    }
    if (-not $last) {
        Write-Fact 'last_update_days' 'never'
        if ($MaxUpdateDays) { Add-Finding 'no update was ever installed' }
        return
    }
    $days = [int][Math]::Floor(([DateTime]::UtcNow - $last.ToUniversalTime()).TotalDays)
    Write-Fact 'last_update_days' $days
    if ($MaxUpdateDays -and $days -gt $MaxUpdateDays) { Add-Finding "the last update was installed $days days ago" }
}

function Show-Time {
    $ErrorActionPreference = 'Continue' # in 5.1 a program's line on standard error would be thrown
    $said = @(& w32tm.exe /query /source 2>&1) -join ' '
    if ($LASTEXITCODE -ne 0) { throw ('0x{0:X8} {1}' -f $LASTEXITCODE, $said) }
    $source = $said.Trim() -replace ',0x[0-9a-fA-F]+$', ''
    Write-Fact 'time_source' $source
    if ($source -in '', 'Local CMOS Clock', 'Free-running System Clock') { Add-Finding "the clock has no source of time: $source" }
}

function Show-System {
    $system = Get-CimInstance Win32_OperatingSystem -OperationTimeoutSec $Seconds
    if ($null -eq $system.LastBootUpTime) { throw 'WMI gave no answer' }
    Write-Fact 'os' $system.Caption
    Write-Fact 'version' $system.Version
    Write-Fact 'memory_total_mib' ([long]($system.TotalVisibleMemorySize / 1024))
    $part = 10 * [Math]::Floor(10 * $system.FreePhysicalMemory / $system.TotalVisibleMemorySize)
    Write-Fact 'memory_available' "$part% or more"
    Write-Fact 'uptime_days' ([int][Math]::Floor(((Get-Date) - $system.LastBootUpTime).TotalDays))
}

# Where Defender is not installed it has no service, and nothing is asked. In passive mode another product protects the machine.
function Show-Defender {
    $service = @(Get-Service -Name 'WinDefend*' -ErrorAction Stop)
    if (-not $service) { Write-Fact 'defender' 'not installed'; return }
    $is = Get-CimInstance -Namespace 'root/Microsoft/Windows/Defender' -ClassName MSFT_MpComputerStatus -OperationTimeoutSec $Seconds
    if ($null -eq $is.RealTimeProtectionEnabled) { throw 'WMI gave no answer' }
    Write-Fact 'defender' "$($is.AMRunningMode)"
    Write-Fact 'defender_signature_days' $is.AntivirusSignatureAge
    if ("$($is.AMRunningMode)" -in 'Passive Mode', 'SxS Passive Mode', 'EDR Block Mode') { return }
    if (-not $is.AntivirusEnabled -or -not $is.RealTimeProtectionEnabled) { Add-Finding "Defender does not protect: $($is.AMRunningMode)" }
    if ($is.AntivirusSignatureAge -gt 7) { Add-Finding "Defender's signatures are $($is.AntivirusSignatureAge) days old" }
}

$MaxUsed = Read-Number 'MAX_USED' $env:MAX_USED 90
$MaxUpdateDays = Read-Number 'MAX_UPDATE_DAYS' $env:MAX_UPDATE_DAYS 60
$RestartFails = $env:RESTART_FAILS -ne 'false'
$Ignored = @("$env:IGNORE_SERVICES" -split '[,\r\n]+' | ForEach-Object { $_.Trim() } | Where-Object { $_ })

Invoke-Question 'how full the drives are' '' { Show-Disks }
Invoke-Question 'whether a restart is pending' 'restart_pending' { Show-Restart }
Invoke-Question 'which services do not run' 'stopped_services' { Show-Services }
Invoke-Question 'where the time comes from' 'time_source' { Show-Time }
Invoke-Question 'when the last update was installed' 'last_update_days' { Show-LastUpdate }
Invoke-Question 'what Defender does' 'defender' { Show-Defender }
Invoke-Question 'memory and uptime' 'memory_available' { Show-System }
Write-Fact 'findings' $Found.Count
