$ErrorActionPreference = 'Stop'
$FleetUtf8 = New-Object System.Text.UTF8Encoding $false
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

function Get-FleetHash([string]$Path) {
    $sha = [System.Security.Cryptography.SHA256]::Create()
    $file = [System.IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite')
    try { return [BitConverter]::ToString($sha.ComputeHash($file)).Replace('-', '').ToLowerInvariant() }
    finally { $file.Dispose(); $sha.Dispose() }
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

function Invoke-FleetScript {
    $out = [System.IO.File]::Open($FleetOut + '.live', 'Create', 'Write', 'ReadWrite')
    $err = [System.IO.File]::Open($FleetErr + '.live', 'Create', 'Write', 'ReadWrite')
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

function Save-FleetAnswer([string]$Digest, [string]$Code, [int]$TimedOut, [int]$Interrupted, [long]$Started) {
    foreach ($path in $FleetOut, $FleetErr) {
        Copy-FleetLive $path
    }
    $answer = 'script={0} exit={1} signal=- timed_out={2} interrupted={3}' -f $Digest, $Code, $TimedOut, $Interrupted
    $answer += ' stdout={0} stderr={1}' -f (Get-FleetDescription $FleetOut), (Get-FleetDescription $FleetErr)
    $answer += ' boot={0} started={1} ended={2} end' -f (Get-FleetBoot), $Started, (Get-FleetEpoch)
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

function Write-FleetStream([System.IO.Stream]$Stream, [string]$Path) {
    $bytes = [System.IO.File]::ReadAllBytes($Path)
    $Stream.Write($bytes, 0, $bytes.Length)
    $Stream.Flush()
}

# Bytes go out as they are: no formatting, no code page, no wrapping at the width of a console.
function Write-FleetAnswer([int]$Replayed, [string]$Answer) {
    $line = [string][char]10
    $frame = $line + 'fleet-receipt v1 nonce=' + $FleetNonce + ' replayed=' + $Replayed + ' ' + $Answer + $line
    $stdout = [Console]::OpenStandardOutput()
    Write-FleetStream $stdout $FleetOut
    $bytes = $FleetUtf8.GetBytes($frame)
    $stdout.Write($bytes, 0, $bytes.Length)
    $stdout.Flush()
    Write-FleetStream ([Console]::OpenStandardError()) $FleetErr
}

function Get-FleetExit([string]$Answer) {
    if ($Answer.Contains(' timed_out=1 ')) { return 124 }
    $found = [regex]::Match($Answer, ' exit=(-?[0-9]+) ')
    if ($found.Success) { return [int]$found.Groups[1].Value }
    return 125
}

function Remove-FleetOld {
    Get-ChildItem -LiteralPath $FleetSpool -Directory -ErrorAction SilentlyContinue |
        Where-Object { $_.Name -ne $FleetEntry -and $_.LastWriteTimeUtc -lt [DateTime]::UtcNow.AddDays(-7) } |
        Remove-Item -Recurse -Force -ErrorAction SilentlyContinue
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
