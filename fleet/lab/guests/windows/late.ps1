# Objects whose members are found when they are used, as those of COM are: reading one may throw, which no member that
# PowerShell itself adds to an object can do (it gives nothing then). Compiled where it is needed first, kept in the state's folder.
$PlayedLateSource = @'
using System;
using System.Collections.Generic;
using System.Dynamic;
using System.Runtime.InteropServices;

public class FleetLateBound : DynamicObject
{
    readonly IDictionary<string, Func<object>> members;
    readonly IDictionary<string, int> faults;

    public FleetLateBound(IDictionary<string, Func<object>> members, IDictionary<string, int> faults)
    {
        this.members = members;
        this.faults = faults;
    }

    object Use(string name)
    {
        int result;
        if (faults.TryGetValue(name, out result)) throw Marshal.GetExceptionForHR(result, new IntPtr(-1));
        Func<object> member;
        return members.TryGetValue(name, out member) ? member() : null;
    }

    public override bool TryGetMember(GetMemberBinder binder, out object result)
    {
        result = Use(binder.Name);
        return true;
    }

    public override bool TrySetMember(SetMemberBinder binder, object value)
    {
        members[binder.Name] = () => value;
        return true;
    }

    public override bool TryInvokeMember(InvokeMemberBinder binder, object[] args, out object result)
    {
        result = Use(binder.Name);
        return true;
    }
}
'@

function Import-PlayedLateBound {
    if ('FleetLateBound' -as [type]) { return }
    $library = Join-Path $env:FLEET_PLAYED_WINDOWS 'late.dll'
    if (-not (Microsoft.PowerShell.Management\Test-Path $library)) {
        $draft = Join-Path $env:FLEET_PLAYED_WINDOWS "late.$PID.dll"
        # The compiler of Windows PowerShell may have to be told where dynamic objects are; that of PowerShell 7 knows it.
        try { Add-Type -TypeDefinition $PlayedLateSource -OutputAssembly $draft -ErrorAction Stop }
        catch { Add-Type -TypeDefinition $PlayedLateSource -OutputAssembly $draft -ReferencedAssemblies System.Core }
        Move-Item -LiteralPath $draft -Destination $library -Force
    }
    Add-Type -Path $library
}

# The same object, but for members that throw. Methods without arguments are members as well.
function Add-PlayedFaults($Object, $Throws, [string[]]$Methods) {
    $faults = [System.Collections.Generic.Dictionary[string, int]]::new()
    foreach ($each in $Throws.psobject.Properties) {
        if ($Object.psobject.Properties[$each.Name]) { $faults[$each.Name] = [int]$each.Value }
    }
    if ($faults.Count -eq 0) { return , $Object }
    Import-PlayedLateBound
    $members = [System.Collections.Generic.Dictionary[string, Func[object]]]::new()
    foreach ($property in $Object.psobject.Properties) {
        $name = $property.Name
        $members[$name] = { , $Object.$name }.GetNewClosure() -as [Func[object]]
    }
    foreach ($name in $Methods) { $members[$name] = { , $Object.$name() }.GetNewClosure() -as [Func[object]] }
    return [FleetLateBound]::new($members, $faults)
}
