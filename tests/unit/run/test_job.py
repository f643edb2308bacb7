"""The table of a job's life, move by move; what it does not list changes nothing."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest

from fleet.plan.model import Job, JobId, Restart
from fleet.playbook.model import Fact, OnExisting, Properties, Transport
from fleet.run import events as e
from fleet.run import job as job_module
from fleet.run.answers import Answer, LostReason, Mark, Operation, Refusal
from fleet.run.job import FRESH, RESEND_AFTER, SECOND_FIND_AFTER, advance, again, end, is_earlier_result, is_too_early
from fleet.run.job_state import JobState
from fleet.run.longstanding import StandingCommand
from fleet.run.model import Cause, CauseCode, Outcome, Phase, Status
from fleet.run.retry import backoff, busy_pause
from tests.unit.run.factory import plan

JOB = JobId(0)
OPERATION = Operation(Transport.MANAGED, resource="x")
BUSY = Refusal(409, "Conflict", "in progress")
GONE = Refusal(404, "ResourceNotFound", "gone")
SOURCE = "script:1"


def job() -> Job:
    return next(iter(plan(1).jobs()))


def made(
    phase: Phase = Phase.WAITING,
    *,
    transport: Transport = Transport.MANAGED,
    nonce: str | None = "n",
    standing: OnExisting | None = None,
    **changes: object,
) -> JobState:
    state = JobState(job(), transport, nonce is not None, nonce or "", phase=phase, released=True)
    if standing is not None:
        own = Properties(command="nightly", on_existing=standing)
        state.job = replace(state.job, step=replace(state.job.step, properties=own))
        state.standing = StandingCommand(standing, SOURCE)
    if phase is not Phase.WAITING:
        state.attempt, state.first_intended, state.intended = 1, 1.0, 1.0
        state.calling = phase is Phase.SUBMITTING
        state.possibly_sent = phase in (Phase.FINDING, Phase.RUNNING)
    if phase is Phase.RUNNING:
        state.operation = OPERATION
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def after(state: JobState, event: e.Event) -> JobState:
    advance(state, event)
    return state


def cause(state: JobState) -> CauseCode:
    assert state.outcome is not None
    return state.outcome.cause.code


EVENTS: tuple[e.Event, ...] = (
    e.SubmissionIntended(9.0, JOB, 1),
    e.SubmissionAccepted(9.0, JOB, OPERATION),
    e.SubmissionRefused(9.0, JOB, BUSY),
    e.SubmissionLost(9.0, JOB, LostReason.RESET),
    e.FindBegun(9.0, JOB),
    e.CommandFound(9.0, JOB, OPERATION),
    e.CommandMissing(9.0, JOB),
    e.LookBegun(9.0, JOB),
    e.SeenRunning(9.0, JOB),
    e.LookFailed(9.0, JOB, 503),
    e.ResultReceived(9.0, JOB, Answer("Succeeded", "", 0)),
    e.ResultFailed(9.0, JOB, "Odd", "why"),
    e.ResultUnreadable(9.0, JOB, GONE),
    e.CommandRemoved(9.0, JOB),
    e.JobExpired(9.0, JOB),
)
PHASE_WORDS = {phase.value: phase for phase in Phase}


def table() -> dict[tuple[Phase, str], set[Phase]]:
    """The table of the module's own text: the phases that an event may lead to, of jobs without a standing command."""
    assert job_module.__doc__ is not None
    moves: dict[tuple[Phase, str], set[Phase]] = {}
    key: list[tuple[Phase, str]] = []
    for line in job_module.__doc__.split("=\n")[2].splitlines():
        phases, event, becomes = line[:24].strip(), line[24:51].strip(), line[51:].strip()
        if phases or event:
            named = [phase for word, phase in PHASE_WORDS.items() if word in phases.split()]
            if phases == "any but done":
                named = [phase for phase in Phase if phase is not Phase.DONE]
            listed = "(standing)" not in phases and event.isidentifier()
            key = [(phase, event) for phase in named] if listed else []
        for move in key:
            moves.setdefault(move, set()).update(
                phase for word, phase in PHASE_WORDS.items() if re.search(rf"\b{word}\b", becomes)
            )
    return moves


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("phase", list(Phase))
def test_every_event_does_what_the_table_says(phase: Phase, event: e.Event) -> None:
    """An event leads to a phase that the table names, or leaves the phase alone; once a job is done nothing changes."""
    state = made(phase)
    before = copy.deepcopy(state)
    advance(state, event)
    assert state.phase in table().get((phase, type(event).__name__), {phase})
    assert phase is not Phase.DONE or state == before


