"""What a playbook's values mean to each other: the checks that no single key can make (for steps: ``order``).

They read the document itself, not its model, so that a mistake in one place hides no mistake in another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fleet.documents.places import Path, closest, described, dotted, problem, shown
from fleet.documents.read import Document, partial
from fleet.errors import Problem
from fleet.guest.delivery import CUT_HINT, is_cut_by_powershell
from fleet.playbook.checks import steps
from fleet.playbook.keys import playbook
from fleet.playbook.keys.rollout import RolloutKeys, WavesByKeys
from fleet.playbook.model import Amount, Parameter, ParameterValue
from fleet.playbook.parameters import misfits
from fleet.playbook.template import Reference, has_expressions, read_template, references, spelled
from fleet.targets.traits import alike

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SOURCES = ("file", "inline", "command_id", "uri", "gallery")


def check(document: Document) -> Iterator[Problem]:
    """Yield every problem that lies between values."""
    declared = parameters(document)
    yield from _parameters(document, declared)
    yield from _where(document)
    yield from _waves(document)
    yield from _step_ids(document)
    for index in range(length(document, ("steps",))):
        yield from _step(document, ("steps", index), declared)
    yield from steps.check(document)
    yield from _misplaced(document, (), document.data)


def parameters(document: Document) -> Mapping[str, Parameter]:
    """Return the declared parameters, as far as they can be understood."""
    found = document.at(("parameters",))
    names = [name for name in found if isinstance(name, str)] if isinstance(found, dict) else []
    return {name: parameter(name, partial(document, playbook.ParameterKeys, ("parameters", name))) for name in names}


def parameter(name: str, written: playbook.ParameterKeys | None) -> Parameter:
    """Build a parameter from its keys. Without a default it is required, unless it says otherwise."""
    if written is None:
        return Parameter(name)
    required = written.default is None if written.required is None else written.required
    return Parameter(
        name=name,
        type=written.type,
        description=written.description,
        default=written.default,
        required=required,
        enum=tuple(written.enum or ()),
        pattern=written.pattern or "",
        minimum=written.minimum,
        maximum=written.maximum,
        secret=written.secret,
    )


# ------------------------------------------------------------------------------------------ parameters


def _parameters(document: Document, declared: Mapping[str, Parameter]) -> Iterator[Problem]:
    for name, parameter in declared.items():
        path = ("parameters", name)
        if not _NAME.fullmatch(name):
            message = f"'{shown(name)}' is no name for a parameter"
            hint = "use letters, digits and _"
            yield problem(document, path, "parameter_name", message, hint=hint, key=True)
        if parameter.secret:
            yield from _secret(document, path, parameter)
        yield from _constraints(document, path, parameter)
        if _valid_pattern(parameter.pattern) and not parameter.secret:
            yield from _own_values(document, path, parameter)


def _secret(document: Document, path: Path, parameter: Parameter) -> Iterator[Problem]:
    if parameter.type != "string":
        message = f"the secret '{parameter.name}' must be of type string"
        yield problem(document, (*path, "type"), "secret_type", message, expected="string")
    for key, value in (("default", parameter.default), ("enum", parameter.enum or None)):
        if value is not None:
            message = f"the secret '{parameter.name}' must not have its value written here"
            hint = "remove it, and give the value when the run is started"
            yield problem(document, (*path, key), "secret_in_playbook", message, found="", hint=hint, key=True)


def _constraints(document: Document, path: Path, parameter: Parameter) -> Iterator[Problem]:
    if parameter.required and parameter.default is not None:
        message = f"{dotted(path)} is required, so its default would never be used"
        yield problem(document, (*path, "required"), "contradiction", message, hint="remove one of the two", key=True)
    if not _valid_pattern(parameter.pattern):
        message = f"{dotted((*path, 'pattern'))} is no regular expression"
        yield problem(document, (*path, "pattern"), "pattern", message)
    numeric = parameter.type in ("integer", "number")
    for key in ("minimum", "maximum"):
        if getattr(parameter, key) is not None and not numeric:
            message = f"{key} is for numbers, but {dotted(path)} is of type {parameter.type}"
            yield problem(document, (*path, key), "contradiction", message, key=True)
    if parameter.pattern and parameter.type not in ("string", "list"):
        message = f"pattern is for text, but {dotted(path)} is of type {parameter.type}"
        yield problem(document, (*path, "pattern"), "contradiction", message, key=True)
    if parameter.minimum is not None and parameter.maximum is not None and parameter.minimum > parameter.maximum:
        message = f"the minimum of {dotted(path)} is above its maximum"
        yield problem(document, (*path, "minimum"), "contradiction", message)


def _own_values(document: Document, path: Path, parameter: Parameter) -> Iterator[Problem]:
    """Hold the default and the enum against what the parameter itself demands."""
    if parameter.default is not None:
        yield from _value(document, (*path, "default"), parameter, parameter.default)
    free = Parameter(
        parameter.name,
        parameter.type,
        pattern=parameter.pattern,
        minimum=parameter.minimum,
        maximum=parameter.maximum,
    )
    for index, option in enumerate(parameter.enum):
        item = (option,) if parameter.type == "list" and isinstance(option, str) else option
        yield from _value(document, (*path, "enum", index), free, item)
        if option in parameter.enum[:index]:
            message = f"{dotted((*path, 'enum'))} has '{spelled(option)}' twice"
            yield problem(document, (*path, "enum", index), "duplicate", message)


def _value(document: Document, path: Path, parameter: Parameter, value: ParameterValue) -> Iterator[Problem]:
    for sentence in misfits(parameter, value):
        found = document.mark(path).found
        hint = f'quote it: "{found}"' if parameter.type == "string" and not isinstance(value, str) else ""
        if not hint and parameter.enum:
            hint = closest(spelled(value), [spelled(option) for option in parameter.enum])
        seen = f", not {described(value)}" if sentence.startswith("must") else ""
        message = f"{dotted(path)} {sentence}{seen}"
        yield problem(document, path, "bad_parameter", message, expected=sentence.removeprefix("must be "), hint=hint)


def _valid_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


# ------------------------------------------------------------------------------------ targets and rollout


def _where(document: Document) -> Iterator[Problem]:
    path = ("targets", "where")
    if isinstance(text := document.at(path), str):
        yield from steps.expression_problems(document, path, text, None)


def _waves(document: Document) -> Iterator[Problem]:
    rollout = partial(document, RolloutKeys, ("rollout",))
    waves = rollout.waves if rollout else []
    written, where = (waves.each, ("each",)) if isinstance(waves, WavesByKeys) else (waves, ())
    if isinstance(waves, WavesByKeys):
        yield from _twice(document, ("rollout", "waves", "order"), [alike(value) for value in waves.order])
    last: Amount | None = None
    for index, wave in enumerate(written):
        path = ("rollout", "waves", *where, index)
        if isinstance(wave, str):
            if index:
                hint = "move it to the front, or remove it"
                yield problem(document, path, "wave_order", "canary can only be the first wave", hint=hint)
            continue
        if last is not None and last.percent and not wave.percent:
            message = f"the count {wave} cannot follow the percent {last}"
            yield problem(document, path, "wave_order", message, hint="write counts before percents")
        elif last is not None and last.percent == wave.percent and wave.value <= last.value:
            message = f"the wave {wave} does not go beyond the one before ({last})"
            hint = "waves are cumulative, so each must be larger than the one before"
            yield problem(document, path, "wave_order", message, hint=hint)
        last = wave


def _twice(document: Document, path: Path, values: Sequence[str]) -> Iterator[Problem]:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield problem(document, (*path, index), "duplicate", f"{dotted(path)} has '{shown(value)}' twice")


# ------------------------------------------------------------------------------------------------ steps


def _step_ids(document: Document) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index in range(length(document, ("steps",))):
        path = ("steps", index, "id")
        name = document.at(path)
        if not isinstance(name, str):
            continue
        line = document.mark(path).line
        if name in first:
            message = f"the step id '{shown(name)}' stands twice, first in line {first[name]}"
            yield problem(document, path, "duplicate_step", message, hint="ids must be unique")
        first.setdefault(name, line)


def _step(document: Document, path: Path, declared: Mapping[str, Parameter]) -> Iterator[Problem]:
    yield from _sources(document, (*path, "run"))
    for name, text in entries(document, (*path, "env")):
        where = (*path, "env", name)
        if not _NAME.fullmatch(str(name)):
            message = f"'{shown(str(name))}' is no name for an environment variable"
            hint = "use letters, digits and _, not a digit first"
            yield problem(document, where, "env_name", message, hint=hint, key=True)
        yield from template(document, where, text, declared)
        yield from secret_apart(document, where, text, declared)
    for index, text in entries(document, (*path, "args")):
        where = (*path, "args", index)
        yield from template(document, where, text, declared)
        yield from _secrets_in_args(document, where, text, declared)
        yield from _cut_arguments(document, path, where, text)


def _cut_arguments(document: Document, step: Path, where: Path, text: str) -> Iterator[Problem]:
    """Refuse what would not arrive unchanged, where it is sure that PowerShell runs the step's own script."""
    shell, file = document.at((*step, "shell")), document.at((*step, "run", "file"))
    inline = isinstance(document.at((*step, "run", "inline")), str)
    named = shell in ("pwsh", "pwsh7") and (inline or isinstance(file, str))
    by_name = shell in (None, "auto") and isinstance(file, str) and file.lower().endswith(".ps1")
    if (named or by_name) and is_cut_by_powershell(text):
        message = f"PowerShell would make two arguments of '{shown(text)}', at the colon"
        yield problem(document, where, "cut_argument", message, hint=CUT_HINT)


