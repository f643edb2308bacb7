# Microsoft Defender: MSFT_MpComputerStatus, for Get-CimInstance. Where it is not installed, its namespace is missing.
# Documentation: learn.microsoft.com/previous-versions/windows/desktop/defender/msft-mpcomputerstatus
function Get-PlayedMSFT_MpComputerStatus {
    $defender = (Get-PlayedState).defender
    if (-not $defender) { throw [System.InvalidOperationException]::new('Invalid namespace') }
    [pscustomobject]@{
        AMRunningMode = $defender.mode
        AMServiceEnabled = $true
        AntivirusEnabled = $defender.enabled
        RealTimeProtectionEnabled = $defender.real_time
        AntivirusSignatureAge = [uint32]$defender.signature_days
        AntivirusSignatureVersion = '1.421.0.0'
    }
}
