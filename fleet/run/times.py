"""How long the targets of a run took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from fleet.plan.model import JobId, Plan
from fleet.run.events import Event, ResultReceived, SubmissionIntended


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
