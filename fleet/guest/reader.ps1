# Prints one piece of a kept stream.

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
    Show-FleetBytes $piece $total
}

$FleetPath = Join-Path $FleetFolder $FleetStream
if (-not (Test-Path -LiteralPath (Join-Path $FleetFolder 'claim'))) { Write-FleetPiece 'error=missing' '' '' }
elseif (-not (Test-Path -LiteralPath (Join-Path $FleetFolder 'answer'))) { Write-FleetPiece 'error=running' '' '' }
elseif (-not (Test-Path -LiteralPath $FleetPath)) { Write-FleetPiece 'error=missing' '' '' }
else { Show-FleetPiece }
