"""The command line of the trials: one verb for each way to try Fleet itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from fleet.cli.simulating import FaultsType
from fleet.errors import ExitCode, InvalidInput
from tests.verification import trials

NAME = "python -m tests.verification"
MOST_VMS = 100_000


class SizesType(click.ParamType[tuple[int, int]]):
    """``200`` or ``5..50``: the fewest and the most VMs."""

    name = "N[..N]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,6})(?:\.\.(\d{1,6}))?", str(value))
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= fewest <= most <= MOST_VMS:
            self.fail(f"{value!r} is not a number of VMs from 1 to {MOST_VMS:,}, nor a range of them", param, ctx)
        return fewest, most


jobs = click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes (default: one for each processor).")
quiet = click.option("-q", "--quiet", is_flag=True, help="Show results and failures only.")
sizes = click.option("--vms", type=SizesType(), help="Size of the fleets (default 5..50, small ones more often).")
faults = click.option(
    "--fault",
    "faults",
    type=FaultsType(),
    default={},
    help="Faults of requests instead of those that a seed draws: 429, 409, 401, 5xx, 5xx-after, reset, lost, late, hang, "
    "torn, slow, unconnected.",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"""\b
Examples:
  {NAME} seeds 10000
  {NAME} replay 4711 -v
  {NAME} kills
  {NAME} model 1000000
""",
)
def verification() -> None:
    """Try Fleet itself: engine, journal and wire together, under faults.

    Exit code 0 means that every trial held, 1 that one did not. docs/verification.md says what is tried and what is
    checked.
    """


@verification.command(
    "seeds",
    short_help="Run N scenarios full of faults, each made from its seed.",
    epilog=f"""\b
Examples:
  {NAME} seeds 10000
  {NAME} seeds 1000 --vms 1..4
  {NAME} seeds 500 --fault 5xx=20%,reset=10%,429=10%,lost=5%
  {NAME} seeds 1000000 --first 1000000
""",
)
@click.argument("count", type=click.IntRange(1), metavar="N")
@click.option("--first", type=click.IntRange(0), default=0, metavar="N", help="The first seed (default 0).")
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    default=trials.CORPUS,
    metavar="FILE",
    help="Seeds that ever failed. They are tried first; new ones are added (default tests/verification/corpus.txt).",
)
@sizes
@faults
@jobs
@quiet
def seeds(count: int, **flags: Any) -> int:
    """Run N scenarios in virtual time, each made from its seed and full of faults.

    Equal seeds give equal scenarios. A seed that fails is printed with what did not hold and with the command that replays
    it.
    """
    return trials.many({**flags, "seeds": count, "kills": False})


@verification.command(
    "replay",
    short_help="Run the scenario of one seed again, and show it.",
    epilog=f"""\b
Examples:
  {NAME} replay 4711
  {NAME} replay 4711 -v --vms 5..6
""",
)
@click.argument("seed", type=click.IntRange(0), metavar="SEED")
@click.option("-v", "--verbose", is_flag=True, help="Show each event of disk, wire and VMs.")
@sizes
@faults
def replay(seed: int, **flags: Any) -> int:
    """Run the scenario of one SEED again, and show what happened and what did not hold."""
    return trials.one(seed, flags)


@verification.command(
    "kills",
    short_help="Kill a run at each write to its journal, and resume it.",
    epilog=f"""\b
Examples:
  {NAME} kills
  {NAME} kills --fault lost=5%
""",
)
@faults
@jobs
@quiet
def kills(**flags: Any) -> int:
    """Kill a simulated run of 20 VMs with gates before, within and after each write to its journal, and resume it."""
    return trials.kills({**flags, "vms": None, "kills": True})


@verification.command(
    "model",
    short_help="Compare engine and reference model, event by event.",
    epilog=f"""\b
Examples:
  {NAME} model 1000000
""",
)
@click.argument("events", type=click.IntRange(1), metavar="N")
def model(events: int) -> int:
    """Drive engine and reference model side by side for N events, and compare them after each."""
    return trials.model(events)


def invoke(args: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        result = verification.main(args, prog_name=NAME, standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except InvalidInput as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        return ExitCode.USAGE
