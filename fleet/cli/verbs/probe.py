"""The verbs that look into VMs in which a run's scripts hang, and that end such a script."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from fnmatch import fnmatchcase
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import click

from fleet.cli import options
from fleet.cli.execute import agree
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, say, settings
from fleet.cli.verbs.commands import counting
from fleet.cli.verbs.runs import tell_state
from fleet.cli.verbs.steer import steering
from fleet.clock import SystemClock, wall_time
from fleet.errors import ExitCode, RunNotFound
from fleet.report.words import plural
from fleet.run.model import Cause, Phase

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.cli.probe_pages import Freed
    from fleet.config.load import Config
    from fleet.guest.probe import Findings
    from fleet.inspection.query import Source
    from fleet.run.job_state import JobState
    from fleet.run.kept import SavedRun
    from fleet.run.state import Run
    from fleet.targets.model import Target


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
def probe(run_id: str, names: tuple[str, ...], **flags: Any) -> int:
    """Look into VMs while scripts of RUN run there: processes, last output, disk, memory, locks, the agent's log.

    VM is a name, a glob or an id; without one the run's stragglers are looked at, or, where there are none, every VM in
    which it has a script running. Each takes a managed command of its own beside what runs, deleted afterwards; nothing is
    changed, and nothing of it is journalled. Command lines of processes are shown: they may hold secrets. Exits 4 if a VM
    gave no answer.
    """
    from fleet.app import runs
    from fleet.cli.probe_pages import Probed, probes
    from fleet.guest.probe import Findings

    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"])
    kept = runs.saved(config, run_id)
    run = runs.replay(kept)
    tell_state(kept, run, flags["quiet"])
    jobs = _probed_jobs(run, names, flags["step"])
    said = run_interruptible(_probe(config, kept, jobs, flags))
    rows = [Probed(job, said[job.job.id]) for job in jobs]
    emit(probes(rows, flags["output_format"] or "table"))
    return ExitCode.OK if all(isinstance(row.said, Findings) for row in rows) else ExitCode.NOT_REACHED


async def _probe(
    config: Config, kept: SavedRun, jobs: Sequence[JobState], flags: Mapping[str, Any]
) -> dict[int, Findings | Cause]:
    from fleet.inspection.probe import Prober, each

    found: dict[int, Findings | Cause] = {}
    async with AsyncExitStack() as stack:
        connection = await _connected(stack, config, kept, flags)
        prober = Prober(connection.cloud, SystemClock(), lambda: token_hex(16))
        with counting("probing", len(jobs), flags) as seen:

            async def one(job: JobState) -> None:
                found[job.job.id] = await prober.probe(_source(kept.run_id, job))
                seen()

            await each(jobs, one)
    return found


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
def unstick(run_id: str, names: tuple[str, ...], **flags: Any) -> int:
    """End the scripts of RUN that hang in these VMs. What they did is not undone.

    A managed command is deleted, the one way to cancel it that Azure documents. An action's script, and one of a standing
    command, is ended inside the VM: its process group gets TERM, and KILL after 5 seconds, and nothing else is touched;
    its wrapper then reports the signal.

    Who asked and why is journalled before anything is sent. The row is then `cancelled` and names both, unless the true
    result of the script arrives all the same. It counts against no budget, the exit code of the run is 3, and the VM is
    free for other runs at once. Exits 4 if a VM was not freed.
    """
    from fleet.app import runs
    from fleet.cli.probe_pages import Freed, freeings

    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"])
    kept = runs.saved(config, run_id)
    run = runs.replay(kept)
    tell_state(kept, run, flags["quiet"])
    jobs = _running_jobs(run, names, flags["step"])
    deleted = [job for job in jobs if _is_deleted(job, flags["in_guest"])]
    planned = [Freed(job, _how(job, deleted), False, _meaning(job, deleted)) for job in jobs]
    form = flags["output_format"] or "table"
    if flags["dry_run"]:
        emit(freeings(planned, form))
        say(f"{plural(len(jobs), 'script')} would be ended")
        return ExitCode.OK
    agree(
        f"end {plural(len(jobs), 'script')} that may be running", lambda: freeings(planned, "table"), yes=flags["yes"]
    )
    rows = run_interruptible(_unstick(config, kept, jobs, deleted, flags))
    emit(freeings(rows, form))
    freed = sum(row.done for row in rows)
    say(f"{freed:,} of {plural(len(rows), 'VM')} freed", quiet=flags["quiet"])
    return ExitCode.OK if freed == len(rows) else ExitCode.NOT_REACHED


async def _unstick(
    config: Config, kept: SavedRun, jobs: Sequence[JobState], deleted: Sequence[JobState], flags: Mapping[str, Any]
) -> list[Freed]:
    """Journal what is asked, do it, and journal what came of it."""
    from fleet.app import leases, runs
    from fleet.app.release import asked, concluded
    from fleet.app.steer import asker, direct_all
    from fleet.run.events import Freeing

    async with AsyncExitStack() as stack:
        connection = await _connected(stack, config, kept, flags)
        who = asker(flags["name"])
        hows = {job.job.id: Freeing.DELETED if job in deleted else Freeing.IN_GUEST for job in jobs}
        events = {job.job.id: asked(job, hows[job.job.id], who, flags["why"]) for job in jobs}
        await direct_all(config, kept.run_id, list(events.values()))
        rows = await _free(connection, kept.run_id, jobs, deleted, flags)
        told = await direct_all(config, kept.run_id, [concluded(events[row.job.job.id], done=row.done) for row in rows])
        if not told[0].live:
            now = runs.replay(runs.saved(config, kept.run_id))
            await leases.release_freed(
                config.state_dir, connection, now, [row.job.job.target for row in rows if row.done]
            )
    return rows


async def _free(
    connection: Connection,
    run_id: str,
    jobs: Sequence[JobState],
    deleted: Sequence[JobState],
    flags: Mapping[str, Any],
) -> list[Freed]:
    from fleet.app.commands import delete_commands
    from fleet.cli.probe_pages import Freed
    from fleet.commands.model import ManagedCommand
    from fleet.inspection.probe import Prober, each
    from fleet.run.command import command_name

    rows: dict[int, Freed] = {}
    prober = Prober(connection.cloud, SystemClock(), lambda: token_hex(16))
    with counting("freeing", len(jobs), flags) as seen:

        async def one(job: JobState) -> None:
            rows[job.job.id] = _freed(job, await prober.free(_source(run_id, job)))
            seen()

        commands = [ManagedCommand(job.job.target, command_name(run_id, job.job, job.retry)) for job in deleted]
        ended = await delete_commands(connection.managed, commands, connection.principals, SystemClock(), seen)
        for job, end in zip(deleted, ended, strict=True):
            message = "its command is being deleted, which ends the script" if end.cause is None else ""
            why = f"{end.cause.code.value}: {end.cause.message}" if end.cause is not None else ""
            rows[job.job.id] = Freed(job, "delete", end.cause is None, message or why)
        await each([job for job in jobs if job.job.id not in rows], one)
    return [rows[job.job.id] for job in jobs]


def _freed(job: JobState, said: Findings | Cause) -> Freed:
    from fleet.cli.probe_pages import SAID, Freed
    from fleet.guest.probe import Standing

    if isinstance(said, Cause):
        return Freed(job, "signal", False, f"{said.code.value}: {said.message}")
    signal = said.facts.get("signal", "")
    if said.standing is Standing.ENDED:
        return Freed(job, "signal", True, SAID[said.standing])
    if not signal or "stayed" in said.facts:
        why = said.facts.get("refused") or ("it outlived KILL" if signal else SAID[said.standing])
        return Freed(job, "signal", False, why)
    report = "its wrapper has reported" if "answered" in said.facts else "its wrapper has not reported yet"
    return Freed(job, "signal", True, f"ended by {signal}; {report}")


def _is_deleted(job: JobState, in_guest: bool) -> bool:
    """Whether freeing deletes the command: not the standing one, which is to stay, and not where the guest is asked."""
    from fleet.playbook.model import Transport

    return job.transport is Transport.MANAGED and not in_guest and not job.job.step.properties.command


def _how(job: JobState, deleted: Sequence[JobState]) -> str:
    return "delete" if job in deleted else "signal"


def _meaning(job: JobState, deleted: Sequence[JobState]) -> str:
    from fleet.guest.probe import GRACE
    from fleet.targets.model import Os

    if job in deleted:
        return "delete the managed command, which ends its script"
    if job.job.target.os is Os.WINDOWS:
        return "kill the script's process tree in the VM"
    return f"end the script's process group in the VM: TERM, and KILL after {GRACE} seconds"


async def _connected(stack: AsyncExitStack, config: Config, kept: SavedRun, flags: Mapping[str, Any]) -> Connection:
    from fleet.app import connect, plans

    plans.check_cloud(kept.plan, config, flags["lab"])
    return await stack.enter_async_context(connect.connect(config, flags["lab"], os.environ))


def _source(run_id: str, job: JobState) -> Source:
    from fleet.inspection.query import Source
    from fleet.run.command import delivery_key

    return Source(job.job.target, job.transport, delivery_key(run_id, job.job, job.retry), job.job.step.run_as)


def _probed_jobs(run: Run, names: tuple[str, ...], step: str | None) -> list[JobState]:
    """The jobs to look at, one for each VM: what runs there, else what was sent there last."""
    from fleet.run.stragglers import stragglers

    if not names:
        slow = [run.jobs[found.job] for found in stragglers(run.jobs, wall_time())]
        picked = slow or [job for job in run.jobs if job.in_flight]
        return _some(run, [job for job in picked if step in (None, job.job.step.id)], names, step)
    found: dict[str, JobState] = {}
    for job in _meant(run, names, step):
        earlier = found.get(job.job.target.key)
        if job.attempt and (earlier is None or not earlier.in_flight):
            found[job.job.target.key] = job
    return _some(run, list(found.values()), names, step)


def _running_jobs(run: Run, names: tuple[str, ...], step: str | None) -> list[JobState]:
    jobs = [job for job in _meant(run, names, step) if job.in_flight and job.phase is not Phase.DONE]
    return _some(run, jobs, names, step)


def _meant(run: Run, names: tuple[str, ...], step: str | None) -> list[JobState]:
    return [job for job in run.jobs if step in (None, job.job.step.id) and _fits(job.job.target, names)]


def _fits(target: Target, names: tuple[str, ...]) -> bool:

    own = (target.name.casefold(), target.id.casefold())
    return any(fnmatchcase(each, name.casefold()) for name in names for each in own)


def _some(run: Run, jobs: list[JobState], names: tuple[str, ...], step: str | None) -> list[JobState]:
    if jobs:
        return jobs
    wanted = " ".join((*names, *((f"--step {step}",) if step else ())))
    raise RunNotFound(
        f"nothing of run {run.run_id} is running{f' in {wanted}' if wanted else ''}",
        hint=f"fleet show {run.run_id} lists its VMs",
        code="no_rows",
    )
