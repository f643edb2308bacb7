# Installs updates on a Windows machine through the Windows Update Agent. It never restarts it, and may run again at any time.
#
# Given   SCOPE             with commas: security (the critical ones are in it), critical, rollups, updates, definitions,
#                           service_packs, feature_packs, tools, drivers, previews, all
#         EXCLUDE           with commas: numbers of articles, with KB or without, or titles, in which * and ? fit anything
#         DRY_RUN           true: say what waits, and change nothing
#         BUDGET            seconds for all of it; no update is started in the last 15 minutes
#         LOCK_WAIT         seconds to wait in all, inside the budget, while something else installs
#         MIN_FREE_MB       what must be free on the system's disk
#         RESTARTED         true: this machine has just been restarted, because an earlier call of this script asked for it
#         INSTALLED_BEFORE  what that call printed as installed=: an update that is offered once more all the same has failed
# Prints  a line before and after each update, a line for each that is held or left over, and last a line that begins
#         with FLEET-RESULT; on standard error what failed
# Ends    with an exit code that says how it went: docs/patching.md
#
# It was written for Windows PowerShell 5.1. No title forges a line: what is printed begins with a word of this script.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$Succeeded = 2 # OperationResultCode; 3 is "with errors", 4 failed, 5 aborted
$Reserve = 900 # seconds; the step's time limit leaves much more, since an update that was started is never stopped here
$MostSearches = 10
$OperationInProgress = '0x80240009'
$NotAllowed = '0x80240016' # another installation is in progress, or a restart must come first
$NotApplicable = '0x80240017' # for one: what was installed before it replaced it

# Classifications of the update service, by their fixed ids. Others, such as tools for developers, belong to "all" only.
$Classifications = @{
    '0fa1201d-4330-4fa8-8ae9-b877473b6441' = 'security'
    'e6cf1350-c01b-414d-a61f-263d14d133b4' = 'critical'
    '28bc880e-0592-4cbf-8f95-c79b17911d5f' = 'rollups'
    'cd5ffd1e-e932-4e3a-bf74-18bf0b1bbd83' = 'updates'
    'e0789628-ce08-4437-be74-2495b842f43b' = 'definitions'
    '68c5b0a3-d1a6-4553-ae49-01d3a7827828' = 'service_packs'
    'b54e7d24-7add-428f-8b75-90a396fa584f' = 'feature_packs'
    'b4832bd8-e735-4761-8daf-37f882276dab' = 'tools'
    'ebfc1fc5-71a4-4f7b-9aca-3b9a503104a0' = 'drivers'
    '3689bdc8-b205-4af4-8d4a-a63924c5e9d5' = 'upgrades'
}
$OnlyByName = 'drivers', 'previews', 'feature_packs', 'definitions'
$Scopes = 'security', 'critical', 'rollups', 'updates', 'definitions', 'service_packs', 'feature_packs', 'tools', 'drivers',
'previews', 'all'
$Meanings = @{
    '0x80070005' = 'access denied'
    '0x80070070' = 'the disk is full'
    '0x80070422' = 'the service is disabled'
    '0x80070643' = 'the installer failed'
    '0x80240009' = 'another operation is in progress'
    '0x80240016' = 'another installation is in progress, or a restart must come first'
    '0x80240017' = 'not applicable'
    '0x80240022' = 'all updates failed'
    '0x80240438' = 'the update service cannot be reached'
    '0x8024402c' = 'the name of the update server or proxy cannot be resolved'
    '0x80072ee2' = 'the update server did not answer in time'
    '0x80072ee7' = 'the name of the update server cannot be resolved'
    '0x80072efd' = 'the update server cannot be reached'
    '0x80242016' = 'the state of the update after its installation is not as expected'
    '0x800f0922' = 'the servicing stack could not finish the update'
}

$Clock = [System.Diagnostics.Stopwatch]::StartNew()
$Seen = [ordered]@{ updated = 0; remaining = 'unknown'; failed = 0; held = 'unknown'; reboot = 'unknown'; installed = 'none' }
$Run = @{
    Waiting = @() # in scope and not installed, as the last search found it
    Done = @{} # by key: reported as installed, now or before the restart
    Failed = @{} # by key: why
    Gone = @{} # by key: not applicable any more
    Held = @{} # by key: named already
    Installed = @() # short keys, for the call after a restart
    Updates = @() # one word for each update that was tried
    Problems = @() # for standard error
    Note = '' # the first problem
    Warning = '' # the first warning of a search
    OnlyDownloads = $true
    WantsRestart = $false
    Waited = 0
}

