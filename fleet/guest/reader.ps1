# Prints one piece of a kept stream.

# The stream is packed as a whole, once, beside it: so its pieces are few, and the same for whoever asks.
function Save-FleetZip([string]$From, [string]$To) {
    $draft = $To + '.' + $FleetNonce
    try {
        $target = [System.IO.File]::Open($draft, 'Create', 'Write', 'None')
        try {
            $source = Open-FleetFile $From
            $zip = Open-FleetZip $target
            try { $source.CopyTo($zip) } finally { $zip.Dispose(); $source.Dispose() }
        }
        finally { $target.Dispose() }
        [System.IO.File]::Move($draft, $To)
    }
    catch { try { [System.IO.File]::Delete($draft) } catch { $null = $_ } }
}

# A stream goes as it is where there is no room to pack it, and where there is nothing to pack.
function Show-FleetPiece {
    $path = $FleetPath
    $form = 'plain'
    if ((New-Object System.IO.FileInfo $path).Length -gt 0) {
        $zip = $FleetPath + '.gz'
        if (-not (Test-Path -LiteralPath $zip)) { Save-FleetZip $FleetPath $zip }
        if (Test-Path -LiteralPath $zip) {
            $path = $zip
            $form = 'gzip'
        }
    }
    $file = Open-FleetFile $path
    $from = [Math]::Min([long]$FleetNumber * $FleetBytes, $file.Length)
    [void]$file.Seek($from, 'Begin')
    $piece = Read-FleetBytes $file ([int][Math]::Min($FleetBytes, $file.Length - $from))
    $total = $file.Length
    $file.Dispose()
    Show-FleetBytes $piece $total $form
}

$FleetPath = Join-Path $FleetFolder $FleetStream
if (-not (Test-Path -LiteralPath $FleetClaim)) { Write-FleetPiece 'error=missing' '' '' }
elseif (-not (Read-FleetAnswer)) { Write-FleetPiece 'error=running' '' '' }
elseif (-not (Test-Path -LiteralPath $FleetPath)) { Write-FleetPiece 'error=missing' '' '' }
else { Show-FleetPiece }