def _sources(document: Document, path: Path) -> Iterator[Problem]:
    run = document.at(path)
    if not isinstance(run, dict):
        return
    given = [key for key in _SOURCES if run.get(key) is not None]
    expected = f"exactly one of {', '.join(_SOURCES)}"
    if not given:
        message = f"{dotted(path)} does not say what to run"
        yield problem(document, path, "run_source", message, expected=expected, hint="add file or inline")
    for extra in given[1:]:
        message = f"{dotted(path)} has both {given[0]} and {extra}"
        yield problem(document, (*path, extra), "run_source", message, expected=expected, hint="keep one", key=True)
    if isinstance(text := run.get("inline"), str):
        for offset, found in pasted(text):
            line, column = document.within((*path, "inline"), text, offset)
            yield pasted_problem(document.file, line, column, found)


def pasted(script: str) -> Iterator[tuple[int, str]]:
    """Yield the place and text of everything in a script that looks like an expression of ours."""
    for match in re.finditer(r"\{\{\s*(?:params|target|facts)\b[^}\n]*(?:\}\})?", script):
        yield match.start(), match[0]


def pasted_problem(file: str, line: int, column: int, found: str) -> Problem:
    """Say that values are never pasted into scripts, and what to do instead."""
    message = "expressions are not put into scripts"
    hint = "add an env entry with this value to the step, and use the variable in the script"
    return Problem("expression_in_script", message, file, line, column, shown(found), hint=hint)