# Not Write-Output: inside a function whose result is kept, that would be kept with it and never be printed.
function Write-Line([string]$Text) {
    [Console]::Out.WriteLine($Text)
    [Console]::Out.Flush()
}

function Format-Plain([string]$Text) { return $Text -replace '[^ -~]', '?' }

function Format-Result($Result) {
    if ($null -eq $Result) { return 'unknown' }
    return '0x{0:X8}' -f ([long]$Result -band 4294967295)
}

# The HRESULT of the innermost exception: PowerShell may wrap what a call threw.
function Get-Result($Thrown) {
    $result = $Thrown.HResult
    while ($Thrown.InnerException) {
        $Thrown = $Thrown.InnerException
        $result = $Thrown.HResult
    }
    return Format-Result $result
}

function Format-Problem([string]$Name, [string]$Why) {
    $meaning = ''
    if ($Why -match '0x[0-9A-Fa-f]{8}') { $meaning = $Meanings[$Matches[0]] }
    if ($meaning) { $meaning = " ($meaning)" }
    return "${Name}: $Why$meaning"
}

function Add-Problem([string]$Text, [string]$Note) {
    $Run.Problems += Format-Plain $Text
    if (-not $Run.Note) { $Run.Note = $Note }
}

function Stop-With([int]$Code, [string]$State, [string]$Note = '-') {
    if ($Run.Installed) { $Seen.installed = $Run.Installed -join ',' }
    if ($Run.Updates) {
        $words = $Run.Updates -join ' '
        Write-Line ('updates: ' + $words.Substring(0, [Math]::Min(1000, $words.Length)))
    }
    if ($Code -notin 0, 80) {
        foreach ($text in $Run.Problems) { [Console]::Error.WriteLine($text) }
        [Console]::Error.WriteLine((Format-Plain "windows-patch: $($State): $Note"))
        [Console]::Error.Flush()
    }
    $words = foreach ($key in $Seen.Keys) { "$key=$($Seen[$key])" }
    $clean = ($Note -replace '[^A-Za-z0-9.:_,-]+', '_')
    if ($clean.Length -gt 150) { $clean = $clean.Substring(0, 150) }
    if (-not $clean) { $clean = '-' }
    Write-Line "FLEET-RESULT code=$Code state=$State manager=wua $($words -join ' ') note=$clean"
    exit $Code
}

# What was given. Whatever cannot be understood is refused before anything is asked or changed.
function Read-Number([string]$Name, [string]$Text, [long]$Default) {
    if (-not $Text) { return $Default }
    $number = [long]0
    if ($Text -notmatch '^[0-9]{1,10}$' -or -not [long]::TryParse($Text, [ref]$number) -or $number -gt 2147483647) {
        Stop-With 84 'refused' "not_a_number:${Name}:$Text"
    }
    return $number
}

function Read-Switch([string]$Name, [string]$Text) {
    if ($Text -in '', 'false') { return $false }
    if ($Text -eq 'true') { return $true }
    Stop-With 84 'refused' "neither_true_nor_false:${Name}:$Text"
}

function Read-Scope([string]$Text) {
    $names = @("$Text" -split '[ ,]+' | Where-Object { $_ } | ForEach-Object { $_.ToLowerInvariant() })
    if (-not $names) { $names = @('security') }
    foreach ($name in $names) {
        if ($Scopes -notcontains $name) { Stop-With 84 'refused' "unknown_scope:$name" }
    }
    if ($names -contains 'security') { $names += 'critical' }
    return $names
}

function Read-Exclude([string]$Text) {
    $list = @{ Articles = @(); Titles = @() }
    foreach ($entry in $Text -split '[,\r\n]+') {
        $entry = $entry.Trim()
        if ($entry -match '^(KB)?[0-9]+(\s+(KB)?[0-9]+)*$') {
            $list.Articles += @($entry -split '\s+' | Where-Object { $_ } | ForEach-Object { 'KB' + ($_ -replace '^KB', '') })
        } elseif ($entry) {
            $list.Titles += (Format-Plain $entry) -replace '([\[\]`])', '`$1'
        }
    }
    return $list
}

