# The user that a command names, in place of the one in the state's folder.
if ($env:LAB_USER) {
    class LabIdentity { static [object] GetCurrent() { return @{ User = @{ Value = $env:LAB_USER } } } }
    $null = & {
        $names = [psobject].Assembly.GetType('System.Management.Automation.TypeAccelerators')
        $null = $names::Remove('System.Security.Principal.WindowsIdentity')
        $names::Add('System.Security.Principal.WindowsIdentity', [LabIdentity])
    }
}
