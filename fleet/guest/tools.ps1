$ErrorActionPreference = 'Stop'
$FleetUtf8 = New-Object System.Text.UTF8Encoding $false

# Shared for everything: what reads a file here never keeps its writer from renaming or deleting it.
function Open-FleetFile([string]$Path) {
    return [System.IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite, Delete')
}

function Get-FleetHash([string]$Path) {
    $sha = [System.Security.Cryptography.SHA256]::Create()
    $file = Open-FleetFile $Path
    try { return [BitConverter]::ToString($sha.ComputeHash($file)).Replace('-', '').ToLowerInvariant() }
    finally { $file.Dispose(); $sha.Dispose() }
}

# The end of a file, of so many bytes at most.
function Get-FleetEnd([string]$Path, [long]$Most) {
    $file = Open-FleetFile $Path
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

# A GZipStream into which nothing is written gives no byte at all, so what it should give stands here.
function Compress-FleetBytes([byte[]]$Bytes, [int]$Count) {
    if ($Count -eq 0) { return , [Convert]::FromBase64String('H4sIAAAAAAACAwMAAAAAAAAAAAA=') }
    $memory = New-Object System.IO.MemoryStream
    $zip = Open-FleetZip $memory
    $zip.Write($Bytes, 0, $Count)
    $zip.Dispose()
    return , $memory.ToArray()
}

# Bytes go out as they are: no formatting, no code page, no wrapping at the width of a console.
function Write-FleetBytes([System.IO.Stream]$Stream, [byte[]]$Bytes) {
    $Stream.Write($Bytes, 0, $Bytes.Length)
    $Stream.Flush()
}

