"""Ends scripts by deleting their managed commands, and has the runs that they belong to record it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from fleet.app import runs
from fleet.app.commands import delete_commands
from fleet.app.connect import Connection
from fleet.app.steer import asker, direct_all, new_directive
from fleet.commands.bulk import Ended, Fate
from fleet.commands.model import ManagedCommand
from fleet.engine.run_store import RunFilter, RunStore
from fleet.run.command import command_name
from fleet.run.events import Freeing, FreeingStage, JobUnstuck
from fleet.run.job_state import JobState
from fleet.run.kept import RunState
from fleet.run.model import Phase

WHY = "fleet commands delete"


def asked(job: JobState, how: Freeing, who: str, why: str) -> JobUnstuck:
    """The event that says that the end of a job's script is asked for."""
    vm = job.job.target.name
    return JobUnstuck(0.0, job.job.id, job.retry, how, vm=vm, who=who, why=why, directive=new_directive())


def concluded(event: JobUnstuck, *, done: bool) -> JobUnstuck:
    """The event that says what came of it."""
    return replace(event, stage=FreeingStage.DONE if done else FreeingStage.FAILED, directive=new_directive())


async def delete_and_record(
    store: RunStore,
    connection: Connection,
    commands: Sequence[ManagedCommand],
    seen: Callable[[], None],
) -> tuple[Ended, ...]:
    """Delete managed commands, and have the runs kept here whose scripts they run journal it: before, and how it ended.

    ``seen`` is called once for each. Return how each ended, in their order. Raises AzureUnusable, StateError.
    """
    events = await _of_runs(store, commands)
    for run_id, theirs in events.items():
        await direct_all(store, run_id, list(theirs.values()))
    ends = await delete_commands(connection.managed, commands, connection.shared, seen)
    for run_id, theirs in events.items():
        done = {place: ends[place].fate is Fate.DONE for place in theirs}
        await direct_all(store, run_id, [concluded(event, done=done[place]) for place, event in theirs.items()])
    return ends


async def _of_runs(store: RunStore, commands: Sequence[ManagedCommand]) -> dict[str, dict[int, JobUnstuck]]:
    """The commands that belong to jobs in progress, by their run and their place."""
    places: defaultdict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for place, command in enumerate(commands):
        if command.run:
            places[command.run][command.target.key, command.name.casefold()] = place
    unfinished = RunFilter(ids=frozenset(places), states=frozenset(RunState) - {RunState.ENDED})
    found: dict[str, dict[int, JobUnstuck]] = {}
    for run_id in [run.id for run in await store.list(unfinished)]:
        run = runs.replay(await store.read(run_id))
        theirs = {
            places[run_id][key]: asked(job, Freeing.DELETED, asker(), WHY)
            for job in run.jobs
            if job.in_flight and job.phase is not Phase.DONE
            for key in [(job.job.target.key, command_name(run_id, job.job, job.retry).casefold())]
            if key in places[run_id]
        }
        if theirs:
            found[run_id] = theirs
    return found
