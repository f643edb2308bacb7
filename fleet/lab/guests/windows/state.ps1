# What a played Windows keeps: one JSON file, state.json, in the folder that FLEET_PLAYED_WINDOWS names. It outlives scripts and boots.
# Its keys are described in fleet/lab/guests/windows/state.py. Every other file of this folder reads and writes it through here.
# It is read again only where it has changed: with hundreds of updates that takes most of a script's time.
$PlayedRead = @{ Of = ''; State = $null }

function Get-PlayedState {
    $path = Join-Path $env:FLEET_PLAYED_WINDOWS 'state.json'
    $file = [System.IO.FileInfo]::new($path)
    $of = "$path $($file.LastWriteTimeUtc.Ticks) $($file.Length)"
    if ($PlayedRead.Of -ne $of) {
        $PlayedRead.State = [System.IO.File]::ReadAllText($path) | ConvertFrom-Json
        $PlayedRead.Of = $of
    }
    return $PlayedRead.State
}

function Save-PlayedState($State) {
    $path = Join-Path $env:FLEET_PLAYED_WINDOWS 'state.json'
    $draft = $path + '.' + $PID
    [System.IO.File]::WriteAllText($draft, ($State | ConvertTo-Json -Depth 12))
    Move-Item -LiteralPath $draft -Destination $path -Force
}

# Sets a member, whether it was there before or not.
function Set-PlayedMember($Object, [string]$Name, $Value) {
    $Object | Add-Member -NotePropertyName $Name -NotePropertyValue $Value -Force
}

# Notes that something was asked or done, for whoever looks at it afterwards: one line in the file "calls".
function Add-PlayedCall([string]$Line) {
    [System.IO.File]::AppendAllText((Join-Path $env:FLEET_PLAYED_WINDOWS 'calls'), $Line + "`n")
}

# The exception that .NET makes of an HRESULT ("0x80240016"), as at the border of COM.
function Get-PlayedException([string]$Result) {
    return [System.Runtime.InteropServices.Marshal]::GetExceptionForHR([int]$Result, [IntPtr]::new(-1))
}

function Get-PlayedNumber([string]$Result) { return [int]$Result }

# A stopwatch that goes on with every wait of the played Windows, also where state.clock is "instant" and no wait takes any time.
$PlayedWaits = @{ Seconds = [double]0 }

function Start-PlayedWatch {
    $watch = [pscustomobject]@{ Real = [System.Diagnostics.Stopwatch]::StartNew(); Waits = $PlayedWaits; From = $PlayedWaits.Seconds }
    $watch | Add-Member -MemberType ScriptProperty -Name Elapsed -Value {
        [TimeSpan]::FromSeconds($this.Real.Elapsed.TotalSeconds + $this.Waits.Seconds - $this.From)
    }
    return $watch
}

function Wait-Played([double]$Seconds) {
    if ($Seconds -le 0) { return }
    $state = Get-PlayedState
    if ($state.clock -eq 'instant') { $PlayedWaits.Seconds += $Seconds; return }
    $speed = 1
    if ($state.speed) { $speed = [double]$state.speed }
    Microsoft.PowerShell.Utility\Start-Sleep -Milliseconds ([int](1000 * $Seconds / $speed))
}

function Start-Sleep([Alias('s')][double]$Seconds, [Alias('m', 'ms')][int]$Milliseconds) {
    Wait-Played ($Seconds + $Milliseconds / 1000)
}
