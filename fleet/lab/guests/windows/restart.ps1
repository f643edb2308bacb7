# shutdown.exe with the whole number that it ends with, and Restart-Computer.
# Documentation: learn.microsoft.com/powershell/module/microsoft.powershell.management/restart-computer
function shutdown.exe {
    & /c/Windows/System32/shutdown.exe @args
    switch ($LASTEXITCODE) {
        166 { $global:LASTEXITCODE = 1190 }
        92 { $global:LASTEXITCODE = 1116 }
    }
}

function Restart-Computer {
    [CmdletBinding()]
    param([switch]$Force)
    & /c/Windows/System32/shutdown.exe /r /t 0
}
