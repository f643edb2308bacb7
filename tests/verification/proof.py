"""The invariants of what rows say: only what the pretended world knows to be true and to be proven. Pure.

The world knows of each script whether it ran, how often, and how it ended; and of each answer what it proves, whatever the
engine made of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.guest.envelope import TIMED_OUT_EXIT
from fleet.lab.world.scripted import KILLED
from fleet.lab.world.spec import FaultKind
from fleet.plan.model import JobId
from fleet.playbook.model import Transport
from fleet.report.model import JobRow
from fleet.run import events as e
from fleet.run.model import NOT_RUN, CauseCode, Status
from tests.verification.endings import (
    HIDES_THE_CODE,
    HIDES_THE_RECEIPT,
    JUSTIFIES,
    MISMATCHES,
    OF_OPERATIONS,
    Ending,
)
from tests.verification.guests import guesses
from tests.verification.history import Delivery, History, runs_of

MAY_GO_ON = frozenset(OF_OPERATIONS) - {Ending.CANCELLED, Ending.HANDLER_FAILED}
"""Ends of an operation after which its script may run on, or may yet start."""

NEVER_STARTS = frozenset({Ending.NOT_BEGUN, Ending.REFUSED})


@dataclass(frozen=True, slots=True)
class _Try:
    """One try of a job: what reached the machine, and how its end was reported."""

    retry: int
    deliveries: tuple[Delivery, ...]
    said: Counter[Ending]
    proves: bool
    """Whether what came back proves how the script ended."""

    @property
    def runs(self) -> Iterator[Delivery]:
        """What really ran; an end is proven where it was not a kill from outside."""
        return (delivery for delivery in self.deliveries if delivery.fresh)


def _tries(history: History) -> defaultdict[JobId, list[_Try]]:
    found: defaultdict[tuple[JobId, int], list[Delivery]] = defaultdict(list)
    for delivery in history.deliveries:
        found[delivery.job, delivery.retry].append(delivery)
    tries: defaultdict[JobId, list[_Try]] = defaultdict(list)
    for key in sorted({*found, *history.said}):
        said = history.said.get(key, Counter())
        tries[key[0]].append(_Try(key[1], tuple(found[key]), said, _proves(history, found[key], said)))
    return tries


def _proves(history: History, deliveries: list[Delivery], said: Counter[Ending]) -> bool:
    plain = len(deliveries) > said[Ending.UNFINISHED]
    if history.plan.receipts:
        return plain and not said.keys() & (HIDES_THE_RECEIPT - {Ending.UNFINISHED})
    if history.plan.transport is not Transport.ACTION:
        return not said.keys() & HIDES_THE_CODE
    return plain and said[Ending.OLD_FORM] > 0


def rows_are_proven(history: History) -> Iterator[str]:
    """A row says how its script ended only where that is true and proven; else it says what was said, or that it is open."""
    tries = _tries(history)
    for number, row in enumerate(history.rows):
        own = tries[JobId(number)]
        ok = history.plan.steps[history.plan.step_index(JobId(number))].ok_exit
        if row.status in NOT_RUN | {Status.UNREACHABLE, Status.UNKNOWN}:
            continue  # judged by what ran, and by when an answer was due
        if not (_is_proven(row, own, ok) or _is_as_said(row, own, history)):
            known = "; ".join(map(_known, own)) or "it never ran"
            yield f"job {number} is {row.status.value} ({row.cause.code.value}), exit {row.exit_code}; {known}"
        if row.verified and not any(each.proves for each in own):
            yield f"job {number} is {row.status.value} and verified, and nothing proves it"
        mismatches = all(each.said and each.said.keys() <= MISMATCHES for each in own)
        if row.cause.code is CauseCode.NO_RECEIPT and own and mismatches:
            yield f"job {number} is said to have no receipt, and has one that does not match"


def _known(found: _Try) -> str:
    codes = ", ".join(str(run.exit_code) for run in found.runs)
    said = ", ".join(sorted(ending.value for ending in found.said))
    return f"{f'it ran and ended with {codes}' if codes else 'it did not run'}, reported as {said or 'it was'}"


def _is_proven(row: JobRow, tries: list[_Try], ok: tuple[int, ...]) -> bool:
    """Whether a script ended so by then, and proof of it came back."""
    ended = [
        run.exit_code
        for each in tries
        if each.proves
        for run in each.runs
        if row.ended is not None and run.ends <= row.ended + 0.001
    ]
    match row.status:
        case Status.SUCCEEDED:
            return row.exit_code in ok and row.exit_code in ended
        case Status.FAILED:
            return row.exit_code is not None and row.exit_code not in ok and row.exit_code in ended
        case Status.TIMED_OUT:
            return row.cause.code is CauseCode.GUEST_TIMEOUT and TIMED_OUT_EXIT in ended
    return False


def _justified(said: Counter[Ending]) -> set[Status]:
    found = {status for ending in said for status in JUSTIFIES.get(ending, ())}
    if Ending.VIEW_CANCELLED in said and Ending.GAVE_UP not in said:
        found.discard(Status.TIMED_OUT)  # what was killed is shown as cancelled
    return found


def _is_as_said(row: JobRow, tries: list[_Try], history: History) -> bool:
    """Whether a row repeats what was said of it, which is no proof and does not claim to be one."""
    if any(row.status in _justified(each.said) for each in tries):
        return not row.verified
    match row.status:
        case Status.TIMED_OUT:
            killed = any(run.exit_code == KILLED for each in tries for run in each.runs)
            waited = row.started is not None and row.ended is not None and row.ended - row.started >= history.gives_up
            return not row.verified and (killed or waited)
        case Status.FAILED:  # a view that says so and holds no exit code
            failed = any(
                Ending.VIEW_WITHOUT_CODE in each.said
                and (Ending.NO_RECEIPT in each.said or any(run.exit_code for run in each.runs))  # its wrapper failed
                for each in tries
            )
            return not row.verified and failed
        case Status.CANCELLED:
            return FaultKind.OPERATION_CANCELS in history.faults or bool(history.stops)
        case Status.UNVERIFIED:
            return not history.plan.receipts and history.plan.transport is Transport.ACTION
    return False


def answers_belong(history: History) -> Iterator[str]:
    """What a row shows is what that VM's guest said to that step."""
    tries = _tries(history)
    for number, row in enumerate(history.rows):
        own = tries[JobId(number)]
        runs = [run for each in own for run in each.deliveries]
        printed = {run.stdout for run in runs}
        shown = row.stdout in printed if row.verified else not row.stdout or _may_show(row, own, printed)
        if not shown:
            yield f"job {number}: {row.name} is said to have printed {row.stdout!r}, and printed {sorted(printed)}"
        codes = {run.exit_code for run in runs}
        timed_out = row.cause.code is CauseCode.GUEST_TIMEOUT and TIMED_OUT_EXIT in codes
        if row.exit_code is not None and row.exit_code not in codes and not timed_out:
            yield f"job {number}: exit code {row.exit_code} in the report, {sorted(codes)} in the guest"