def test_the_table_names_events_that_there_are() -> None:
    """Each row can be read, and what leaves a phase is in it."""
    moves = table()
    assert len(moves) >= 15
    assert all(hasattr(e, event) and phases for (_, event), phases in moves.items()), moves


def test_an_accepted_submission_runs() -> None:
    """Its operation is kept, and looks are counted anew."""
    state = after(made(Phase.SUBMITTING, looks=3), e.SubmissionAccepted(9.0, JOB, OPERATION))
    assert (state.phase, state.operation, state.looks, state.calling, state.possibly_sent) == (
        Phase.RUNNING,
        OPERATION,
        0,
        False,
        True,
    )


def test_a_refused_submission_waits_without_its_slot() -> None:
    """It is due again when the refusal says, its cause is kept, and it may yet turn out to be out of reach."""
    state = after(made(Phase.SUBMITTING), e.SubmissionRefused(9.0, JOB, BUSY))
    assert (state.phase, state.due, state.calling) == (Phase.WAITING, 9.0 + busy_pause(0, state.salt), False)
    assert state.trouble is not None and state.trouble.code is CauseCode.BUSY
    assert (state.in_flight, state.tried, state.turned_away) == (False, True, 0)
    assert after(made(Phase.SUBMITTING), e.SubmissionRefused(9.0, JOB, Refusal(0, "leased", "", 5.0))).turned_away == 1


@pytest.mark.parametrize(("possibly_sent", "status"), [(False, Status.UNREACHABLE), (True, Status.UNKNOWN)])
def test_a_final_refusal_ends_the_job(possibly_sent: bool, status: Status) -> None:
    """Unreachable, unless an earlier delivery may have run."""
    state = after(made(Phase.SUBMITTING, possibly_sent=possibly_sent), e.SubmissionRefused(9.0, JOB, GONE))
    assert state.outcome is not None
    assert (state.outcome.status, cause(state), state.ended) == (status, CauseCode.VM_NOT_FOUND, 9.0)


def test_what_never_left_is_sent_again() -> None:
    """No byte left: it waits, and is not suspected to have arrived."""
    state = after(made(Phase.SUBMITTING), e.SubmissionLost(9.0, JOB, LostReason.NOT_CONNECTED, "refused"))
    assert (state.phase, state.due, state.possibly_sent, state.calling) == (
        Phase.WAITING,
        9.0 + backoff(1, state.salt),
        False,
        False,
    )
    assert state.trouble is not None and state.trouble.code is CauseCode.NOT_CONNECTED
    assert state.trouble.message == "refused"


@pytest.mark.parametrize("nonce", [None, "n"])
def test_a_lost_managed_submission_is_looked_for(nonce: str | None) -> None:
    """Its name tells whether it arrived, so it is looked for at once and keeps its slot."""
    state = after(
        made(Phase.SUBMITTING, nonce=nonce, missing=5), e.SubmissionLost(9.0, JOB, LostReason.SERVER_ERROR, "HTTP 503")
    )
    assert (state.phase, state.due, state.missing, state.possibly_sent) == (Phase.FINDING, 9.0, 0, True)
    assert state.trouble == Cause(
        CauseCode.ANSWER_LOST,
        "the answer to the submission was lost: server error (HTTP 503)",
        "look at the VM before running again",
    )


