# Prints both streams and the receipt, packed where they are longer than the channel.

# Azure keeps the last 4,096 bytes of each stream. What is longer goes packed: the ends of both streams, one behind the
# other, gzipped, in base64, divided over stdout and stderr. $Most is how much of the end of each is taken.
function Get-FleetPack([long]$Most) {
    $out = Get-FleetEnd $FleetOut $Most
    $err = Get-FleetEnd $FleetErr $Most
    $both = New-Object System.IO.MemoryStream
    $both.Write($out, 0, $out.Length)
    $both.Write($err, 0, $err.Length)
    $zip = Compress-FleetBytes $both.ToArray() $both.Length
    return @{ Out = $out.Length; Err = $err.Length; Text = [Convert]::ToBase64String($zip) }
}

# Takes the first, so the longest, of these ends that fits.
function Select-FleetPack([int]$Room) {
    $sum = (New-Object System.IO.FileInfo $FleetOut).Length + (New-Object System.IO.FileInfo $FleetErr).Length
    foreach ($most in 65536, 32768, 24576, 16384, 12288, 8192, 6144) {
        if ($most -eq 65536 -and $sum -gt 65536) { continue }
        $pack = Get-FleetPack $most
        if ($pack.Text.Length -le $Room + 4096) { return $pack }
    }
    return $null
}

function Test-FleetNarrow([int]$Room) {
    if ((New-Object System.IO.FileInfo $FleetOut).Length -gt $Room) { return $true }
    return (New-Object System.IO.FileInfo $FleetErr).Length -gt 4096
}

function Write-FleetAnswer([int]$Replayed, [string]$Answer) {
    $line = [string][char]10
    $begin = $line + 'fleet-receipt v1 nonce=' + $FleetNonce + ' replayed=' + $Replayed + ' '
    # 60 for the numbers of a pack.
    $room = 4096 - $begin.Length - $Answer.Length - 61
    $stdout = [Console]::OpenStandardOutput()
    $stderr = [Console]::OpenStandardError()
    $pack = $null
    try {
        if (-not (Test-Path -LiteralPath $FleetOut)) { $pack = @{ Out = 0; Err = 0; Text = '' } }
        elseif (Test-FleetNarrow $room) { $pack = Select-FleetPack $room }
        $all = @()
        if (-not $pack) { $all = [System.IO.File]::ReadAllBytes($FleetOut), [System.IO.File]::ReadAllBytes($FleetErr) }
    }
    # What was kept cannot be read; how the script ended is told all the same.
    catch { $pack = @{ Out = 0; Err = 0; Text = '' } }
    if ($pack) {
        $head = $pack.Text.Substring(0, [Math]::Min($room, $pack.Text.Length))
        $rest = $pack.Text.Substring($head.Length)
        $field = 'packed={0}:{1}:{2}:{3} ' -f $pack.Out, $pack.Err, $head.Length, $rest.Length
        Write-FleetBytes $stdout ($FleetUtf8.GetBytes($head + $begin + $field + $Answer + $line))
        Write-FleetBytes $stderr ($FleetUtf8.GetBytes($rest))
        return
    }
    Write-FleetBytes $stdout $all[0]
    Write-FleetBytes $stdout ($FleetUtf8.GetBytes($begin + $Answer + $line))
    Write-FleetBytes $stderr $all[1]
}