def _may_show(row: JobRow, tries: list[_Try], printed: set[str]) -> bool:
    """Whether unproven output may be this machine's: it begins with what was printed, or the service holds none."""
    begins = {text.partition("\n")[0] for text in printed}
    return row.stdout.startswith(tuple(begins)) or any(Ending.VIEW_UNKNOWN in each.said for each in tries)


def answers_are_read(history: History) -> Iterator[str]:
    """A job whose answer is on disk, and proves how its script ended, is neither unknown nor unverified."""
    tries, retries, closed = _tries(history), dict[JobId, int](), dict[JobId, e.Event]()
    for event in (item.event for item in history.kept):
        match event:
            case e.SubmissionIntended(job=job, retry=retry):
                retries[job] = retry
                closed.pop(job, None)
            case (
                e.ResultReceived(job=job)
                | e.ResultFailed(job=job)
                | e.ResultUnreadable(job=job)
                | e.JobExpired(job=job)
                | e.CommandRemoved(job=job)
            ):
                closed.setdefault(job, event)
    for job, event in closed.items():
        row = history.rows[job]
        found = next((each for each in tries[job] if each.retry == retries.get(job)), None)
        known = (
            found is not None and found.proves and not found.said.keys() & {Ending.UNFINISHED, Ending.HANDLER_FAILED}
        )
        if (
            found
            and known
            and isinstance(event, e.ResultReceived)
            and row.status in (Status.UNKNOWN, Status.UNVERIFIED)
        ):
            yield f"job {job} is {row.status.value} ({row.cause.code.value}), and its answer is proof; {_known(found)}"


