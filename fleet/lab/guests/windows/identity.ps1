# The Windows user that a script runs as: the security identifier in the file "user", for WindowsIdentity.GetCurrent().
# To be run before the script, in the same PowerShell: it makes the type's name another type.
# Documentation: learn.microsoft.com/dotnet/api/system.security.principal.windowsidentity.getcurrent
class PlayedIdentity {
    static [object] GetCurrent() {
        return @{ User = @{ Value = [System.IO.File]::ReadAllText((Join-Path $env:FLEET_PLAYED_WINDOWS 'user')).Trim() } }
    }
}
[psobject].Assembly.GetType('System.Management.Automation.TypeAccelerators')::Add('System.Security.Principal.WindowsIdentity', [PlayedIdentity])