def test_a_lost_action_with_a_receipt_is_sent_again() -> None:
    """The guest runs one delivery once and returns the kept answer: two seconds later at the earliest."""
    state = after(made(Phase.SUBMITTING, transport=Transport.ACTION), e.SubmissionLost(9.0, JOB, LostReason.RESET))
    assert RESEND_AFTER == 2.0
    assert (state.phase, state.due, state.held_back) == (Phase.WAITING, 11.0, True)
    late = made(Phase.SUBMITTING, transport=Transport.ACTION, attempt=9)
    assert after(late, e.SubmissionLost(9.0, JOB, LostReason.RESET)).due == 9.0 + backoff(9, late.salt)


def test_a_lost_action_without_a_receipt_is_unknown() -> None:
    """Nothing could tell one execution from two, so it is not sent again."""
    lost = made(Phase.SUBMITTING, transport=Transport.ACTION, nonce=None)
    state = after(lost, e.SubmissionLost(9.0, JOB, LostReason.RESET))
    assert (state.outcome, state.phase, state.calling) == (
        Outcome(Status.UNKNOWN, state.trouble or Cause(CauseCode.COMPLETED)),
        Phase.DONE,
        False,
    )
    assert state.trouble is not None
    assert state.trouble.message == f"the answer to the submission was lost: {LostReason.RESET.value}"


def test_a_missing_wrapped_command_is_sent_again_under_its_name() -> None:
    """Should both arrive, the guest runs one; the pause grows with every try."""
    state = after(made(Phase.FINDING, calling=True), e.CommandMissing(9.0, JOB))
    assert (state.phase, state.due, state.missing, state.calling) == (
        Phase.WAITING,
        9.0 + backoff(1, state.salt),
        1,
        False,
    )


def test_a_missing_unwrapped_command_is_looked_for_twice() -> None:
    """A first PUT may still be on its way: only a second look, a minute later, makes sending safe."""
    assert SECOND_FIND_AFTER == 60.0
    state = after(made(Phase.FINDING, nonce=None, calling=True), e.CommandMissing(9.0, JOB))
    assert (state.phase, state.due, state.missing, state.calling) == (Phase.FINDING, 69.0, 1, False)
    after(state, e.CommandMissing(70.0, JOB))
    assert (state.phase, state.due, state.missing) == (Phase.WAITING, 70.0 + backoff(1, state.salt), 2)


def test_a_found_command_runs_and_is_looked_at_at_once() -> None:
    """The submission arrived after all."""
    state = after(made(Phase.FINDING, looks=4), e.CommandFound(9.0, JOB, OPERATION))
    assert (state.phase, state.operation, state.due, state.looks) == (Phase.RUNNING, OPERATION, 9.0, 0)


def test_looks_are_counted() -> None:
    """One on the wire, then back: running, which ends any trouble, or not readable, which is kept for the end."""
    state = after(made(Phase.RUNNING), e.LookBegun(2.0, JOB))
    assert state.calling
    after(state, e.LookFailed(3.0, JOB, 503))
    assert (state.calling, state.looks) == (False, 1)
    assert state.trouble == Cause(CauseCode.NO_ANSWER, "the operation could not be read (HTTP 503)")
    for failed, why in (
        (e.LookFailed(3.0, JOB, 429, None, "TooMany"), "HTTP 429 TooMany"),
        (e.LookFailed(3.0, JOB, 0, detail="connection refused"), "connection refused"),
        (e.LookFailed(3.0, JOB), "no usable answer"),
    ):
        after(state, failed)
        assert state.trouble == Cause(CauseCode.NO_ANSWER, f"the operation could not be read ({why})")
    state.looks, state.calling = 1, True
    after(state, e.SeenRunning(4.0, JOB))
    assert (state.calling, state.looks, state.trouble) == (False, 2, None)


