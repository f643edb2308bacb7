# The folders of receipts, which nobody else may enter.

# Whoever owns a folder may let himself in again, and a link leads elsewhere.
function Test-FleetFolder([string]$Path) {
    $way = [System.IO.File]::GetAttributes($Path) -band [System.IO.FileAttributes]::ReparsePoint
    if ($way) { Stop-Fleet ('the folder ' + $Path + ' is a link') }
    if (-not $FleetHasOwners) { return }
    $owner = (Get-Acl -LiteralPath $Path).GetOwner([System.Security.Principal.SecurityIdentifier]).Value
    if ($owner -notin $FleetTrusted) { Stop-Fleet ('the folder ' + $Path + ' belongs to another user, ' + $owner) }
}

# Those beside the system, the administrators and this user who may look inside; "-" while rights are inherited.
function Get-FleetStrangers([string]$Path) {
    if (-not $FleetHasOwners) { return }
    $list = Get-Acl -LiteralPath $Path
    if (-not $list.AreAccessRulesProtected) { '-' }
    $list.GetAccessRules($true, $true, [System.Security.Principal.SecurityIdentifier]) |
        ForEach-Object { $_.IdentityReference.Value } | Where-Object { $_ -notin $FleetTrusted } | Select-Object -Unique
}

# Only the system, the administrators and this user may look inside; what the list has become is read back.
function New-FleetFolder([string]$Path) {
    [void][System.IO.Directory]::CreateDirectory($Path)
    Test-FleetFolder $Path
    $grants = $FleetTrusted | ForEach-Object { '*' + $_ + ':(OI)(CI)F' }
    & icacls.exe $Path /inheritance:r /grant:r $grants | Out-Null
    $done = $LASTEXITCODE -eq 0
    foreach ($stranger in @(Get-FleetStrangers $Path | Where-Object { $_ -ne '-' })) {
        & icacls.exe $Path /remove ('*' + $stranger) | Out-Null
    }
    if (-not $done -or (Get-FleetStrangers $Path)) { Stop-Fleet ('the folder ' + $Path + ' cannot be made private') }
}

