# How a delivery stands in this machine, and the one piece that a report about it goes out in.

# missing, ended, starting, alive, or gone (without an answer).
function Get-FleetState {
    if (-not (Test-Path -LiteralPath $FleetClaim)) { return 'missing' }
    if (Read-FleetAnswer) { return 'ended' }
    if (-not (Test-FleetOwner)) { return 'gone' }
    if (Test-Path -LiteralPath (Join-Path $FleetFolder 'child')) { return 'alive' }
    return 'starting'
}

# Cuts the report from its end until, gzipped, it fits into one piece.
function Send-FleetReport([string]$Text) {
    $all = $FleetUtf8.GetBytes($Text)
    foreach ($most in 65536, 24576, 16384, 12288, 8192, 6144, 4096) {
        $piece = Compress-FleetBytes $all ([Math]::Min($all.Length, $most))
        if ($piece.Length -le $FleetBytes) { break }
    }
    Show-FleetBytes $piece $piece.Length 'gzip'
}

$FleetStream = 'stdout'
$FleetNumber = 0
$FleetReport = New-Object System.Text.StringBuilder
$FleetLine = [string][char]10

function Add-FleetLine([string]$Line) {
    [void]$FleetReport.Append($Line + $FleetLine)
}

function Add-FleetSection([string]$Name) {
    Add-FleetLine ($FleetLine + $FleetNonce + ' ' + $Name)
}

