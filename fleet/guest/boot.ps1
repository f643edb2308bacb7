# Which boot this is. A question to WMI is asked beside and waited for so long only: where it hangs, it is left behind.
function Get-FleetEpoch([DateTime]$Moment) {
    $origin = New-Object DateTime 1970, 1, 1, 0, 0, 0, ([DateTimeKind]::Utc)
    return [long][Math]::Floor(($Moment.ToUniversalTime() - $origin).TotalSeconds)
}

function Start-FleetQuestion([string]$Class, [string]$Filter) {
    try {
        $session = [System.Management.Automation.Runspaces.InitialSessionState]::CreateDefault2()
        # A function that stands in place of the command goes along, with those that it may call.
        $own = Get-Item -LiteralPath function:Get-CimInstance -ErrorAction SilentlyContinue
        if ($own -and -not $own.ModuleName) {
            foreach ($each in Get-ChildItem -Path function: | Where-Object { -not $_.ModuleName }) {
                $session.Commands.Add((New-Object System.Management.Automation.Runspaces.SessionStateFunctionEntry $each.Name, $each.Definition))
            }
        }
        $asked = [PowerShell]::Create($session)
        [void]$asked.AddCommand('Get-CimInstance').AddParameter('ClassName', $Class)
        if ($Filter) { [void]$asked.AddParameter('Filter', $Filter) }
        return @{ Asked = $asked; Begun = $asked.BeginInvoke() }
    }
    catch { return $null }
}

# What has been answered by then, in milliseconds; nothing where it failed or hangs.
function Get-FleetReply($Question, [long]$Limit) {
    try {
        $done = $Question.Begun.AsyncWaitHandle.WaitOne([int][Math]::Max(0, $Limit))
        if ($done) { return $Question.Asked.EndInvoke($Question.Begun) }
    }
    catch { $null = $_ }
}

# A question that hangs keeps a PowerShell that exits from ending.
function Exit-Fleet([int]$Code, [object[]]$Questions) {
    foreach ($each in $Questions) { if ($each -and -not $each.Begun.IsCompleted) { [Environment]::Exit($Code) } }
    exit $Code
}

# A boot as text: how many there have been, when it began, when this was read, and seconds since the boot by the ticks.
# An x stands for what is not known. No clock moves the first and the last.
function Get-FleetBoot($Question, [long]$Limit) {
    $key = 'HKLM:/SYSTEM/CurrentControlSet/Control/Session Manager/Memory Management/PrefetchParameters'
    $key = $key.Replace('/', [string][char]92)
    $count = 'x'
    try { $count = [string][uint32](Get-ItemProperty -LiteralPath $key -Name BootId -ErrorAction Stop).BootId }
    catch { $null = $_ }
    $began = 'x'
    try { $began = [string](Get-FleetEpoch (Get-FleetReply $Question $Limit | Select-Object -First 1).LastBootUpTime) }
    catch { $null = $_ }
    $ticks = [System.Diagnostics.Stopwatch]::GetTimestamp() / [System.Diagnostics.Stopwatch]::Frequency
    return '{0}-{1}-{2}-{3}' -f $count, $began, (Get-FleetEpoch ([DateTime]::UtcNow)), [long][Math]::Floor($ticks)
}

