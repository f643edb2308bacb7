"""The verb that shows who would be meant: targets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet import codec
from fleet.cli import options
from fleet.cli.options import Access, Narrow, Output
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, say, settings, table, warn, warn_of
from fleet.documents.files import is_own_stream
from fleet.errors import ExitCode, InvalidInput, Problem
from fleet.report.words import plural, unread

if TYPE_CHECKING:
    from fleet.app.search import Found
    from fleet.playbook.model import Selection
    from fleet.targets.model import Target


@click.command(
    epilog="""\b
Examples:
  fleet targets 'os == "linux" and tag.env == "prod"'
  fleet targets patch.yaml --explain
  fleet targets 'name matches "web*"' -o ids
  fleet targets all --pick 5 --seed 7
  fleet targets 'kind in ["scale_set", "arc"]' -o csv
"""
)
@click.argument("what", metavar="EXPR|PLAYBOOK")
@click.option("--explain", is_flag=True, help="Say for every VM which clause let it in or kept it out.")
@options.narrowing
@options.showing("table", "json", "csv", "ids", "names")
@options.connecting
def targets(access: Access, output: Output, narrow: Narrow, *, what: str, explain: bool) -> int:
    """List the machines that EXPR or PLAYBOOK selects; `all` is every VM that can be seen.

    Instances of uniform scale sets and Arc machines are looked for where a clause about `kind` or `scale_set`, or the
    playbook's `targets.kinds`, names them.

    Nothing is sent to any VM.
    """
    from fleet.app import connect, search
    from fleet.app.search import Narrowing
    from fleet.targets.expand import require_some

    if explain:
        options.check_form(output.form, ("table", "json", "csv"), "--explain, which is about every VM,")
    config, _ = settings(access.config_file, access.verbose, access.quiet, access.tenant)
    selection = selection_of(what, config.azure.subscriptions)
    narrowing = Narrowing(
        subscriptions=narrow.subscriptions,
        limit=narrow.limit,
        exclude=narrow.exclude,
        pick=narrow.pick,
        seed=narrow.seed,
    )

    async def go() -> Found:
        async with connect.connect(config, access.lab, os.environ, runs_scripts=False) as connection:
            for note in connection.notes:
                say(f"note: {note}", quiet=access.quiet)
            return await search.find(connection, selection, narrowing, every_kind=explain)

    found = run_interruptible(go())
    warn_about(found)
    if explain:
        emit(_explanation(found, output.form or "table"))
    else:
        require_some(found.chosen, narrow.allow_empty)
        emit(_listing(found.chosen.targets, output.form or "table"))
        say(_summary(found), quiet=access.quiet)
    require_some(found.chosen, narrow.allow_empty)
    return ExitCode.NOT_REACHED if found.chosen.unread else ExitCode.OK


def warn_about(found: Found) -> None:
    """Warn of what could not be read, of VMs that are left out, and of names and patterns that fit no VM."""
    from fleet.targets.expand import unmatched

    for scope in found.chosen.unread:
        warn(unread(scope))
    for note in found.chosen.notes:
        warn(note)
    if found.rows:
        for problem in unmatched((*found.rows, *(one.target for one in found.partial)), found.wanted):
            warn_of(problem)


def selection_of(what: str, subscriptions: tuple[str, ...] | None) -> Selection:
    """A playbook's own selection where ``what`` is a file, else an expression over everything."""
    from fleet.playbook.model import Selection
    from fleet.targets import selector

    if Path(what).suffix in (".yaml", ".yml") or is_own_stream(Path(what)):
        from fleet.app.playbooks import load_playbook

        return replace(load_playbook(Path(what)).selection, max=None)
    if os.path.lexists(what):
        hint = "name a playbook (.yaml or .yml), or write an expression"
        raise InvalidInput(
            [Problem("not_a_playbook", f"{what} is no playbook: its name does not end in .yaml", hint=hint)]
        )
    if not what.strip():
        raise InvalidInput(
            [Problem("empty_expression", "the expression is empty", "EXPR", hint="write all for every VM")]
        )
    if what != "all":
        selector.parse(what, file="EXPR")
    return Selection(subscriptions=subscriptions or ("all",), where="" if what == "all" else what)


def _listing(chosen: tuple[Target, ...], form: str) -> str:
    from fleet.targets.folding import fold

    if form == "json":
        return json.dumps([_document(target) for target in chosen], indent=1)
    if form == "ids":
        return "".join(f"{target.id}\n" for target in chosen)
    if form == "names":
        return f"{fold(target.name for target in chosen)}\n" if chosen else ""
    head = ("name", "kind", "resource group", "subscription", "location", "os", "size", "power", "tags")
    rows = [_row(target) for target in chosen]
    if form == "csv":
        from fleet.report.safe import csv_text

        return csv_text([head, *rows])
    return table(head, rows)


def _row(target: Target) -> tuple[str, ...]:
    tags = " ".join(f"{name}={value}" for name, value in sorted(target.tags.items()))
    power = target.power.value
    return (
        target.name,
        target.kind.value,
        target.resource_group,
        target.subscription_name,
        target.location,
        target.os.value,
        target.size,
        power,
        tags,
    )


def _document(target: Target) -> Mapping[str, object]:
    return {name: codec.encode(getattr(target, name)) for name in (*target.__slots__, "kind")}


def _explanation(found: Found, form: str) -> str:
    from fleet.targets.expand import explain as explained

    decisions = explained(found.rows, found.wanted, found.partial)
    if form == "json":
        return json.dumps(
            [
                {
                    "name": decision.target.name or decision.label,
                    "id": decision.target.id,
                    "included": decision.included,
                    "rule": decision.rule.value,
                    "clause": decision.clause,
                    "reason": decision.reason,
                }
                for decision in decisions
            ],
            indent=1,
        )
    rows = [
        ("in" if item.included else "out", item.target.name or item.label, item.target.resource_group, item.reason)
        for item in decisions
    ]
    head = ("", "name", "resource group", "why")
    if form == "csv":
        from fleet.report.safe import csv_text

        return csv_text([("selected", *head[1:]), *rows])
    return table(head, rows)


def _summary(found: Found) -> str:
    chosen = found.chosen.targets
    subscriptions = len({target.subscription for target in chosen})
    all_seen = len(found.rows) + len(found.partial)
    seen = f" of {all_seen:,} seen" if all_seen != len(chosen) else ""
    return f"{plural(len(chosen), 'target')}{seen} in {plural(subscriptions, 'subscription')}"
