# Runs one script on a played Windows, in a process of its own: pwsh -NoProfile -File run.ps1 SCRIPT [ARGUMENTS]. Its exit code is the script's.
param([Parameter(Mandatory)][string]$Script, [Parameter(ValueFromRemainingArguments)][string[]]$Rest)
. (Join-Path $PSScriptRoot 'load.ps1')
$LASTEXITCODE = 0
& $Script @Rest
exit $LASTEXITCODE
