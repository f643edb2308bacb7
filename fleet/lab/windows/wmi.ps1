# Get-CimInstance, as far as no other file of this folder has it: it asks the function Get-Played<class>. state.cim is "broken", where each
# question throws, or "hangs", where none is answered: then OperationTimeoutSec ends it, and without one nothing does.
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
    [pscustomobject]@{
        Caption = $system.caption
        Version = $system.version
        BuildNumber = ("$($system.version)" -split '\.')[2]
        LastBootUpTime = ([DateTime]$system.booted).ToLocalTime()
        TotalVisibleMemorySize = [uint64]$system.memory_kib
        FreePhysicalMemory = [uint64]$system.free_kib
    }
}

# Each service with its process, by its name.
function Get-PlayedWin32_Service([string]$Filter) {
    $services = (Get-PlayedState).services
    foreach ($service in $services.psobject.Properties) {
        if ($Filter -match "Name='(.+)'" -and $Matches[1].Replace("\'", "'") -ne $service.Name) { continue }
        [pscustomobject]@{ Name = $service.Name; State = $service.Value.status; ProcessId = [uint32]$service.Value.process }
    }
}

if (-not (Get-Command Get-CimInstance -ErrorAction SilentlyContinue)) {
    function Get-CimInstance {
        [CmdletBinding()]
        param(
            [Parameter(Position = 0)][string]$ClassName,
            [string]$Filter,
            [string]$Namespace,
            [uint32]$OperationTimeoutSec,
            [string[]]$Property
        )
        Assert-PlayedCim $OperationTimeoutSec
        & "Get-Played$ClassName" $Filter
    }
}
