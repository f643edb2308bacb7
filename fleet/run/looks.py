"""How long the jobs of a run take, and so when each is looked at next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.plan.model import Plan
from fleet.run.job_state import JobState
from fleet.run.polling import LEARN_FROM, Durations, Reads, deciles, likely_end, next_look
from fleet.run.times import script_key
from fleet.targets.model import Kind


class Looks:
    """Durations by step and kind of machine: Arc takes minutes for what a VM does in seconds. Written by ``Run`` alone."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._durations = {
            (place, kind): Durations(step.usual if kind is not Kind.ARC else ())
            for place, step in enumerate(plan.steps)
            for kind in Kind
        }

    def wait(self, state: JobState, at: float, hint: float | None, reads: Reads) -> float:
        """Return the seconds until the next look at a running job."""
        age = at - (state.intended or at)
        return next_look(age=age, looks=state.looks, hint=hint, durations=self._of(state), reads=reads)

    def learn(self, state: JobState, at: float) -> bool:
        """Count a job that ended with proof. True if now so many have ended that others may be looked at sooner."""
        if state.intended is None:
            return False
        durations, seen = self._of(state), max(state.looked_at - state.intended, 0.0)
        durations.add(likely_end(seen, at - state.intended))
        return durations.ended == LEARN_FROM

    def usual_end(self, state: JobState) -> float:
        """Return the moment at which most jobs like this one have ended."""
        usual = self._of(state).quantile(0.5)
        return state.due if usual is None or state.intended is None else state.intended + usual

    def are_alike(self, one: JobState, other: JobState) -> bool:
        """Whether what is learned of one job holds for the other."""
        return self._of(one) is self._of(other)

    def took(self) -> Mapping[str, Sequence[float]]:
        """Return how long the scripts of this run took on VMs, by their keys: a few seconds that stand for all."""
        found: dict[str, Sequence[float]] = {}
        for place, step in enumerate(self._plan.steps):
            seconds = [each for kind in Kind if kind is not Kind.ARC for each in self._durations[place, kind].ordered]
            if seconds:
                found[script_key(self._plan, step)] = deciles(seconds)
        return found

    def _of(self, state: JobState) -> Durations:
        return self._durations[self._plan.step_index(state.job.id), state.job.target.kind]
