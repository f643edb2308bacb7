# Ends the process tree of one delivery's script, and nothing else. Windows knows no gentle signal: it is killed.
function Stop-FleetScript {
    $script = Get-FleetChild
    if (-not $script) {
        Add-FleetLine ('refused=the script' + [char]39 + 's process cannot be told for sure')
        return
    }
    Add-FleetLine ('group=' + $script.Id)
    # Windows reports the end as an exit code. With this file the wrapper knows that it was no end of the script's own.
    try { [System.IO.File]::WriteAllBytes((Join-Path $FleetFolder 'released'), (New-Object byte[] 0)) } catch { $null = $_ }
    Stop-FleetTree $script
    Add-FleetLine 'signal=KILL'
    if (Get-FleetChild) { Add-FleetLine 'stayed=1' }
    foreach ($turn in 1..8) {
        if (Read-FleetAnswer) {
            Add-FleetLine 'answered=1'
            return
        }
        Start-Sleep -Seconds 1
    }
}

$FleetIs = Get-FleetState
Add-FleetLine ('state=' + $FleetIs)
try { if ($FleetIs -in 'alive', 'starting', 'gone') { Stop-FleetScript } }
catch { Add-FleetLine 'refused=the process could not be ended' }
Add-FleetSection 'end'
Send-FleetReport $FleetReport.ToString()
