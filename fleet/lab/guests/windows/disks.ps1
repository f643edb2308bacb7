# Disks: System.IO.DriveInfo, and Win32_LogicalDisk for Get-CimInstance.
# Documentation: learn.microsoft.com/dotnet/api/system.io.driveinfo and learn.microsoft.com/windows/win32/cimwin32prov/win32-logicaldisk
# A letter without a drive is "NoRootDirectory", and asking it for its size throws.
function New-PlayedDrive([string]$Name) {
    $letter = 'C:' # a folder that stands for the system's drive
    if ($Name -match '^[A-Za-z](:|$)') { $letter = $Name.Substring(0, 1).ToUpperInvariant() + ':' }
    $disk = (Get-PlayedState).disks.$letter
    $drive = [pscustomobject]@{ Name = $letter + '\'; DriveType = 'NoRootDirectory'; IsReady = $false }
    if ($disk) {
        $drive.DriveType = if ($disk.kind) { $disk.kind } else { 'Fixed' }
        $drive.IsReady = $disk.ready -ne $false
    }
    foreach ($pair in @('TotalSize', 'size_mib'), @('AvailableFreeSpace', 'free_mib'), @('TotalFreeSpace', 'free_mib')) {
        if ($drive.IsReady -and -not $disk.throws) {
            $drive | Add-Member -NotePropertyName $pair[0] -NotePropertyValue ([long]$disk.($pair[1]) * 1048576)
        } else {
            $drive | Add-Member -MemberType ScriptProperty -Name $pair[0] -Value {
                throw [System.IO.IOException]::new('The device is not ready.', -2147024875)
            }
        }
    }
    return $drive
}

function Get-PlayedWin32_LogicalDisk([string]$Filter) {
    $disks = (Get-PlayedState).disks
    foreach ($letter in $disks.psobject.Properties.Name) {
        if ($Filter -match "DeviceID='(.+)'" -and $Matches[1] -ne $letter) { continue }
        if ($Filter -match 'DriveType=3' -and $disks.$letter.kind) { continue }
        [pscustomobject]@{
            DeviceID = $letter
            DriveType = 3
            Size = [uint64]$disks.$letter.size_mib * 1048576
            FreeSpace = [uint64]$disks.$letter.free_mib * 1048576
        }
    }
}
