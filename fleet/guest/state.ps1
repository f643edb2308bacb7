# How a delivery stands in this machine, and the one piece that a report about it goes out in.

# missing, ended, alive, or gone (without an answer). The open handle of the claim shows that its owner lives.
function Get-FleetState {
    $claim = Join-Path $FleetFolder 'claim'
    if (-not (Test-Path -LiteralPath $claim)) { return 'missing' }
    if (Test-Path -LiteralPath (Join-Path $FleetFolder 'answer')) { return 'ended' }
    try {
        [System.IO.File]::Open($claim, 'Open', 'Read', 'None').Dispose()
        return 'gone'
    }
    catch [System.IO.IOException] { return 'alive' }
}

# The process that was started with the delivery's own script, which no other has in its command line.
function Get-FleetScriptProcess([object[]]$All) {
    $file = Join-Path $FleetFolder 'script.ps1'
    return $All | Where-Object { $_.CommandLine -and $_.CommandLine.Contains($file) } | Select-Object -First 1
}

function Get-FleetProcesses {
    return @(Get-CimInstance Win32_Process)
}

# Cuts the report from its end until, gzipped, it fits into one piece.
function Send-FleetReport([string]$Text) {
    $all = $FleetUtf8.GetBytes($Text)
    foreach ($most in 65536, 24576, 16384, 12288, 8192, 6144, 4096) {
        $memory = New-Object System.IO.MemoryStream
        $zip = Open-FleetZip $memory
        $zip.Write($all, 0, [Math]::Min($all.Length, $most))
        $zip.Dispose()
        $piece = $memory.ToArray()
        if ($piece.Length -le $FleetBytes) { break }
    }
    Show-FleetBytes $piece $piece.Length
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

