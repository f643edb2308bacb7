"""The verb that shows what differs: diff."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fleet import codec
from fleet.cli import options
from fleet.cli.options import Common, Output
from fleet.cli.terminal import colour_on, emit, say
from fleet.cli.verbs.runs import report_of
from fleet.errors import ExitCode
from fleet.report import safe
from fleet.report.normal import DEFAULT, Rule
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.report.compare import Deviation, Minority

RULES = [rule.value for rule in Rule]


@click.command(
    epilog="""\b
Examples:
  fleet diff last                           which VMs answered otherwise than most
  fleet diff 20260301-0203 last             new failures, fixed ones, changed output
  fleet diff last --mask number --mask time
  fleet diff last --exact -o json
"""
)
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="[RUN]", required=False)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    type=click.Choice(RULES),
    help=f"What to leave out of account; repeatable (default {', '.join(DEFAULT)}).",
)
@click.option("--exact", is_flag=True, help="Compare output byte for byte.")
@options.showing("table", "json")
@options.keeping
def diff(common: Common, output: Output, *, first: str, second: str | None, masks: tuple[str, ...], exact: bool) -> int:
    """Show what differs between the VMs of RUN, or between two runs.

    Host names, times, ids and addresses are left out of account, so that only what matters is told. Exits 10 if there are
    differences.
    """
    from fleet.report.compare import between_hosts, between_runs

    rules = () if exact else tuple(Rule(name) for name in masks) or DEFAULT
    found: Sequence[Deviation | Minority]
    if second is None:
        found = between_hosts(report_of(first, common), rules)
    else:
        found = between_runs(report_of(first, common), report_of(second, common), rules)
    if output.form == "json":
        emit(json.dumps([codec.encode(item) for item in found], indent=1))
    else:
        emit("".join(_shown(item, colour_on(output.colour)) for item in found))
    say(f"{plural(len(found), 'difference')}", quiet=common.quiet)
    return ExitCode.DIFFERENCES if found else ExitCode.OK


def _shown(item: Deviation | Minority, colour: bool) -> str:
    from fleet.report.compare import Deviation

    if isinstance(item, Deviation):
        head = f"{item.kind.value.replace('_', ' ')}: {item.names} ({item.count})"
        change = f"  step {item.step}: {item.before} -> {item.after}"
    else:
        head = f"{item.names} ({item.count} of {item.of})"
        same = item.status is item.majority
        change = f"  step {item.step}: {item.status.value}" + ("" if same else f", most {item.majority.value}")
    lines = [click.style(safe.terminal_line(head), bold=True) if colour else safe.terminal_line(head), change]
    lines += [_line(line, colour) for line in item.lines if not line.startswith("@@")]
    return "\n".join(lines) + "\n"


def _line(line: str, colour: bool) -> str:
    text = f"    {safe.terminal_line(line)}"
    style = {"+": "green", "-": "red"}.get(line[:1])
    return click.style(text, fg=style) if colour and style else text