@pytest.mark.parametrize(
    ("phase", "transport", "refusal", "hint"),
    [
        (Phase.RUNNING, Transport.ACTION, Refusal(403, "", "no"), "must also be allowed to read operations"),
        (Phase.RUNNING, Transport.MANAGED, Refusal(403, "", "no"), "the credential lacks a right on this VM"),
        (Phase.RUNNING, Transport.ACTION, GONE, "Azure no longer has its operation"),
        (Phase.RUNNING, Transport.ACTION, Refusal(410, "", "gone"), "Azure no longer has its operation"),
        (Phase.RUNNING, Transport.MANAGED, GONE, "was deleted before its result was read"),
        (Phase.RUNNING, Transport.MANAGED, Refusal(410, "", "gone"), "was deleted before its result was read"),
        (Phase.FINDING, Transport.MANAGED, GONE, "not known; check whether the VM still exists"),
        (
            Phase.FINDING,
            Transport.MANAGED,
            Refusal(403, "", "no"),
            "not known; the credential lacks a right on this VM",
        ),
    ],
)
def test_what_may_not_be_read_is_unknown(phase: Phase, transport: Transport, refusal: Refusal, hint: str) -> None:
    """The sentence has the code, or the status where there is none. The hint fits the status: gone, or forbidden."""
    unwrapped = transport is Transport.ACTION and refusal.status != 403  # wrapped, the guest would be asked
    state = made(phase, transport=transport, nonce=None if unwrapped else "n")
    after(state, e.ResultUnreadable(9.0, JOB, refusal))
    assert state.outcome is not None
    assert (state.outcome.status, cause(state)) == (Status.UNKNOWN, CauseCode.OPERATION_GONE)
    assert state.outcome.cause.message == f"{refusal.code or refusal.status}: {refusal.message}"
    assert hint in state.outcome.cause.hint


@pytest.mark.parametrize("status", [404, 410])
def test_an_action_whose_operation_is_gone_is_sent_once_more(status: int) -> None:
    """The guest keeps the answer that Azure lost. Gone again, the try is over; the next one may ask anew."""
    gone = Refusal(status, "Gone", "it is gone")
    state = after(made(Phase.RUNNING, transport=Transport.ACTION), e.LookBegun(8.0, JOB))
    after(state, e.ResultUnreadable(9.0, JOB, gone))
    assert (state.phase, state.due, state.in_flight) == (Phase.WAITING, 9.0 + RESEND_AFTER, True)
    assert (state.calling, state.trouble and state.trouble.message) == (False, "Gone: it is gone")
    after(state, e.SubmissionIntended(11.0, JOB, 2))
    after(state, e.SubmissionAccepted(12.0, JOB, OPERATION))
    after(state, e.ResultUnreadable(13.0, JOB, gone))
    assert state.outcome is not None
    assert (state.outcome.status, cause(state)) == (Status.UNKNOWN, CauseCode.OPERATION_GONE)
    assert "asked for the answer that it keeps" in state.outcome.cause.hint
    again(state, 14.0)
    assert not state.asked_anew


@pytest.mark.parametrize("nonce", [None, "0" * 32])
@pytest.mark.parametrize(
    "event",
    [
        e.ResultUnreadable(9.0, JOB, GONE),
        e.ResultFailed(9.0, JOB, "InternalExecutionError", "An internal execution error occurred."),
        e.ResultFailed(9.0, JOB, "OperationPreempted", "preempted by a more recent operation", cancelled=True),
    ],
)
def test_only_a_guest_with_receipts_is_asked_for_what_azure_lost(nonce: str | None, event: e.Event) -> None:
    """Without a receipt the second delivery would run the script a second time: there it stays unknown."""
    state = after(made(Phase.RUNNING, transport=Transport.ACTION, nonce=nonce), event)
    assert (state.phase is Phase.WAITING) == (nonce is not None)
    if nonce is None:
        assert state.outcome is not None
        assert state.outcome.status is Status.UNKNOWN


