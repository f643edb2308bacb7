# Who claimed a delivery, and which process its script is.
$FleetSpool = $env:FLEET_SPOOL
if (-not $FleetSpool) { $FleetSpool = Join-Path (Join-Path $env:ProgramData 'Fleet') 'receipts' }
$FleetFolder = Join-Path $FleetSpool $FleetEntry
$FleetClaim = Join-Path $FleetFolder 'claim'
$FleetAnswerFile = Join-Path $FleetFolder 'answer'

# The open handle of the claim shows that its owner lives. Others have it open for a moment: a look of this kind, a scanner.
function Test-FleetOwner {
    foreach ($turn in 1..3) {
        try {
            [System.IO.File]::Open($FleetClaim, 'Open', 'Read', 'None').Dispose()
            return $false
        }
        catch { if ($turn -lt 3) { Start-Sleep -Milliseconds 200 } }
    }
    return $true
}

# The script's own process while it lives, by the number and the start that the wrapper kept: a number may be used again.
function Get-FleetChild {
    try {
        $words = [System.IO.File]::ReadAllText((Join-Path $FleetFolder 'child')).Trim().Split(' ')
        $process = [System.Diagnostics.Process]::GetProcessById([int]$words[0])
        $apart = [Math]::Abs($process.StartTime.ToUniversalTime().Ticks - [long]$words[1])
        if ($apart -le 10000000 -and -not $process.HasExited) { return $process }
    }
    catch { $null = $_ }
    return $null
}

# Windows PowerShell makes an error of each line that a program writes to a redirected stderr.
function Stop-FleetTree([System.Diagnostics.Process]$Process) {
    $ErrorActionPreference = 'Continue'
    try { & taskkill.exe /PID $Process.Id /T /F 2>&1 | Out-Null } catch { $null = $_ }
    try { if (-not $Process.WaitForExit(1000)) { $Process.Kill() } } catch { $null = $_ }
}

# The answer; nothing where there is none, or half of one, as a machine that lost its power leaves it.
function Read-FleetAnswer {
    try { $text = [System.IO.File]::ReadAllText($FleetAnswerFile) } catch { return '' }
    if ($text.StartsWith('script=') -and $text.EndsWith(' end')) { return $text }
    return ''
}

function Get-FleetExit([string]$Answer) {
    if ($Answer.Contains(' timed_out=1 ')) { return 124 }
    $found = [regex]::Match($Answer, ' exit=(-?[0-9]+) ')
    if ($found.Success) { return [int]$found.Groups[1].Value }
    $found = [regex]::Match($Answer, ' signal=([0-9]+) ')
    if ($found.Success) { return 128 + [int]$found.Groups[1].Value }
    return 125
}

