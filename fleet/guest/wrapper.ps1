$FleetBom = New-Object System.Text.UTF8Encoding $true

function Stop-Fleet([string]$Why) {
    [Console]::Error.WriteLine('fleet: ' + $Why + '; the script was not started')
    exit 125
}

# A lone "=" stands for an empty secret: a parameter never travels without a value.
function Get-FleetText([string]$Encoded) {
    if ($Encoded -eq '=') { return '' }
    return $FleetUtf8.GetString([Convert]::FromBase64String($Encoded))
}

function Get-FleetSecret([string]$Name, [string]$Carried) {
    if (-not $Carried) { Stop-Fleet ('the secret ' + $Name + ' did not arrive') }
    return Get-FleetText $Carried
}

function Get-FleetDescription([string]$Path) {
    return '{0}:{1}' -f (New-Object System.IO.FileInfo $Path).Length, (Get-FleetHash $Path)
}

function Get-FleetEpoch {
    $origin = New-Object DateTime 1970, 1, 1, 0, 0, 0, ([DateTimeKind]::Utc)
    return [long][Math]::Floor(([DateTime]::UtcNow - $origin).TotalSeconds)
}

function Get-FleetBoot {
    try {
        return (Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('yyyyMMddTHHmmssZ')
    }
    catch { return '-' }
}

# Only the system, the administrators and this user may look inside.
function New-FleetFolder([string]$Path) {
    [void][System.IO.Directory]::CreateDirectory($Path)
    $me = [System.Security.Principal.WindowsIdentity]::GetCurrent().User.Value
    $grants = 'S-1-5-18', 'S-1-5-32-544', $me | Select-Object -Unique | ForEach-Object { '*' + $_ + ':(OI)(CI)F' }
    & icacls.exe $Path /inheritance:r /grant:r $grants | Out-Null
    if ($LASTEXITCODE -ne 0) { Stop-Fleet ('the folder ' + $Path + ' cannot be made private') }
}

# Opening a new file is atomic, which New-Item of a directory is not; the open handle shows that its owner lives.
function Open-FleetClaim {
    try { return [System.IO.File]::Open($FleetClaim, 'CreateNew', 'Write', 'Read') }
    catch [System.IO.IOException] {
        if (Test-Path -LiteralPath $FleetClaim) { return $null }
        throw
    }
}

function Test-FleetOwner {
    try {
        [System.IO.File]::Open($FleetClaim, 'Open', 'Read', 'None').Dispose()
        return $false
    }
    catch [System.IO.IOException] { return $true }
}

# The rules of CommandLineToArgvW: backslashes count only before a quote.
function Get-FleetQuoted([string]$Text) {
    $slash = [string][char]92
    $quote = [string][char]34
    $pattern = '(' + $slash + $slash + '*)' + $quote
    $inner = [regex]::Replace($Text, $pattern, ('$1$1' + $slash + $quote))
    $tail = [regex]::Match($inner, $slash + $slash + '*' + $slash + 'z').Value
    return $quote + $inner + $tail + $quote
}

function Start-FleetScript {
    $start = New-Object System.Diagnostics.ProcessStartInfo
    $start.FileName = (Get-Process -Id $PID).Path
    $words = @('-NoLogo', '-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File')
    $words += Get-FleetQuoted $FleetFile
    foreach ($text in $FleetArguments) { $words += Get-FleetQuoted $text }
    $start.Arguments = $words -join ' '
    $start.UseShellExecute = $false
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    foreach ($name in $FleetEnvironment.Keys) { $start.EnvironmentVariables[$name] = $FleetEnvironment[$name] }
    # The child takes the console's code page for its output; without a console there is none to set.
    try { [Console]::OutputEncoding = $FleetUtf8 } catch { $null = $_ }
    $process = [System.Diagnostics.Process]::Start($start)
    $process.StandardInput.Close()
    return $process
}

# Windows PowerShell makes an error of each line that a program writes to a redirected stderr.
function Stop-FleetTree([int]$Id) {
    $ErrorActionPreference = 'Continue'
    & taskkill.exe /PID $Id /T /F 2>&1 | Out-Null
}

# Without a buffer: whoever follows the script reads the file while it grows.
function Open-FleetLive([string]$Path) {
    return New-Object System.IO.FileStream ($Path + '.live'), 'Create', 'Write', 'ReadWrite', 1
}

function Invoke-FleetScript {
    $out = Open-FleetLive $FleetOut
    $err = Open-FleetLive $FleetErr
    $process = Start-FleetScript
    $pumps = [System.Threading.Tasks.Task[]]@(
        $process.StandardOutput.BaseStream.CopyToAsync($out),
        $process.StandardError.BaseStream.CopyToAsync($err)
    )
    $timedOut = -not $process.WaitForExit($FleetLimit)
    if ($timedOut) {
        Stop-FleetTree $process.Id
        [void]$process.WaitForExit(5000)
    }
    # A process that the script left behind may hold the pipes open; what it prints later is not waited for.
    try { [void][System.Threading.Tasks.Task]::WaitAll($pumps, 5000) } catch { $null = $_ }
    try { $out.Flush(); $err.Flush() } catch { $null = $_ }
    $code = '-'
    if (-not $timedOut -and $process.HasExited) { $code = [string]$process.ExitCode }
    return @{ Exit = $code; TimedOut = [int]$timedOut; Files = @($out, $err) }
}

# Processes that the script left behind may go on writing, so what is measured and shown is a copy.
function Copy-FleetLive([string]$Path) {
    $kept = [System.IO.File]::Open($Path, 'Create', 'Write', 'Read')
    if (Test-Path -LiteralPath ($Path + '.live')) {
        $live = [System.IO.File]::Open($Path + '.live', 'Open', 'Read', 'ReadWrite')
        $live.CopyTo($kept)
        $live.Dispose()
    }
    $kept.Dispose()
}

# Of a stream above 64 MiB only the end is kept; the answer tells the length and digest of all of it.
function Limit-FleetStream([string]$Path) {
    if ((New-Object System.IO.FileInfo $Path).Length -le 67108864) { return }
    [System.IO.File]::WriteAllBytes($Path, (Get-FleetEnd $Path 67108864))
}

function Save-FleetAnswer([string]$Digest, [string]$Code, [int]$TimedOut, [int]$Interrupted, [long]$Started) {
    foreach ($path in $FleetOut, $FleetErr) {
        Copy-FleetLive $path
    }
    $answer = 'script={0} exit={1} signal=- timed_out={2} interrupted={3}' -f $Digest, $Code, $TimedOut, $Interrupted
    $answer += ' stdout={0} stderr={1}' -f (Get-FleetDescription $FleetOut), (Get-FleetDescription $FleetErr)
    $answer += ' boot={0} started={1} ended={2} end' -f (Get-FleetBoot), $Started, (Get-FleetEpoch)
    Limit-FleetStream $FleetOut
    Limit-FleetStream $FleetErr
    $draft = $FleetAnswerFile + '.' + $PID
    [System.IO.File]::WriteAllText($draft, $answer, $FleetUtf8)
    try { [System.IO.File]::Move($draft, $FleetAnswerFile) } catch [System.IO.IOException] { [System.IO.File]::Delete($draft) }
}

function Invoke-FleetOnce {
    $digest = Get-FleetHash $FleetFile
    $started = Get-FleetEpoch
    [System.IO.File]::WriteAllText($FleetStarted, ('{0} {1}' -f $started, $digest), $FleetUtf8)
    $end = Invoke-FleetScript
    Save-FleetAnswer $digest $end.Exit $end.TimedOut 0 $started
    $end.Files | ForEach-Object { try { $_.Dispose() } catch { $null = $_ } }
}

function Save-FleetInterruption {
    $digest = '-'
    $started = Get-FleetEpoch
    if (Test-Path -LiteralPath $FleetStarted) {
        $words = [System.IO.File]::ReadAllText($FleetStarted).Split(' ')
        if ($words.Count -eq 2) { $started = [long]$words[0]; $digest = $words[1] }
    }
    Save-FleetAnswer $digest '-' 0 1 $started
}

# The first delivery ends within the limit and a little; nobody waits longer for it.
function Wait-FleetAnswer {
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    while (-not (Test-Path -LiteralPath $FleetAnswerFile)) {
        if (-not (Test-FleetOwner)) {
            if (-not (Test-Path -LiteralPath $FleetAnswerFile)) { Save-FleetInterruption }
            return
        }
        if ($watch.ElapsedMilliseconds -ge $FleetLimit + 20000) {
            Stop-Fleet ('an earlier delivery still holds ' + $FleetFolder + ' and has not ended')
        }
        Start-Sleep -Seconds 1
    }
}

# Azure keeps the last 4,096 bytes of each stream. What is longer goes packed: the ends of both streams, one behind the
# other, gzipped, in base64, divided over stdout and stderr. $Most is how much of the end of each is taken.
function Get-FleetPack([long]$Most) {
    $out = Get-FleetEnd $FleetOut $Most
    $err = Get-FleetEnd $FleetErr $Most
    $memory = New-Object System.IO.MemoryStream
    $zip = Open-FleetZip $memory
    $zip.Write($out, 0, $out.Length)
    $zip.Write($err, 0, $err.Length)
    $zip.Dispose()
    return @{ Out = $out.Length; Err = $err.Length; Text = [Convert]::ToBase64String($memory.ToArray()) }
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
    if (-not (Test-Path -LiteralPath $FleetOut)) { $pack = @{ Out = 0; Err = 0; Text = '' } }
    elseif (Test-FleetNarrow $room) { $pack = Select-FleetPack $room }
    if ($pack) {
        $head = $pack.Text.Substring(0, [Math]::Min($room, $pack.Text.Length))
        $rest = $pack.Text.Substring($head.Length)
        $field = 'packed={0}:{1}:{2}:{3} ' -f $pack.Out, $pack.Err, $head.Length, $rest.Length
        Write-FleetBytes $stdout ($FleetUtf8.GetBytes($head + $begin + $field + $Answer + $line))
        Write-FleetBytes $stderr ($FleetUtf8.GetBytes($rest))
        return
    }
    Write-FleetBytes $stdout ([System.IO.File]::ReadAllBytes($FleetOut))
    Write-FleetBytes $stdout ($FleetUtf8.GetBytes($begin + $Answer + $line))
    Write-FleetBytes $stderr ([System.IO.File]::ReadAllBytes($FleetErr))
}

function Get-FleetExit([string]$Answer) {
    if ($Answer.Contains(' timed_out=1 ')) { return 124 }
    $found = [regex]::Match($Answer, ' exit=(-?[0-9]+) ')
    if ($found.Success) { return [int]$found.Groups[1].Value }
    return 125
}

# Answers stay until they are seven days old; the output beside them goes sooner, oldest first, above 256 MiB in all.
function Remove-FleetOld {
    Get-ChildItem -LiteralPath $FleetSpool -Directory -ErrorAction SilentlyContinue |
        Where-Object { $_.Name -ne $FleetEntry -and $_.LastWriteTimeUtc -lt [DateTime]::UtcNow.AddDays(-7) } |
        Remove-Item -Recurse -Force -ErrorAction SilentlyContinue
    $entries = Get-ChildItem -LiteralPath $FleetSpool -Directory -ErrorAction SilentlyContinue | Sort-Object LastWriteTimeUtc
    foreach ($entry in $entries) {
        $files = Get-ChildItem -LiteralPath $FleetSpool -Recurse -File -ErrorAction SilentlyContinue
        if (($files | Measure-Object -Property Length -Sum).Sum -le 268435456) { return }
        if ($entry.Name -eq $FleetEntry -or -not (Test-Path -LiteralPath (Join-Path $entry.FullName 'answer'))) { continue }
        foreach ($name in 'stdout', 'stderr', 'stdout.gz', 'stderr.gz') {
            Remove-Item -LiteralPath (Join-Path $entry.FullName $name) -Force -ErrorAction SilentlyContinue
        }
    }
}

$FleetEnvironment = New-Object System.Collections.Specialized.OrderedDictionary
$FleetArguments = New-Object System.Collections.ArrayList
$FleetSpool = $env:FLEET_SPOOL
if (-not $FleetSpool) { $FleetSpool = Join-Path (Join-Path $env:ProgramData 'Fleet') 'receipts' }
$FleetFolder = Join-Path $FleetSpool $FleetEntry
$FleetClaim = Join-Path $FleetFolder 'claim'
$FleetFile = Join-Path $FleetFolder 'script.ps1'
$FleetStarted = Join-Path $FleetFolder 'started'
$FleetOut = Join-Path $FleetFolder 'stdout'
$FleetErr = Join-Path $FleetFolder 'stderr'
$FleetAnswerFile = Join-Path $FleetFolder 'answer'

try {
    New-FleetFolder $FleetSpool
    [void][System.IO.Directory]::CreateDirectory($FleetFolder)
    $FleetReplayed = 1
    $FleetHandle = $null
    if (-not (Test-Path -LiteralPath $FleetAnswerFile)) {
        . $FleetValues
        $FleetHandle = Open-FleetClaim
    }
}
catch { Stop-Fleet ([string]$_) }

if ($FleetHandle) {
    $FleetReplayed = 0
    [System.IO.File]::WriteAllText($FleetFile, (Get-FleetText $FleetScript), $FleetBom)
    Invoke-FleetOnce
    $FleetHandle.Dispose()
}
else { Wait-FleetAnswer }

$FleetAnswer = [System.IO.File]::ReadAllText($FleetAnswerFile)
Write-FleetAnswer $FleetReplayed $FleetAnswer
Remove-FleetOld
exit (Get-FleetExit $FleetAnswer)
