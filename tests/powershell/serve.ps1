# Runs scripts one after the other, each in a runspace of its own: a start of PowerShell costs most of a second. One line of JSON
# comes in for each, one goes out. What a script prints with [Console] and what comes out of its pipeline are both kept.
param([string]$Load)
$answers = New-Object System.IO.StreamWriter ([Console]::OpenStandardOutput())
$answers.AutoFlush = $true
$own = @{}
while ($null -ne ($line = [Console]::In.ReadLine())) {
    $case = $line | ConvertFrom-Json
    foreach ($name in @($own.Keys)) { [Environment]::SetEnvironmentVariable($name, $own[$name]) }
    $own.Clear()
    foreach ($pair in $case.environment.psobject.Properties) {
        $own[$pair.Name] = [Environment]::GetEnvironmentVariable($pair.Name)
        [Environment]::SetEnvironmentVariable($pair.Name, $pair.Value)
    }
    $out = New-Object System.IO.StringWriter
    $err = New-Object System.IO.StringWriter
    [Console]::SetOut($out)
    [Console]::SetError($err)
    $shell = [PowerShell]::Create([System.Management.Automation.Runspaces.InitialSessionState]::CreateDefault2())
    try {
        [void]$shell.AddScript($case.before)
        $piped = $shell.AddStatement().AddCommand($case.script).Invoke()
        foreach ($each in $piped) { $out.WriteLine("$each") }
        foreach ($each in $shell.Streams.Error) { $err.WriteLine("$each") }
        $code = $shell.Runspace.SessionStateProxy.GetVariable('LASTEXITCODE')
    } catch {
        $err.WriteLine("$_")
        $code = 1
    }
    $shell.Dispose()
    $answers.WriteLine((@{ code = $code; stdout = $out.ToString(); stderr = $err.ToString() } | ConvertTo-Json -Compress))
}
