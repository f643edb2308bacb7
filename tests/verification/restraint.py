"""The invariants of what a run must not do: exceed its limits, overshoot a budget, go on after a stop, pass a gate. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from fleet.plan.model import JobId, Plan
from fleet.playbook.model import Turn
from fleet.run import events as e
from fleet.run.model import FAILURES, NOT_REACHED, Status
from tests.verification import model
from tests.verification.gates import decided
from tests.verification.history import History, runs_of

ARM_WRITES = (200, 10.0)
"""ARM's documented bucket of writes per subscription, and its refill a second."""


def concurrency(history: History) -> Iterator[str]:
    """The lab never has more of our scripts on their way or running than may be in flight."""
    limits = history.plan.limits
    everything: list[tuple[float, int]] = []
    places: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for job, runs in runs_of(history).items():
        row = history.rows[job]
        for run in runs:
            end = run.ends if row.ended is None else min(run.ends, row.ended)
            if end > run.left:
                everything += [(run.left, 1), (end, -1)]
                places[row.subscription] += [(run.left, 1), (end, -1)]
    if _most(everything) > limits.concurrency:
        yield f"{_most(everything)} at once, {limits.concurrency} allowed"
    if limits.concurrency_per_subscription is not None:
        for place, changes in places.items():
            if _most(changes) > limits.concurrency_per_subscription:
                yield f"{_most(changes)} at once in {place}, {limits.concurrency_per_subscription} allowed"


def _most(changes: list[tuple[float, int]]) -> int:
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def rates(history: History) -> Iterator[str]:
    """Submissions keep to ARM's bucket, over crashes too; none is refused by the lab's own buckets."""
    burst, refill = ARM_WRITES
    levels: dict[str, tuple[float, float]] = {}
    for gone in history.departures:
        if gone.kind != "submit":
            continue
        level, since = levels.get(gone.subscription, (float(burst), gone.at))
        level = min(float(burst), level + (gone.at - since) * refill) - 1
        levels[gone.subscription] = level, gone.at
        if level < 0:
            yield f"submissions in {gone.subscription} beyond the documented rate at {gone.at - history.began:.1f} s"
        if gone.self_inflicted and gone.epoch == 1:
            yield f"a submission met a limit of Azure's at {gone.at - history.began:.1f} s, in an empty subscription"


def budgets(history: History) -> Iterator[str]:
    """A strict budget of n is exceeded by the target that stops the run, and by no other.

    What brings a target to a good end runs after the stop as well, and holds no part of the budget; nor does what a gate
    asks for.
    """
    limits = history.plan.limits
    if not limits.strict:
        return
    failed: set[str] = set()
    lost: set[str] = set()
    for number, row in enumerate(history.rows):
        spared = _holds_no_budget(history.plan, JobId(number)) or (row.status is Status.CANCELLED and history.stops)
        if spared or row.target in failed | lost:
            continue
        (failed if row.status in FAILURES else lost if row.status in NOT_REACHED else set()).add(row.target)
    for what, count, most in (
        ("failures", len(failed), limits.max_failures),
        ("not reached", len(lost), limits.max_unreachable),
    ):
        if most is not None and count > most + 1:
            yield f"{count} {what}, {most} allowed"


def stop_means_stop(history: History) -> Iterator[str]:
    """Nothing is sent once launching has stopped, for good or for the rest of an owner's life."""
    over = asked = False
    for kept in history.kept:
        match kept.event:
            case e.LaunchStopped():
                over = True
            case e.StopRequested():
                asked = True
            case e.RunOpened():
                asked = False
            case e.SubmissionIntended(job=job, at=at) if over and not _cleans_up(history.plan, job):
                yield f"job {job} was sent at {at - history.began:.1f} s, after launching had stopped for good"
            case e.SubmissionIntended(job=job, at=at) if asked:
                yield f"job {job} was sent at {at - history.began:.1f} s, after a person had asked to stop"


