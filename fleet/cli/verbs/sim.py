"""The verb ``sim``: a rehearsal of a playbook, or of a plan file, against a pretend fleet."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.app.reports import check_writable
from fleet.cli import options
from fleet.cli.execute import narrowing_of, settings_of, show_report, write_files
from fleet.cli.options import Carry, Launch, Narrow
from fleet.cli.terminal import emit, say, settings
from fleet.documents.files import read_text
from fleet.errors import InvalidInput, Problem
from fleet.report.words import duration, number

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.app.search import Found
    from fleet.lab.world.spec import LabSpec
    from fleet.plan.model import Plan
    from fleet.playbook.model import Playbook
    from fleet.rehearsal.faults import AnyFault
    from fleet.rehearsal.rehearse import Rehearsed

DEFAULT_VMS = 100
MOST_VMS = 100_000


class FaultsType(click.ParamType["dict[AnyFault, float]"]):
    """``KIND=PERCENT,...``: what goes wrong, and how often."""

    name = "KIND=PERCENT,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[AnyFault, float]:
        from fleet.rehearsal.faults import Fault, VmFault, parse_fault

        if isinstance(value, dict):
            return value
        found: dict[AnyFault, float] = {}
        for item in str(value).split(","):
            kind, _, share = item.strip().partition("=")
            match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)%", share.strip())
            if match is None or float(match[1]) > 100:
                self.fail(f"{item.strip()!r} is not KIND=PERCENT, such as 429=5%", param, ctx)
            try:
                found[parse_fault(kind.strip())] = float(match[1]) / 100
            except ValueError:
                kinds = ", ".join(member.value for group in (Fault, VmFault) for member in group)
                self.fail(f"{kind.strip()!r} is no fault; there are {kinds}", param, ctx)
        return found


class SpanType(click.ParamType[tuple[float, float]]):
    """``20s`` or ``5s..1m``."""

    name = "DURATION[..DURATION]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        from fleet.cli.option_types import DurationType

        if isinstance(value, tuple):
            return value
        shortest, dots, longest = str(value).partition("..")
        first = DurationType().convert(shortest, param, ctx)
        last = DurationType().convert(longest, param, ctx) if dots else first
        if last < first:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        return first, last


@dataclass(frozen=True, slots=True)
class Pretend:
    """The pretend fleet's size, and how its VMs and their Azure behave."""

    vms: int | None
    faults: Mapping[AnyFault, float]
    duration: tuple[float, float]
    """Seconds: the shortest and the longest."""


pretending = options.fill(
    Pretend,
    click.option(
        "--vms",
        type=click.IntRange(1, MOST_VMS),
        metavar="N",
        help=f"Size of the pretend fleet (default {DEFAULT_VMS}).",
    ),
    click.option(
        "--fault",
        "faults",
        type=FaultsType(),
        default={},
        help="What goes wrong: of requests 429, 409, 401, 5xx, "
        "5xx-after, reset, lost, late, hang, torn, slow, unconnected; of VMs agent-down, stopped, failing, straggler.",
    ),
    click.option(
        "--duration", type=SpanType(), default=(5.0, 30.0), help="How long the scripts take (default 5s..30s)."
    ),
)


@click.command(
    epilog="""\b
Examples:
  fleet sim patch.yaml
  fleet sim patch.yaml --vms 2000 --fault 429=5%,agent-down=2%,straggler=1%
  fleet sim patch.plan --report html=rehearsal.html     with the frozen targets
  fleet sim patch.yaml --lab=my-lab.yaml -o json
"""
)
@click.argument("play", type=click.Path(), metavar="PLAYBOOK|PLANFILE")
@pretending
@options.values
@options.narrowing
@options.launching
@options.carrying_out("table", "json", "jsonl", "csv", "md", waits=False)
def sim(carry: Carry, launch: Launch, narrow: Narrow, pretend: Pretend, *, play: str, given: tuple[str, ...]) -> int:
    """Rehearse PLAYBOOK (or a plan file) in virtual time, and print the report it would have had.

    The plan, the engine and every word on the wire are the real ones; Azure and the VMs are pretended, in this
    process: nothing is ever sent anywhere. The pretend fleet is derived from the playbook's own selection, or is that of
    --lab=FILE, or the plan file's frozen targets. Equal seeds give equal rehearsals.
    """
    return _rehearse(Path(play), carry, launch, narrow, pretend, given)


