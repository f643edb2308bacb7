# Get-CimInstance for four classes: the machine and its boot, processors, processes and disks, from /proc.
# The folder FLEET_PLAYED_WINDOWS changes it: "boot" holds the time of the boot in seconds since 1970; a file "wmi-fails" or
# "wmi-hangs" names classes, a line each, that give an error or no answer.
# Documentation: learn.microsoft.com/powershell/module/cimcmdlets/get-ciminstance, learn.microsoft.com/windows/win32/cimwin32prov
function Test-PlayedFault([string]$Fault, [string]$Class) {
    $file = Join-Path $env:FLEET_PLAYED_WINDOWS $Fault
    return (Test-Path -LiteralPath $file) -and ((Get-Content -LiteralPath $file) -contains $Class)
}

function Get-PlayedMoment([double]$Seconds) {
    return [DateTime]::new(1970, 1, 1, 0, 0, 0, [DateTimeKind]::Utc).AddSeconds($Seconds).ToLocalTime()
}

function Get-PlayedStart {
    $line = [System.IO.File]::ReadAllLines('/proc/stat') | Where-Object { $_.StartsWith('btime ') }
    return [double]$line.Substring(6)
}

function Get-PlayedSystem {
    $boot = Join-Path $env:FLEET_PLAYED_WINDOWS 'boot'
    $began = if (Test-Path -LiteralPath $boot) { [double](Get-Content -LiteralPath $boot) } else { Get-PlayedStart }
    [pscustomobject]@{ LastBootUpTime = Get-PlayedMoment $began; TotalVisibleMemorySize = 8388608; FreePhysicalMemory = 4194304 }
}

function Get-PlayedProcesses {
    $start = Get-PlayedStart
    foreach ($folder in [System.IO.Directory]::GetDirectories('/proc')) {
        $number = 0
        if (-not [int]::TryParse([System.IO.Path]::GetFileName($folder), [ref]$number)) { continue }
        try {
            $text = [System.IO.File]::ReadAllText("$folder/stat")
            $words = $text.Substring($text.LastIndexOf(')') + 2).Split(' ')
            $line = [System.IO.File]::ReadAllText("$folder/cmdline").Replace([string][char]0, ' ').Trim()
        }
        catch { continue }
        [pscustomobject]@{
            ProcessId = [uint32]$number
            ParentProcessId = [uint32]$words[1]
            Name = $text.Substring($text.IndexOf('(') + 1, $text.LastIndexOf(')') - $text.IndexOf('(') - 1)
            CommandLine = $line
            CreationDate = Get-PlayedMoment ($start + [double]$words[19] / 100)
            UserModeTime = [uint64]$words[11] * 100000
            KernelModeTime = [uint64]$words[12] * 100000
        }
    }
}

function Get-CimInstance {
    param([Parameter(Position = 0)][string]$ClassName, [string]$Filter, [uint32]$OperationTimeoutSec)
    if (Test-PlayedFault 'wmi-hangs' $ClassName) { [System.Threading.Thread]::Sleep(600000) }
    if (Test-PlayedFault 'wmi-fails' $ClassName) { throw "Provider load failure: $ClassName" }
    switch ($ClassName) {
        'Win32_OperatingSystem' { Get-PlayedSystem }
        'Win32_Processor' { [pscustomobject]@{ LoadPercentage = 12; NumberOfLogicalProcessors = 2 } }
        'Win32_Process' { Get-PlayedProcesses }
        'Win32_LogicalDisk' { [pscustomobject]@{ Size = 136365211648; FreeSpace = 68182605824; DeviceID = 'C:' } }
        default { throw "Invalid class: $ClassName" }
    }
}

Export-ModuleMember -Function Get-CimInstance