def not_run_is_true(history: History) -> Iterator[str]:
    """A row that says that its script did not run is right."""
    runs = runs_of(history)
    for number, row in enumerate(history.rows):
        if row.status in NOT_RUN | {Status.UNREACHABLE} and runs[JobId(number)]:
            yield f"job {number} is {row.status.value} ({row.cause.code.value}), and it ran"


def nothing_is_ended(history: History) -> Iterator[str]:
    """No managed command is deleted whose script runs, or may start yet, unless a person asked for it."""
    tries: defaultdict[tuple[JobId, int], list[Delivery]] = defaultdict(list)
    for run in (delivery for delivery in history.deliveries if delivery.fresh):
        tries[run.job, run.retry].append(run)
    away = {
        (item.event.job, item.at)
        for item in history.kept
        if isinstance(item.event, e.AgentSeen) and not item.event.ready
    }
    for gone in history.departures:
        asked = any(start <= gone.at <= end for start, end in history.stops)
        if gone.kind != "remove" or not 200 <= gone.answered < 300 or asked or gone.target in history.cut:
            continue
        runs, said = tries[gone.job, gone.retry], history.said.get((gone.job, gone.retry), Counter())
        when = f"at {gone.at - history.began:.1f} s"
        if any(job == gone.job and at <= gone.at for job, at in away):
            # It showed no start, and its agent would start it hours later. Documented limit: it may have started since it
            # was last looked at.
            continue
        if any(run.at <= gone.at < run.ends for run in runs):
            yield f"job {gone.job}: its command was deleted {when}, while its script ran"
        elif said.keys() & MAY_GO_ON and not (said.keys() & NEVER_STARTS or any(run.ends <= gone.at for run in runs)):
            yield f"job {gone.job}: its command was deleted {when}, and its script may have started after that"


def nonces(history: History) -> Iterator[str]:
    """Each try has a nonce of its own, on disk before it is sent, which nothing but chance decides."""
    if not history.plan.receipts:
        return
    kept: dict[tuple[JobId, int], str] = {}
    for event in (item.event for item in history.kept):
        if isinstance(event, e.SubmissionIntended):
            first = kept.setdefault((event.job, event.retry), event.nonce)
            if not first or event.nonce not in ("", first):
                yield f"job {event.job}: a submission of try {event.retry} has the nonce {event.nonce!r}, not {first!r}"
    for nonce, times in Counter(kept.values()).items():
        if times > 1:
            yield f"{times} tries have the nonce {nonce!r}"
    for delivery in history.deliveries:
        if delivery.nonce and kept.get((delivery.job, delivery.retry)) != delivery.nonce:
            yield f"job {delivery.job}: its receipt has a nonce that is not on disk"
        key = f"fleet-{history.run_id}-{delivery.job}"
        if delivery.nonce and delivery.nonce in guesses(key, delivery.job, delivery.retry, delivery.target):
            yield f"job {delivery.job}: its nonce can be worked out from its run, its number and its VM"
