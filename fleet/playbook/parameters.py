"""Values for a playbook's parameters: from text or YAML to typed values, every problem at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from fleet.documents.places import Lookalike, closest, shown
from fleet.errors import InvalidInput, Problem
from fleet.playbook import template as templates
from fleet.playbook.model import Parameter, ParameterValue, Playbook
from fleet.playbook.template import Reference, read_template
from fleet.targets.model import Target

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list of text",
}


def resolve(playbook: Playbook, given: Mapping[str, object], *, where: str = "-e") -> Mapping[str, ParameterValue]:
    """Return the typed value of every parameter that has one, secrets included.

    ``given`` holds text as typed on a command line, or plain data from YAML; a list gives a ``list`` its
    items. Optional parameters with neither value nor default are left out. Raises InvalidInput with every
    problem, whose ``file`` is ``where``; the value of a secret is never part of a problem.
    """
    declared = {parameter.name: parameter for parameter in playbook.parameters}
    problems = [_undeclared(name, declared, where) for name in given if name not in declared]
    values: dict[str, ParameterValue] = {}
    for name, parameter in declared.items():
        if name not in given:
            if parameter.default is not None:
                values[name] = parameter.default
            elif parameter.required:
                problems.append(_missing(parameter, where))
            continue
        try:
            values[name] = convert(parameter, given[name])
        except ValueError as error:
            problems.append(_unfit(parameter, given[name], str(error), where))
    if problems:
        raise InvalidInput(problems)
    return values


def convert(parameter: Parameter, given: object) -> ParameterValue:
    """Turn text or plain data into the parameter's type. Raises ValueError with the end of a sentence."""
    value = _typed(parameter.type, given)
    if value is None:
        raise ValueError(f"must be {_KINDS[parameter.type]}")
    wrong = next(misfits(parameter, value), None)
    if wrong is not None:
        raise ValueError(wrong)
    return value


def misfits(parameter: Parameter, value: ParameterValue) -> Iterator[str]:
    """Say what is wrong with a value: ends of sentences, without the value itself."""
    if not _is_a(parameter.type, value):
        yield f"must be {_KINDS[parameter.type]}"
        return
    items: tuple[ParameterValue, ...] = value if isinstance(value, tuple) else (value,)
    if parameter.enum and any(item not in parameter.enum for item in items):
        yield f"must be one of: {', '.join(templates.spelled(option) for option in parameter.enum)}"
    if parameter.pattern:
        texts = [item for item in items if isinstance(item, str)]
        if not all(re.fullmatch(parameter.pattern, text) for text in texts):
            yield f"does not match the pattern {parameter.pattern}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if parameter.minimum is not None and value < parameter.minimum:
            yield f"must be at least {parameter.minimum:g}"
        if parameter.maximum is not None and value > parameter.maximum:
            yield f"must be at most {parameter.maximum:g}"


def render(
    template: str,
    *,
    params: Mapping[str, ParameterValue],
    target: Target | None = None,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Put values into the text of an ``env`` entry or an argument; see ``fleet.playbook.template.render``."""
    return templates.render(template, params=params, target=target, facts=facts)


def secret_reference(template: str, declared: Iterable[Parameter]) -> str | None:
    """Return the name of the secret parameter that is the whole of this text, if it is one.

    Such a value must travel as a protected parameter, never as text.
    """
    secrets = {parameter.name for parameter in declared if parameter.secret}
    match read_template(template.strip())[0]:
        case (Reference(scope="params", name=name),) if name in secrets:
            return name
    return None


def _typed(kind: str, given: object) -> ParameterValue | None:
    if isinstance(given, str):
        return _from_text(kind, given)
    if isinstance(given, (list, tuple)):
        given = tuple(given)
    if isinstance(given, (int, float, tuple)) and _is_a(kind, given):
        return given
    return None


def _from_text(kind: str, text: str) -> ParameterValue | None:
    match kind:
        case "string":
            return text
        case "integer":
            return int(text) if re.fullmatch(r"[-+]?[0-9]{1,18}", text) else None
        case "number":
            if re.fullmatch(r"[-+]?[0-9]{1,18}", text):
                return int(text)
            return float(text) if re.fullmatch(r"[-+]?[0-9]{0,18}\.[0-9]{1,18}", text) else None
        case "boolean":
            return {"true": True, "false": False}.get(text.lower())
        case _:
            return tuple(item.strip() for item in text.split(",")) if text.strip() else ()


def _is_a(kind: str, value: object) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _undeclared(name: str, declared: Mapping[str, Parameter], where: str) -> Problem:
    known = f"the playbook has: {', '.join(declared)}" if declared else "the playbook has no parameters"
    message = f"there is no parameter '{shown(name)}'"
    return Problem("unknown_parameter", message, where, found=shown(name), hint=closest(name, declared) or known)


def _missing(parameter: Parameter, where: str) -> Problem:
    message = f"the parameter '{parameter.name}' needs a value"
    about = f" ({shown(parameter.description)})" if parameter.description else ""
    name = parameter.name
    hint = f"give it with -e {name}=VALUE{about}"
    if parameter.secret:
        hint = f"give it with -e {name}=@FILE, -e {name}=env:VARIABLE, or in FLEET_VAR_{name}{about}"
    return Problem("missing_parameter", message, where, expected=_KINDS[parameter.type], hint=hint)


def _unfit(parameter: Parameter, given: object, sentence: str, where: str) -> Problem:
    text = given.text if isinstance(given, Lookalike) else str(given)
    found = "" if parameter.secret else shown(text)
    hint = f'quote it: "{found}"' if isinstance(given, Lookalike) and parameter.type != "boolean" else ""
    if parameter.enum and not parameter.secret:
        hint = hint or closest(text, [templates.spelled(option) for option in parameter.enum])
    seen = f", not '{found}'" if found else ""
    message = f"the parameter '{parameter.name}' {sentence}{seen}"
    return Problem("bad_parameter", message, where, found=found, expected=_KINDS[parameter.type], hint=hint)
