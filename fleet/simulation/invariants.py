"""What must hold after every run, whatever went wrong in it. Pure: it reads the disk, the lab's log and the report.

The engine's word counts for nothing here but where it is what is judged: what it told people must be on disk.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleet.plan.model import JobId, Plan
from fleet.playbook.model import Transport, Turn
from fleet.run import events as e
from fleet.run.model import FAILURES, NOT_REACHED, NOT_RUN, CauseCode, Status
from fleet.simulation import canary, gates, model
from fleet.simulation.history import Delivery, History

ARM_WRITES = (200, 10.0)
"""ARM's documented bucket of writes per subscription, and its refill a second."""

SERVICE_NEEDS = 300.0
"""Seconds within which the lab tells of a script's end, and more."""

_NEVER = float("inf")

NOT_KNOWN_TO_HAVE_RUN = NOT_RUN | {Status.UNREACHABLE}


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that did not hold."""

    invariant: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


def check(history: History) -> tuple[Breach, ...]:
    """Return everything about a run that should not be; empty for a good one."""
    return tuple(Breach(name, detail) for name, invariant in INVARIANTS.items() for detail in invariant(history))


def _ends(history: History) -> Iterator[str]:
    if not history.finished:
        yield f"not over after {history.ended - history.began:,.0f} s and {history.owners} owners"


def _no_trouble(history: History) -> Iterator[str]:
    yield from history.troubles


def _rows(history: History) -> Iterator[str]:
    expected = [(job.target.id, job.step.id) for job in history.plan.jobs()]
    found = [(row.target, row.step) for row in history.rows]
    if found != expected:
        missing = Counter(expected) - Counter(found)
        more = Counter(found) - Counter(expected)
        yield f"missing {list(missing)}, too many {list(more)}"


def _once(history: History) -> Iterator[str]:
    tries: defaultdict[tuple[JobId, int], list[Delivery]] = defaultdict(list)
    for run in (delivery for delivery in history.deliveries if delivery.fresh):
        tries[run.job, run.retry].append(run)
    for (job, _), runs in tries.items():
        if len(runs) > 1:
            moments = ", ".join(f"{run.at - history.began:.1f} s" for run in runs)
            yield f"job {job} ran {len(runs)} times, at {moments}"


def _intended(history: History) -> Iterator[str]:
    """No submission leaves before its intent is on disk. One refused with 401 was not one."""
    intents: defaultdict[JobId, list[float]] = defaultdict(list)
    for kept in history.kept:
        if isinstance(kept.event, e.SubmissionIntended):
            intents[kept.event.job].append(kept.at)
    sent: Counter[JobId] = Counter()
    for gone in history.departures:
        if gone.kind == "submit" and gone.answered != 401:
            sent[gone.job] += 1
            if sum(at <= gone.at for at in intents[gone.job]) < sent[gone.job]:
                yield f"job {gone.job}: submission {sent[gone.job]} left without an intent on disk"


def _in_order(history: History) -> Iterator[str]:
    """A target's step is sent only once the end of the step before is on disk."""
    steps = len(history.plan.steps)
    over: dict[JobId, float] = {}
    for kept in history.kept:
        if isinstance(kept.event, (e.ResultReceived, e.ResultFailed, e.CommandRemoved)):
            over.setdefault(kept.event.job, kept.at)
    begun = {kept.event.job for kept in history.kept if isinstance(kept.event, e.SubmissionIntended)}
    for gone in history.departures:
        before = JobId(gone.job - 1)
        turns = {history.plan.steps[number % steps].flow.turn for number in (before, gone.job)}
        passed = turns != {Turn.SUCCESS} and (
            before not in begun or history.rows[before].status in NOT_KNOWN_TO_HAVE_RUN  # judged below
        )
        if gone.kind == "submit" and gone.job % steps and not passed and over.get(before, _NEVER) > gone.at:
            yield f"job {gone.job} was sent before the end of the step before was on disk"


def _shown_is_kept(history: History) -> Iterator[str]:
    on_disk = {repr(item.event) for item in history.kept}  # events hold mappings, which have no hash
    for shown in history.shown:
        if shown.event.durable and repr(shown.event) not in on_disk:
            yield f"told under epoch {shown.epoch} and not on disk: {shown.event}"


def _fenced(history: History) -> Iterator[str]:
    epochs = [kept.epoch for kept in history.kept]
    if epochs != sorted(epochs):
        yield "an owner wrote after a later one had taken the run over"


