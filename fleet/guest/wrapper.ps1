$FleetBom = New-Object System.Text.UTF8Encoding $true

# One line, whatever the reason: the last line is what is read.
function Stop-Fleet([string]$Why, [string]$So = 'the script was not started') {
    [Console]::Error.WriteLine('fleet: ' + (($Why -split { [char]::IsControl($_) }) -join ' ') + '; ' + $So)
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

# Whether an error says that the disk, or this user's share of it, is full: 28 is what systems beside Windows say.
function Test-FleetSaysFull($Failure) {
    for ($each = $Failure.Exception; $each; $each = $each.InnerException) {
        if ($each -is [System.IO.IOException] -and ($each.HResult -band 65535) -in 39, 112, 1295, 28) { return $true }
    }
    return $false
}

# Whether no file can grow here. Free space is not asked for: quotas are not in it.
function Test-FleetFull {
    $path = Join-Path $FleetFolder ('full.' + $PID)
    try {
        [System.IO.File]::WriteAllBytes($path, (New-Object byte[] 8192))
        return $false
    }
    catch { return (Test-FleetSaysFull $_) }
    finally { try { [System.IO.File]::Delete($path) } catch { $null = $_ } }
}

# The receipt proves that nothing was started, so the delivery may be sent again.
function Stop-FleetFull {
    $why = 'fleet: the disk is full; the script was not started'
    $bytes = $FleetBom.GetPreamble() + $FleetUtf8.GetBytes((Get-FleetText $FleetScript))
    $sha = [System.Security.Cryptography.SHA256]::Create().ComputeHash([byte[]]$bytes)
    $line = [string][char]10
    $now = Get-FleetEpoch ([DateTime]::UtcNow)
    $answer = $line + 'fleet-receipt v1 nonce={0} replayed=0 script={1} exit=125 signal=- timed_out=0 interrupted=0'
    $answer += ' fault=no_room stdout=0:- stderr={2}:- boot=- started={3} ended={3} end' + $line
    $digest = [BitConverter]::ToString($sha).Replace('-', '').ToLowerInvariant()
    $answer = $answer -f $FleetNonce, $digest, ($why.Length + 1), $now
    Write-FleetBytes ([Console]::OpenStandardOutput()) ($FleetUtf8.GetBytes($answer))
    Write-FleetBytes ([Console]::OpenStandardError()) ($FleetUtf8.GetBytes($why + $line))
    exit 125
}

# Whoever owns a folder may let himself in again, and a link leads elsewhere.
function Test-FleetFolder([string]$Path) {
    $way = [System.IO.File]::GetAttributes($Path) -band [System.IO.FileAttributes]::ReparsePoint
    if ($way) { Stop-Fleet ('the folder ' + $Path + ' is a link') }
    if (-not $FleetHasOwners) { return }
    $owner = (Get-Acl -LiteralPath $Path).GetOwner([System.Security.Principal.SecurityIdentifier]).Value
    if ($owner -notin $FleetTrusted) { Stop-Fleet ('the folder ' + $Path + ' belongs to another user, ' + $owner) }
}

# Those beside the system, the administrators and this user who may look inside; "-" while rights are inherited.
function Get-FleetStrangers([string]$Path) {
    if (-not $FleetHasOwners) { return }
    $list = Get-Acl -LiteralPath $Path
    if (-not $list.AreAccessRulesProtected) { '-' }
    $list.GetAccessRules($true, $true, [System.Security.Principal.SecurityIdentifier]) |
        ForEach-Object { $_.IdentityReference.Value } | Where-Object { $_ -notin $FleetTrusted } | Select-Object -Unique
}

# Only the system, the administrators and this user may look inside; what the list has become is read back.
function New-FleetFolder([string]$Path) {
    [void][System.IO.Directory]::CreateDirectory($Path)
    Test-FleetFolder $Path
    $grants = $FleetTrusted | ForEach-Object { '*' + $_ + ':(OI)(CI)F' }
    & icacls.exe $Path /inheritance:r /grant:r $grants | Out-Null
    $done = $LASTEXITCODE -eq 0
    foreach ($stranger in @(Get-FleetStrangers $Path | Where-Object { $_ -ne '-' })) {
        & icacls.exe $Path /remove ('*' + $stranger) | Out-Null
    }
    if (-not $done -or (Get-FleetStrangers $Path)) { Stop-Fleet ('the folder ' + $Path + ' cannot be made private') }
}

function Save-FleetFile([string]$Path, [byte[]]$Bytes, [string]$Mode) {
    $file = [System.IO.File]::Open($Path, $Mode, 'Write', 'Read')
    try {
        $file.Write($Bytes, 0, $Bytes.Length)
        $file.SetLength($Bytes.Length)
        $file.Flush($true)
    }
    finally { $file.Dispose() }
}

# Another program, such as a scanner, may hold a file for a while.
function Wait-FleetDone([int]$Turns, [scriptblock]$Do) {
    foreach ($turn in 1..$Turns) {
        try {
            & $Do | Out-Null
            return $true
        }
        catch { if ($turn -lt $Turns) { Start-Sleep -Milliseconds 250 } }
    }
    return $false
}

# Makes every file that the run needs before anything is claimed: where the disk is full, nothing is started. The answer
# and the child's number are written later, into the room of these files if there is no other.
function Save-FleetDrafts {
    Save-FleetFile ($FleetFile + $FleetDraft) ($FleetBom.GetPreamble() + $FleetUtf8.GetBytes((Get-FleetText $FleetScript))) 'Create'
    foreach ($name in 'answer', 'child', 'started') {
        Save-FleetFile ((Join-Path $FleetFolder $name) + $FleetDraft) ($FleetUtf8.GetBytes(' ' * 700)) 'Create'
    }
}

function Remove-FleetDrafts {
    Get-ChildItem -LiteralPath $FleetFolder -Filter ('*' + $FleetDraft + '*') -File -ErrorAction SilentlyContinue |
        Remove-Item -Force -ErrorAction SilentlyContinue
}

# Into the room that was made for it; what reads it finds all of it or nothing.
function Save-FleetText([string]$Path, [string]$Text, [string]$Draft = $FleetDraft) {
    Save-FleetFile ($Path + $Draft) ($FleetUtf8.GetBytes($Text)) 'OpenOrCreate'
    [System.IO.File]::Move($Path + $Draft, $Path)
}

# Opening a new file is atomic, which New-Item of a directory is not; the open handle shows that its owner lives.
function Open-FleetClaim {
    try { return [System.IO.File]::Open($FleetClaim, 'CreateNew', 'Write', 'Read') }
    catch {
        if (Test-Path -LiteralPath $FleetClaim) { return $null }
        throw
    }
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

# What .NET has no calls for, on Windows only. Where they cannot be made, the script is known by its number and start alone.
function Add-FleetNative {
    if ([Environment]::OSVersion.Platform -ne 'Win32NT') { return }
    Add-Type -Namespace Fleet -Name Native -MemberDefinition @'
[DllImport("kernel32.dll")] public static extern IntPtr GetStdHandle(int name);
[DllImport("kernel32.dll")] public static extern bool SetHandleInformation(IntPtr handle, int mask, int flags);
[DllImport("kernel32.dll")] public static extern IntPtr CreateJobObjectW(IntPtr security, IntPtr name);
[DllImport("kernel32.dll")] public static extern bool SetInformationJobObject(IntPtr job, int kind, byte[] info, int length);
[DllImport("kernel32.dll")] public static extern bool AssignProcessToJobObject(IntPtr job, IntPtr process);
[DllImport("kernel32.dll")] public static extern bool TerminateJobObject(IntPtr job, int code);
'@
    # What the script leaves behind must not keep the wrapper's own streams open.
    foreach ($name in -10, -11, -12) { [void][Fleet.Native]::SetHandleInformation([Fleet.Native]::GetStdHandle($name), 1, 0) }
    $script:FleetJob = [Fleet.Native]::CreateJobObjectW([IntPtr]::Zero, [IntPtr]::Zero)
    if (-not (Set-FleetJob 10240)) { $script:FleetJob = [IntPtr]::Zero }
}

# 8192: all processes of the job end with its last handle, which is the wrapper's; 2048: one may leave it on purpose.
function Set-FleetJob([int]$Flags) {
    if ($FleetJob -eq [IntPtr]::Zero) { return $false }
    $limits = New-Object byte[] $(if ([IntPtr]::Size -eq 8) { 144 } else { 112 })
    [BitConverter]::GetBytes($Flags).CopyTo($limits, 16)
    return [Fleet.Native]::SetInformationJobObject($FleetJob, 9, $limits, $limits.Length)
}

# This very PowerShell. One that was installed as a .NET tool runs as "dotnet pwsh.dll".
function Get-FleetShell([string]$Path) {
    $name = [System.IO.Path]::GetFileNameWithoutExtension($Path)
    $library = Join-Path $PSHOME 'pwsh.dll'
    if ($name -in 'powershell', 'pwsh') { return @($Path) }
    if ($name -eq 'dotnet' -and (Test-Path -LiteralPath $library)) { return @($Path, $library) }
    foreach ($name in 'powershell.exe', 'pwsh.exe', 'pwsh') {
        if (Test-Path -LiteralPath (Join-Path $PSHOME $name)) { return @(Join-Path $PSHOME $name) }
    }
    Stop-Fleet ('no PowerShell is found in ' + $PSHOME)
}

function Start-FleetScript {
    $start = New-Object System.Diagnostics.ProcessStartInfo
    $start.FileName = $FleetShell[0]
    $words = @($FleetShell | Select-Object -Skip 1 | ForEach-Object { Get-FleetQuoted $_ })
    $words += '-NoLogo', '-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', (Get-FleetQuoted $FleetFile)
    foreach ($text in $FleetArguments) { $words += Get-FleetQuoted $text }
    $start.Arguments = $words -join ' '
    $start.UseShellExecute = $false
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    # PowerShell 7 colours what it writes, into files too.
    if (-not $start.EnvironmentVariables.ContainsKey('NO_COLOR')) { $start.EnvironmentVariables['NO_COLOR'] = '1' }
    foreach ($name in $FleetEnvironment.Keys) { $start.EnvironmentVariables[$name] = $FleetEnvironment[$name] }
    # The child takes the console's code page for its output; without a console there is none to set.
    try { [Console]::OutputEncoding = $FleetUtf8 } catch { $null = $_ }
    $process = [System.Diagnostics.Process]::Start($start)
    try { Save-FleetText (Join-Path $FleetFolder 'child') ('{0} {1}' -f $process.Id, $process.StartTime.ToUniversalTime().Ticks) }
    catch { $null = $_ }
    try {
        if ($FleetJob -ne [IntPtr]::Zero -and -not [Fleet.Native]::AssignProcessToJobObject($FleetJob, $process.Handle)) {
            $script:FleetJob = [IntPtr]::Zero
        }
    }
    catch { $script:FleetJob = [IntPtr]::Zero }
    try { $process.StandardInput.Close() } catch { $null = $_ }
    return $process
}

# Without a buffer: whoever follows the script reads the file while it grows.
function Open-FleetLive([string]$Path) {
    return New-Object System.IO.FileStream ($Path + '.live'), 'Create', 'Write', 'ReadWrite, Delete', 1
}

function Get-FleetLength([string]$Path) {
    try { return (New-Object System.IO.FileInfo $Path).Length } catch { return [long]0 }
}

# A pump that can write no more is replaced by one that reads only, so that the script does not stand still. While a file
# is open, its time of the last change need not be true on NTFS, so it is set here. Says how much has come.
function Update-FleetPumps($Run) {
    foreach ($each in $Run.Pumps) {
        if ($each.Task.IsFaulted) {
            if (Test-FleetSaysFull @{ Exception = $each.Task.Exception.InnerException }) { $Run.Fault = 'disk_full' }
            $Run.Partial = 1
            $each.Task = $each.From.CopyToAsync([System.IO.Stream]::Null)
        }
        $length = Get-FleetLength ($each.Path + '.live')
        if ($length -ne $each.Length) {
            $each.Length = $length
            try { [System.IO.File]::SetLastWriteTimeUtc($each.Path + '.live', [DateTime]::UtcNow) } catch { $null = $_ }
        }
    }
    return $Run.Pumps[0].Length + $Run.Pumps[1].Length
}

# Processes of the script may print after its end. They are waited for, two seconds after the last byte and five in all.
function Wait-FleetPumps($Run) {
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    $grown = [long]0
    $before = [long]-1
    while ($true) {
        $size = Update-FleetPumps $Run
        if ($size -ne $before) { $grown = $watch.ElapsedMilliseconds }
        $before = $size
        $tasks = [System.Threading.Tasks.Task[]]@($Run.Pumps | ForEach-Object { $_.Task })
        if (-not ($tasks | Where-Object { -not $_.IsCompleted -or $_.IsFaulted })) { return }
        if ($watch.ElapsedMilliseconds - $grown -ge 2000 -or $watch.ElapsedMilliseconds -ge 5000) {
            $Run.Partial = 1
            return
        }
        try { [void][System.Threading.Tasks.Task]::WaitAll($tasks, 100) } catch { Start-Sleep -Milliseconds 50 }
    }
}

function Stop-FleetScript([System.Diagnostics.Process]$Process) {
    if ($FleetJob -ne [IntPtr]::Zero) { [void][Fleet.Native]::TerminateJobObject($FleetJob, 1) }
    else { Stop-FleetTree $Process }
    [void]$Process.WaitForExit(5000)
}

function Invoke-FleetScript($Out, $Err) {
    $run = @{ Exit = '-'; TimedOut = 0; Partial = 0; Fault = ''; Pumps = @() }
    try { $process = Start-FleetScript }
    catch {
        $why = $FleetUtf8.GetBytes('fleet: PowerShell cannot be started on this machine: ' + $_ + [char]10)
        try { $Err.Write($why, 0, $why.Length) } catch { $null = $_ }
        $Out.Dispose()
        $Err.Dispose()
        $run.Exit = '127'
        $run.Fault = 'no_interpreter'
        return $run
    }
    $run.Pumps = @(
        @{ Path = $FleetOut; From = $process.StandardOutput.BaseStream; Length = [long]0 },
        @{ Path = $FleetErr; From = $process.StandardError.BaseStream; Length = [long]0 }
    )
    $run.Pumps[0].Task = $run.Pumps[0].From.CopyToAsync($Out)
    $run.Pumps[1].Task = $run.Pumps[1].From.CopyToAsync($Err)
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    while (-not $process.WaitForExit([int][Math]::Max(0, [Math]::Min(500, $FleetLimit - $watch.ElapsedMilliseconds)))) {
        [void](Update-FleetPumps $run)
        if ($watch.ElapsedMilliseconds -ge $FleetLimit) {
            $run.TimedOut = 1
            Stop-FleetScript $process
            break
        }
    }
    Wait-FleetPumps $run
    foreach ($file in $Out, $Err) { try { $file.Dispose() } catch { $null = $_ } }
    # What a script leaves behind on purpose outlives the wrapper.
    try { [void](Set-FleetJob 2048) } catch { $null = $_ }
    if (-not $run.TimedOut -and $process.HasExited) { $run.Exit = [string]$process.ExitCode }
    if (Test-FleetFull) { $run.Fault = 'disk_full' }
    if ($run.Fault -eq 'disk_full') { $run.Partial = 1 }
    return $run
}

# The stream as it grew becomes the kept one, which takes no room; where its name cannot change, the kept one is a copy.
function Save-FleetStream([string]$Path, $Run) {
    $live = $Path + '.live'
    if (Test-Path -LiteralPath $live) {
        if (Wait-FleetDone 8 { if (Test-Path -LiteralPath $live) { [System.IO.File]::Delete($Path); [System.IO.File]::Move($live, $Path) } }) { return }
        try { [System.IO.File]::Copy($live, $Path, $true); return } catch { $null = $_ }
    }
    if (-not (Test-Path -LiteralPath $Path)) {
        $Run.Partial = 1
        try { [System.IO.File]::Open($Path, 'CreateNew', 'Write', 'Read').Dispose() } catch { $null = $_ }
    }
}

function Get-FleetDescription([string]$Path) {
    try { return '{0}:{1}' -f (New-Object System.IO.FileInfo $Path).Length, (Get-FleetHash $Path) } catch { return '0:-' }
}

# Returns the answer, also where it cannot be kept: another may have been first, and then that is the answer.
function Save-FleetAnswer([string]$Digest, $Run, [int]$Interrupted, [long]$Started, [string]$Boot) {
    $ended = Get-FleetEpoch ([DateTime]::UtcNow)
    foreach ($path in $FleetOut, $FleetErr) { Save-FleetStream $path $Run }
    $answer = 'script={0} exit={1} signal=- timed_out={2} interrupted={3}' -f $Digest, $Run.Exit, $Run.TimedOut, $Interrupted
    if ($Run.Partial) { $answer += ' partial=1' }
    if ($Run.Fault) { $answer += ' fault=' + $Run.Fault }
    $answer += ' stdout={0} stderr={1}' -f (Get-FleetDescription $FleetOut), (Get-FleetDescription $FleetErr)
    $answer += ' boot={0} started={1} ended={2} end' -f $Boot, $Started, $ended
    # The draft may be held as well, so each second turn makes one of its own.
    [void](Wait-FleetDone 40 {
            if (Read-FleetAnswer) { return }
            $own = if ($turn % 2) { $FleetDraft } else { $FleetDraft + $turn }
            Save-FleetText $FleetAnswerFile $answer $own
        })
    $kept = Read-FleetAnswer
    if ($kept) { $answer = $kept }
    # Of a stream above 64 MiB only the end is kept; the answer tells the length and digest of all of it.
    foreach ($path in $FleetOut, $FleetErr) {
        try { if ((Get-FleetLength $path) -gt 67108864) { [System.IO.File]::WriteAllBytes($path, (Get-FleetEnd $path 67108864)) } }
        catch { $null = $_ }
    }
    return $answer
}

# The script is held open from before its digest is taken to the end: what ran is what was measured. Where something goes
# wrong before the start, the claim is given back, since nothing has run.
function Invoke-FleetOnce {
    $started = Get-FleetEpoch ([DateTime]::UtcNow)
    $files = @()
    try {
        # Whatever stands in its places was left over by nothing that ran.
        $ready = Wait-FleetDone 20 {
            foreach ($name in 'script.ps1', 'answer', 'child', 'started', 'stdout', 'stderr', 'stdout.gz', 'stderr.gz') {
                [System.IO.File]::Delete((Join-Path $FleetFolder $name))
            }
            [System.IO.File]::Move($FleetFile + $FleetDraft, $FleetFile)
        }
        if (-not $ready) { throw 'another program holds the script' }
        $files += [System.IO.File]::Open($FleetFile, 'Open', 'Read', 'Read')
        $digest = Get-FleetHash $FleetFile
        Save-FleetText $FleetStarted ('{0} {1}' -f $started, $digest)
        $files += (Open-FleetLive $FleetOut), (Open-FleetLive $FleetErr)
    }
    catch {
        $files + $FleetHandle | ForEach-Object { $_.Dispose() }
        $FleetFile, $FleetStarted, $FleetClaim | ForEach-Object { [System.IO.File]::Delete($_) }
        throw
    }
    $script:FleetBegan = $true
    $script:FleetQuestions = @(Start-FleetQuestion 'Win32_OperatingSystem')
    $asked = [System.Diagnostics.Stopwatch]::StartNew()
    $run = Invoke-FleetScript $files[1] $files[2]
    $boot = Get-FleetBoot $FleetQuestions[0] (10000 - $asked.ElapsedMilliseconds)
    $answer = Save-FleetAnswer $digest $run 0 $started $boot
    $files[0].Dispose()
    return $answer
}

function Save-FleetInterruption {
    $digest = '-'
    $started = Get-FleetEpoch ([DateTime]::UtcNow)
    try {
        $words = [System.IO.File]::ReadAllText($FleetStarted).Split(' ')
        $started = [long]$words[0]
        $digest = $words[1]
    }
    catch { $null = $_ }
    # Half an answer is none. One that cannot be read at the moment stays.
    try { if ([System.IO.File]::ReadAllText($FleetAnswerFile) -and -not (Read-FleetAnswer)) { [System.IO.File]::Delete($FleetAnswerFile) } }
    catch { $null = $_ }
    $script:FleetQuestions = @(Start-FleetQuestion 'Win32_OperatingSystem')
    $boot = Get-FleetBoot $FleetQuestions[0] 5000
    return (Save-FleetAnswer $digest @{ Exit = '-'; TimedOut = 0; Partial = 0; Fault = '' } 1 $started $boot)
}

# The first delivery ends within the limit and a little; nobody waits longer for it. Where its wrapper is gone and its
# script is not, the script's end is waited for, and its time limit is kept here.
function Wait-FleetAnswer {
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $answer = Read-FleetAnswer
        if ($answer) { return $answer }
        if (-not (Test-Path -LiteralPath $FleetClaim)) { Stop-Fleet 'an earlier delivery could not start it' }
        if (-not (Test-FleetOwner)) {
            $child = Get-FleetChild
            if (-not $child) { return (Save-FleetInterruption) }
            if (([DateTime]::Now - $child.StartTime).TotalMilliseconds -ge $FleetLimit) { Stop-FleetTree $child }
        }
        if ($watch.ElapsedMilliseconds -ge $FleetLimit + 20000) {
            Stop-Fleet ('an earlier delivery still holds ' + $FleetFolder + ' and has not ended') 'the script was not started again'
        }
        Start-Sleep -Seconds 1
    }
}

# Azure keeps the last 4,096 bytes of each stream. What is longer goes packed: the ends of both streams, one behind the
# other, gzipped, in base64, divided over stdout and stderr. $Most is how much of the end of each is taken.
function Get-FleetPack([long]$Most) {
    $out = Get-FleetEnd $FleetOut $Most
    $err = Get-FleetEnd $FleetErr $Most
    $both = New-Object System.IO.MemoryStream
    $both.Write($out, 0, $out.Length)
    $both.Write($err, 0, $err.Length)
    $zip = Compress-FleetBytes $both.ToArray() $both.Length
    return @{ Out = $out.Length; Err = $err.Length; Text = [Convert]::ToBase64String($zip) }
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
    try {
        if (-not (Test-Path -LiteralPath $FleetOut)) { $pack = @{ Out = 0; Err = 0; Text = '' } }
        elseif (Test-FleetNarrow $room) { $pack = Select-FleetPack $room }
        $all = @()
        if (-not $pack) { $all = [System.IO.File]::ReadAllBytes($FleetOut), [System.IO.File]::ReadAllBytes($FleetErr) }
    }
    # What was kept cannot be read; how the script ended is told all the same.
    catch { $pack = @{ Out = 0; Err = 0; Text = '' } }
    if ($pack) {
        $head = $pack.Text.Substring(0, [Math]::Min($room, $pack.Text.Length))
        $rest = $pack.Text.Substring($head.Length)
        $field = 'packed={0}:{1}:{2}:{3} ' -f $pack.Out, $pack.Err, $head.Length, $rest.Length
        Write-FleetBytes $stdout ($FleetUtf8.GetBytes($head + $begin + $field + $Answer + $line))
        Write-FleetBytes $stderr ($FleetUtf8.GetBytes($rest))
        return
    }
    Write-FleetBytes $stdout $all[0]
    Write-FleetBytes $stdout ($FleetUtf8.GetBytes($begin + $Answer + $line))
    Write-FleetBytes $stderr $all[1]
}

function Get-FleetExit([string]$Answer) {
    if ($Answer.Contains(' timed_out=1 ')) { return 124 }
    $found = [regex]::Match($Answer, ' exit=(-?[0-9]+) ')
    if ($found.Success) { return [int]$found.Groups[1].Value }
    return 125
}

# Answers stay until they are seven days old; the output beside them goes sooner, oldest first, above 256 MiB in all.
function Remove-FleetOld {
    $total = [long]0
    $entries = @()
    foreach ($entry in (New-Object System.IO.DirectoryInfo $FleetSpool).GetDirectories()) {
        if ($entry.Name -ne $FleetEntry -and $entry.LastWriteTimeUtc -lt [DateTime]::UtcNow.AddDays(-7)) {
            try { $entry.Delete($true) } catch { $null = $_ }
            continue
        }
        $files = $entry.GetFiles()
        foreach ($file in $files) { $total += $file.Length }
        $names = @($files | ForEach-Object { $_.Name })
        if ($entry.Name -ne $FleetEntry -and $names -contains 'answer') { $entries += @{ At = $entry.LastWriteTimeUtc; Files = $files } }
    }
    foreach ($entry in ($entries | Sort-Object { $_.At })) {
        foreach ($file in $entry.Files) {
            $over = $total -gt 268435456 -and $file.Name -match '^std(out|err)([.]gz)?$'
            if (-not $over -and $file.Name -notmatch '^std(out|err)[.]live$') { continue }
            $length = $file.Length
            try {
                $file.Delete()
                $total -= $length
            }
            catch { $null = $_ }
        }
    }
}

$FleetEnvironment = New-Object System.Collections.Specialized.OrderedDictionary
$FleetArguments = New-Object System.Collections.ArrayList
$FleetFile = Join-Path $FleetFolder 'script.ps1'
$FleetStarted = Join-Path $FleetFolder 'started'
$FleetOut = Join-Path $FleetFolder 'stdout'
$FleetErr = Join-Path $FleetFolder 'stderr'
$FleetDraft = '.' + $PID + '.new'
$FleetBegan = $false
$FleetQuestions = @()
$FleetJob = [IntPtr]::Zero
$FleetHandle = $null
$FleetAnswer = ''

try {
    $FleetTrusted = @('S-1-5-18', 'S-1-5-32-544', [System.Security.Principal.WindowsIdentity]::GetCurrent().User.Value | Select-Object -Unique)
    # PowerShell on other systems knows no owners of this kind.
    $FleetHasOwners = [Environment]::OSVersion.Platform -eq 'Win32NT' -or (Get-Command Get-Acl -ErrorAction SilentlyContinue)
    if (-not $env:FLEET_SPOOL) { New-FleetFolder (Split-Path -Parent $FleetSpool) }
    New-FleetFolder $FleetSpool
    [void][System.IO.Directory]::CreateDirectory($FleetFolder)
    Test-FleetFolder $FleetFolder
    $FleetAnswer = Read-FleetAnswer
    if (-not $FleetAnswer -and -not (Test-Path -LiteralPath $FleetClaim)) {
        . $FleetValues
        $FleetShell = @(Get-FleetShell (Get-Process -Id $PID).Path)
        Save-FleetDrafts
        $FleetHandle = Open-FleetClaim
        if (-not $FleetHandle) { Remove-FleetDrafts }
    }
    if ($FleetHandle) {
        try { Add-FleetNative } catch { $FleetJob = [IntPtr]::Zero }
    }
}
catch {
    Remove-FleetDrafts
    if (Test-FleetSaysFull $_) { Stop-FleetFull }
    Stop-Fleet ([string]$_)
}

$FleetReplayed = [int](-not $FleetHandle)
if ($FleetHandle) {
    try { $FleetAnswer = Invoke-FleetOnce }
    catch {
        if (-not $FleetBegan) {
            Remove-FleetDrafts
            if (Test-FleetSaysFull $_) { Stop-FleetFull }
            Stop-Fleet ([string]$_)
        }
        $FleetChild = Get-FleetChild
        if ($FleetChild) { Stop-FleetTree $FleetChild }
        $FleetAnswer = Save-FleetInterruption
    }
    Remove-FleetDrafts
    $FleetHandle.Dispose()
}
elseif (-not $FleetAnswer) { $FleetAnswer = Wait-FleetAnswer }

Write-FleetAnswer $FleetReplayed $FleetAnswer
try { Remove-FleetOld } catch { $null = $_ }
Exit-Fleet (Get-FleetExit $FleetAnswer) $FleetQuestions
