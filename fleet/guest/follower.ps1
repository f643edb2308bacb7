
# Prints what a script has printed since, as base64 over stdout and stderr, and what it is. Nothing is kept of it.
function Write-FleetNews([string]$About, [string]$Head, [string]$Rest) {
    $line = [string][char]10
    $frame = $line + 'fleet-news v1 nonce=' + $FleetNonce + ' ' + $About + ' end' + $line
    Write-FleetBytes ([Console]::OpenStandardOutput()) ($FleetUtf8.GetBytes($Head + $frame))
    Write-FleetBytes ([Console]::OpenStandardError()) ($FleetUtf8.GetBytes($Rest))
}

# Where a stream is, how many bytes of it are there, and how many there have been: of long ones the end is kept.
function Get-FleetMeasure([string]$Name) {
    $path = Join-Path $FleetFolder $Name
    if (-not $FleetKept -and (Test-Path -LiteralPath ($path + '.live'))) { $path = $path + '.live' }
    $there = [long]0
    if (Test-Path -LiteralPath $path) { $there = (New-Object System.IO.FileInfo $path).Length }
    $all = $there
    if ($FleetKept) { $all = [long][regex]::Match($FleetKept, ' ' + $Name + '=([0-9]+):').Groups[1].Value }
    return @{ Path = $path; There = $there; All = $all }
}

function Test-FleetStill([string]$Name, [long]$From) {
    return ($From -lt 0) -or ((Get-FleetMeasure $Name).All -le $From)
}

function Wait-FleetNews {
    for ($left = $FleetWait; $left -gt 0; $left--) {
        if (Read-FleetAnswer) { return }
        if (-not (Test-FleetStill 'stdout' $FleetStdout)) { return }
        if (-not (Test-FleetStill 'stderr' $FleetStderr)) { return }
        Start-Sleep -Seconds 1
    }
}

# A stream from a byte on, at most so many; of one that ran far ahead only the end, so that nobody lags behind.
function Get-FleetPart([string]$Name, [long]$From, [int]$Most) {
    if ($From -lt 0) { return @{ Bytes = [byte[]]@(); About = $Name + '=0:0:0' } }
    $stream = Get-FleetMeasure $Name
    if ($stream.All - $From -gt $FleetFar) { $From = $stream.All - $Most }
    $From = [Math]::Max($From, $stream.All - $stream.There)
    $bytes = [byte[]]@()
    if ($From -lt $stream.All) {
        $file = Open-FleetFile $stream.Path
        [void]$file.Seek($From - $stream.All + $stream.There, 'Begin')
        $bytes = Read-FleetBytes $file ([int][Math]::Min($Most, $stream.All - $From))
        $file.Dispose()
    }
    return @{ Bytes = $bytes; About = '{0}={1}:{2}:{3}' -f $Name, $From, $bytes.Length, $stream.All }
}

function Show-FleetNews {
    foreach ($most in 32768, 8192, 2800) {
        $out = Get-FleetPart 'stdout' $FleetStdout $most
        $err = Get-FleetPart 'stderr' $FleetStderr $most
        $bytes = [byte[]](@($out.Bytes) + @($err.Bytes))
        $text = [Convert]::ToBase64String((Compress-FleetBytes $bytes $bytes.Length))
        if ($text.Length -le 7600) { break }
    }
    $sha = [System.Security.Cryptography.SHA256]::Create()
    $sum = [BitConverter]::ToString($sha.ComputeHash($bytes)).Replace('-', '').ToLowerInvariant()
    $head = $text.Substring(0, [Math]::Min(3800, $text.Length))
    $rest = $text.Substring($head.Length)
    $end = if ($FleetKept) { Get-FleetExit $FleetKept } else { '-' }
    $about = 'exit={0} {1} {2} form=gzip sum={3}' -f $end, $out.About, $err.About, $sum
    Write-FleetNews ($about + (' base64={0}:{1}' -f $head.Length, $rest.Length)) $head $rest
}

# A stream moves to its last place while the answer is written: then it is looked for once more.
if (-not (Test-Path -LiteralPath $FleetClaim)) { Write-FleetNews 'error=missing' '' '' }
else {
    $FleetKept = ''
    Wait-FleetNews
    foreach ($turn in 1..5) {
        $FleetKept = Read-FleetAnswer
        try {
            Show-FleetNews
            break
        }
        catch { Start-Sleep -Milliseconds 200 }
    }
}
