# The Windows Update Agent, as scripts meet it through COM: Microsoft.Update.Session, UpdateColl, SystemInfo.
#
# Documentation: learn.microsoft.com/windows/win32/wua_sdk/portal-client (IUpdateSession, IUpdateSearcher, ISearchResult, IUpdate,
# IUpdateDownloader, IUpdateInstaller, IUpdateCollection, ISystemInformation, IUpdateHistoryEntry, OperationResultCode, and
# "WUA Success and Error Codes"). Members are found by name when they are used, collections enumerate, methods without a
# result give nothing, and a call that fails throws the exception that .NET makes of its HRESULT.
function Get-PlayedClassification([string]$Name) {
    $known = @{
        security = '0FA1201D-4330-4FA8-8AE9-B877473B6441'
        critical = 'E6CF1350-C01B-414D-A61F-263D14D133B4'
        rollups = '28BC880E-0592-4CBF-8F95-C79B17911D5F'
        updates = 'CD5FFD1E-E932-4E3A-BF74-18BF0B1BBD83'
        definitions = 'E0789628-CE08-4437-BE74-2495B842F43B'
        service_packs = '68C5B0A3-D1A6-4553-AE49-01D3A7827828'
        feature_packs = 'B54E7D24-7ADD-428F-8B75-90A396FA584F'
        tools = 'B4832BD8-E735-4761-8DAF-37F882276DAB'
        drivers = 'EBFC1FC5-71A4-4F7B-9ACA-3B9A503104A0'
        upgrades = '3689BDC8-B205-4AF4-8D4A-A63924C5E9D5'
    }
    if ($known[$Name]) { return $known[$Name] }
    return $Name
}

function Find-PlayedUpdate($State, [string]$Id) {
    foreach ($spec in $State.updates) { if ($spec.id -eq $Id) { return $spec } }
}

# Throws where state says that this member of this thing fails.
function Assert-Played($Thing, [string]$Member) {
    Add-PlayedCall $Member
    if ($Thing.throws -and $Thing.throws.$Member) { throw (Get-PlayedException $Thing.throws.$Member) }
}

class PlayedCollection : System.Collections.ArrayList {
    PlayedCollection([object[]]$Items) : base($Items) { }
    [object] Item([int]$At) { return ([System.Collections.ArrayList]$this)[$At] }
}

class PlayedUpdate {
    [string]$PlayedId
    PlayedUpdate($Spec) {
        $this.PlayedId = $Spec.id
        if ($Spec.members -eq $false) { return } # an object whose members are nothing
        $categories = @($Spec.categories | Where-Object { $_ } | ForEach-Object {
                [pscustomobject]@{ CategoryID = Get-PlayedClassification $_; Name = $_; Type = 'UpdateClassification' }
            })
        $members = [ordered]@{
            Title = $Spec.title
            Identity = [pscustomobject]@{ UpdateID = $Spec.id; RevisionNumber = [int]$Spec.revision }
            KBArticleIDs = [PlayedCollection]::new(@($Spec.kb | Where-Object { $_ } | ForEach-Object { "$_" }))
            Categories = [PlayedCollection]::new($categories)
            Type = $(if ($Spec.type -eq 'driver') { 2 } else { 1 })
            BrowseOnly = [bool]$Spec.browse_only
            EulaAccepted = -not $Spec.eula
            MaxDownloadSize = [decimal]$Spec.size
            MinDownloadSize = [decimal]0
            IsDownloaded = [bool]$Spec.downloaded
            IsInstalled = $false
            IsHidden = [bool]$Spec.hidden
            RebootRequired = $false
            MsrcSeverity = $Spec.severity
            InstallationBehavior = [pscustomobject]@{
                CanRequestUserInput = [bool]$Spec.asks
                Impact = 0
                RebootBehavior = $(if ($Spec.restart) { 1 } else { 0 })
                RequiresNetworkConnectivity = $false
            }
        }
        foreach ($name in $Spec.missing) { $members.Remove($name) }
        $this | Add-Member -NotePropertyMembers $members
    }
    [void] AcceptEula() {
        $state = Get-PlayedState
        $spec = Find-PlayedUpdate $state $this.PlayedId
        Assert-Played $spec 'AcceptEula'
        Set-PlayedMember $spec 'eula' $false
        Save-PlayedState $state
        $this.EulaAccepted = $true
    }
}

function New-PlayedUpdate($Spec) { return Add-PlayedFaults ([PlayedUpdate]::new($Spec)) $Spec.throws 'AcceptEula' }

class PlayedOwnResult {
    $ResultCode
    $HResult
    $RebootRequired = $false
}