def _cleans_up(plan: Plan, job: JobId) -> bool:
    """Whether it brings its target to a good end, which it does after a stop as well."""
    return plan.steps[plan.step_index(job)].flow.turn in (Turn.RESCUE, Turn.ALWAYS)


def _holds_no_budget(plan: Plan, job: JobId) -> bool:
    return _cleans_up(plan, job) or _belongs_to_gate(plan, job)


def _belongs_to_gate(plan: Plan, job: JobId) -> bool:
    """Whether a gate asks for it once its wave has ended."""
    return plan.steps[plan.step_index(job)].flow.turn is Turn.GATE


def waves(history: History) -> Iterator[str]:
    """A wave begins when every job of the waves before has ended, and the soak is over; so does a look at its health."""
    plan, soak = history.plan, history.plan.limits.soak
    wave_of = {target: wave.index for wave in plan.waves for target in wave.targets}
    settled: dict[int, float] = defaultdict(float)
    looked_at: dict[int, float] = defaultdict(float)
    for number, row in enumerate(history.rows):
        job = JobId(number)
        wave, ended = wave_of[plan.target_index(job)], math.inf if row.ended is None else row.ended
        if _belongs_to_gate(plan, job):
            looked_at[wave] = max(looked_at[wave], ended)
        else:
            settled[wave] = max(settled[wave], ended + soak)
    for event in (kept.event for kept in history.kept):
        if isinstance(event, e.SubmissionIntended):
            wave = wave_of[plan.target_index(event.job)]
            before = [moments[number] for number in range(wave) for moments in (settled, looked_at)]
            before += [settled[wave]] if _belongs_to_gate(plan, event.job) else []
            if before and event.at < max(before) - 0.001:
                yield f"job {event.job} of wave {wave + 1} was sent before what comes before it was over"


def gates(history: History) -> Iterator[str]:
    """No wave opens but past all its gates, and no step of a gate is sent before its gate asks for it."""
    plan = history.plan
    passed, begun = set[int](), set[int]()
    for event in (kept.event for kept in history.kept):
        match event:
            case e.WaveApproved(wave=wave):
                passed |= {n for n, gate in enumerate(plan.gates) if gate.wave == wave and gate.is_approval}
            case e.GateAnswered(gate=number, go=True) | e.GateJudged(gate=number, go=True):
                passed.add(number)
            case e.HealthBegun(wave=wave):
                begun.add(wave)
            case e.WaveOpened(wave=wave):
                before = {n for n, gate in enumerate(plan.gates) if gate.wave == wave}
                if not before <= passed:
                    yield f"wave {wave + 1} opened past the gates {sorted(before - passed)}"
            case e.SubmissionIntended(job=job) if _belongs_to_gate(plan, job):
                wave = next(wave.index for wave in plan.waves if plan.target_index(job) in wave.targets)
                if wave not in begun:
                    yield f"job {job} was sent before a gate asked for it"


def judgements(history: History) -> Iterator[str]:
    """Each gate is decided once, and as the report's rows show it; none is forgotten unless the run was stopped."""
    events = [kept.event for kept in history.kept]
    judged = [event for event in events if isinstance(event, e.GateJudged)]
    answered = [event.gate for event in events if isinstance(event, e.GateAnswered)]
    for number, times in Counter([*(event.gate for event in judged), *answered]).items():
        if times > 1:
            yield f"gate {number} was decided {times} times"
    if not history.finished:
        return
    for event in judged:
        met, go = decided(history.plan, event.gate, history.rows)
        if (met, go) != (event.met, event.go):
            yield f"gate {event.gate} found {event.met} ({event.go}), and the rows show {met} ({go})"
    closed = any(isinstance(event, e.LaunchStopped) or model.closes(event) for event in events)
    looking = {number for number, gate in enumerate(history.plan.gates) if gate.check is not None}
    if not closed and (forgotten := looking - {event.gate for event in judged}):
        yield f"nobody decided about the gates {sorted(forgotten)}"
