# Looks at a delivery and at the machine around it, and changes nothing.
function Get-FleetSeconds([DateTime]$Moment) {
    $origin = New-Object DateTime 1970, 1, 1, 0, 0, 0, ([DateTimeKind]::Utc)
    return [long][Math]::Floor(($Moment.ToUniversalTime() - $origin).TotalSeconds)
}

function Add-FleetMachine {
    $system = Get-CimInstance Win32_OperatingSystem
    $cores = @(Get-CimInstance Win32_Processor)
    Add-FleetLine ('time=' + (Get-FleetSeconds ([DateTime]::UtcNow)))
    Add-FleetLine ('booted=' + (Get-FleetSeconds $system.LastBootUpTime))
    Add-FleetLine ('busy=' + [int]($cores | Measure-Object -Property LoadPercentage -Average).Average)
    Add-FleetLine ('processors=' + ($cores | Measure-Object -Property NumberOfLogicalProcessors -Sum).Sum)
    Add-FleetLine ('memtotal=' + $system.TotalVisibleMemorySize)
    Add-FleetLine ('memavailable=' + $system.FreePhysicalMemory)
}

function Add-FleetDelivery([string]$State, $Script) {
    Add-FleetLine ('state=' + $State)
    if ($Script) { Add-FleetLine ('group=' + $Script.ProcessId) }
    foreach ($name in 'stdout', 'stderr') {
        $path = Find-FleetStream $name
        if (-not $path) { continue }
        $file = New-Object System.IO.FileInfo $path
        Add-FleetLine ($name + '=' + $file.Length)
        Add-FleetLine ($name + '_at=' + (Get-FleetSeconds $file.LastWriteTimeUtc))
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

function Add-FleetTree([object[]]$All, $Root, [int]$Depth) {
    if (-not $Root -or $script:FleetCount -ge 40) { return }
    $script:FleetCount++
    $age = [int]([DateTime]::Now - $Root.CreationDate).TotalSeconds
    $used = [long](($Root.KernelModeTime + $Root.UserModeTime) / 10000000)
    $words = ([string]$Root.CommandLine).Replace([string][char]13, ' ').Replace($FleetLine, ' ')
    if (-not $words) { $words = '(' + $Root.Name + ')' }
    $words = $words.Substring(0, [Math]::Min(160, $words.Length))
    Add-FleetLine ('{0} {1} - {2} {3} 0 {4}' -f $Root.ProcessId, $Depth, $age, $used, $words)
    foreach ($child in $All) {
        if ($child.ParentProcessId -eq $Root.ProcessId -and $child.CreationDate -ge $Root.CreationDate) {
            Add-FleetTree $All $child ($Depth + 1)
        }
    }
}

function Add-FleetEnd([string]$Path, [long]$Most) {
    if ($Path) { Add-FleetLine ($FleetUtf8.GetString((Get-FleetEnd $Path $Most))) }
}

$script:FleetCount = 0
try {
    $FleetAll = Get-FleetProcesses
    $FleetIs = Get-FleetState
    $FleetScript = Get-FleetScriptProcess $FleetAll
    Add-FleetMachine
    Add-FleetDelivery $FleetIs $FleetScript
    Add-FleetLocks
    Add-FleetSection 'processes'
    if ($FleetIs -ne 'ended') { Add-FleetTree $FleetAll $FleetScript 0 }
    if ($FleetIs -ne 'missing') {
        foreach ($name in 'stdout', 'stderr') {
            Add-FleetSection $name
            Add-FleetEnd (Find-FleetStream $name) 2500
        }
    }
    Add-FleetSection 'disk'
    Get-CimInstance Win32_LogicalDisk -Filter 'DriveType=3' | ForEach-Object {
        Add-FleetLine ('{0} {1} {2}' -f [long]($_.Size / 1024), [long]($_.FreeSpace / 1024), $_.DeviceID)
    }
    Add-FleetSection 'agent'
    $log = Join-Path $env:SystemDrive 'WindowsAzure/Logs/WaAppAgent.log'
    if (Test-Path -LiteralPath $log) {
        Add-FleetLine $log
        Add-FleetEnd $log 1500
    }
    Add-FleetSection 'end'
}
catch { $null = $_ }
Send-FleetReport $FleetReport.ToString()