class PlayedResult {
    $ResultCode
    $HResult
    $RebootRequired = $false
    [object[]]$PlayedOwn
    PlayedResult([object[]]$Own) {
        $this.PlayedOwn = $Own
        $codes = @($Own | ForEach-Object { $_.ResultCode } | Select-Object -Unique)
        $this.ResultCode = if ($codes.Count -eq 1) { $codes[0] } else { 3 }
        # Of the whole call: WU_E_ALL_UPDATES_FAILED, whatever the number of each.
        $this.HResult = if ($this.ResultCode -eq 4) { Get-PlayedNumber '0x80240022' } else { 0 }
        $this.RebootRequired = [bool]($Own | Where-Object { $_.RebootRequired })
    }
    [object] GetUpdateResult([int]$At) { return $this.PlayedOwn[$At] }
}

# One part, download or install, of one update: what state says becomes of it.
function Get-PlayedOwn($Spec, [string]$Part) {
    $own = [PlayedOwnResult]::new()
    $own.ResultCode = 2
    $own.HResult = 0
    $plan = $Spec.$Part
    if ($plan -and $plan.result -and $plan.times -ne 0) {
        $own.HResult = Get-PlayedNumber $plan.result
        $own.ResultCode = if ($null -ne $plan.code) { $plan.code } else { 4 }
        if ($plan.times) { $plan.times = $plan.times - 1 }
    }
    Wait-Played ([double]$Spec."${Part}_seconds")
    return $own
}

class PlayedDownloader {
    $Updates
    $ClientApplicationID
    $Priority
    $IsForced
    [object] Download() {
        $own = @(foreach ($update in $this.Updates) {
                $state = Get-PlayedState
                $spec = Find-PlayedUpdate $state $update.PlayedId
                Assert-Played $spec 'Download'
                $own = Get-PlayedOwn $spec 'download'
                if ($own.ResultCode -eq 2) { Set-PlayedMember $spec 'downloaded' $true }
                Save-PlayedState $state
                $own
            })
        return [PlayedResult]::new($own)
    }
}

class PlayedInstaller {
    $Updates
    $ClientApplicationID
    $IsForced
    $AllowSourcePrompts = $true
    PlayedInstaller() {
        $this | Add-Member -MemberType ScriptProperty -Name IsBusy -Value { Test-PlayedBusy }
        $this | Add-Member -MemberType ScriptProperty -Name RebootRequiredBeforeInstallation -Value {
            Add-PlayedCall 'RebootRequiredBeforeInstallation'
            [bool](Get-PlayedState).restart.blocks
        }
    }
    [object] Install() {
        $own = @(foreach ($update in $this.Updates) { Install-Played $update.PlayedId })
        return [PlayedResult]::new($own)
    }
}

# Something else installs: until a moment, for so many looks, or for ever (-1).
function Test-PlayedOther($State) {
    return $State.installer.until -and [DateTimeOffset]::UtcNow.ToUnixTimeMilliseconds() -lt 1000 * $State.installer.until
}

function Test-PlayedBusy {
    Add-PlayedCall 'IsBusy'
    $state = Get-PlayedState
    if (Test-PlayedOther $state) { return $true }
    $looks = $state.installer.busy
    if (-not $looks) { return $false }
    if ($looks -gt 0) {
        $state.installer.busy = $looks - 1
        Save-PlayedState $state
    }
    return $true
}

# The machine powers off after some seconds: whoever plays it looks for the file "off", and ends what runs.
function Stop-PlayedMachine([double]$Seconds) {
    Wait-Played $Seconds
    [System.IO.File]::WriteAllText((Join-Path $env:FLEET_PLAYED_WINDOWS 'off'), '')
    Wait-Played 1000000
}

function Install-Played([string]$Id) {
    $state = Get-PlayedState
    $spec = Find-PlayedUpdate $state $Id
    Add-PlayedCall "install $($spec.title)"
    $refuses = $state.installer.refuses
    if ($state.restart.blocks -or $refuses -or (Test-PlayedOther $state)) {
        if ($refuses -gt 0) {
            $state.installer.refuses = $refuses - 1
            Save-PlayedState $state
        }
        throw (Get-PlayedException '0x80240016') # WU_E_INSTALL_NOT_ALLOWED
    }
    if ($spec.powers_off) { Stop-PlayedMachine ([double]$spec.install_seconds / 2) }
    if ($spec.hangs) { Wait-Played 1000000 }
    Assert-Played $spec 'Install'
    $own = Get-PlayedOwn $spec 'install'
    if ($own.ResultCode -eq 2) { Set-PlayedInstalled $state $spec $own }
    Save-PlayedState $state
    return $own
}

