# Comes before every script and command of a guest: carries exit codes of 32 bits, and loads what is played.
$null = & {
    # Compiled from an expression: at the end of a process no runspace is there that could run a scriptblock.
    $make = [System.Linq.Expressions.Expression]
    $code = $make::Property($null, [Environment].GetProperty('ExitCode'))
    $text = $make::Call($code, [int].GetMethod('ToString', [type[]]@()))
    $write = [System.IO.File].GetMethod('WriteAllText', [type[]]@([string], [string]))
    $saved = $make::Call($write, $make::Constant('/run/lab-exit/' + $PID), $text)
    $given = [System.Linq.Expressions.ParameterExpression[]]@($make::Parameter([object]), $make::Parameter([EventArgs]))
    $handler = $make::Lambda([EventHandler], $saved, $given).Compile($true)
    [AppDomain]::CurrentDomain.add_ProcessExit($handler)
}

# A program's path is the one that plays Windows too; its exit code is the one that it wrote, or 1 if it was killed.
Update-TypeData -Force -TypeName System.Diagnostics.Process -MemberType ScriptProperty -MemberName Path -Value {
    $path = $this.psbase.MainModule.FileName
    if ($path.StartsWith('/opt/lab/host/') -and $path.EndsWith('/pwsh')) { $env:LAB_SHELL } else { $path }
}
Update-TypeData -Force -TypeName System.Diagnostics.Process -MemberType ScriptProperty -MemberName ExitCode -Value {
    $code = $this.psbase.ExitCode
    $file = '/run/lab-exit/' + $this.Id
    if ([System.IO.File]::Exists($file)) { [int][System.IO.File]::ReadAllText($file) }
    elseif ($code -in 137, 143) { 1 }
    else { $code }
}

# Loading all that is played takes as long as PowerShell's own start. So a script gets what its text names; one that makes
# further text into a script gets all, as does what comes without a text.
$LabNames = [ordered]@{
    identity = 'WindowsIdentity'
    user = 'WindowsIdentity'
    restart = 'shutdown|Restart-Computer'
    state = 'ComObject|Service|sc\.exe|DriveInfo|HKLM|HKEY_LOCAL_MACHINE|Registry::|HotFix|QuickFix|w32tm|Cim|Wmi'
    late = 'ComObject'
    agent = 'ComObject|Service|sc\.exe'
    objects = 'ComObject|DriveInfo'
    disks = 'DriveInfo|LogicalDisk'
    drives = 'DriveInfo|LogicalDisk'
    services = 'Service|sc\.exe'
    verbs = '(Start|Stop|Restart)-Service'
    registry = 'HKLM|HKEY_LOCAL_MACHINE|Registry::'
    hotfixes = 'HotFix|QuickFix'
    time = 'w32tm'
    defender = 'MpComputerStatus'
    wmi = 'Cim|Wmi|HotFix|QuickFix'
}
$LabAny = 'Invoke-Expression|\biex\b|ScriptBlock\]::Create|Import-Module|AddScript'
$LabAll = -not $LabText -or $LabText -match $LabAny
$LabParts = @($LabNames.Keys | Where-Object { $LabAll -or $LabText -match $LabNames[$_] })
foreach ($LabPart in $LabParts) { . ('/opt/lab/windows/' + $LabPart + '.ps1') }
