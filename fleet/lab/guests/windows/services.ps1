# Services: Get-Service with the ServiceController that it gives, and sc.exe queryex.
# Documentation: learn.microsoft.com/powershell/module/microsoft.powershell.management/get-service,
# learn.microsoft.com/dotnet/api/system.serviceprocess.servicecontroller and learn.microsoft.com/windows-server/administration/windows-commands/sc-query
# A name may hold wildcards; one that is not there is an error of the category ObjectNotFound; a service with running dependents
# stops only with -Force; a change takes a moment, in which it is StartPending or StopPending.
function Get-PlayedService([string]$Name) {
    return (Get-PlayedState).services.$Name
}

class PlayedService {
    [string]$Name
    [string]$ServiceName
    [string]$DisplayName
    [string]$StartType
    [object[]]$DependentServices = @()
    [object[]]$ServicesDependedOn = @()
    [bool]$CanStop = $true
    PlayedService([string]$Name) {
        $service = Get-PlayedService $Name
        $this.Name = $Name
        $this.ServiceName = $Name
        $this.DisplayName = if ($service.display_name) { $service.display_name } else { $Name }
        $this.StartType = if ($service.start) { $service.start } else { 'Automatic' }
        $this | Add-Member -MemberType ScriptProperty -Name Status -Value { Get-PlayedStatus $this.Name }
        $all = (Get-PlayedState).services
        $users = @($all.psobject.Properties | Where-Object { $_.Value.needs -contains $Name } | ForEach-Object { $_.Name })
        $this.DependentServices = @($users | ForEach-Object { [PlayedService]::new($_) })
    }
    [void] Refresh() { }
    [string] ToString() { return $this.Name }
    [void] Start() { Start-PlayedService $this.Name }
    [void] Stop() { Stop-PlayedService $this.Name }
}

# Running, Stopped, or pending for as many looks as state says. One that dies does so some looks after its start.
function Get-PlayedStatus([string]$Name) {
    $state = Get-PlayedState
    $service = $state.services.$Name
    if ($service.pending_looks -and $service.status -like '*Pending') {
        $service.pending_looks = $service.pending_looks - 1
        if ($service.pending_looks -eq 0) { $service.status = $service.status -replace 'StartPending', 'Running' -replace 'StopPending', 'Stopped' }
        Save-PlayedState $state
    } elseif ($service.status -eq 'Running' -and $service.dies_after -gt 0) {
        $service.dies_after = $service.dies_after - 1
        if ($service.dies_after -eq 0) {
            $service.status = 'Stopped'
            if ($service.comes_back) {
                $service.status = 'Running'
                Set-PlayedMember $service 'process' ([int]$service.process + 1)
            }
        }
        Save-PlayedState $state
    }
    return $service.status
}

# What ServiceController throws: InvalidOperationException, with the number of Windows inside.
function Get-PlayedServiceFault([string]$Name, [string]$Verb, [int]$Number) {
    $inner = [System.ComponentModel.Win32Exception]::new($Number)
    return [System.InvalidOperationException]::new("Cannot $Verb service '$Name' on computer '.'.", $inner)
}

function Start-PlayedService([string]$Name) {
    Add-PlayedCall "start $Name"
    $state = Get-PlayedState
    $service = $state.services.$Name
    if ($service.start -eq 'Disabled') { throw (Get-PlayedServiceFault $Name 'start' 1058) }
    if ($service.start_fails) { throw (Get-PlayedServiceFault $Name 'start' $service.start_fails) }
    if ($service.status -ne 'Stopped') { throw (Get-PlayedServiceFault $Name 'start' 1056) }
    foreach ($need in $service.needs) { if ($state.services.$need.status -eq 'Stopped') { Start-PlayedService $need } }
    $state = Get-PlayedState
    $service = $state.services.$Name
    $service.status = 'StartPending'
    Set-PlayedMember $service 'process' ([int]$service.process + 1)
    if (-not $service.start_looks) { $service.status = 'Running' } else { Set-PlayedMember $service 'pending_looks' $service.start_looks }
    if ($service.crashes_after) { Set-PlayedMember $service 'dies_after' $service.crashes_after }
    Save-PlayedState $state
}

function Stop-PlayedService([string]$Name) {
    Add-PlayedCall "stop $Name"
    $state = Get-PlayedState
    $service = $state.services.$Name
    if ($service.stop_fails) { throw (Get-PlayedServiceFault $Name 'stop' $service.stop_fails) }
    if ($service.status -eq 'Stopped') { throw (Get-PlayedServiceFault $Name 'stop' 1062) }
    $users = @($state.services.psobject.Properties | Where-Object { $_.Value.needs -contains $Name -and $_.Value.status -ne 'Stopped' })
    if ($users) { throw (Get-PlayedServiceFault $Name 'stop' 1051) }
    $service.status = 'StopPending'
    if (-not $service.stop_looks) { $service.status = 'Stopped' } else { Set-PlayedMember $service 'pending_looks' $service.stop_looks }
    Save-PlayedState $state
}

function Get-Service {
    [CmdletBinding()]
    param([Parameter(Position = 0)][Alias('ServiceName')][string[]]$Name = '*', [switch]$DependentServices, [switch]$RequiredServices)
    $state = Get-PlayedState
    Assert-Played $state.service_manager 'Get-Service'
    foreach ($pattern in $Name) {
        $found = @($state.services.psobject.Properties.Name | Where-Object { $_ -like $pattern })
        if (-not $found -and -not [WildcardPattern]::ContainsWildcardCharacters($pattern)) {
            $text = "Cannot find any service with service name '$pattern'."
            Write-Error -Message $text -Category ObjectNotFound -ErrorId NoServiceFoundForGivenName -TargetObject $pattern
        }
        foreach ($each in $found) {
            if ($state.services.$each.throws -eq 'access') {
                $text = "Service '$each' cannot be queried due to the following error: Access is denied"
                Write-Error -Message $text -Category PermissionDenied -ErrorId CouldNotGetServiceInfo -TargetObject $each
                continue
            }
            [PlayedService]::new($each)
        }
    }
}

function sc.exe([string]$Verb, [string]$Name) {
    $service = (Get-PlayedState).services.$Name
    if (-not $service -or (Get-PlayedState).service_manager.sc -eq 'broken') {
        "[SC] EnumQueryServicesStatus:OpenService FAILED 1060:"
        $global:LASTEXITCODE = 1060
        return
    }
    "SERVICE_NAME: $Name"
    "        STATE              : 4  $($service.status.ToUpperInvariant())"
    "        PID                : $([int]$service.process)"
    $global:LASTEXITCODE = 0
}
