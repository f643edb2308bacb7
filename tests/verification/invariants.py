"""What must hold after every run, whatever went wrong in it. Pure: it reads the disk, the lab's log and the report.

The engine's word counts for nothing here but where it is what is judged: what it told people must be on disk.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleet.plan.model import JobId, Plan
from fleet.playbook.model import Transport, Turn
from fleet.run import events as e
from fleet.run.model import NOT_RUN, CauseCode, Status
from tests.verification import canary, listing, model, proof, restraint, summary
from tests.verification.endings import JUSTIFIES
from tests.verification.history import Delivery, Departure, History, runs_of

SERVICE_NEEDS = 300.0
"""Seconds within which the lab tells of a script's end, and more."""

ROWS = "one row per target and step"

NOT_KNOWN_TO_HAVE_RUN = NOT_RUN | {Status.UNREACHABLE}


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that did not hold."""

    invariant: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


def check(history: History) -> tuple[Breach, ...]:
    """Return everything about a run that should not be; empty for a good one. What reads rows presupposes them all."""
    if amiss := tuple(Breach(ROWS, detail) for detail in _rows(history)):
        return amiss
    return tuple(Breach(name, detail) for name, invariant in INVARIANTS.items() for detail in invariant(history))


def _ends(history: History) -> Iterator[str]:
    if not history.finished:
        yield f"not over after {history.ended - history.began:,.0f} s and {history.owners} owners"


def _no_trouble(history: History) -> Iterator[str]:
    yield from history.troubles
    for number, row in enumerate(history.rows):
        if row.cause.code is CauseCode.INTERNAL_ERROR:
            yield f"job {number} ended in an error of Fleet's own: {row.cause.message}"


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
        if isinstance(kept.event, (e.ResultReceived, e.ResultFailed, e.ResultUnreadable, e.CommandRemoved)):
            over.setdefault(kept.event.job, kept.at)
    begun = {kept.event.job for kept in history.kept if isinstance(kept.event, e.SubmissionIntended)}
    for gone in history.departures:
        before = JobId(gone.job - 1)
        turns = {history.plan.steps[number % steps].flow.turn for number in (before, gone.job)}
        passed = turns != {Turn.SUCCESS} and (
            before not in begun or history.rows[before].status in NOT_KNOWN_TO_HAVE_RUN  # judged below
        )
        if gone.kind == "submit" and gone.job % steps and not passed and over.get(before, math.inf) > gone.at:
            yield f"job {gone.job} was sent before the end of the step before was on disk"


def _shown_is_kept(history: History) -> Iterator[str]:
    on_disk = {repr(item.event) for item in history.kept}  # events hold mappings, which have no hash
    for shown in history.shown:
        if shown.event.durable and repr(shown.event) not in on_disk:
            yield f"told under epoch {shown.epoch} and not on disk: {shown.event}"


def _fenced(history: History) -> Iterator[str]:
    epochs = [kept.epoch for kept in history.kept]
    if history.damage:
        yield f"the journal is damaged: {history.damage}"
    if epochs != sorted(epochs):
        yield "an owner wrote after a later one had taken the run over"


def _green_is_true(history: History) -> Iterator[str]:
    """A succeeded row's script had ended, with a code that the step accepts."""
    runs = runs_of(history)
    for number, row in enumerate(history.rows):
        ok = history.plan.steps[history.plan.step_index(JobId(number))].ok_exit
        true = [run for run in runs[JobId(number)] if run.exit_code in ok]
        if row.status is Status.SUCCEEDED and not (
            true and row.ended is not None and true[0].ends <= row.ended + 0.001
        ):
            yield f"job {number} is succeeded, and no run of it had ended well by then"


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
    """Where nothing could be lost and nothing happened to the VM, an answer that was there to be read is known.

    The engine must have looked for it; only where each look was refused may the answer stay unknown.
    """
    if history.lossy or history.owners > 1:
        return
    runs = runs_of(history)
    looks = _looks(history)
    for number, row in enumerate(history.rows):
        target = row.target.casefold()
        if row.status is not Status.UNKNOWN or target in history.disturbed or row.ended is None:
            continue
        if any(
            job == number and any(Status.UNKNOWN in JUSTIFIES.get(ending, ()) for ending in said)
            for (job, _), said in history.said.items()
        ):
            continue  # it was reported so that nothing could be known
        for run in runs[JobId(number)]:
            there = run.ends + SERVICE_NEEDS
            since = [look for look in looks[target] if run.ends < look.at <= row.ended]
            read = any(look.at > there and look.answered == 200 for look in since)
            if there < row.ended and (read or not since):
                yield f"job {number} is unknown ({row.cause.code.value}), though its answer was there to be read"


def _looks(history: History) -> defaultdict[str, list[Departure]]:
    found: defaultdict[str, list[Departure]] = defaultdict(list)
    for gone in history.departures:
        if gone.kind in ("look", "find"):
            found[gone.target].append(gone)
    return found


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


INVARIANTS: dict[str, Callable[[History], Iterator[str]]] = {
    "the run ends": _ends,
    "nothing unforeseen is raised": _no_trouble,
    ROWS: _rows,
    "no VM of the lists is missing": listing.nobody_is_missing,
    "nothing runs twice": _once,
    "an intent is on disk before its submission leaves": _intended,
    "a step follows the end of the one before": _in_order,
    "what was told is on disk": _shown_is_kept,
    "a former owner writes nothing": _fenced,
    "answers belong to the VM they name": proof.answers_belong,
    "green is true": _green_is_true,
    "rows say what is proven": proof.rows_are_proven,
    "proof that is on disk is read": proof.answers_are_read,
    "not run is true": proof.not_run_is_true,
    "what may still run is not ended": proof.nothing_is_ended,
    "nonces cannot be guessed": proof.nonces,
    "the table of promises is kept": _agrees_with_the_table,
    "unknown only where it is due": _unknown_is_due,
    "concurrency is kept": restraint.concurrency,
    "rates are kept": restraint.rates,
    "budgets are kept": restraint.budgets,
    "a stop stops": restraint.stop_means_stop,
    "waves wait": restraint.waves,
    "gates hold": restraint.gates,
    "gates decide by what is there": restraint.judgements,
    "the exit code is what the rows say": summary.exit_codes,
    "the report adds up": summary.sums,
    "memory is what the disk says": _memory_is_disk,
    "an answer on disk is in the report": _answers_are_reported,
    "secrets stay secret": _secrets_stay,
}
