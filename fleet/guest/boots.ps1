# Whether two boots are one.
function Read-FleetBoot([string]$Text) {
    $found = [regex]::Match($Text, '^([0-9]{1,10}|x)-([0-9]{1,12}|x)-([0-9]{1,12})-([0-9]{1,12})$')
    if ($found.Success) {
        $words = $found.Groups
        return @{ Count = $words[1].Value; Began = $words[2].Value; Read = [long]$words[3].Value; Up = [long]$words[4].Value }
    }
    # Earlier versions kept the time of the boot alone.
    $began = [DateTime]::MinValue
    $form = "yyyyMMdd'T'HHmmss'Z'"
    $styles = [System.Globalization.DateTimeStyles]'AssumeUniversal, AdjustToUniversal'
    $culture = [System.Globalization.CultureInfo]::InvariantCulture
    if (-not [DateTime]::TryParseExact($Text, $form, $culture, $styles, [ref]$began)) { return $null }
    $seconds = Get-FleetEpoch $began
    return @{ Count = 'x'; Began = [string]$seconds; Read = $seconds; Up = -1 }
}

# same, other, unclear (the clock was set, or this boot has lasted for longer than the earlier one), or unknown.
function Compare-FleetBoot([string]$Earlier, [string]$Later) {
    $then = Read-FleetBoot $Earlier
    $now = Read-FleetBoot $Later
    if (-not $then -or -not $now) { return 'unknown' }
    # Ticks since the boot are believed where they agree with its time.
    $counted = $then.Up -ge 0
    if ($now.Began -ne 'x') { $counted = $counted -and [Math]::Abs($now.Read - [long]$now.Began - $now.Up) -le 60 }
    if ($counted -and $now.Up -lt $then.Up) { return 'other' }
    if ($then.Count -ne 'x' -and $now.Count -ne 'x') { if ($then.Count -eq $now.Count) { return 'same' } else { return 'other' } }
    if ($then.Began -eq 'x' -or $now.Began -eq 'x') { return 'unknown' }
    # The time of a boot moves by a second or so with the clock, and by more where the clock is set.
    if ([long]$now.Began - [long]$then.Began -le 60) { return 'same' }
    if (-not $counted) { return 'other' }
    # The ticks may have gone on. A later boot began after the earlier one was read.
    if ([long]$now.Began -lt $then.Read) { return 'same' }
    return 'unclear'
}

function Get-FleetUptime([string]$Boot) {
    $now = Read-FleetBoot $Boot
    if ($now.Began -eq 'x') { return $now.Up }
    return $now.Read - [long]$now.Began
}