def test_a_removed_command_cancels_its_own_try() -> None:
    """Deleting what runs ends its script; deleting what an earlier try left changes nothing."""
    state = made(Phase.RUNNING, retry=1)
    after(state, e.CommandRemoved(9.0, JOB, retry=0))
    assert state.phase is Phase.RUNNING
    after(state, e.CommandRemoved(9.0, JOB, retry=1))
    assert state.outcome is not None
    assert (state.outcome.status, cause(state)) == (Status.CANCELLED, CauseCode.CANCELLED)


BUSY_CAUSE = Cause(CauseCode.BUSY, "still busy")


@pytest.mark.parametrize(
    ("sent", "trouble", "outcome"),
    [
        (False, None, Outcome(Status.UNREACHABLE, Cause(CauseCode.NOT_CONNECTED, "could not be delivered in time"))),
        (False, BUSY_CAUSE, Outcome(Status.UNREACHABLE, BUSY_CAUSE)),
        (
            True,
            None,
            Outcome(
                Status.UNKNOWN, Cause(CauseCode.NO_ANSWER, "no answer in time", "look at the VM before running again")
            ),
        ),
        (
            True,
            BUSY_CAUSE,
            Outcome(
                Status.UNKNOWN,
                Cause(
                    CauseCode.NO_ANSWER, "no answer in time; last: still busy", "look at the VM before running again"
                ),
            ),
        ),
    ],
)
def test_time_runs_out(sent: bool, trouble: Cause | None, outcome: Outcome) -> None:
    """Never delivered is unreachable, for the last reason there was; once something may have arrived it is unknown."""
    state = made(possibly_sent=sent, trouble=trouble, deadline=9.0, calling=True)
    after(state, e.JobExpired(9.0, JOB))
    assert (state.outcome, state.ended, state.deadline, state.calling) == (outcome, 9.0, None, False)


EARLIER = Outcome(Status.FAILED, Cause(CauseCode.EXIT_CODE, "exit code 1"), 1, verified=True)


@pytest.mark.parametrize("status", list(Status))
def test_a_try_that_was_not_delivered_takes_nothing_away(status: Status) -> None:
    """What the try before found stands; any other end replaces it."""
    state = made(earlier=EARLIER)
    own = Outcome(status, Cause(CauseCode.NO_ANSWER))
    end(state, 9.0, own)
    kept = status in (Status.UNREACHABLE, Status.NOT_STARTED)
    assert state.outcome == (EARLIER if kept else own)
    fresh = made()
    end(fresh, 9.0, own)
    assert fresh.outcome == own


def test_another_try_begins_as_if_nothing_had_been_sent() -> None:
    """Under a nonce of its own, after the step's delay, its submissions counted anew; it keeps its part of the budget."""
    state = made(Phase.DONE, attempt=3, outcome=EARLIER, ended=9.0, possibly_sent=True, looks=4, missing=1)
    state.operation, state.trouble, state.removed, state.retry = OPERATION, BUSY_CAUSE, True, 1
    state.job = replace(state.job, step=replace(state.job.step, flow=replace(state.job.step.flow, retry_delay=30.0)))
    again(state, 9.0)
    assert (state.phase, state.due, state.nonce, state.retry) == (Phase.WAITING, 39.0, "", 2)
    assert (state.earlier, state.outcome, state.ended) == (EARLIER, None, None)
    assert (state.tries, state.first_attempt, state.looks, state.missing) == (0, 3, 0, 0)
    assert (state.possibly_sent, state.first_intended, state.operation, state.trouble) == (False, None, None, None)
    assert (state.removed, state.reserves, state.tried) == (False, True, False)
    with pytest.raises(AssertionError):
        again(state, 9.0)


def mark(source: str = SOURCE, started: str = "", running: bool = False) -> Mark:
    return Mark(source, started, running)


