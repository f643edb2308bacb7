# Runs the script that powershell.sh was asked for as -File does: a scriptblock's exit ends PowerShell, a finished one is 0.
. /opt/lab/windows/prelude.ps1
$LabFile = [System.IO.Path]::GetFullPath($env:LAB_FILE)
[Environment]::SetEnvironmentVariable('LAB_FILE', $null)
$LabTokens = $null
$LabErrors = $null
$LabTree = [System.Management.Automation.Language.Parser]::ParseFile($LabFile, [ref]$LabTokens, [ref]$LabErrors)
if ($LabErrors) { throw [System.Management.Automation.ParseException]::new($LabErrors) }
& $LabTree.GetScriptBlock() @args
exit 0
