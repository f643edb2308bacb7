"""Options and the typed values that hold them: each verb receives all of its own, and none of them is of any type."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import click
import pytest
from click.testing import CliRunner

import fleet.cli
from fleet.app.reports import ReportFile
from fleet.cli import options
from fleet.cli.main import VERBS, cli
from fleet.playbook.model import Amount, Lease, Shell, Transport
from fleet.rehearsal.faults import AnyFault
from tests.system.cli_page import commands

FOLDER = Path(fleet.cli.__file__).parent
NAMES = {"AnyFault": AnyFault, "Amount": Amount, "ReportFile": ReportFile}
"""Types that a module may name without importing them."""
ADDED_BY_VERBS = {"given"}
"""Fields of a group that no option of its own fills."""


def verbs() -> list[click.Context]:
    """Return the context of each command that does something."""
    context = click.Context(cli, info_name="fleet")
    found = [each for name in VERBS for each in commands(name, context)]
    return [each for each in found if not isinstance(each.command, click.Group)]


@dataclass(frozen=True)
class Taken:
    """What a verb's function takes: options by name, and groups with their fields."""

    own: dict[str, object]
    groups: dict[str, object]
    required: set[str]


def taken(command: click.Command) -> Taken:
    """Read the function of a verb."""
    assert command.callback is not None
    verb = inspect.unwrap(command.callback)
    hints = get_type_hints(verb, localns=NAMES)
    del hints["return"]
    groups = [kind for kind in hints.values() if is_dataclass(kind) and isinstance(kind, type)]
    known = {name: hint for kind in groups for name, hint in get_type_hints(kind, localns=NAMES).items()}
    return Taken(
        {name: hint for name, hint in hints.items() if hint not in groups},
        {name: hint for name, hint in known.items() if name not in ADDED_BY_VERBS},
        {field.name for kind in groups for field in fields(kind) if field.default is MISSING},
    )


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type, as far as its outermost class goes."""
    if isinstance(hint, UnionType):
        return any(fits(value, each) for each in get_args(hint))
    return isinstance(value, get_origin(hint) or hint)


def test_choices_are_what_playbooks_know() -> None:
    """The words that an option offers are those of its kind; they are written out, so that help loads no playbooks."""
    known = {"transport": Transport, "lease": Lease, "shell": Shell}
    for context in verbs():
        for parameter in context.command.params:
            if (
                isinstance(parameter.type, click.Choice)
                and parameter.name in known
                and context.info_name != "completion"
            ):
                assert list(parameter.type.choices) == [each.value for each in known[parameter.name]], parameter.name


@pytest.mark.parametrize("context", verbs(), ids=lambda context: context.command_path)
def test_a_verb_takes_each_of_its_options(context: click.Context) -> None:
    """Each option is taken by name or fills a field, and no field lacks its option."""
    names = {parameter.name for parameter in context.command.params}
    found = taken(context.command)
    assert names <= found.own.keys() | found.groups.keys()
    assert found.own.keys() | found.required <= names


@pytest.mark.parametrize("context", verbs(), ids=lambda context: context.command_path)
def test_options_are_of_the_type_that_the_verb_says(context: click.Context) -> None:
    """The value of an option that is not given is of the type of the argument or field that takes it."""
    found = taken(context.command)
    hints = {**found.groups, **found.own}
    words = [word_for(parameter) for parameter in context.command.params if parameter.required]
    values = context.command.make_context("verb", words).params
    assert {name: value for name, value in values.items() if not fits(value, hints[name])} == {}


def word_for(parameter: click.Parameter) -> str:
    """Return a word that a required argument takes."""
    return parameter.type.choices[0] if isinstance(parameter.type, click.Choice) else "word"


def parameters() -> Iterator[tuple[str, str]]:
    """Yield the annotation of each parameter of each function, with its place."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                every = (
                    *node.args.posonlyargs,
                    *node.args.args,
                    *node.args.kwonlyargs,
                    node.args.vararg,
                    node.args.kwarg,
                )
                for each in every:
                    if each is not None and each.annotation is not None:
                        place = f"{path.relative_to(FOLDER)}: {node.name}({each.arg})"
                        yield place, ast.unparse(each.annotation).replace("Coroutine[Any, Any,", "Coroutine[")


def test_no_function_of_the_terminal_takes_any_type() -> None:
    """What is passed between functions of the command line is of a type that mypy knows, or is not looked into."""
    assert [f"{place}: {text}" for place, text in parameters() if "Any" in text.replace("AnyFault", "")] == []


@dataclass(frozen=True, slots=True)
class Size:
    """How large."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Look:
    """Of which colour."""

    colour: str


def test_groups_are_handed_over_from_the_lowest_up() -> None:
    """A verb receives the value of its lowest group first, and its own options by name; help keeps the order of lines."""
    received: list[object] = []
    sized = options.fill(Size, click.option("--width", type=int), click.option("--height", type=int, default=7))
    coloured = options.fill(Look, click.option("--colour", default="red"))

    @click.command()
    @click.argument("name")
    @coloured
    @click.option("--loud", is_flag=True)
    @sized
    def draw(size: Size, look: Look, *, name: str, loud: bool) -> int:
        received.extend((size, look, name, loud))
        return 0

    assert CliRunner().invoke(draw, ["--loud", "--width", "3", "box"]).exit_code == 0
    assert received == [Size(3, 7), Look("red"), "box", True]
    assert [parameter.name for parameter in draw.params] == ["name", "colour", "loud", "width", "height"]