@pytest.mark.parametrize("existing", [OnExisting.UPDATE, OnExisting.REPLACE])
def test_how_a_command_stood_is_learnt_before_anything_is_sent(existing: OnExisting) -> None:
    """There, with its last start, or not there: the job is due at once and keeps its slot."""
    state = made(standing=existing, looks=2)
    after(state, e.FindBegun(3.0, JOB))
    assert (state.calling, state.first_intended, state.held_back) == (True, 3.0, True)
    after(state, e.CommandFound(5.0, JOB, OPERATION, mark(started="s1")))
    assert state.standing is not None
    assert (state.standing.surveyed, state.standing.present, state.standing.earlier) == (True, True, "s1")
    assert (state.phase, state.looks, state.due, state.calling, state.first_intended) == (
        Phase.WAITING,
        0,
        5.0,
        False,
        3.0,
    )
    assert (state.held_back, state.standing.is_updated) == (True, existing is OnExisting.UPDATE)
    missing = after(made(standing=existing), e.CommandMissing(5.0, JOB))
    assert missing.standing is not None
    assert (missing.standing.surveyed, missing.standing.present, missing.standing.earlier) == (True, False, "")
    assert (missing.first_intended, missing.standing.is_updated) == (5.0, False)


def test_a_standing_command_that_runs_is_waited_for() -> None:
    """A change would kill it: it is looked at again, with pauses that grow, and the reason is kept."""
    state = made(standing=OnExisting.UPDATE)
    for looks in (1, 2):
        after(state, e.CommandFound(5.0, JOB, OPERATION, mark(running=True)))
        assert (state.phase, state.looks, state.due) == (Phase.WAITING, looks, 5.0 + backoff(looks + 2, state.salt))
    assert state.standing is not None and not state.standing.surveyed
    assert state.trouble is not None and state.trouble.code is CauseCode.BUSY
    assert "'nightly' is still running" in state.trouble.message
    assert (state.tried, state.in_flight) == (True, False)


@pytest.mark.parametrize("running", [True, False])
def test_a_command_that_must_not_be_there_ends_the_job(running: bool) -> None:
    """``on_existing: fail``, whether it runs or not; where it is missing, the job goes on."""
    state = after(made(standing=OnExisting.FAIL), e.CommandFound(5.0, JOB, OPERATION, mark(running=running)))
    assert state.outcome is not None
    assert (state.outcome.status, cause(state)) == (Status.UNREACHABLE, CauseCode.EXISTS)
    assert "'nightly' is there already" in state.outcome.cause.message
    missing = after(made(standing=OnExisting.FAIL), e.CommandMissing(5.0, JOB))
    assert missing.phase is Phase.WAITING
    assert missing.standing is not None and missing.standing.surveyed


DELETED = Refusal(404, "ResourceNotFound", "The Resource '.../runCommands/nightly' was not found")


def test_a_standing_command_that_somebody_deleted_is_made_anew() -> None:
    """The change of what is not there any more is refused: it is looked for again, after a pause."""
    state = made(Phase.SUBMITTING, standing=OnExisting.UPDATE)
    assert state.standing is not None
    state.standing.surveyed = state.standing.present = True
    after(state, e.SubmissionRefused(9.0, JOB, DELETED))
    assert (state.phase, state.due, state.standing.surveyed) == (Phase.WAITING, 9.0 + backoff(1, state.salt), False)


@pytest.mark.parametrize(
    ("existing", "present", "refusal"),
    [
        (OnExisting.REPLACE, True, DELETED),
        (OnExisting.UPDATE, False, DELETED),
        (OnExisting.UPDATE, True, GONE),
        (OnExisting.UPDATE, True, Refusal(400, "", DELETED.message)),
    ],
)
def test_any_other_refusal_of_it_means_what_it_says(existing: OnExisting, present: bool, refusal: Refusal) -> None:
    """The VM is gone, or the request was wrong."""
    state = made(Phase.SUBMITTING, standing=existing)
    assert state.standing is not None
    state.standing.surveyed, state.standing.present = True, present
    assert after(state, e.SubmissionRefused(9.0, JOB, refusal)).phase is Phase.DONE