# Reads one update. Whatever its members throw or lack is a fault of this update only.
function Read-Update($Update, [int]$Number) {
    $one = @{ Update = $Update; Articles = @(); Name = "update number $Number"; Title = ''; Size = 'size unknown'; Kinds = @() }
    $one += @{ Key = ''; Short = ''; Asks = $false; Fault = '' }
    try { $one.Articles = @($Update.KBArticleIDs | Where-Object { $_ } | ForEach-Object { 'KB' + ("$_" -replace '^KB', '') }) }
    catch { $one.Fault = "articles:$(Get-Result $_.Exception)" }
    try { $one.Title = (Format-Plain "$($Update.Title)").Trim() }
    catch { $one.Fault = "title:$(Get-Result $_.Exception)" }
    $name = "$($one.Articles -join ',') $($one.Title)".Trim()
    if ($name) { $one.Name = $name }
    try { if ($null -ne $Update.MaxDownloadSize) { $one.Size = '{0} MiB' -f [long][Math]::Ceiling([double]$Update.MaxDownloadSize / 1048576) } }
    catch { $one.Size = 'size unknown' }
    $rest = Read-Rest $one
    if (-not $one.Fault) { $one.Fault = $rest }
    return $one
}

# Its identity, what it is, and whether it may ask. Returns '' or what is wrong.
function Read-Rest($One) {
    $part = 'identity'
    try {
        $id = "$($One.Update.Identity.UpdateID)".ToLowerInvariant()
        $revision = "$($One.Update.Identity.RevisionNumber)"
        if ($id) { $One.Key = "$id.$revision" }
        $One.Short = $id.Substring(0, [Math]::Min(8, $id.Length)) + '.' + $revision
        $part = 'categories'
        $categories = @($One.Update.Categories | ForEach-Object { "$($_.CategoryID)" } | Where-Object { $_ })
        $One.Kinds = @($categories | ForEach-Object { $Classifications[$_] } | Where-Object { $_ })
        $part = 'type'
        if ($One.Update.Type -eq 2) { $One.Kinds += 'drivers' }
        $part = 'browse_only'
        if ($One.Update.BrowseOnly) { $One.Kinds += 'previews' }
        $part = 'installation_behavior'
        $One.Asks = [bool]$One.Update.InstallationBehavior.CanRequestUserInput
    } catch { return "${part}:$(Get-Result $_.Exception)" }
    if (-not $One.Title) { return 'unreadable:title' }
    if (-not $id) { return 'unreadable:identity' }
    if (-not $categories) { return 'unreadable:categories' }
    return ''
}

function Test-Excluded($One) {
    foreach ($article in $One.Articles) { if ($Exclude.Articles -contains $article) { return $true } }
    foreach ($pattern in $Exclude.Titles) {
        foreach ($text in @($One.Articles) + $One.Title) { if ($text -like $pattern) { return $true } }
    }
    return $false
}

# Whether it was asked for, by one of the names of SCOPE.
function Test-InScope($One) {
    if ($Scope -contains 'all') { return $true }
    foreach ($kind in $One.Kinds) { if ($Scope -contains $kind) { return $true } }
    return $false
}

# Why an update in scope is left alone all the same, or ''.
function Get-Hold($One) {
    if (Test-Excluded $One) { return 'excluded' }
    if ($One.Kinds -contains 'upgrades') { return 'another version of Windows' }
    foreach ($kind in $OnlyByName) {
        if ($One.Kinds -contains $kind -and $Scope -notcontains $kind) { return "$kind, only if asked for by name" }
    }
    if ($One.Asks) { return 'it may ask somebody' } # for an answer that never comes
    return ''
}

function Add-Failure($One, [string]$Why) {
    if ($Run.Failed.ContainsKey($One.Key)) { return }
    $Run.Failed[$One.Key] = $Why
    $Seen.failed++
    if ($Why -notlike 'download:*') { $Run.OnlyDownloads = $false }
    Add-Outcome $One 'failed' $Why
    $label = if ($One.Articles) { $One.Articles[0] } else { $One.Name.Substring(0, [Math]::Min(60, $One.Name.Length)) }
    Add-Problem (Format-Problem $One.Name $Why) "${label}:$Why"
    Write-Line "failed: $($One.Name) ($($One.Size)) $Why"
}

