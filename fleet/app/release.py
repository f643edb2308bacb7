"""What runs are told when the scripts of their jobs are ended from elsewhere: that it is asked for, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from fleet.app import runs
from fleet.app.runs import summaries
from fleet.app.steer import asker, direct_all, new_directive
from fleet.commands.bulk import Ended, Fate
from fleet.commands.model import ManagedCommand
from fleet.config.load import Config
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


@asynccontextmanager
async def told_to_runs(
    config: Config, commands: Sequence[ManagedCommand]
) -> AsyncIterator[Callable[[Sequence[Ended]], None]]:
    """Tell the runs kept here whose scripts these commands run, before they are deleted, and how that ended.

    Yields what is to be called with the ends of all commands, in their order.
    """
    events = _of_runs(config, commands)
    for run_id, theirs in events.items():
        await direct_all(config, run_id, list(theirs.values()))
    ends: list[Ended] = []
    yield ends.extend
    for run_id, theirs in events.items():
        done = {place: place < len(ends) and ends[place].fate is Fate.DONE for place in theirs}
        await direct_all(config, run_id, [concluded(event, done=done[place]) for place, event in theirs.items()])


def _of_runs(config: Config, commands: Sequence[ManagedCommand]) -> dict[str, dict[int, JobUnstuck]]:
    """The commands that belong to jobs in progress, by their run and their place."""
    places: defaultdict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for place, command in enumerate(commands):
        if command.run:
            places[command.run][command.target.key, command.name.casefold()] = place
    unfinished = {run.id for run in summaries(config) if run.state is not RunState.ENDED}
    found: dict[str, dict[int, JobUnstuck]] = {}
    for run_id in places.keys() & unfinished:
        run = runs.replay(runs.saved(config, run_id))
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
