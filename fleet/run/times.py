"""How long the targets of a run took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from fleet.plan.model import JobId, Plan, PlannedStep
from fleet.run.events import Event, ResultReceived, SubmissionIntended


def script_key(plan: Plan, step: PlannedStep) -> str:
    """Name a step's script among those of all runs: the same script in another playbook, step or cloud is another."""
    return "\n".join((plan.cloud, plan.playbook.name, step.id, step.digest))


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
