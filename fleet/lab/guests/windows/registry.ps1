# The registry below HKLM:, as far as it is read: Get-ItemProperty and Test-Path. State holds keys by their path below HKLM:\, each with
# its values; a value that is "throws" makes the key one that may not be read.
# Documentation: learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_registry_provider
function Find-PlayedKey([string]$Path) {
    $wanted = $Path -replace '^(Microsoft\.PowerShell\.Core\\)?(Registry::)?(HKLM:|HKEY_LOCAL_MACHINE)\\*', '' -replace '\\+$', ''
    $registry = (Get-PlayedState).registry
    foreach ($key in $registry.psobject.Properties) {
        if ($key.Name -eq $wanted) {
            if ($key.Value.throws) { throw [System.Security.SecurityException]::new('Requested registry access is not allowed.') }
            return $key.Value
        }
        if ($key.Name.StartsWith($wanted + '\', 'OrdinalIgnoreCase')) { return [pscustomobject]@{} }
    }
}

function Test-PlayedPath($Path) { return "$Path" -match '^(Microsoft\.PowerShell\.Core\\)?(Registry::)?(HKLM:|HKEY_LOCAL_MACHINE)' }

function Get-ItemProperty {
    [CmdletBinding()]
    param([Parameter(Position = 0)][string]$Path, [Parameter(Position = 1)][string[]]$Name, [string]$LiteralPath)
    $where = "$Path$LiteralPath"
    if (-not (Test-PlayedPath $where)) { return Microsoft.PowerShell.Management\Get-ItemProperty @PSBoundParameters }
    try { $key = Find-PlayedKey $where }
    catch { return Write-Error -Exception $_.Exception -Category PermissionDenied -TargetObject $where }
    if ($null -eq $key) {
        $text = "Cannot find path '$where' because it does not exist."
        return Write-Error -Message $text -Category ObjectNotFound -ErrorId PathNotFound -TargetObject $where
    }
    foreach ($each in $Name) {
        if ($null -eq $key.psobject.Properties[$each]) {
            $text = "Property $each does not exist at path $where."
            return Write-Error -Message $text -Category InvalidArgument -ErrorId ArgumentNull -TargetObject $where
        }
    }
    if (@($key.psobject.Properties).Count) { return $key } # of a key without values there is nothing to give
}

function Test-Path {
    [CmdletBinding()]
    param([Parameter(Position = 0)][string[]]$Path, [string[]]$LiteralPath, [string]$PathType)
    $where = "$Path$LiteralPath"
    if (-not (Test-PlayedPath $where)) { return Microsoft.PowerShell.Management\Test-Path @PSBoundParameters }
    try { return $null -ne (Find-PlayedKey $where) }
    catch { Write-Error -Exception $_.Exception -Category PermissionDenied -TargetObject $where; return $false }
}
