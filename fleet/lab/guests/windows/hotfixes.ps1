# Installed hot fixes: Win32_QuickFixEngineering for Get-CimInstance, and Get-HotFix, which asks it, so both need WMI.
# Documentation: learn.microsoft.com/windows/win32/cimwin32prov/win32-quickfixengineering and
# learn.microsoft.com/powershell/module/microsoft.powershell.management/get-hotfix
function Get-HotFix {
    [CmdletBinding()]
    param([string[]]$Id)
    Assert-PlayedCim 0
    foreach ($fix in (Get-PlayedState).hotfixes) {
        if ($Id -and $Id -notcontains $fix.id) { continue }
        $on = if ($fix.on) { [DateTime]$fix.on }
        [pscustomobject]@{ HotFixID = $fix.id; Description = $fix.description; InstalledOn = $on }
    }
}

# The class itself says the day as text, in the American order.
function Get-PlayedWin32_QuickFixEngineering {
    foreach ($fix in (Get-PlayedState).hotfixes) {
        $on = if ($fix.on) { ([DateTime]$fix.on).ToString('M/d/yyyy', [cultureinfo]::InvariantCulture) } else { '' }
        [pscustomobject]@{ HotFixID = $fix.id; Description = $fix.description; InstalledOn = $on }
    }
}
