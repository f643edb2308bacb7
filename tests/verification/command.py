"""The command line of the trials: one verb for each way to try Fleet itself."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fleet.cli.verbs.sim import FaultsType
from fleet.errors import ExitCode, InvalidInput
from fleet.rehearsal.faults import Fault
from tests.verification import damage, disk_faults, process_kills, trials
from tests.verification.labs import Sizes
from tests.verification.trials import Trial

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


class RatesType(FaultsType):
    """``KIND=PERCENT,...``: faults of requests, and how often each is met."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if any(not isinstance(kind, Fault) for kind in found):
            self.fail("scenarios have VMs of their own: only faults of requests can be given here", param, ctx)
        return found


jobs_option = click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes (default: one for each processor)."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show failures and sums only.")
vms_option = click.option("--vms", type=SizesType(), help="Size of the fleets (default 5..50, small ones more often).")
fault_option = click.option(
    "--fault",
    "rates",
    type=RatesType(),
    default={},
    help="Faults of requests instead of those that a seed draws: 429, 409, 401, 5xx, 5xx-after, reset, lost, late, hang, "
    "torn, slow, unconnected.",
)


def examples(*lines: str) -> str:
    """Return the end of a verb's help."""
    return "\b\nExamples:\n" + "".join(f"  {NAME} {line}\n" for line in lines)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("seeds 10000", "replay 4711 -v", "kills", "model 1000000", "damage", "faults --vms 4"),
)
def verification() -> None:
    """Try Fleet itself: engine, journal and wire together, under faults.

    Exit code 0 means that every trial held, 1 that one did not. docs/verification.md says what is tried and what is
    checked.
    """


@verification.command(
    short_help="Run N scenarios full of faults, each made from its seed.",
    epilog=examples(
        "seeds 10000",
        "seeds 1000 --vms 1..4",
        "seeds 500 --fault 5xx=20%,reset=10%,429=10%,lost=5%",
        "seeds 1000000 --first 1000000",
    ),
)
@click.argument("count", type=click.IntRange(1), metavar="N")
@click.option("--first", type=click.IntRange(0), default=0, metavar="N", help="The first seed (default 0).")
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    default=trials.CORPUS,
    metavar="FILE",
    help="Seeds that ever failed (default tests/verification/corpus.txt). They are tried first; new ones are added.",
)
@vms_option
@fault_option
@jobs_option
@quiet_option
def seeds(
    count: int,
    first: int,
    corpus: Path,
    vms: Sizes | None,
    rates: Mapping[Fault, float],
    jobs: int | None,
    quiet: bool,
) -> int:
    """Run N scenarios in virtual time, each made from its seed and full of faults.

    Equal seeds give equal scenarios. A seed that fails is printed with what did not hold and with the command that replays
    it.
    """
    return trials.try_seeds(Trial("seed", rates, vms, quiet), count, first, corpus, jobs)


@verification.command(
    short_help="Run the scenario of one seed again, and show it.",
    epilog=examples("replay 4711", "replay 4711 -v --vms 5..6"),
)
@click.argument("seed", type=click.IntRange(0), metavar="SEED")
@click.option("-v", "--verbose", is_flag=True, help="Show each event of disk, wire and VMs.")
@vms_option
@fault_option
def replay(seed: int, verbose: bool, vms: Sizes | None, rates: Mapping[Fault, float]) -> int:
    """Run the scenario of one SEED again, and show what happened and what did not hold."""
    return trials.replay(seed, Trial("seed", rates, vms), events=verbose)


@verification.command(
    short_help="Kill a run at each write to its journal, and resume it.",
    epilog=examples("kills", "kills --fault lost=5%", "kills --real 1000 --vms 200"),
)
@click.option("--real", type=click.IntRange(1), metavar="N", help="Kill real processes, N times at random moments.")
@click.option("--vms", type=click.IntRange(2), metavar="N", help="VMs of a run with --real (default 60).")
@click.option("--seed", type=int, metavar="N", help="Seed of the moments with --real (default: the time of day).")
@fault_option
@jobs_option
@quiet_option
def kills(
    real: int | None,
    vms: int | None,
    seed: int | None,
    rates: Mapping[Fault, float],
    jobs: int | None,
    quiet: bool,
) -> int:
    """Kill a simulated run of 20 VMs before, within and after each write to its journal, and resume it each time.

    With --real, processes are killed with SIGKILL at random moments, against a lab in another process.
    """
    if real is None:
        if vms is not None or seed is not None:
            raise click.UsageError("--vms and --seed need --real: the simulated run has 20 VMs and every kill in turn")
        return trials.try_kills(Trial("write", rates, None, quiet), jobs)
    if rates or jobs is not None:
        raise click.UsageError("--fault and --jobs are for the simulated run, without --real")
    return process_kills.try_kills(real, int(time.time()) if seed is None else seed, vms or 60)


@verification.command(
    short_help="Compare engine and reference model, event by event.", epilog=examples("model 1000000")
)
@click.argument("events", type=click.IntRange(1), metavar="N")
def model(events: int) -> int:
    """Drive engine and reference model side by side for N events, and compare them after each."""
    return trials.compare(events)


@verification.command(
    "damage",
    short_help="Cut journals at each byte and flip their bits.",
    epilog=examples("damage", "damage --only note", "damage --jobs 1"),
)
@click.option("--only", metavar="TEXT", default="", help="Only the sweeps with this text in their names.")
@jobs_option
def damage_verb(only: str, jobs: int | None) -> int:
    """Cut journals at every byte and flip their bits; read each damaged one, and resume some.

    A damaged journal must be refused with a sentence, or give the start of the run with the damage named, or be whole.
    """
    return damage.try_damage(jobs, only)


@verification.command(
    "faults",
    short_help="Fail each write of a run to its disk in turn.",
    epilog=examples("faults", "faults --vms 4", 'faults --vms 2 --fault "disk full"'),
)
@click.option("--vms", type=click.IntRange(1), default=20, metavar="N", help="VMs of a run (default 20).")
@click.option(
    "--fault",
    "chosen",
    type=click.Choice(list(disk_faults.FAULTS)),
    multiple=True,
    help="Only this fault; repeatable.",
)
@click.option("--child", is_flag=True, hidden=True)
def faults_verb(vms: int, chosen: tuple[str, ...], child: bool) -> int:
    """Fail the n-th system call that writes, resizes or flushes a file of a run, for every n, and resume the run.

    Needs a C compiler and glibc: a small library fails the calls.
    """
    if child:
        return disk_faults.print_figures(chosen[0], vms)
    return disk_faults.try_faults(chosen or tuple(disk_faults.FAULTS), vms)


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
