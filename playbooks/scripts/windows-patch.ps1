# Installs updates on a Windows machine through the Windows Update Agent. It never restarts it, and may run again at any time.
#
# Given   SCOPE        security or all
#         EXCLUDE      numbers of articles to leave alone, with commas: KB5031364,KB5032190
#         DRY_RUN      true: say what waits, and change nothing
#         BUDGET       seconds for all of it; no update is begun in the last 15 minutes
#         LOCK_WAIT    seconds to wait while something else installs
#         MIN_FREE_MB  what must be free on the system's disk
# Prints  a line for each update, and last a line that begins with FLEET-RESULT
# Ends    with an exit code that tells how it went: docs/patching.md
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$Succeeded = 2 # OperationResultCode; 3 is "with errors"
$Reserve = 900 # what Azure's own update service leaves for one update
$Wanted = @(
    '0fa1201d-4330-4fa8-8ae9-b877473b6441' # security updates
    'e6cf1350-c01b-414d-a61f-263d14d133b4' # critical updates
)
$Clock = [System.Diagnostics.Stopwatch]::StartNew()
$Seen = [ordered]@{ updated = 0; remaining = 0; failed = 0; held = 0; reboot = 'unknown' }

# Not Write-Output: inside a function whose result is kept, that would be kept with it and never be printed.
function Write-Line([string]$Text) { [Console]::Out.WriteLine($Text) }

function Get-Number([string]$Text, [int]$Default) {
    if ($Text) { return [int]$Text }
    return $Default
}

function Stop-With([int]$Code, [string]$State, [string]$Note = '-') {
    $words = foreach ($key in $Seen.Keys) { "$key=$($Seen[$key])" }
    $clean = ($Note -replace '[^A-Za-z0-9.:_,-]+', '_')
    if ($clean.Length -gt 150) { $clean = $clean.Substring(0, 150) }
    Write-Line "FLEET-RESULT code=$Code state=$State manager=wua $($words -join ' ') note=$clean"
    exit $Code
}

function Format-Error([int]$Result) { return '0x{0:X8}' -f $Result }

function Get-Title($Update) {
    $articles = @($Update.KBArticleIDs | ForEach-Object { "KB$_" }) -join ','
    return ("$articles $($Update.Title)".Trim() -replace '[^ -~]', '?')
}

function Test-RebootWanted { return [bool](New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired }

# One that may ask somebody would wait for an answer for ever; it counts as held.
function Test-InScope($Update) {
    $articles = @($Update.KBArticleIDs | ForEach-Object { "KB$_" })
    if ($articles | Where-Object { $Excluded -contains $_ }) { $Seen.held++; return $false }
    if ($Update.InstallationBehavior.CanRequestUserInput) { $Seen.held++; return $false }
    if ($Scope -eq 'all') { return $true }
    return [bool]($Update.Categories | Where-Object { $Wanted -contains $_.CategoryID })
}

function Find-Updates {
    $searcher = $Session.CreateUpdateSearcher()
    $searcher.Online = $true
    try { $found = $searcher.Search('IsInstalled=0 and IsHidden=0 and RebootRequired=0') }
    catch [System.Runtime.InteropServices.COMException] { Stop-With 86 'no_metadata' (Format-Error $_.Exception.HResult) }
    if ($found.ResultCode -ne $Succeeded) { Stop-With 86 'no_metadata' "search_ended_with_$($found.ResultCode)" }
    return @($found.Updates | Where-Object { Test-InScope $_ })
}

# Downloads and installs one update. Returns '' or what went wrong.
function Install-One($Update) {
    if (-not $Update.EulaAccepted) { $Update.AcceptEula() }
    $one = New-Object -ComObject Microsoft.Update.UpdateColl
    [void]$one.Add($Update)
    $downloader = $Session.CreateUpdateDownloader()
    $downloader.Updates = $one
    $result = $downloader.Download()
    if ($result.ResultCode -ne $Succeeded) { return "download:$(Format-Error $result.HResult)" }
    $installer = $Session.CreateUpdateInstaller()
    $installer.Updates = $one
    $result = $installer.Install().GetUpdateResult(0)
    if ($result.ResultCode -ne $Succeeded) { return "install:$(Format-Error $result.HResult)" }
    return ''
}

# Whether nothing else installs, or stops to in time.
function Wait-Installer {
    $patience = $Clock.Elapsed.TotalSeconds + $LockWait
    $installer = $Session.CreateUpdateInstaller()
    while ($installer.IsBusy) {
        if ($Clock.Elapsed.TotalSeconds -ge $patience) { return $false }
        Start-Sleep -Seconds 10
    }
    return $true
}

try {
    $Scope = if ($env:SCOPE) { $env:SCOPE } else { 'security' }
    $DryRun = $env:DRY_RUN -eq 'true'
    $Budget = Get-Number $env:BUDGET 4500
    $LockWait = Get-Number $env:LOCK_WAIT 300
    $Excluded = @("$env:EXCLUDE" -split '[ ,]+' | Where-Object { $_ } | ForEach-Object { $_.ToUpperInvariant() })

    if (Test-RebootWanted) {
        # Until it has restarted, installing is refused (0x80240016).
        $Seen.reboot = 'yes'
        if ($DryRun) { Stop-With 0 'planned' 'restart_first' }
        Stop-With 80 'reboot_needed' 'restart_first'
    }
    $Seen.reboot = 'no'
    $disk = Get-CimInstance Win32_LogicalDisk -Filter "DeviceID='$env:SystemDrive'"
    $free = [long]($disk.FreeSpace / 1048576)
    if (-not $DryRun -and $free -lt (Get-Number $env:MIN_FREE_MB 4096)) { Stop-With 84 'refused' "free_on_system_disk:${free}MiB" }

    $Session = New-Object -ComObject Microsoft.Update.Session
    $Session.ClientApplicationID = 'fleet'
    $planned = @(Find-Updates)
    $Seen.remaining = $planned.Count
    if ($DryRun) {
        foreach ($update in $planned) { Write-Line "waiting: $(Get-Title $update)" }
        $state = if ($planned.Count) { 'planned' } else { 'nothing_to_do' }
        Stop-With 0 $state
    }

    $problem = ''
    $stopped = ''
    foreach ($update in $planned) {
        if ($Budget - $Clock.Elapsed.TotalSeconds -le $Reserve) { $stopped = 'out_of_time'; break }
        if (-not (Wait-Installer)) { $stopped = 'locks_held'; break }
        $wrong = Install-One $update
        if ($wrong) {
            $Seen.failed++
            $problem = $wrong
            Write-Line "failed: $(Get-Title $update) $wrong"
            continue
        }
        $Seen.updated++
        $Seen.remaining--
        Write-Line "updated: $(Get-Title $update)"
    }
    if (Test-RebootWanted) { $Seen.reboot = 'yes' }

    if ($Seen.remaining -eq 0) {
        if ($Seen.reboot -eq 'yes') { Stop-With 80 'reboot_needed' }
        if ($Seen.updated -gt 0) { Stop-With 0 'updated' }
        Stop-With 0 'nothing_to_do'
    }
    if ($Seen.failed -gt 0 -and $Seen.updated -eq 0) { Stop-With 87 'failed' $problem }
    if ($Seen.failed -gt 0) { Stop-With 82 'partial' $problem }
    if ($stopped -eq 'locks_held' -and $Seen.updated -eq 0) { Stop-With 83 'blocked' $stopped }
    if ($stopped -eq 'locks_held') { Stop-With 82 'partial' $stopped }
    Stop-With 85 'out_of_time'
} catch {
    Stop-With 87 'failed' $_.Exception.Message
}
