# Makes this PowerShell one of a played Windows: dot-source it before a script. FLEET_PLAYED_WINDOWS names the folder with its state.
# On Windows only the Windows Update Agent is played, and everything else is the machine's own.
$FleetWindowsParts = 'state', 'late', 'agent', 'objects'
if ([Environment]::OSVersion.Platform -ne 'Win32NT') { $FleetWindowsParts += 'disks', 'services', 'registry', 'hotfixes', 'time', 'defender', 'wmi' }
foreach ($FleetWindowsPart in $FleetWindowsParts) { . (Join-Path $PSScriptRoot "$FleetWindowsPart.ps1") }
