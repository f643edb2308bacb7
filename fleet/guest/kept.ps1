# What reads the folder of a delivery and answers in one piece: base64 over stdout and stderr, and what it is.
function Write-FleetPiece([string]$About, [string]$Head, [string]$Rest) {
    $line = [string][char]10
    $frame = $line + 'fleet-piece v1 nonce=' + $FleetNonce + ' ' + $About + ' end' + $line
    Write-FleetBytes ([Console]::OpenStandardOutput()) ($FleetUtf8.GetBytes($Head + $frame))
    Write-FleetBytes ([Console]::OpenStandardError()) ($FleetUtf8.GetBytes($Rest))
}

function Show-FleetBytes([byte[]]$Piece, [long]$Total, [string]$Form) {
    $sha = [System.Security.Cryptography.SHA256]::Create()
    $sum = [BitConverter]::ToString($sha.ComputeHash($Piece)).Replace('-', '').ToLowerInvariant()
    $text = [Convert]::ToBase64String($Piece)
    $head = $text.Substring(0, [Math]::Min(3800, $text.Length))
    $rest = $text.Substring($head.Length)
    $about = 'stream={0} number={1} form={2} total={3}' -f $FleetStream, $FleetNumber, $Form, $Total
    $about += ' length={0}:{1} base64={2}:{3}' -f $Piece.Length, $sum, $head.Length, $rest.Length
    Write-FleetPiece $about $head $rest
}

