"""Looks into VMs in which scripts of a run are running, and ends a script that hangs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from secrets import token_hex

from fleet.app import leases, runs
from fleet.app.commands import delete_commands
from fleet.app.connect import Connection
from fleet.app.release import asked, concluded
from fleet.app.steer import direct_all
from fleet.commands.model import ManagedCommand
from fleet.engine.run_store import RunStore
from fleet.errors import RunNotFound
from fleet.guest.probe import GRACE, Findings, Standing
from fleet.inspection.probe import Prober, each
from fleet.inspection.query import Source
from fleet.playbook.model import Transport
from fleet.run.command import command_name, delivery_key
from fleet.run.events import Freeing
from fleet.run.job_state import JobState
from fleet.run.model import Cause, Phase
from fleet.run.state import Run
from fleet.run.stragglers import stragglers
from fleet.targets.model import Os, Target

Seen = Callable[[], None]
"""Is called once for each VM that has answered."""

SAID = {
    Standing.MISSING: "the VM knows nothing of this script: it has not arrived, or went without a receipt",
    Standing.STARTING: "the script is about to start",
    Standing.ALIVE: "the script is running",
    Standing.ENDED: "the script has ended, and its answer is kept",
    Standing.GONE: "the wrapper is gone without an answer: it was killed",
    Standing.REBOOTED: "the VM was restarted since the script began",
    Standing.HIDDEN: "the script runs where its processes cannot be seen",
    Standing.UNTOLD: "the state of the script is unknown",
}


@dataclass(frozen=True, slots=True)
class Freed:
    """One job, and what came of freeing its VM."""

    job: JobState
    how: str
    done: bool
    message: str


async def probe(
    connection: Connection, run_id: str, jobs: Sequence[JobState], seen: Seen
) -> dict[int, Findings | Cause]:
    """Look at these jobs in their VMs; by job id, what was found, or why nothing could be seen. Raises AzureUnusable."""
    found: dict[int, Findings | Cause] = {}
    prober = Prober(connection.cloud, connection.shared, lambda: token_hex(16))

    async def one(job: JobState) -> None:
        found[job.job.id] = await prober.probe(_source(run_id, job))
        seen()

    await each(jobs, one)
    return found


def planned_ends(jobs: Sequence[JobState], *, in_guest: bool) -> list[Freed]:
    """Return how :func:`unstick` would end the script of each job."""
    return [
        Freed(job, "delete" if _is_deleted(job, in_guest) else "signal", False, _meaning(job, in_guest)) for job in jobs
    ]


async def unstick(
    store: RunStore,
    connection: Connection,
    run_id: str,
    jobs: Sequence[JobState],
    seen: Seen,
    *,
    in_guest: bool,
    who: str,
    why: str,
) -> list[Freed]:
    """End the scripts of these jobs: journal that it is asked, do it, and journal what came of it.

    A managed command is deleted, unless ``in_guest``; else the process group is ended inside the VM. Raises StateError,
    AzureUnusable.
    """
    hows = {job.job.id: Freeing.DELETED if _is_deleted(job, in_guest) else Freeing.IN_GUEST for job in jobs}
    events = {job.job.id: asked(job, hows[job.job.id], who, why) for job in jobs}
    await direct_all(store, run_id, list(events.values()))
    rows = await _free(connection, run_id, jobs, seen, in_guest=in_guest)
    answers = await direct_all(store, run_id, [concluded(events[row.job.job.id], done=row.done) for row in rows])
    if not answers[0].live:
        now = runs.replay(await store.read(run_id))
        await leases.release_freed(store, connection, now, [row.job.job.target for row in rows if row.done])
    return rows


async def _free(
    connection: Connection, run_id: str, jobs: Sequence[JobState], seen: Seen, *, in_guest: bool
) -> list[Freed]:
    rows: dict[int, Freed] = {}
    prober = Prober(connection.cloud, connection.shared, lambda: token_hex(16))

    async def one(job: JobState) -> None:
        rows[job.job.id] = _freed(job, await prober.free(_source(run_id, job)))
        seen()

    deleted = [job for job in jobs if _is_deleted(job, in_guest)]
    commands = [ManagedCommand(job.job.target, command_name(run_id, job.job, job.retry)) for job in deleted]
    ended = await delete_commands(connection.managed, commands, connection.shared, seen)
    for job, end in zip(deleted, ended, strict=True):
        message = "its command is being deleted, which ends the script" if end.cause is None else ""
        why = f"{end.cause.code.value}: {end.cause.message}" if end.cause is not None else ""
        rows[job.job.id] = Freed(job, "delete", end.cause is None, message or why)
    await each([job for job in jobs if job.job.id not in rows], one)
    return [rows[job.job.id] for job in jobs]


def _freed(job: JobState, said: Findings | Cause) -> Freed:
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
    return job.transport is Transport.MANAGED and not in_guest and not job.job.step.properties.command


def _meaning(job: JobState, in_guest: bool) -> str:
    if _is_deleted(job, in_guest):
        return "delete the managed command, which ends its script"
    if job.job.target.os is Os.WINDOWS:
        return "kill the script's process tree in the VM"
    return f"end the script's process group in the VM: TERM, and KILL after {GRACE} seconds"


def _source(run_id: str, job: JobState) -> Source:
    return Source(job.job.target, job.transport, delivery_key(run_id, job.job, job.retry), job.job.step.run_as)


def jobs_to_probe(run: Run, names: tuple[str, ...], step: str | None, now: float) -> list[JobState]:
    """Return the jobs to look at, one for each VM: what runs there, else what was sent there last. Raises RunNotFound.

    ``names`` are names, globs or ids of VMs; none stands for the stragglers at ``now``, else for all that runs.
    """
    if not names:
        slow = [run.jobs[found.job] for found in stragglers(run.jobs, now)]
        picked = slow or [job for job in run.jobs if job.in_flight]
        return _some(run, [job for job in picked if step in (None, job.job.step.id)], names, step)
    found: dict[str, JobState] = {}
    for job in _meant(run, names, step):
        earlier = found.get(job.job.target.key)
        if job.attempt and (earlier is None or not earlier.in_flight):
            found[job.job.target.key] = job
    return _some(run, list(found.values()), names, step)


def running_jobs(run: Run, names: tuple[str, ...], step: str | None) -> list[JobState]:
    """Return the jobs of these VMs whose scripts are running. Raises RunNotFound."""
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