@pytest.mark.parametrize(
    ("nonce", "found", "ours"),
    [
        ("n", mark(started="s1"), True),
        ("n", mark("other", "s2", True), False),
        (None, mark(started="s1"), False),
        (None, mark(started="s2"), True),
        (None, mark(started="s1", running=True), True),
        (None, mark("other", "s2"), False),
    ],
)
def test_a_standing_command_shows_whether_our_submission_arrived(nonce: str | None, found: Mark, ours: bool) -> None:
    """By its source where that is ours alone; else it must also have been started since, or be on its way."""
    state = made(Phase.FINDING, nonce=nonce, standing=OnExisting.UPDATE, missing=1)
    assert state.standing is not None
    state.standing.earlier = "s1"
    after(state, e.CommandFound(9.0, JOB, OPERATION, found))
    assert (state.phase, state.missing) == ((Phase.RUNNING, 1) if ours else (Phase.WAITING, 2))


@pytest.mark.parametrize(
    ("nonce", "looks", "started", "earlier"),
    [
        ("n", 0, "s1", True),
        ("n", 5, "s1", True),
        (None, 0, "s1", True),
        (None, 1, "s1", False),
        ("n", 0, "s2", False),
        ("n", 0, "", False),
    ],
)
def test_an_earlier_result_is_not_ours(nonce: str | None, looks: int, started: str, earlier: bool) -> None:
    """A wrapped script always runs anew; of another the second answer counts, for it may not have run again."""
    state = made(Phase.RUNNING, nonce=nonce, standing=OnExisting.UPDATE, looks=looks)
    assert state.standing is not None
    state.standing.earlier = "s1"
    assert is_earlier_result(state, Answer("Succeeded", started=started)) is earlier
    state.standing = None
    assert not is_earlier_result(state, Answer("Succeeded", started=started))
    fresh = made(Phase.RUNNING, standing=OnExisting.UPDATE)
    assert not is_earlier_result(fresh, Answer("Succeeded", started=""))


@pytest.mark.parametrize(("started", "unchanged"), [("s1", True), ("s2", False), ("", False)])
def test_a_result_of_before_is_told_as_such(started: str, unchanged: bool) -> None:
    """What Azure did not run again says so, with the earlier end."""
    state = made(Phase.RUNNING, nonce=None, standing=OnExisting.UPDATE)
    assert state.standing is not None
    state.standing.earlier = "s1" if started else ""
    after(state, e.ResultReceived(9.0, JOB, Answer("Succeeded", "", 0, started=started)))
    assert (cause(state) is CauseCode.UNCHANGED) == unchanged


def test_what_was_tried_and_waits_without_its_slot() -> None:
    """After a refusal or a look, as long as it neither holds a slot, nor reserves already, nor costs nothing anyway."""
    assert made(attempt=1).tried
    assert made(looks=1).tried
    assert not made().tried
    assert not made(attempt=1, possibly_sent=True).tried
    assert not made(attempt=1, free=True).tried
    assert not made(attempt=1, earlier=EARLIER).tried
    assert not made(Phase.DONE, attempt=1).tried
    assert not made(attempt=1, first_attempt=1).tried


def test_a_job_that_looks_whether_its_target_is_back_holds_its_slot() -> None:
    """From its turn to its end, whatever it waits for; the one that asks for the restart is like any other."""
    looking, asking = (
        made(job=replace(job(), step=replace(job().step, restart=Restart("patch", ask)))) for ask in ("ask", "")
    )
    assert (looking.is_restarting, looking.held_back, looking.is_last_look) == (True, True, False)
    assert (asking.is_restarting, asking.held_back, asking.is_last_look) == (False, False, False)
    for state in (looking, asking):
        state.phase = Phase.DONE
    assert (looking.is_restarting, looking.is_last_look) == (False, True)
    assert (asking.is_restarting, asking.is_last_look) == (False, False)
    looking.phase, looking.released = Phase.WAITING, False
    assert (looking.is_restarting, looking.held_back) == (False, False)
    looking.phase = Phase.DONE
    assert not looking.is_last_look
    assert (made().is_restarting, made(Phase.DONE).is_last_look) == (False, False)


