# Start-Service, Stop-Service and Restart-Service of the lab's guests, by the objects that Get-Service gives.
# Documentation: learn.microsoft.com/powershell/module/microsoft.powershell.management/restart-service
function Wait-PlayedService($Service, [string]$Status) {
    foreach ($turn in 1..100) {
        if ($Service.Status -eq $Status) { return }
        Start-Sleep -Milliseconds 250
    }
    Write-Error "Failed to bring service '$($Service.Name)' to the state $Status."
}

function Start-Service {
    [CmdletBinding()]
    param([Parameter(Mandatory, Position = 0)][string[]]$Name)
    foreach ($service in Get-Service $Name) {
        if ($service.Status -eq 'Running') { continue }
        try { $service.Start(); Wait-PlayedService $service 'Running' } catch { Write-Error -ErrorRecord $_ }
    }
}

function Stop-Service {
    [CmdletBinding()]
    param([Parameter(Mandatory, Position = 0)][string[]]$Name, [switch]$Force)
    foreach ($service in Get-Service $Name) {
        if ($service.Status -eq 'Stopped') { continue }
        if ($Force) { foreach ($user in $service.DependentServices) { Stop-Service $user.Name -Force } }
        try { $service.Stop(); Wait-PlayedService $service 'Stopped' } catch { Write-Error -ErrorRecord $_ }
    }
}

function Restart-Service {
    [CmdletBinding()]
    param([Parameter(Mandatory, Position = 0)][string[]]$Name, [switch]$Force)
    Stop-Service $Name -Force:$Force
    Start-Service $Name
}
