"""Writes ``docs/cli.md`` from the command tree: ``python -m tests.system.cli_page > docs/cli.md``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from fleet.cli.main import VERBS, cli

HEAD = """# Command line

`fleet VERB ...`; `fleet VERB --help` shows the same as this page, `fleet --version` the version. Data goes to stdout,
everything else to stderr; a live picture is drawn on a terminal only. [exit-codes.md](exit-codes.md) lists what the exit
codes mean, [errors.md](errors.md) the codes of errors, [events.md](events.md) the lines of `-o jsonl`,
[configuration.md](configuration.md) settings and variables.

`RUN` is the id of a kept run, a unique prefix of one, or `last`. `EXPR` is an expression as in [selectors.md](selectors.md).
"""


def page() -> str:
    """Return the whole page."""
    context = click.Context(cli, info_name="fleet")
    table = ["| verb | what it does |", "|---|---|"]
    table += [f"| [`{name}`](#fleet-{name}) | {text} |" for name, (_, text) in VERBS.items()]
    sections = [section for name in VERBS for section in _sections(name, context)]
    return "\n".join([HEAD, *table, "", *sections])


def commands(name: str, parent: click.Context) -> Iterator[click.Context]:
    """Yield the contexts of a verb and of its own verbs."""
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    context = click.Context(command, parent=parent, info_name=name)
    yield context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from commands(inner, context)


def _sections(name: str, parent: click.Context) -> Iterator[str]:
    for context in commands(name, parent):
        command = context.command
        yield f"## {context.command_path}\n"
        yield f"`{' '.join((context.command_path, *command.collect_usage_pieces(context)))}`\n"
        yield inspect.cleandoc(command.help or "").strip() + "\n"
        rows = [row for parameter in command.get_params(context) if (row := _row(parameter, context))]
        if rows:
            yield "\n".join(["| flag | meaning |", "|---|---|", *rows]) + "\n"
        if command.epilog:
            yield "```\n" + inspect.cleandoc(command.epilog.replace("\b\nExamples:\n", "")) + "\n```\n"


def _row(parameter: click.Parameter, context: click.Context) -> str:
    record = parameter.get_help_record(context)
    if record is None or not isinstance(parameter, click.Option) or "--help" in parameter.opts:
        return ""
    flag, meaning = (text.replace("|", "\\|") for text in record)
    return f"| `{flag}` | {meaning} |"


if __name__ == "__main__":
    print(page(), end="")