function Add-Outcome($One, [string]$Outcome, [string]$Why) {
    $label = if ($One.Articles) { $One.Articles[0] } else { ($One.Name -replace '[^A-Za-z0-9.-]+', '_') }
    $label = $label.Substring(0, [Math]::Min(40, $label.Length))
    $Run.Updates += "$label=${Outcome}:${Why}:$($One.Size -replace ' ', '')"
}

function Test-Late { return $Budget - $Clock.Elapsed.TotalSeconds -le $Reserve }

# Waits for some seconds while something else is at work. False: it has waited for as long as it may.
function Wait-Turn {
    $left = [Math]::Min($LockWait - $Run.Waited, [Math]::Ceiling($Budget - $Reserve - $Clock.Elapsed.TotalSeconds))
    if ($left -le 0) { return $false }
    $pause = [int][Math]::Min(10, $left)
    Start-Sleep -Seconds $pause
    $Run.Waited += $pause
    return $true
}

# yes, no, or unknown where the agent cannot say it.
function Get-Restart {
    try { $wanted = (New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired }
    catch {
        Add-Problem (Format-Problem 'whether a restart is pending' (Get-Result $_.Exception)) ''
        return 'unknown'
    }
    if ($null -eq $wanted) { return 'unknown' }
    if ($wanted) { return 'yes' }
    return 'no'
}

# Whether a failure of the search is one of the network or the server: addresses, connections, HTTP, the service's own protocol.
function Test-Network([string]$Result) {
    if ($Result -notmatch '^0x[0-9A-F]{8}$') { return $false }
    if ($Result -in '0x8024001F', '0x80240438', '0x8024043C') { return $true } # no connection, no endpoint, a proxy that refuses
    if ($Result -in '0x80070035', '0x800704CF', '0x800704D0', '0x800704D1', '0x800704D2') { return $true } # unreachable
    if ($Result -eq '0x80244011') { return $false } # no server is set
    $number = [Convert]::ToInt64($Result.Substring(2), 16)
    foreach ($range in @(
            @(2147952400, 2147954687), # 0x80072710 to 0x80072FFF: sockets, WinINet and WinHTTP
            @(2149859328, 2149863423), # 0x80244000 to 0x80244FFF: the protocol with the update server, HTTP in it
            @(2149863424, 2149863435), # 0x80245000 to 0x8024500B: the redirector; what follows is a policy that forbids it
            @(2149122448, 2149122559)  # 0x80190190 to 0x801901FF: HTTP 400 and above
        )) {
        if ($number -ge $range[0] -and $number -le $range[1]) { return $true }
    }
    return $false
}

# Ends because a search failed. What was updated before it stays so.
function Stop-Searching([string]$Result, [string]$Why) {
    $Seen.remaining = 'unknown'
    Add-Problem (Format-Problem 'the search' $Why) $Why
    Set-Restart
    if ($Seen.updated -gt 0) { Stop-With 82 'partial' $Why }
    if ($Result -in $OperationInProgress, $NotAllowed) { Stop-With 83 'blocked' $Why }
    if (Test-Network $Result) { Stop-With 86 'no_metadata' $Why }
    Stop-With 87 'failed' $Why
}

function Search-Agent {
    while ($true) {
        Write-Line 'searching: the update service'
        try {
            $searcher = $Session.CreateUpdateSearcher()
            $searcher.Online = $true
            return $searcher.Search('IsInstalled=0 and IsHidden=0 and RebootRequired=0')
        } catch {
            $result = Get-Result $_.Exception
            $why = "search:${result}:$($_.Exception.Message)"
        }
        if ($result -notin $OperationInProgress, $NotAllowed -or -not (Wait-Turn)) { Stop-Searching $result $why }
    }
}

# Prints the warnings of a search, and returns their numbers.
function Write-Warnings($Found) {
    try {
        foreach ($warning in $Found.Warnings) {
            $result = Format-Result $warning.HResult
            if (-not $Run.Warning) { $Run.Warning = "search_with_errors:$result" }
            Write-Line (Format-Plain "warning: $(Format-Problem 'the search' $result) $($warning.Message)")
            $result
        }
    } catch { Write-Line "warning: the search: its warnings cannot be read: $(Get-Result $_.Exception)" }
}

# Searches, and returns what is in scope and may be installed. Names what is held, and what cannot be read.
function Find-Updates {
    $found = Search-Agent
    $code = $found.ResultCode
    $warnings = @(Write-Warnings $found)
    if ($null -eq $code -or $null -eq $found.Updates) { Stop-Searching 'unknown' 'search:unreadable' }
    if ($code -notin $Succeeded, 3) {
        # Where the agent does not say why a search failed: no connection. One that was stopped, or never started, tells nothing.
        $result = if ($code -eq 4) { '0x8024001F' } else { 'unknown' }
        if ($warnings) { $result = $warnings[0] }
        Stop-Searching $result ("search_ended_with_$($code):$($warnings -join ',')" -replace ':$')
    }
    if ($code -eq 3 -and -not $Run.Warning) { $Run.Warning = 'search_with_errors' }
    $number = 0
    $nameless = 0
    $held = @{}
    $listed = @{}
    foreach ($update in $found.Updates) {
        $number++
        $one = Read-Update $update $number
        if (-not $one.Key) { $nameless++; $one.Key = "unreadable $nameless" }
        if ($listed.ContainsKey($one.Key)) { continue } # the same update by two ways, such as from two sources
        $listed[$one.Key] = $true
        if ($one.Fault -and -not (Test-Excluded $one)) {
            Add-Failure $one $one.Fault
            $one # it may be in scope
            continue
        }
        if (-not ($one.Fault -or (Test-InScope $one))) { continue }
        $why = Get-Hold $one
        if (-not $why) { $one; continue }
        $held[$one.Key] = $true
        if (-not $Run.Held.ContainsKey($one.Key)) { Write-Line "held: $($one.Name) ($($one.Size)): $why" }
        $Run.Held[$one.Key] = $true
    }
    $Seen.held = $held.Count
}

# Returns '' as soon as nothing else installs, or why no update may be started.
function Wait-Installer($Installer) {
    while ($Installer.IsBusy) {
        if (-not (Wait-Turn)) {
            if (Test-Late) { return 'out_of_time' }
            return 'locks_held'
        }
    }
    if (Test-Late) { return 'out_of_time' }
    if ($Installer.RebootRequiredBeforeInstallation) { return 'restart_first' }
    return ''
}

# Downloads and installs one update. Stop says why no further one may be started, Why what went wrong with this one.
function Install-One($One) {
    $part = 'prepare'
    try {
        $list = New-Object -ComObject Microsoft.Update.UpdateColl
        [void]$list.Add($One.Update)
        $installer = $Session.CreateUpdateInstaller()
        $installer.Updates = $list
        $stop = Wait-Installer $installer
        if ($stop) { return @{ Stop = $stop } }
        $part = 'licence'
        if (-not $One.Update.EulaAccepted) { $One.Update.AcceptEula() }
        $part = 'download'
        $downloader = $Session.CreateUpdateDownloader()
        $downloader.Updates = $list
        $end = Invoke-Part $One $installer 'download' { $downloader.Download() }
        if ($end.Stop -or $end.Why) { return $end }
        $part = 'install'
        return Invoke-Part $One $installer 'install' { $installer.Install() }
    } catch { return @{ Why = "${part}:$(Get-Result $_.Exception)" } }
}

# Starts one part as soon as it may be started. The update's own result decides, not that of the whole call.
function Invoke-Part($One, $Installer, [string]$Part, [scriptblock]$Call) {
    while ($true) {
        $stop = Wait-Installer $Installer
        if ($stop) { return @{ Stop = $stop } }
        Write-Line "${Part}ing: $($One.Name) ($($One.Size))"
        $own = $null
        try {
            $own = (& $Call).GetUpdateResult(0)
            $result = Format-Result $own.HResult
            if ($own.ResultCode -ne $Succeeded -and $own.HResult -eq 0) { $result = "ended_with_$($own.ResultCode):$result" }
        } catch { $result = Get-Result $_.Exception }
        if ($own.ResultCode -eq $Succeeded) {
            if ($own.RebootRequired) { $Run.WantsRestart = $true }
            return @{ Result = $result }
        }
        if ($result -notin $NotAllowed, $OperationInProgress) { return @{ Why = "${Part}:$result" } }
        if ((Get-Restart) -eq 'yes') { return @{ Stop = 'restart_first' } }
        if (-not (Wait-Turn)) {
            if (Test-Late) { return @{ Stop = 'out_of_time' } }
            return @{ Stop = 'locks_held' }
        }
    }
}

# Installs one update and notes what became of it. Returns why no further one may be started, or ''.
function Update-One($One) {
    $end = Install-One $One
    if ($end.Stop) { return $end.Stop }
    if ($end.Why -like "*:$NotApplicable") {
        $Run.Gone[$One.Key] = $true
        Add-Outcome $One 'not_applicable' $NotApplicable
        Write-Line "not applicable any more: $($One.Name) ($($One.Size)) $NotApplicable"
        $Run.Waiting = @($Run.Waiting | Where-Object { $_.Key -ne $One.Key })
        return ''
    }
    if ($end.Why) { Add-Failure $One $end.Why; return '' }
    $Seen.updated++
    $Run.Done[$One.Key] = $true
    $Run.Installed = @(@($Run.Installed) + $One.Short | Where-Object { $_ })
    if ($Run.Installed.Count -gt 70) { $Run.Installed = $Run.Installed[-70..-1] } # as much as fits into a fact
    Add-Outcome $One 'updated' $end.Result
    Write-Line "updated: $($One.Name) ($($One.Size)) $($end.Result)"
    $Run.Waiting = @($Run.Waiting | Where-Object { $_.Key -ne $One.Key })
    return ''
}

# What a search found and was not tried before. What was installed, and is offered once more, comes again and again.
function Select-New {
    foreach ($one in $Run.Waiting) {
        if ($Run.Failed.ContainsKey($one.Key)) { continue }
        if ($Run.Done.ContainsKey($one.Key)) { Add-Failure $one 'loop:installed_and_offered_again'; continue }
        if ($Before -contains $one.Short) { Add-Failure $one 'loop:installed_before_the_restart_and_offered_again'; continue }
        if ($Run.Gone.ContainsKey($one.Key)) { Add-Failure $one "loop:not_applicable_and_offered_again:$NotApplicable"; continue }
        $one
    }
}

# Searches and installs until nothing new is found. Returns why it stopped before that, or ''.
function Update-All {
    for ($search = 1; $true; $search++) {
        $Run.Waiting = @(Find-Updates)
        $Seen.remaining = $Run.Waiting.Count
        $new = @(Select-New)
        if (-not $new) { return '' }
        if ($search -gt $MostSearches) { return 'still_new_updates_after_10_searches' }
        foreach ($one in $new) {
            $stop = Update-One $one
            $Seen.remaining = $Run.Waiting.Count
            if ($stop) { return $stop }
        }
    }
}

function Set-Restart {
    $Seen.reboot = Get-Restart
    if ($Run.WantsRestart) { $Seen.reboot = 'yes' }
}

function Write-Remaining([string]$Word) {
    foreach ($one in $Run.Waiting) {
        if (-not $Run.Failed.ContainsKey($one.Key)) { Write-Line "${Word}: $($one.Name) ($($one.Size))" }
    }
}

function Stop-AfterDryRun {
    $Run.Waiting = @(Find-Updates)
    $Seen.remaining = $Run.Waiting.Count
    [void]@(Select-New)
    Write-Remaining 'waiting'
    if ($Seen.failed -gt 0) { Stop-With 87 'failed' $Run.Note }
    Stop-IfSearchFailed
    $note = if ($Seen.reboot -eq 'yes') { 'restart_first' } elseif ($Run.Warning) { $Run.Warning } else { '-' }
    if ($Run.Waiting) { Stop-With 0 'planned' $note }
    Stop-With 0 'nothing_to_do' $note
}

# A search that ended with errors and found nothing does not say that there is nothing.
function Stop-IfSearchFailed {
    if ($Run.Warning -and $Seen.updated -eq 0 -and $Seen.remaining -eq 0) {
        $Seen.remaining = 'unknown'
        Stop-With 86 'no_metadata' $Run.Warning
    }
}

function Stop-AfterUpdates([string]$Stopped) {
    Set-Restart
    if ($Stopped -eq 'restart_first') { $Seen.reboot = 'yes' }
    Write-Remaining 'left over'
    if ($Seen.remaining -eq 0 -and $Seen.failed -eq 0) {
        Stop-IfSearchFailed
        if ($Seen.reboot -eq 'unknown' -and $Seen.updated -gt 0) { Stop-With 82 'partial' 'restart_unknown' }
        if ($Seen.reboot -eq 'unknown') { Stop-With 87 'failed' 'restart_unknown' }
        $note = if ($Run.Warning) { $Run.Warning } else { '-' }
        if ($Seen.reboot -eq 'yes') { Stop-With 80 'reboot_needed' $note }
        if ($Seen.updated -gt 0) { Stop-With 0 'updated' $note }
        Stop-With 0 'nothing_to_do' $note
    }
    if ($Stopped -eq 'restart_first' -and $Seen.failed -eq 0) {
        if ($Restarted -and $Seen.updated -eq 0) { Stop-Unrestarted }
        Stop-With 80 'reboot_needed' 'restart_first'
    }
    $note = if ($Run.Note) { $Run.Note } else { $Stopped }
    if ($Stopped -eq 'out_of_time') { Stop-With 85 'out_of_time' $note }
    if ($Seen.updated -gt 0) { Stop-With 82 'partial' $note }
    if ($Stopped -eq 'locks_held') { Stop-With 83 'blocked' $Stopped }
    if ($Seen.failed -gt 0 -and $Run.OnlyDownloads) { Stop-With 86 'download_failed' $note }
    Stop-With 87 'failed' $note
}

function Stop-Unrestarted {
    Add-Problem 'This machine was restarted, and the Windows Update Agent still asks for a restart before it installs anything.' ''
    Stop-With 84 'refused' 'a_restart_does_not_clear_the_restart_that_is_pending'
}

# MiB that are free on the system's disk, or -1. WMI is asked only where the file system does not answer.
function Get-FreeSpace {
    try {
        $free = (New-Object System.IO.DriveInfo $env:SystemDrive).AvailableFreeSpace
        if ($free -is [long]) { return [long]($free / 1048576) }
    } catch { $free = $null }
    try {
        $free = (Get-CimInstance Win32_LogicalDisk -Filter "DeviceID='$env:SystemDrive'").FreeSpace
        if ($null -ne $free) { return [long]($free / 1048576) }
    } catch { Add-Problem "the space on the system's disk: $($_.Exception.Message)" '' }
    return -1
}

function Stop-IfShortOfSpace {
    $free = Get-FreeSpace
    if ($free -lt 0 -and $MinFree -gt 0) { Stop-With 84 'refused' 'free_on_system_disk:unknown' }
    if ($free -lt $MinFree) { Stop-With 84 'refused' "free_on_system_disk:${free}MiB" }
}

try {
    $Scope = Read-Scope $env:SCOPE
    $DryRun = Read-Switch 'dry_run' $env:DRY_RUN
    $Restarted = Read-Switch 'restarted' $env:RESTARTED
    $Budget = Read-Number 'budget' $env:BUDGET 5400
    $LockWait = Read-Number 'lock_wait' $env:LOCK_WAIT 300
    $MinFree = Read-Number 'min_free_mb' $env:MIN_FREE_MB 4096
    $Exclude = Read-Exclude $env:EXCLUDE
    $Before = @("$env:INSTALLED_BEFORE" -split ',' | Where-Object { $_ -and $_ -ne 'none' })

    $Seen.reboot = Get-Restart
    if ($Seen.reboot -eq 'yes' -and -not $DryRun) {
        # Until it has restarted, installing is refused. Searching is not, but what it finds now it may not find then.
        if ($Restarted) { Stop-Unrestarted }
        Stop-With 80 'reboot_needed' 'restart_first'
    }
    if (-not $DryRun) { Stop-IfShortOfSpace }

    $Session = New-Object -ComObject Microsoft.Update.Session
    $Session.ClientApplicationID = 'fleet'
    if ($DryRun) { Stop-AfterDryRun }
    $stopped = Update-All
    Stop-AfterUpdates $stopped
} catch {
    $why = "$(Get-Result $_.Exception):$($_.Exception.Message)"
    Add-Problem (Format-Problem 'windows-patch' "$why (line $($_.InvocationInfo.ScriptLineNumber))") $why
    Set-Restart
    if ($Seen.updated -gt 0) { Stop-With 82 'partial' $why }
    Stop-With 87 'failed' $why
}
