# Runs the script, its streams into files, up to its time limit.

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
    try {
        if ($FleetJob -ne [IntPtr]::Zero -and -not [Fleet.Native]::AssignProcessToJobObject($FleetJob, $process.Handle)) {
            $script:FleetJob = [IntPtr]::Zero
        }
    }
    catch { $script:FleetJob = [IntPtr]::Zero }
    try { Save-FleetText (Join-Path $FleetFolder 'child') ('{0} {1}' -f $process.Id, $process.StartTime.ToUniversalTime().Ticks) }
    catch { $null = $_ }
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