# An installed update is installed at once, with the next boot (restart), or not at all, though it says so (comes_again).
function Set-PlayedInstalled($State, $Spec, $Own) {
    $entry = [ordered]@{ title = $Spec.title; id = $Spec.id; operation = 1; result = 2; date = [DateTime]::UtcNow.ToString('o') }
    Set-PlayedMember $State 'history' @(@([pscustomobject]$entry) + @($State.history | Where-Object { $_ }))
    if ($Spec.restart) {
        $Own.RebootRequired = $true
        $Own.HResult = Get-PlayedNumber '0x00240005' # WU_S_REBOOT_REQUIRED
        if ($Spec.restart -eq 'result') { Set-PlayedMember $Spec 'installed' $true; return }
        Set-PlayedMember $Spec 'pending' $true
        $State.restart.wanted = $true
        if ($Spec.restart -eq 'mandatory') { $State.restart.blocks = $true }
        return
    }
    if ($Spec.comes_again) {
        if ($Spec.comes_again -gt 0) { $Spec.comes_again = $Spec.comes_again - 1 }
        return
    }
    Set-PlayedMember $Spec 'installed' $true
    foreach ($other in $State.updates) { if ($Spec.replaces -contains $other.id) { Set-PlayedMember $other 'replaced' $true } }
}

class PlayedSearcher {
    $Online = $true
    $ServerSelection = 0
    $IncludePotentiallySupersededUpdates = $false
    [object] Search([string]$Criteria) {
        $state = Get-PlayedState
        Add-PlayedCall "search $Criteria"
        $plan = $state.search
        Wait-Played ([double]$plan.seconds)
        if ($plan.throws -and $plan.times -ne 0) {
            if ($plan.after) { $plan.after = $plan.after - 1; Save-PlayedState $state }
            else {
                if ($plan.times) { $plan.times = $plan.times - 1; Save-PlayedState $state }
                throw (Get-PlayedException $plan.throws)
            }
        }
        $found = foreach ($spec in $state.updates) {
            if (-not (Test-PlayedOffer $state $spec $Criteria)) { continue }
            New-PlayedUpdate $spec
            if ($spec.twice) { New-PlayedUpdate $spec }
        }
        $code = if ($null -ne $plan.code) { $plan.code } else { 2 }
        if ($plan.members -eq $false) { return [pscustomobject]@{} }
        $warnings = @($plan.warnings | Where-Object { $_ } | ForEach-Object {
                [pscustomobject]@{ HResult = Get-PlayedNumber $_.result; Message = $_.message; Context = 3 }
            })
        return [pscustomobject]@{
            ResultCode = $code
            Updates = [PlayedCollection]::new(@($found | Where-Object { $_ }))
            Warnings = [PlayedCollection]::new($warnings)
        }
    }
    [int] GetTotalHistoryCount() {
        $state = Get-PlayedState
        Assert-Played $state.session 'GetTotalHistoryCount'
        return @($state.history | Where-Object { $_ }).Count
    }
    [object] QueryHistory([int]$From, [int]$Count) {
        $state = Get-PlayedState
        Assert-Played $state.session 'QueryHistory'
        $entries = @($state.history | Where-Object { $_ } | Select-Object -Skip $From -First $Count | ForEach-Object {
                [pscustomobject]@{
                    Operation = $_.operation
                    ResultCode = $_.result
                    Date = ([DateTime]$_.date).ToUniversalTime()
                    Title = $_.title
                    HResult = 0
                }
            })
        return [PlayedCollection]::new($entries)
    }
}

# Whether an update is offered: not installed, not replaced, its forerunner installed, and as the criteria say.
function Test-PlayedOffer($State, $Spec, [string]$Criteria) {
    if ($Spec.installed -or $Spec.replaced) { return $false }
    if ($Spec.hidden -and $Criteria -match 'IsHidden\s*=\s*0') { return $false }
    if ($Spec.pending -and $Criteria -match 'RebootRequired\s*=\s*0') { return $false }
    foreach ($id in $Spec.needs) { if (-not (Find-PlayedUpdate $State $id).installed) { return $false } }
    return $true
}

class PlayedSession {
    $ClientApplicationID
    $ReadOnly = $false
    [object] CreateUpdateSearcher() { return [PlayedSearcher]::new() }
    [object] CreateUpdateDownloader() { return [PlayedDownloader]::new() }
    [object] CreateUpdateInstaller() { return Add-PlayedFaults ([PlayedInstaller]::new()) (Get-PlayedState).installer.throws 'Install' }
}

function New-PlayedSystemInfo {
    Add-PlayedCall 'RebootRequired'
    $state = Get-PlayedState
    if ($state.system_info.members -eq $false) { return [pscustomobject]@{} }
    return Add-PlayedFaults ([pscustomobject]@{ RebootRequired = [bool]$state.restart.wanted }) $state.system_info.throws
}

# A COM object by its ProgID. REGDB_E_CLASSNOTREG where there is none.
function New-PlayedComObject([string]$Name) {
    $state = Get-PlayedState
    if ($state.com -and $state.com.$Name) { throw (Get-PlayedException $state.com.$Name) }
    switch ($Name) {
        'Microsoft.Update.Session' { return [PlayedSession]::new() }
        'Microsoft.Update.UpdateColl' { return , [PlayedCollection]::new(@()) }
        'Microsoft.Update.SystemInfo' { return New-PlayedSystemInfo }
    }
    throw (Get-PlayedException '0x80040154')
}
