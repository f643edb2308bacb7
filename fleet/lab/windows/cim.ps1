# Get-CimInstance of the lab's guests: what the guest's state knows, and the rest from the module, which reads /proc.
# The module alone answers in runspaces that a script makes.
# Documentation: learn.microsoft.com/powershell/module/cimcmdlets/get-ciminstance
function Get-CimInstance {
    [CmdletBinding()]
    param(
        [Parameter(Position = 0)][string]$ClassName,
        [string]$Filter,
        [string]$Namespace,
        [uint32]$OperationTimeoutSec,
        [string[]]$Property
    )
    if (Get-Command "Get-Played$ClassName" -CommandType Function -ErrorAction Ignore) {
        Assert-PlayedCim $OperationTimeoutSec
        return & "Get-Played$ClassName" $Filter
    }
    CimCmdlets\Get-CimInstance $ClassName -Filter $Filter
}
