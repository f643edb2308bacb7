# Looks at a delivery and at the machine around it, and changes nothing. What WMI does not say in time is left out.
function Add-FleetMachine {
    Add-FleetLine ('time=' + (Get-FleetEpoch ([DateTime]::UtcNow)))
    $system = Get-FleetWmi 'Win32_OperatingSystem' | Select-Object -First 1
    if ($system) {
        Add-FleetLine ('booted=' + (Get-FleetEpoch $system.LastBootUpTime))
        Add-FleetLine ('memtotal=' + $system.TotalVisibleMemorySize)
        Add-FleetLine ('memavailable=' + $system.FreePhysicalMemory)
    }
    $cores = @(Get-FleetWmi 'Win32_Processor')
    if ($cores.Count -eq 0) {
        Add-FleetLine ('processors=' + [Environment]::ProcessorCount)
        return
    }
    Add-FleetLine ('busy=' + [int]($cores | Measure-Object -Property LoadPercentage -Average).Average)
    Add-FleetLine ('processors=' + ($cores | Measure-Object -Property NumberOfLogicalProcessors -Sum).Sum)
}

function Add-FleetDelivery {
    Add-FleetLine ('state=' + $FleetIs)
    if ($FleetScript) { Add-FleetLine ('group=' + $FleetScript.Id) }
    $started = Join-Path $FleetFolder 'started'
    if (Test-Path -LiteralPath $started) { Add-FleetLine ('started=' + [System.IO.File]::ReadAllText($started).Split(' ')[0]) }
    foreach ($name in 'stdout', 'stderr') {
        $path = Find-FleetStream $name
        if (-not $path) { continue }
        $file = New-Object System.IO.FileInfo $path
        Add-FleetLine ($name + '=' + $file.Length)
        Add-FleetLine ($name + '_at=' + (Get-FleetEpoch $file.LastWriteTimeUtc))
    }
}

function Find-FleetStream([string]$Name) {
    foreach ($end in '.live', '') {
        $path = Join-Path $FleetFolder ($Name + $end)
        if (Test-Path -LiteralPath $path) { return $path }
    }
    return $null
}

# Windows Installer holds this mutex while it installs.
function Add-FleetLocks {
    $mutex = $null
    if ([System.Threading.Mutex]::TryOpenExisting('Global' + [char]92 + '_MSIExecute', [ref]$mutex)) {
        Add-FleetLine 'lock=_MSIExecute'
        $mutex.Dispose()
    }
}

function Add-FleetProcess([int]$Id, [int]$Depth, [DateTime]$Begun, [double]$Used, [string]$Words) {
    $age = [int]([DateTime]::Now - $Begun.ToLocalTime()).TotalSeconds
    $line = ($Words -split { [char]::IsControl($_) }) -join ' '
    $line = $line.Substring(0, [Math]::Min(160, $line.Length))
    Add-FleetLine ('{0} {1} - {2} {3} 0 {4}' -f $Id, $Depth, [Math]::Max(0, $age), [long]$Used, $line)
}

function Add-FleetTree([object[]]$All, $Root, [int]$Depth) {
    if ($script:FleetCount -ge 40) { return }
    $script:FleetCount++
    $words = [string]$Root.CommandLine
    if (-not $words) { $words = '(' + $Root.Name + ')' }
    $used = ($Root.KernelModeTime + $Root.UserModeTime) / 10000000
    Add-FleetProcess $Root.ProcessId $Depth $Root.CreationDate $used $words
    foreach ($child in $All) {
        if ($child.ParentProcessId -eq $Root.ProcessId -and $child.CreationDate -ge $Root.CreationDate) {
            Add-FleetTree $All $child ($Depth + 1)
        }
    }
}

# Without WMI there is the script's own process alone, whose command line is not known.
function Add-FleetProcesses {
    if ($FleetIs -eq 'ended' -or -not $FleetScript) { return }
    $all = @(Get-FleetWmi 'Win32_Process')
    $root = $all | Where-Object { $_.ProcessId -eq $FleetScript.Id } | Select-Object -First 1
    if ($root) { Add-FleetTree $all $root 0 }
    else {
        $used = $FleetScript.TotalProcessorTime.TotalSeconds
        Add-FleetProcess $FleetScript.Id 0 $FleetScript.StartTime $used ('(' + $FleetScript.ProcessName + ')')
    }
}

function Add-FleetEnd([string]$Path, [long]$Most) {
    if ($Path) { Add-FleetLine ($FleetUtf8.GetString((Get-FleetEnd $Path $Most))) }
}

function Add-FleetDisks {
    Get-FleetWmi 'Win32_LogicalDisk' | ForEach-Object {
        Add-FleetLine ('{0} {1} {2}' -f [long]($_.Size / 1024), [long]($_.FreeSpace / 1024), $_.DeviceID)
    }
}

function Add-FleetLog {
    $log = Join-Path $env:SystemDrive 'WindowsAzure/Logs/WaAppAgent.log'
    if (Test-Path -LiteralPath $log) {
        Add-FleetLine $log
        Add-FleetEnd $log 1500
    }
}

# All are asked at once; together they are waited for until twelve seconds have passed.
function Get-FleetWmi([string]$Class) {
    Get-FleetReply $FleetAsked[$Class] (12000 - $FleetWatch.ElapsedMilliseconds)
}

$script:FleetCount = 0
$FleetWatch = [System.Diagnostics.Stopwatch]::StartNew()
$FleetAsked = @{}
foreach ($class in 'Win32_OperatingSystem', 'Win32_Processor', 'Win32_Process') { $FleetAsked[$class] = Start-FleetQuestion $class }
$FleetAsked['Win32_LogicalDisk'] = Start-FleetQuestion 'Win32_LogicalDisk' 'DriveType=3'
$FleetIs = Get-FleetState
$FleetScript = Get-FleetChild
foreach ($part in 'Delivery', 'Machine', 'Locks') {
    try { & ('Add-Fleet' + $part) } catch { $null = $_ }
}
Add-FleetSection 'processes'
try { Add-FleetProcesses } catch { $null = $_ }
if ($FleetIs -ne 'missing') {
    foreach ($name in 'stdout', 'stderr') {
        Add-FleetSection $name
        try { Add-FleetEnd (Find-FleetStream $name) 2500 } catch { $null = $_ }
    }
}
Add-FleetSection 'disk'
try { Add-FleetDisks } catch { $null = $_ }
Add-FleetSection 'agent'
try { Add-FleetLog } catch { $null = $_ }
Add-FleetSection 'end'
Send-FleetReport $FleetReport.ToString()
Exit-Fleet 0 @($FleetAsked.Values)
