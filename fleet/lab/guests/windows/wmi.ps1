# Get-CimInstance: it asks the function Get-Played<class>, and for other classes the module CimCmdlets, if there is one. state.cim is
# "broken", where each question throws, or "hangs", where none is answered: then OperationTimeoutSec ends it, and without one nothing does.
# Documentation: learn.microsoft.com/powershell/module/cimcmdlets/get-ciminstance
function Assert-PlayedCim([double]$Limit) {
    $cim = (Get-PlayedState).cim
    if ($cim -eq 'broken') { throw (Get-PlayedException '0x80041003') }
    if ($cim -ne 'hangs') { return }
    if ($Limit -le 0) { $Limit = 1000000 }
    Wait-Played $Limit
    throw [System.TimeoutException]::new('The WS-Management service cannot complete the operation within the time specified in OperationTimeout.')
}

function Get-PlayedWin32_OperatingSystem {
    $system = (Get-PlayedState).system
    $booted = ([DateTime]$system.booted).ToLocalTime()
    $file = Join-Path $env:FLEET_PLAYED_WINDOWS 'boot' # seconds since 1970, where something else keeps the time of the boot
    if (Test-Path -LiteralPath $file) { $booted = [DateTimeOffset]::FromUnixTimeSeconds([long][System.IO.File]::ReadAllText($file)).LocalDateTime }
    [pscustomobject]@{
        Caption = $system.caption
        Version = $system.version
        BuildNumber = ("$($system.version)" -split '\.')[2]
        LastBootUpTime = $booted
        TotalVisibleMemorySize = [uint64]$system.memory_kib
        FreePhysicalMemory = [uint64]$system.free_kib
    }
}

function Get-CimInstance {
    [CmdletBinding()]
    param(
        [Parameter(Position = 0)][string]$ClassName,
        [string]$Filter,
        [string]$Namespace,
        [uint32]$OperationTimeoutSec
    )
    Assert-PlayedCim $OperationTimeoutSec
    if (Get-Command "Get-Played$ClassName" -ErrorAction SilentlyContinue) { return & "Get-Played$ClassName" $Filter }
    CimCmdlets\Get-CimInstance $ClassName
}
