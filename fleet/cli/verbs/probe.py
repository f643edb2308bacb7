"""The verbs that look into VMs in which a run's scripts hang, and that end such a script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fleet.cli import options
from fleet.cli.execute import agree, config_of
from fleet.cli.options import Access, Output
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, say
from fleet.cli.verbs.commands import counting
from fleet.cli.verbs.runs import tell_state
from fleet.cli.verbs.steer import Reason, steering
from fleet.clock import wall_time
from fleet.errors import ExitCode
from fleet.report.words import plural
from fleet.run.model import Cause

if TYPE_CHECKING:
    from fleet.app.inspect import Freed
    from fleet.config.load import Config
    from fleet.guest.probe import Findings
    from fleet.run.job_state import JobState
    from fleet.run.kept import SavedRun


@click.command(
    epilog="""\b
Examples:
  fleet probe last                    the stragglers of the last run, or all that is running
  fleet probe last web017
  fleet probe last 'web*' -o json
"""
)
@click.argument("run_id", metavar="RUN")
@click.argument("names", metavar="[VM]...", nargs=-1)
@click.option("--step", metavar="ID", help="Only this step.")
@options.showing("table", "json")
@options.connecting
def probe(access: Access, output: Output, *, run_id: str, names: tuple[str, ...], step: str | None) -> int:
    """Look into VMs while scripts of RUN run there: processes, last output, disk, memory, locks, the agent's log.

    VM is a name, a glob or an id; without one the run's stragglers are looked at, or, where there are none, every VM in
    which it has a script running. Each takes a managed command of its own beside what runs, deleted afterwards; nothing is
    changed, and nothing of it is journalled. Command lines of processes are shown: they may hold secrets. Exits 4 if a VM
    gave no answer.
    """
    from fleet.app import runs
    from fleet.app.inspect import jobs_to_probe
    from fleet.cli.kept_runs import saved
    from fleet.cli.probe_pages import Probed, probes
    from fleet.guest.probe import Findings

    config = config_of(access)
    kept = saved(config, run_id)
    run = runs.replay(kept)
    tell_state(kept, run, access.quiet)
    jobs = jobs_to_probe(run, names, step, wall_time())
    said = run_interruptible(_probe(config, kept, jobs, access))
    rows = [Probed(job, said[job.job.id]) for job in jobs]
    emit(probes(rows, output.form or "table"))
    return ExitCode.OK if all(isinstance(row.said, Findings) for row in rows) else ExitCode.NOT_REACHED


async def _probe(
    config: Config, kept: SavedRun, jobs: Sequence[JobState], access: Access
) -> dict[int, Findings | Cause]:
    from fleet.app import connect, inspect, plans

    plans.check_cloud(kept.plan, config, access.lab)
    async with connect.connect(config, access.lab, os.environ) as connection:
        with counting("probing", len(jobs), access.quiet) as seen:
            return await inspect.probe(connection, kept.run_id, jobs, seen)


@click.command(
    epilog="""\b
Examples:
  fleet unstick last web017 --why 'waits for a prompt'
  fleet unstick last 'web*' --dry-run
  fleet unstick last web017 --in-guest -y
"""
)
@click.argument("run_id", metavar="RUN")
@click.argument("names", metavar="VM...", nargs=-1, required=True)
@click.option("--step", metavar="ID", help="Only this step.")
@click.option(
    "--in-guest",
    is_flag=True,
    help="End the process group inside the VM also where the command could be deleted: the receipt then proves the end.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@steering
@options.confirming
@options.showing("table", "json")
@options.connecting
def unstick(
    access: Access,
    output: Output,
    reason: Reason,
    *,
    run_id: str,
    names: tuple[str, ...],
    step: str | None,
    in_guest: bool,
    dry_run: bool,
    yes: bool,
) -> int:
    """End the scripts of RUN that hang in these VMs. What they did is not undone.

    A managed command is deleted, the one way to cancel it that Azure documents. An action's script, and one of a standing
    command, is ended inside the VM: its process group gets TERM, and KILL after 5 seconds, and nothing else is touched;
    its wrapper then reports the signal.

    Who asked and why is journalled before anything is sent. The row is then `cancelled` and names both, unless the true
    result of the script arrives all the same. It counts against no budget, the exit code of the run is 3, and the VM is
    free for other runs at once. Exits 4 if a VM was not freed.
    """
    from fleet.app import runs
    from fleet.app.inspect import planned_ends, running_jobs
    from fleet.cli.kept_runs import saved
    from fleet.cli.probe_pages import freeings

    config = config_of(access)
    kept = saved(config, run_id)
    run = runs.replay(kept)
    tell_state(kept, run, access.quiet)
    jobs = running_jobs(run, names, step)
    planned = planned_ends(jobs, in_guest=in_guest)
    form = output.form or "table"
    if dry_run:
        emit(freeings(planned, form))
        say(f"{plural(len(jobs), 'script')} would be ended")
        return ExitCode.OK
    agree(f"end {plural(len(jobs), 'script')} that may be running", lambda: freeings(planned, "table"), yes=yes)
    rows = run_interruptible(_unstick(config, kept, jobs, access, reason, in_guest=in_guest))
    emit(freeings(rows, form))
    freed = sum(row.done for row in rows)
    say(f"{freed:,} of {plural(len(rows), 'VM')} freed", quiet=access.quiet)
    return ExitCode.OK if freed == len(rows) else ExitCode.NOT_REACHED


async def _unstick(
    config: Config, kept: SavedRun, jobs: Sequence[JobState], access: Access, reason: Reason, *, in_guest: bool
) -> list[Freed]:
    from fleet.app import connect, inspect, plans
    from fleet.app.steer import asker
    from fleet.app.stores import open_store

    plans.check_cloud(kept.plan, config, access.lab)
    async with connect.connect(config, access.lab, os.environ) as connection:
        with counting("freeing", len(jobs), access.quiet) as seen:
            return await inspect.unstick(
                open_store(config),
                connection,
                kept.run_id,
                jobs,
                seen,
                in_guest=in_guest,
                who=asker(reason.name),
                why=reason.why,
            )
