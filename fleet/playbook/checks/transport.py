"""What a step asks of its run command: whether the API that carries it has a place for that, and it holds together.

The action API knows a command id, a script and parameters, and nothing else (REST spec of ``RunCommandInput``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.documents.places import Path, dotted, problem, shown
from fleet.documents.read import Document
from fleet.errors import Problem
from fleet.playbook.checks.values import entries, is_secret, length, parameters, secret_apart, template
from fleet.playbook.model import Parameter
from fleet.playbook.template import references

OWN_PREFIX = "fleet-"
"""Begins the names of the commands that a run makes for itself and deletes again."""

_MANAGED: tuple[tuple[str, ...], ...] = (
    ("run", "uri"),
    ("run", "gallery"),
    ("run_as",),
    ("async",),
    ("fail_deployment",),
    ("tags",),
    ("command",),
    ("output", "stdout_blob"),
    ("output", "stderr_blob"),
)
"""Keys that only a managed command has a place for."""

Declared = Mapping[str, Parameter]


def check(document: Document) -> Iterator[Problem]:
    """Yield every problem between a step's keys and the run command that would carry it."""
    declared = parameters(document)
    for index in range(length(document, ("steps",))):
        path = ("steps", index)
        yield from _transport(document, path, declared)
        yield from _parameters(document, path, declared)
        yield from _alone(document, path)
        yield from _texts(document, path, declared)
    yield from _names(document)


def _transport(document: Document, path: Path, declared: Declared) -> Iterator[Problem]:
    """Refuse what the action has no place for, in steps that are sure to go by it."""
    built_in = isinstance(document.at((*path, "run", "command_id")), str)
    chosen = document.at((*path, "transport"))
    if chosen == "managed" or not (built_in or chosen == "action"):
        return
    what = "a built-in command" if built_in else "the action"
    hint = f"remove {{}}, or write transport: managed{'' if chosen is None else ' instead'}"
    for keys in _MANAGED:
        if document.at((*path, *keys)) not in (None, False):
            key = ".".join(keys)
            message = f"{what} has no place for {key}" if not built_in else f"{what} is sent by the action: no {key}"
            yield problem(document, (*path, *keys), "not_carried", message, hint=hint.format(key), key=True)
    if document.at((*path, "shell")) == "pwsh7":
        message = "the action cannot ask for PowerShell 7"
        yield problem(document, (*path, "shell"), "not_carried", message, hint="write pwsh, or transport: managed")
    for section in ("env", "parameters"):
        for name, text in entries(document, (*path, section)):
            if any(is_secret(reference, declared) for reference in references(text)):
                message = f"{what} cannot be given a secret: the action has no protected parameters"
                yield problem(document, (*path, section, name), "not_carried", message, hint="write transport: managed")


def _parameters(document: Document, path: Path, declared: Declared) -> Iterator[Problem]:
    wrapped = next((key for key in ("file", "inline") if isinstance(document.at((*path, "run", key)), str)), None)
    names = [str(name).casefold() for name, _ in entries(document, (*path, "env"))]
    for name, text in entries(document, (*path, "parameters")):
        where = (*path, "parameters", name)
        if not name:
            yield problem(
                document, where, "parameter_name", "a parameter needs a name", hint="args have none", key=True
            )
        if str(name).casefold() in names:
            message = f"'{shown(str(name))}' stands in env and in parameters"
            yield problem(document, where, "duplicate", message, hint="keep one of the two", key=True)
        yield from template(document, where, text, declared)
        yield from secret_apart(document, where, text, declared)
    if wrapped and document.at((*path, "parameters")):
        message = f"parameters are for command_id, uri and gallery, not for run.{wrapped}"
        hint = "give values to your own script by env or args"
        yield problem(document, (*path, "parameters"), "not_carried", message, hint=hint, key=True)


def _alone(document: Document, path: Path) -> Iterator[Problem]:
    """Refuse keys that mean nothing without another one."""
    pairs = (
        (("run", "identity"), (("run", "uri"),)),
        (("on_existing",), (("command",),)),
        (("output", "identity"), (("output", "stdout_blob"), ("output", "stderr_blob"))),
        (("output", "stdout_identity"), (("output", "stdout_blob"),)),
        (("output", "stderr_identity"), (("output", "stderr_blob"),)),
    )
    for keys, needs in pairs:
        if document.at((*path, *keys)) is not None and all(document.at((*path, *need)) is None for need in needs):
            wanted = " or ".join(need[-1] for need in needs)
            message = f"{dotted((*path, *keys))} means nothing without {wanted}"
            yield problem(document, (*path, *keys), "not_alone", message, hint=f"add {wanted}, or remove it", key=True)


def _texts(document: Document, path: Path, declared: Declared) -> Iterator[Problem]:
    """Check the expressions in addresses, tags and the password."""
    for keys in (("run", "uri"), ("output", "stdout_blob"), ("output", "stderr_blob")):
        text = document.at((*path, *keys))
        if isinstance(text, str):
            yield from template(document, (*path, *keys), text, declared)
    for name, text in entries(document, (*path, "tags")):
        where = (*path, "tags", name)
        yield from template(document, where, text, declared)
        if any(is_secret(reference, declared) for reference in references(text)):
            message = "a tag can be read by everybody who may read the command: no secret"
            yield problem(document, where, "secret_in_text", message, hint="remove the secret from the tag")
    yield from _password(document, (*path, "run_as", "password"), declared)


def _password(document: Document, path: Path, declared: Declared) -> Iterator[Problem]:
    text = document.at(path)
    if not isinstance(text, str):
        return
    yield from template(document, path, text, declared)
    found = references(text)
    if not (len(found) == 1 and is_secret(found[0], declared)):
        message = "a password must be one secret parameter"
        hint = 'declare one with secret: true and write "{{ params.NAME }}"'
        yield problem(document, path, "secret_in_playbook", message, found="", hint=hint)
    yield from secret_apart(document, path, text, declared)


def _names(document: Document) -> Iterator[Problem]:
    """Keep standing commands apart from each other and from the ones that runs make and delete."""
    first: dict[str, int] = {}
    for index in range(length(document, ("steps",))):
        path = ("steps", index, "command")
        name = document.at(path)
        if not isinstance(name, str):
            continue
        if name.casefold().startswith(OWN_PREFIX):
            message = f"names that begin with {OWN_PREFIX} belong to commands that runs delete"
            yield problem(document, path, "command_name", message, hint="choose another name")
        if name.casefold() in first:
            message = f"the command '{shown(name)}' stands in two steps, first in line {first[name.casefold()]}"
            hint = "give each step its own: the later one would write over the result of the earlier one"
            yield problem(document, path, "command_name", message, hint=hint)
        first.setdefault(name.casefold(), document.mark(path).line)
