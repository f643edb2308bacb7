# Ends the process tree of one delivery's script, and nothing else. Windows knows no gentle signal: it is killed.
function Stop-FleetScript {
    $script = Get-FleetScriptProcess (Get-FleetProcesses)
    if (-not $script) {
        Add-FleetLine ('refused=the script' + [char]39 + 's process cannot be told for sure')
        return
    }
    Add-FleetLine ('group=' + $script.ProcessId)
    $ErrorActionPreference = 'Continue'
    & taskkill.exe /PID $script.ProcessId /T /F 2>&1 | Out-Null
    Add-FleetLine 'signal=KILL'
    Start-Sleep -Seconds 1
    if (Get-FleetScriptProcess (Get-FleetProcesses)) { Add-FleetLine 'stayed=1' }
    foreach ($turn in 1..8) {
        if (Test-Path -LiteralPath (Join-Path $FleetFolder 'answer')) {
            Add-FleetLine 'answered=1'
            return
        }
        Start-Sleep -Seconds 1
    }
}

$FleetIs = Get-FleetState
Add-FleetLine ('state=' + $FleetIs)
try { if ($FleetIs -eq 'alive' -or $FleetIs -eq 'gone') { Stop-FleetScript } }
catch { Add-FleetLine 'refused=the process could not be ended' }
Add-FleetSection 'end'
Send-FleetReport $FleetReport.ToString()
