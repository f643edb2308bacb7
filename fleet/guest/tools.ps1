$ErrorActionPreference = 'Stop'
$FleetUtf8 = New-Object System.Text.UTF8Encoding $false

function Get-FleetHash([string]$Path) {
    $sha = [System.Security.Cryptography.SHA256]::Create()
    $file = [System.IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite')
    try { return [BitConverter]::ToString($sha.ComputeHash($file)).Replace('-', '').ToLowerInvariant() }
    finally { $file.Dispose(); $sha.Dispose() }
}

# The end of a file, of so many bytes at most.
function Get-FleetEnd([string]$Path, [long]$Most) {
    $file = [System.IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite')
    try {
        $count = [int][Math]::Min($file.Length, $Most)
        [void]$file.Seek(-$count, 'End')
        return , (Read-FleetBytes $file $count)
    }
    finally { $file.Dispose() }
}

function Read-FleetBytes([System.IO.Stream]$File, [int]$Count) {
    $bytes = New-Object byte[] $Count
    $done = 0
    while ($done -lt $Count) {
        $more = $File.Read($bytes, $done, $Count - $done)
        if ($more -eq 0) { break }
        $done += $more
    }
    return , $bytes
}

function Open-FleetZip([System.IO.Stream]$Target) {
    return New-Object System.IO.Compression.GZipStream $Target, ([System.IO.Compression.CompressionLevel]::Optimal), $true
}

# Bytes go out as they are: no formatting, no code page, no wrapping at the width of a console.
function Write-FleetBytes([System.IO.Stream]$Stream, [byte[]]$Bytes) {
    $Stream.Write($Bytes, 0, $Bytes.Length)
    $Stream.Flush()
}