def _answers_belong(history: History) -> Iterator[str]:
    """What a row shows is what that VM's guest said to that step."""
    runs = _runs(history)
    for number, row in enumerate(history.rows):
        step = history.plan.step_index(JobId(number))
        said = f"{row.name} step-{step}\n"
        if row.stdout and row.stdout != said:
            yield f"job {number}: {row.name} is said to have printed {row.stdout!r}"
        killed = row.exit_code is not None and row.exit_code < 0  # by the handler, at the service's own limit
        if row.verified and not row.stdout and not killed:
            yield f"job {number}: verified, and without what the script printed"
        codes = {run.exit_code for run in runs[JobId(number)]}
        if row.exit_code is not None and row.exit_code not in codes:
            yield f"job {number}: exit code {row.exit_code} in the report, {sorted(codes)} in the guest"


def _green_is_true(history: History) -> Iterator[str]:
    runs = _runs(history)
    for number, row in enumerate(history.rows):
        ok = history.plan.steps[history.plan.step_index(JobId(number))].ok_exit
        true = [run for run in runs[JobId(number)] if run.exit_code in ok]
        if row.status is Status.SUCCEEDED and not (
            true and row.ended is not None and true[0].ends <= row.ended + 0.001
        ):
            yield f"job {number} is succeeded, and no run of it had ended well by then"


def _not_run_is_true(history: History) -> Iterator[str]:
    runs = _runs(history)
    for number, row in enumerate(history.rows):
        silent = row.cause.code is CauseCode.AGENT_NOT_READY  # says that nothing was heard, not that nothing ran
        if row.status in NOT_KNOWN_TO_HAVE_RUN and not silent and runs[JobId(number)]:
            yield f"job {number} is {row.status.value} ({row.cause.code.value}), and it ran"


def _agrees_with_the_table(history: History) -> Iterator[str]:
    """The reference model, told the same events, allows every submission and every end."""
    plan = history.plan
    promises = [_promise(plan, job.id) for job in plan.jobs()]
    for kept in history.kept:
        event = kept.event
        job: JobId | None = getattr(event, "job", None)
        if isinstance(event, e.SubmissionIntended) and not promises[event.job].may_send:
            yield f"job {event.job} was sent where the table forbids it: {promises[event.job]}"
        for number in range(len(promises)) if job is None else (job,):
            promises[number] = model.told(promises[number], event)
    for number, row in enumerate(history.rows):
        if history.finished and row.status not in promises[number].ends | promises[number].earlier | model.NEVER_SENT:
            yield f"job {number} ended {row.status.value} ({row.cause.code.value}); the table allows {promises[number]}"


def _promise(plan: Plan, job: JobId) -> model.Promise:
    flow = plan.steps[plan.step_index(job)].flow
    return model.Promise(
        managed=plan.transport is not Transport.ACTION,
        receipts=plan.receipts,
        retries=flow.retries,
        cleans_up=flow.turn in (Turn.RESCUE, Turn.ALWAYS),
    )


def _unknown_is_due(history: History) -> Iterator[str]:
    """Where no answer was lost and nothing happened to the VM, a job whose script ended in time has its answer."""
    if history.lossy or history.owners > 1:
        return
    runs = _runs(history)
    for number, row in enumerate(history.rows):
        if row.status is not Status.UNKNOWN or row.target.casefold() in history.disturbed or row.ended is None:
            continue
        if any(run.ends + SERVICE_NEEDS < row.ended for run in runs[JobId(number)]):
            yield f"job {number} is unknown ({row.cause.code.value}), though its answer was there to be read"


def _concurrency(history: History) -> Iterator[str]:
    """The lab never has more of our scripts on their way or running than may be in flight."""
    limits = history.plan.limits
    everything: list[tuple[float, int]] = []
    places: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for job, runs in _runs(history).items():
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


def _rates(history: History) -> Iterator[str]:
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


def _budgets(history: History) -> Iterator[str]:
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


def _stop_means_stop(history: History) -> Iterator[str]:
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
    return _cleans_up(plan, job) or _is_gates(plan, job)


def _is_gates(plan: Plan, job: JobId) -> bool:
    """Whether a gate asks for it once its wave has ended."""
    return plan.steps[plan.step_index(job)].flow.turn is Turn.GATE


