# Get-Acl for folders, as far as owner and list are read: what icacls.exe of this folder has made of them. A folder without
# a list belongs to the user in the file "user" and has inherited one rule more than it should.
# Documentation: learn.microsoft.com/powershell/module/microsoft.powershell.security/get-acl
function Get-Acl {
    param([string]$LiteralPath)
    $bytes = [System.Text.Encoding]::UTF8.GetBytes($LiteralPath)
    $name = [Convert]::ToHexString([System.Security.Cryptography.SHA256]::HashData($bytes)).ToLowerInvariant().Substring(0, 16)
    $list = Join-Path $env:FLEET_PLAYED_WINDOWS "lists/$name"
    $user = [System.IO.File]::ReadAllText((Join-Path $env:FLEET_PLAYED_WINDOWS 'user')).Trim()
    $lines = @("owner $user", 'inherited S-1-5-32-545')
    if (Test-Path -LiteralPath $list) { $lines = [System.IO.File]::ReadAllLines($list) }
    $rules = $lines -match '^(rule|inherited) ' -replace '^\w+ ', '' | ForEach-Object { @{ IdentityReference = @{ Value = $_ } } }
    $acl = [pscustomobject]@{
        Owner = ($lines -match '^owner ' -replace '^owner ', '')[0]
        Rules = @($rules)
        AreAccessRulesProtected = $lines -contains 'protected'
    }
    $acl | Add-Member ScriptMethod GetOwner { return @{ Value = $this.Owner } }
    $acl | Add-Member ScriptMethod GetAccessRules { return $this.Rules }
    return $acl
}

Export-ModuleMember -Function Get-Acl
