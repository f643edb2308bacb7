"""How long targets took in the newest kept run of a playbook: what the next one goes by to launch the longest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from fleet.errors import StateError
from fleet.plan.launch_order import NO_TIMES, Times
from fleet.plan.model import JobId, Plan
from fleet.run.events import Event, ResultReceived, SubmissionIntended
from fleet.run.kept import RunState
from fleet.store.sqlite import journal
from fleet.store.sqlite.runs import RunsFolder


def newest_times(runs: RunsFolder, playbook: str, cloud: str) -> Times:
    """Return the times of the newest run of this playbook in this cloud that has ended; what cannot be read is no help."""
    try:
        ended = [run for run in runs.list() if run.playbook == playbook and run.state is RunState.ENDED]
        for summary in ended[:1]:
            kept = journal.read(runs.folder(summary.id))
            if kept.plan.cloud == cloud:
                return Times(kept.run_id, times_of(kept.plan, kept.events))
    except StateError:
        pass
    return NO_TIMES


def times_of(plan: Plan, events: Iterable[Event]) -> Mapping[str, float]:
    """Add up for each target, by its key, the seconds from each step's submission to its result."""
    sent: dict[JobId, float] = {}
    seconds: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if isinstance(event, SubmissionIntended):
            sent[event.job] = event.at
        elif isinstance(event, ResultReceived) and event.job in sent:
            seconds[plan.targets[plan.target_index(event.job)].key] += event.at - sent[event.job]
    return dict(seconds)
