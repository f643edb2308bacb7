# Makes this PowerShell one of a played Windows: dot-source it before a script. FLEET_PLAYED_WINDOWS names the folder with its state.
$FleetWindowsParts = 'state', 'late', 'agent', 'objects', 'disks', 'services', 'registry', 'hotfixes', 'time', 'defender', 'wmi'
foreach ($FleetWindowsPart in $FleetWindowsParts) { . (Join-Path $PSScriptRoot "$FleetWindowsPart.ps1") }