# ------------------------------------------------------------------------------------------ expressions


def template(document: Document, path: Path, text: str, declared: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Yield what is wrong with the expressions of a text."""
    for mistake in read_template(text)[1]:
        line, column = document.within(path, text, mistake.offset)
        found, hint = mistake.found, mistake.hint
        yield Problem("expression", mistake.message, document.file, line, column, found, hint=hint)
    for reference in references(text):
        if reference.scope != "params" or reference.name in declared:
            continue
        line, column = document.within(path, text, reference.offset)
        known = f"declared are: {', '.join(declared)}" if declared else "declare it under parameters"
        name = shown(reference.name)
        hint = closest(reference.name, declared) or known
        message = f"there is no parameter '{name}'"
        yield Problem("unknown_parameter", message, document.file, line, column, name, hint=hint)


def secret_apart(document: Document, path: Path, text: str, declared: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Refuse a secret that is a part of a longer text: only whole values travel protected."""
    parts, _ = read_template(text.strip())
    for part in parts:
        if isinstance(part, Reference) and is_secret(part, declared) and len(parts) > 1:
            message = f"the secret '{part.name}' must be the whole value of {dotted(path)}"
            hint = f'write "{{{{ params.{part.name} }}}}" alone, and put it together in the script'
            yield problem(document, path, "secret_in_text", message, hint=hint)


def _secrets_in_args(document: Document, path: Path, text: str, declared: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Refuse a secret as an argument: everybody on the VM can read the arguments of a process."""
    for reference in references(text):
        if is_secret(reference, declared):
            message = f"the secret '{reference.name}' must not be an argument"
            hint = "give it to the script as an env entry"
            yield problem(document, path, "secret_in_text", message, hint=hint)


def _misplaced(document: Document, path: Path, data: object) -> Iterator[Problem]:
    """Name expressions in places where nothing would ever put a value in."""
    if isinstance(data, str):
        if has_expressions(data):
            message = f"{dotted(path)} takes no expressions"
            hint = "they work in the env and args of steps"
            yield problem(document, path, "expression_misplaced", message, hint=hint)
        return
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        if not _takes_expressions((*path, key)):
            yield from _misplaced(document, (*path, key), value)


def _takes_expressions(path: Path) -> bool:
    match path:
        case ("steps", _, "env" | "args" | "parameters" | "tags") | ("steps", _, "run", "inline" | "uri"):
            return True
        case ("steps", _, "run_as", "password") | ("steps", _, "output", "stdout_blob" | "stderr_blob"):
            return True
    return False


def is_secret(reference: Reference, declared: Mapping[str, Parameter]) -> bool:
    """Say whether a reference names a secret parameter."""
    return reference.scope == "params" and reference.name in declared and declared[reference.name].secret


def entries(document: Document, path: Path) -> Iterator[tuple[str | int, str]]:
    """Yield the texts of a list or mapping, as far as they are texts."""
    data = document.at(path)
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        if isinstance(value, str):
            yield key, value


def length(document: Document, path: Path) -> int:
    """Return how many items the list at a path has; 0 if it is none."""
    data = document.at(path)
    return len(data) if isinstance(data, list) else 0
