# Prints what scripts use of PowerShell and of .NET, a line each: what it is, a tab, and file:line. Left out is what they make
# themselves: functions, classes, and properties named by a key of a hash table or a class.
#   command NAME            a cmdlet or a program
#   command NAME -PARAMETER
#   command NAME +N         so many values without a parameter's name
#   value NAME -PARAMETER V a constant given to -Encoding, whose values differ between versions
#   type NAME
#   member .NAME            a property of an object; .NAME/N a method with so many arguments; [TYPE]::NAME of a class
#   com NAME                a COM class
#   syntax KIND             a kind of node of the syntax tree, an operator, a suffix of a number, an escape in a string
#   variable NAME           one that no script here sets
# What can only be known when it runs is printed with ? for its name.
param([string]$List)

# Classes that scripts compile from C#.
$Compiled = 'Fleet.Native', 'FleetLateBound'

$Parser = [System.Management.Automation.Language.Parser]
$Language = 'System.Management.Automation.Language.'

function Write-Use([string]$What, $Node) {
    [Console]::Out.WriteLine("$What`t$($Node.Extent.File):$($Node.Extent.StartLineNumber)")
}

function Get-Constant($Node) {
    if ($Node -is ($Language + 'StringConstantExpressionAst' -as [type])) { return $Node.Value }
    return '?'
}

function Write-Command($Node, $Own) {
    $name = $Node.GetCommandName()
    if (-not $name) { $name = '?' }
    if ($Own -contains $name) { return }
    Write-Use "command $name" $Node
    $elements = @($Node.CommandElements | Select-Object -Skip 1)
    $values = 0
    $before = $null
    foreach ($element in $elements) {
        if ($element -is ($Language + 'CommandParameterAst' -as [type])) {
            Write-Use "command $name -$($element.ParameterName)" $element
            $before = if ($element.Argument) { $null } else { $element.ParameterName }
            if ($element.ParameterName -eq 'Encoding' -and $element.Argument) {
                Write-Use "value $name -Encoding $(Get-Constant $element.Argument)" $element
            }
            continue
        }
        if ($before -eq 'Encoding') { Write-Use "value $name -Encoding $(Get-Constant $element)" $element }
        if ($before -eq 'ComObject') { Write-Use "com $(Get-Constant $element)" $element }
        if (-not $before) { $values++ }
        $before = $null
    }
    # A switch takes the value behind it here; which parameters are switches is not known to the tree.
    if ($values -gt 0 -and $name -notmatch '[.]exe$') { Write-Use "command $name +$values" $Node }
    if ($name -eq 'New-Object' -and $elements.Count -gt 0) {
        if ($elements[0] -isnot ($Language + 'CommandParameterAst' -as [type])) { Write-Use "type $(Get-Constant $elements[0])" $Node }
    }
}

function Write-Member($Node) {
    $name = Get-Constant $Node.Member
    if ($Node.NullConditional) { Write-Use 'syntax NullConditional' $Node }
    $owner = '.'
    if ($Node.Static) {
        $owner = '[?]::'
        if ($Node.Expression -is ($Language + 'TypeExpressionAst' -as [type])) { $owner = "[$($Node.Expression.TypeName.FullName)]::" }
    }
    $count = ''
    if ($Node -is ($Language + 'InvokeMemberExpressionAst' -as [type])) { $count = "/$(@($Node.Arguments | Where-Object { $_ }).Count)" }
    if ($owner -eq '.' -and -not $count -and $Made -contains $name) { return }
    if ($owner -ne '.' -and $Types -contains $owner.TrimStart('[').Replace(']::', '')) { return }
    Write-Use "member $owner$name$count" $Node
}

# Suffixes and escapes came with later versions, and the tree holds the value only.
function Write-Literal($Node) {
    $text = $Node.Extent.Text
    if ($Node.GetType().Name -eq 'ConstantExpressionAst') {
        if ($text -match '^(0b)|[.0-9]([a-z]+)$' -and $text -notmatch '^0x[0-9a-f]+$') { Write-Use "syntax Number $($Matches[1])$($Matches[2])".ToLower() $Node }
    }
    elseif ($text.StartsWith('"') -or $text.StartsWith('@"')) {
        foreach ($found in [regex]::Matches($text, '`.')) { Write-Use "syntax Escape $($found.Value.Trim())" $Node }
    }
}

$trees = foreach ($file in Get-Content -LiteralPath $List) {
    $errors = $null
    $tree = $Parser::ParseFile($file, [ref]$null, [ref]$errors)
    foreach ($found in $errors) { Write-Use "error $($found.Message)" $found }
    $tree
}
$own = @($trees | ForEach-Object { $_.FindAll({ $args[0].GetType().Name -eq 'FunctionDefinitionAst' }, $true) } | ForEach-Object Name)
$Types = @($trees | ForEach-Object { $_.FindAll({ $args[0].GetType().Name -eq 'TypeDefinitionAst' }, $true) } | ForEach-Object Name) + $Compiled
$Made = @(foreach ($tree in $trees) {
        foreach ($node in $tree.FindAll({ $args[0].GetType().Name -match '^(Hashtable|PropertyMember)Ast$' }, $true)) {
            if ($node.Name) { $node.Name } else { $node.KeyValuePairs | ForEach-Object { $_.Item1.Value } }
        }
    }) | Sort-Object -Unique
$set = @{}
foreach ($tree in $trees) {
    foreach ($node in $tree.FindAll({ $args[0].GetType().Name -match '^(AssignmentStatement|Parameter|ForEachStatement)Ast$' }, $true)) {
        $left = if ($node.Left) { $node.Left } elseif ($node.Variable) { $node.Variable } else { $node.Name }
        foreach ($variable in $left.FindAll({ $args[0].GetType().Name -eq 'VariableExpressionAst' }, $true)) {
            $set[($variable.VariablePath.UserPath -replace '^(script|global|local):')] = $true
        }
    }
}
foreach ($tree in $trees) {
    foreach ($node in $tree.FindAll({ $true }, $true)) {
        $kind = $node.GetType().Name -replace 'Ast$'
        Write-Use "syntax $kind" $node
        switch -Regex ($kind) {
            '^Command$' { Write-Command $node $own }
            '^(Invoke)?MemberExpression$' { Write-Member $node }
            '^(TypeExpression|TypeConstraint)$' {
                $name = $node.TypeName.FullName -replace '\[\]$'
                if ($Types -notcontains $name) { Write-Use "type $($node.TypeName.FullName)" $node }
            }
            '^VariableExpression$' {
                $path = $node.VariablePath.UserPath -replace '^(script|global|local):' -replace '^env:.*', 'env:'
                if (-not $set[$path]) { Write-Use "variable $path" $node }
            }
            '^(Constant|StringConstant|ExpandableString)Expression$' { Write-Literal $node }
            '^BinaryExpression$' { Write-Use "syntax $kind $($node.Operator)" $node }
            '^Redirection$' { Write-Use "syntax $($node.GetType().Name)" $node }
        }
    }
}