def test_a_look_of_a_restart_that_was_not_delivered_says_so() -> None:
    """What it found before is not kept: that the target is away is what it looks for."""
    state = made(earlier=EARLIER)
    state.job = replace(state.job, step=replace(state.job.step, restart=Restart("patch", "ask")))
    own = Outcome(Status.UNREACHABLE, Cause(CauseCode.VM_NOT_RUNNING))
    end(state, 9.0, own)
    assert state.outcome == own


@pytest.mark.parametrize(
    ("sent", "nonce", "twice"), [(True, None, True), (True, "n", False), (False, None, False), (False, "n", False)]
)
def test_what_is_sent_again_without_a_receipt_may_run_twice(sent: bool, nonce: str | None, twice: bool) -> None:
    """Only where one may have arrived and no receipt lets the guest run one of the two; and then it stays so."""
    state = after(made(possibly_sent=sent, nonce=nonce), e.SubmissionIntended(5.0, JOB, 2))
    assert state.may_have_run_twice is twice
    state.phase, state.possibly_sent = Phase.WAITING, False
    assert after(state, e.SubmissionIntended(9.0, JOB, 3)).may_have_run_twice is twice


@pytest.mark.parametrize(("told", "facts", "changed"), [("x=1\n", {"x": "1"}, True), ("x=0\n", {"x": "0"}, False)])
def test_what_a_step_found_out_is_kept(told: str, facts: dict[str, str], changed: bool) -> None:
    """Its facts, and whether it changed anything, as its own condition says."""
    state = made(Phase.RUNNING, nonce=None)
    flow = replace(state.job.step.flow, collect={"x": Fact(key="x")}, changed_when='facts.x == "1"')
    state.job = replace(state.job, step=replace(state.job.step, flow=flow))
    after(state, e.ResultReceived(9.0, JOB, Answer("Succeeded", "", 0, told)))
    assert (dict(state.facts), state.changed) == (facts, changed)


def test_the_first_intent_of_a_try_names_its_nonce() -> None:
    """Every further submission of the try carries the same one."""
    state = after(made(nonce=""), e.SubmissionIntended(39.0, JOB, 1, nonce="first"))
    state.phase = Phase.WAITING
    assert after(state, e.SubmissionIntended(40.0, JOB, 2, nonce="late")).nonce == "first"


def test_an_answer_that_fleet_fails_on_ends_its_job() -> None:
    """Whatever had been sent may have run; a job of which nothing was sent was not reached."""
    for phase in (Phase.SUBMITTING, Phase.FINDING, Phase.RUNNING):
        state = after(made(phase), e.AnswerUnusable(9.0, JOB, "internal error: ValueError"))
        assert state.outcome is not None
        assert (state.outcome.status, cause(state)) == (Status.UNKNOWN, CauseCode.INTERNAL_ERROR)
    fresh = after(made(), e.AnswerUnusable(9.0, JOB, "internal error: ValueError"))
    assert fresh.outcome is not None
    assert fresh.outcome.status is Status.UNREACHABLE


def test_when_a_look_that_finds_nothing_is_made_again() -> None:
    """Once, of a running job, within half a minute of its submission, and not where a person ends its script."""
    running = made(Phase.RUNNING)
    running.intended = 100.0
    assert is_too_early(running, 404, 100.0 + FRESH)
    assert not is_too_early(running, 404, 100.1 + FRESH)
    assert not is_too_early(running, 410, 101.0)
    assert not is_too_early(running, 403, 101.0)
    after(running, e.LookFailed(101.0, JOB, 404))
    assert not is_too_early(running, 404, 106.0), "it was looked for twice"
    after(running, e.CommandRemoved(107.0, JOB))
    other = made(Phase.FINDING)
    other.intended = 100.0
    assert not is_too_early(other, 404, 101.0)