def _waves(history: History) -> Iterator[str]:
    """A wave begins when every job of the waves before has ended, and the soak is over; so does a look at its health."""
    plan, soak = history.plan, history.plan.limits.soak
    wave_of = {target: wave.index for wave in plan.waves for target in wave.targets}
    settled: dict[int, float] = defaultdict(float)
    looked_at: dict[int, float] = defaultdict(float)
    for number, row in enumerate(history.rows):
        job = JobId(number)
        wave, ended = wave_of[plan.target_index(job)], _NEVER if row.ended is None else row.ended
        if _is_gates(plan, job):
            looked_at[wave] = max(looked_at[wave], ended)
        else:
            settled[wave] = max(settled[wave], ended + soak)
    for event in (kept.event for kept in history.kept):
        if isinstance(event, e.SubmissionIntended):
            wave = wave_of[plan.target_index(event.job)]
            before = [moments[number] for number in range(wave) for moments in (settled, looked_at)]
            before += [settled[wave]] if _is_gates(plan, event.job) else []
            if before and event.at < max(before) - 0.001:
                yield f"job {event.job} of wave {wave + 1} was sent before what comes before it was over"


def _gates(history: History) -> Iterator[str]:
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
            case e.SubmissionIntended(job=job) if _is_gates(plan, job):
                wave = next(wave.index for wave in plan.waves if plan.target_index(job) in wave.targets)
                if wave not in begun:
                    yield f"job {job} was sent before a gate asked for it"


def _judgements(history: History) -> Iterator[str]:
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
        met, go = gates.decided(history.plan, event.gate, history.rows)
        if (met, go) != (event.met, event.go):
            yield f"gate {event.gate} found {event.met} ({event.go}), and the rows show {met} ({go})"
    closed = any(isinstance(event, e.LaunchStopped) or model.closes(event) for event in events)
    looking = {number for number, gate in enumerate(history.plan.gates) if gate.check is not None}
    if not closed and (forgotten := looking - {event.gate for event in judged}):
        yield f"nobody decided about the gates {sorted(forgotten)}"


def _memory_is_disk(history: History) -> Iterator[str]:
    """What the last owner said of the run is what a reader of the disk finds."""
    if not history.finished or not history.lives:
        return
    last = next((record for record in reversed(history.lives) if record.ended is not None), history.lives[-1])
    said = [record.outcome.status if record.outcome else None for record in last.jobs]
    if said != [row.status for row in history.rows]:
        yield f"in memory {said}, on disk {[row.status for row in history.rows]}"


def _answers_are_reported(history: History) -> Iterator[str]:
    """A result that is on disk is in the report: a job with an answer is neither unknown nor unreachable for want of one."""
    plan = history.plan
    answered = {kept.event.job for kept in history.kept if isinstance(kept.event, e.ResultReceived)}
    for job in answered:
        if plan.steps[plan.step_index(job)].flow.retries:
            continue  # a later try may have another end
        row = history.rows[job]
        if row.cause.code in (CauseCode.NO_ANSWER, CauseCode.ANSWER_LOST, CauseCode.NOT_SENT):
            first = next(kept.event for kept in history.kept if getattr(kept.event, "job", None) == job
                         and isinstance(kept.event, (e.ResultReceived, e.JobExpired)))  # fmt: skip
            if isinstance(first, e.ResultReceived):
                yield f"job {job} has an answer on disk and is {row.status.value} ({row.cause.code.value})"


def _secrets_stay(history: History) -> Iterator[str]:
    """A secret reaches each script, and nothing that is written of the run."""
    values = (canary.VALUE, canary.TOKEN)
    yield from (f"a secret is in {place}" for place, data in history.written.items() if canary.shows_in(data, *values))
    yield from (f"job {job} ran without its secret" for job in history.untold)


def _runs(history: History) -> defaultdict[JobId, list[Delivery]]:
    """What really ran, by job."""
    found: defaultdict[JobId, list[Delivery]] = defaultdict(list)
    for delivery in history.deliveries:
        if delivery.fresh:
            found[delivery.job].append(delivery)
    return found


INVARIANTS: dict[str, Callable[[History], Iterator[str]]] = {
    "the run ends": _ends,
    "nothing unforeseen is raised": _no_trouble,
    "one row per target and step": _rows,
    "nothing runs twice": _once,
    "an intent is on disk before its submission leaves": _intended,
    "a step follows the end of the one before": _in_order,
    "what was told is on disk": _shown_is_kept,
    "a former owner writes nothing": _fenced,
    "answers belong to the VM they name": _answers_belong,
    "green is true": _green_is_true,
    "not run is true": _not_run_is_true,
    "the table of promises is kept": _agrees_with_the_table,
    "unknown only where it is due": _unknown_is_due,
    "concurrency is kept": _concurrency,
    "rates are kept": _rates,
    "budgets are kept": _budgets,
    "a stop stops": _stop_means_stop,
    "waves wait": _waves,
    "gates hold": _gates,
    "gates decide by what is there": _judgements,
    "memory is what the disk says": _memory_is_disk,
    "an answer on disk is in the report": _answers_are_reported,
    "secrets stay secret": _secrets_stay,
}
