# Runs the script that powershell.sh was asked for as -File does: a scriptblock's exit ends PowerShell, a finished one is 0.
# Its path is the first parameter, so that a list of processes shows it.
$LabFile = [System.IO.Path]::GetFullPath($args[0])
$LabRest = @($args | Select-Object -Skip 1)
$LabText = [System.IO.File]::ReadAllText($LabFile)
. /opt/lab/windows/prelude.ps1
$LabTokens = $null
$LabErrors = $null
$LabTree = [System.Management.Automation.Language.Parser]::ParseFile($LabFile, [ref]$LabTokens, [ref]$LabErrors)
if ($LabErrors) { throw [System.Management.Automation.ParseException]::new($LabErrors) }
& $LabTree.GetScriptBlock() @LabRest
exit 0
