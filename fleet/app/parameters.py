"""Parameter values as people give them: ``-e k=v``, ``-e @file``, ``FLEET_VAR_k``; secrets stay out of argv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.documents.files import read_text
from fleet.errors import InvalidInput, Problem
from fleet.logs import conceal

if TYPE_CHECKING:
    from fleet.playbook.model import Parameter, ParameterValue, Playbook

VARIABLE = "FLEET_VAR_"
"""Environment variables with this prefix give parameters, secret ones included."""


def parameters(
    playbook: Playbook, given: Sequence[str], environ: Mapping[str, str]
) -> tuple[Mapping[str, ParameterValue], dict[str, str]]:
    """Return the values of all parameters, and apart from them those of the secret ones.

    Flags win over the environment. Raises InvalidInput with every problem.
    """
    return hidden_apart(playbook, collect(playbook.parameters, given, environ))


def hidden_apart(
    playbook: Playbook, given: Mapping[str, object]
) -> tuple[Mapping[str, ParameterValue], dict[str, str]]:
    """As :func:`parameters`, of values by name. The secret ones are hidden from every log from now on."""
    from fleet.playbook.parameters import resolve

    values = resolve(playbook, given)
    secrets = {parameter.name for parameter in playbook.parameters if parameter.secret}
    hidden = {name: str(value) for name, value in values.items() if name in secrets}
    for value in hidden.values():
        conceal(value)
    return values, hidden


def secrets_of(declared: Sequence[Parameter], given: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secret values for a run that is resumed: its plan has all the others.

    Raises InvalidInput where one is missing, or where a value that is not secret is given.
    """
    return secrets_among(declared, secrets_given(declared, given, environ))


def secrets_among(declared: Sequence[Parameter], values: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the secret parameters, hidden from every log. Raises InvalidInput where one is missing."""
    needed = [parameter.name for parameter in declared if parameter.secret and parameter.required]
    if missing := [name for name in needed if name not in values]:
        raise InvalidInput([_missing(name) for name in missing])
    secret = {parameter.name for parameter in declared if parameter.secret}
    hidden = {name: value for name, value in values.items() if name in secret}
    for value in hidden.values():
        conceal(value)
    return hidden


def secrets_given(declared: Sequence[Parameter], given: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secret values that are there, for a reader who may need none. Raises InvalidInput."""
    secret = {parameter.name for parameter in declared if parameter.secret}
    values = {name: str(value) for name, value in collect(declared, given, environ).items() if name in secret}
    for value in values.values():
        conceal(value)
    return values


def collect(declared: Sequence[Parameter], given: Sequence[str], environ: Mapping[str, str]) -> dict[str, object]:
    """Gather text and data by name, not yet typed."""
    secret = {parameter.name for parameter in declared if parameter.secret}
    known = {parameter.name for parameter in declared}
    values: dict[str, object] = {
        name[len(VARIABLE) :]: text
        for name, text in environ.items()
        if name.startswith(VARIABLE) and name[len(VARIABLE) :] in known
    }
    problems: list[Problem] = []
    for item in given:
        if item.startswith("@"):
            values.update(_from_file(Path(item[1:])))
            continue
        name, equals, text = item.partition("=")
        if not equals:
            problems.append(Problem("bad_parameter", f"-e {item!r} is neither NAME=VALUE nor @FILE", "-e"))
        elif name in secret:
            values[name] = secret_of(name, text, environ, problems)
        else:
            values[name] = text
    if problems:
        raise InvalidInput(problems)
    return values


def _from_file(path: Path) -> Mapping[str, object]:
    from fleet.documents import read

    data = read.read(read_text(path, "the file of parameters"), file=str(path)).data
    if not isinstance(data, dict):
        problem = Problem("bad_parameter", "a file of parameters is a mapping of names to values", str(path), 1, 1)
        raise InvalidInput([problem])
    return data


def secret_of(name: str, text: str, environ: Mapping[str, str], problems: list[Problem]) -> str:
    """A secret by reference. Its value itself is refused: everybody on the machine can read a command line."""
    if text.startswith("@"):
        return read_text(Path(text[1:]), f"the file of the secret {name}").removesuffix("\n")
    if text.startswith("env:"):
        if text[4:] in environ:
            return environ[text[4:]]
        problems.append(Problem("missing_secret", f"the variable of the secret '{name}' is not set", "-e", found=text))
        return ""
    hint = f"give -e {name}=@FILE, -e {name}=env:VARIABLE, or set {VARIABLE}{name}"
    problems.append(
        Problem("secret_in_argv", f"the value of the secret '{name}' stands on the command line", "-e", hint=hint)
    )
    return ""


def _missing(name: str) -> Problem:
    hint = f"give -e {name}=@FILE, -e {name}=env:VARIABLE, or set {VARIABLE}{name}"
    return Problem(
        "missing_secret", f"the secret '{name}' is not kept with the run and must be given again", "-e", hint=hint
    )
