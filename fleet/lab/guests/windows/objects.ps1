# New-Object, which outside of Windows knows no COM: objects that are played come from here, all others from PowerShell itself.
# Documentation: learn.microsoft.com/powershell/module/microsoft.powershell.utility/new-object
function New-Object {
    [CmdletBinding(DefaultParameterSetName = 'Net')]
    param(
        [Parameter(ParameterSetName = 'Com', Mandatory)] [string]$ComObject,
        [Parameter(ParameterSetName = 'Com')] [switch]$Strict,
        [Parameter(ParameterSetName = 'Net', Mandatory, Position = 0)] [string]$TypeName,
        [Parameter(ParameterSetName = 'Net', Position = 1)] [Alias('Args')] [object[]]$ArgumentList,
        [System.Collections.IDictionary]$Property
    )
    if ($ComObject) { return , (New-PlayedComObject $ComObject) }
    if ($TypeName -eq 'System.IO.DriveInfo' -and (Get-Command New-PlayedDrive -ErrorAction SilentlyContinue)) { return New-PlayedDrive "$ArgumentList" }
    Microsoft.PowerShell.Utility\New-Object @PSBoundParameters
}
