# The time service: w32tm.exe /query /source, which fails with an HRESULT where the service does not run.
# Documentation: learn.microsoft.com/windows-server/networking/windows-time-service/windows-time-service-tools-and-settings
function w32tm.exe {
    Add-PlayedCall "w32tm $args"
    $time = (Get-PlayedState).time
    if ($time.result) {
        "The following error occurred: $($time.message) ($($time.result))"
        $global:LASTEXITCODE = [int]$time.result
        return
    }
    "$($time.source) "
    $global:LASTEXITCODE = 0
}
