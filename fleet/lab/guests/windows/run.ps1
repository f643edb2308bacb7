# Runs one script on a played Windows, in a process of its own: pwsh -NoProfile -File run.ps1 SCRIPT. Its exit code is the script's.
param([Parameter(Mandatory)][string]$Script)
. (Join-Path $PSScriptRoot 'load.ps1')
& $Script
exit $LASTEXITCODE
