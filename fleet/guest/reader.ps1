
# Prints one piece of a kept stream, as base64 over stdout and stderr, and what it is.
function Write-FleetPiece([string]$About, [string]$Head, [string]$Rest) {
    $line = [string][char]10
    $frame = $line + 'fleet-piece v1 nonce=' + $FleetNonce + ' ' + $About + ' end' + $line
    Write-FleetBytes ([Console]::OpenStandardOutput()) ($FleetUtf8.GetBytes($Head + $frame))
    Write-FleetBytes ([Console]::OpenStandardError()) ($FleetUtf8.GetBytes($Rest))
}

# The stream is packed as a whole, once, beside it: so its pieces are few, and the same for whoever asks.
function Save-FleetZip([string]$From, [string]$To) {
    if (Test-Path -LiteralPath $To) { return }
    $draft = $To + '.' + $FleetNonce
    $target = [System.IO.File]::Open($draft, 'Create', 'Write', 'None')
    $source = [System.IO.File]::Open($From, 'Open', 'Read', 'ReadWrite')
    $zip = Open-FleetZip $target
    $source.CopyTo($zip)
    $zip.Dispose()
    $source.Dispose()
    $target.Dispose()
    try { [System.IO.File]::Move($draft, $To) } catch [System.IO.IOException] { [System.IO.File]::Delete($draft) }
}

function Show-FleetPiece {
    $zip = $FleetPath + '.gz'
    Save-FleetZip $FleetPath $zip
    $file = [System.IO.File]::Open($zip, 'Open', 'Read', 'Read')
    $from = [Math]::Min([long]$FleetNumber * $FleetBytes, $file.Length)
    [void]$file.Seek($from, 'Begin')
    $piece = Read-FleetBytes $file ([int][Math]::Min($FleetBytes, $file.Length - $from))
    $total = $file.Length
    $file.Dispose()
    $sha = [System.Security.Cryptography.SHA256]::Create()
    $sum = [BitConverter]::ToString($sha.ComputeHash($piece)).Replace('-', '').ToLowerInvariant()
    $text = [Convert]::ToBase64String($piece)
    $head = $text.Substring(0, [Math]::Min(3800, $text.Length))
    $rest = $text.Substring($head.Length)
    $about = 'stream={0} number={1} form=gzip total={2}' -f $FleetStream, $FleetNumber, $total
    $about += ' length={0}:{1} base64={2}:{3}' -f $piece.Length, $sum, $head.Length, $rest.Length
    Write-FleetPiece $about $head $rest
}

$FleetSpool = $env:FLEET_SPOOL
if (-not $FleetSpool) { $FleetSpool = Join-Path (Join-Path $env:ProgramData 'Fleet') 'receipts' }
$FleetFolder = Join-Path $FleetSpool $FleetEntry
$FleetPath = Join-Path $FleetFolder $FleetStream
if (-not (Test-Path -LiteralPath (Join-Path $FleetFolder 'claim'))) { Write-FleetPiece 'error=missing' '' '' }
elseif (-not (Test-Path -LiteralPath (Join-Path $FleetFolder 'answer'))) { Write-FleetPiece 'error=running' '' '' }
elseif (-not (Test-Path -LiteralPath $FleetPath)) { Write-FleetPiece 'error=missing' '' '' }
else { Show-FleetPiece }