def _rehearse(path: Path, carry: Carry, launch: Launch, narrow: Narrow, pretend: Pretend, given: Sequence[str]) -> int:
    from fleet.app import plans, search
    from fleet.app.parameters import VARIABLE, parameters
    from fleet.app.playbooks import playbook_of
    from fleet.cli.timeline import drawn
    from fleet.plan.file import load
    from fleet.rehearsal.rehearse import RehearsalOptions, rehearse

    config, _ = settings(carry.config_file, carry.verbose, carry.quiet)
    check_writable(carry.report_files)
    wanted = RehearsalOptions(pretend.faults, pretend.duration, narrow.seed)
    text = read_text(path, "the playbook")
    if text.lstrip().startswith("{"):
        frozen = load(text, file=str(path))
        spec = _lab_of(carry.lab, pretend.vms) or _of_plan(frozen, narrow.seed)
        secrets = dict.fromkeys(frozen.secrets, "rehearsed-secret")

        async def planned(connection: Connection) -> Plan:
            return replace(frozen, cloud=connection.name)

    else:
        loaded = playbook_of(text, path)
        values, secrets = parameters(
            loaded,
            _with_secrets(loaded, given),
            {
                **os.environ,
                **{
                    f"{VARIABLE}{parameter.name}": "rehearsed-secret"
                    for parameter in loaded.parameters
                    if parameter.secret
                },
            },
        )
        spec = _lab_of(carry.lab, pretend.vms) or _of_playbook(loaded, narrow, pretend.vms)

        async def planned(connection: Connection) -> Plan:
            found = await search.find_for(connection, loaded, narrowing_of(narrow))
            _check_derived(found, loaded, carry.lab, narrow)
            return plans.make_plan(
                connection, loaded, found, values, settings_of(config, launch), allow_empty=narrow.allow_empty
            )

    rehearsed = rehearse(spec, planned, wanted, secrets)
    say("rehearsal: nothing is sent anywhere; Azure and the VMs are pretended, and no script runs", quiet=carry.quiet)
    show_report(rehearsed.report, carry)
    write_files(rehearsed.report, carry)
    on_stdout = (carry.form or ("table" if sys.stdout.isatty() else "json")) == "table"
    told = drawn(rehearsed.report) + "".join(f"{line}\n" for line in _facts(rehearsed))
    if on_stdout:
        emit(told)
    else:
        say(told.rstrip("\n"), quiet=carry.quiet)
    return rehearsed.report.exit_code


def _with_secrets(loaded: Playbook, given: Sequence[str]) -> tuple[str, ...]:
    """The values given, without those of secrets: a rehearsal needs none, and none is read."""
    secret = {parameter.name for parameter in loaded.parameters if parameter.secret}
    return tuple(item for item in given if item.partition("=")[0] not in secret)


def _lab_of(lab: str | None, vms: int | None) -> LabSpec | None:
    from fleet.app import connect

    if lab is None:
        return None
    if connect.is_url(lab):
        raise click.UsageError("a rehearsal has a lab of its own: name a lab file, not a URL")
    if vms is not None:
        raise click.UsageError("--vms is the size of a derived fleet; the lab file says how many VMs it has")
    return connect.lab_spec(lab)


def _of_plan(frozen: Plan, seed: int) -> LabSpec:
    from fleet.rehearsal.pretend_fleet import from_targets

    return from_targets(frozen.targets, seed)


def _of_playbook(loaded: Playbook, narrow: Narrow, vms: int | None) -> LabSpec:
    from fleet.rehearsal.pretend_fleet import from_selection

    selection = loaded.selection
    if narrow.subscriptions:
        selection = replace(selection, subscriptions=narrow.subscriptions)
    return from_selection(selection, vms or min(selection.max or DEFAULT_VMS, DEFAULT_VMS), narrow.seed)


def _check_derived(found: Found, loaded: Playbook, lab: str | None, narrow: Narrow) -> None:
    """Say so where no fleet could be thought up that the playbook's selection lets in."""
    if lab is None and found.rows and not found.chosen.targets and not (narrow.limit or narrow.exclude):
        message = "no pretend fleet could be derived from the playbook's selection"
        hint = "name one with --lab=FILE, or rehearse a plan file (fleet plan PLAYBOOK --out FILE)"
        raise InvalidInput([Problem("no_pretend_fleet", message, loaded.file, hint=hint)])


def _facts(rehearsed: Rehearsed) -> Iterator[str]:
    report, traffic = rehearsed.report, rehearsed.traffic
    ended = report.ended if report.ended is not None else report.started
    yield f"would take   {duration(ended - report.started)}"
    calls = ", ".join(f"{number(count)} {kind}" for kind, count in sorted(traffic.calls.items()))
    targets = max(report.counts.targets, 1)
    work = sum(count for kind, count in traffic.calls.items() if kind != "listing")
    yield f"calls        {calls}; {work / targets:.1f} for each target"
    odd = {status: count for status, count in sorted(traffic.statuses.items()) if status >= 400}
    answers = ", ".join(f"{number(count)} x {status}" for status, count in odd.items()) or "none was an error"
    yield f"answers      {answers}; {number(traffic.self_inflicted)} met a limit of Azure's"
    stop = f"stopped      {report.stopped.cause.value}: {report.stopped.message}" if report.stopped else ""
    yield stop or "stopped      by nothing"
