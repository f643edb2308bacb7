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
    # A script that was released was killed: taskkill leaves exit code 1, and Kill() -1, or 137 beside Windows.
    $end = 'exit={0} signal=-' -f $Run.Exit
    if ($Run.Exit -in 1, -1, 137 -and -not $Run.TimedOut -and (Test-Path -LiteralPath (Join-Path $FleetFolder 'released'))) {
        $end = 'exit=- signal=9'
    }
    $answer = 'script={0} {1} timed_out={2} interrupted={3}' -f $Digest, $end, $Run.TimedOut, $Interrupted
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
            foreach ($name in 'script.ps1', 'answer', 'child', 'started', 'released', 'stdout', 'stderr', 'stdout.gz', 'stderr.gz') {
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
