# In the lab's guests C: is the folder /c, and SystemDrive says so. Whoever asks for that drive by this name gets C:.
$LabNewDrive = ${function:New-PlayedDrive}
$LabLogicalDisk = ${function:Get-PlayedWin32_LogicalDisk}
function New-PlayedDrive([string]$Name) { & $LabNewDrive ($Name -replace '^/([A-Za-z])(/.*)?$', '$1:') }
function Get-PlayedWin32_LogicalDisk([string]$Filter) { & $LabLogicalDisk ($Filter -replace "'/([A-Za-z])'", '''$1:''') }
