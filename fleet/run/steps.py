"""The steps of one target, in order: which of them has its turn, and which is passed over.

A target is on a course, and each step that ends may change it:

=======  ===================================================  =======================================================
course   what happened                                        what still runs
=======  ===================================================  =======================================================
well     nothing has gone wrong                               success, notified (after a notice), always, gate
broken   a step failed                                        rescue, always, gate
mended   a step failed, a rescue step succeeded after it      the next rescue steps; with the next success step: well
over     a rescue step failed, a step could not be delivered  always and gate, if anything was delivered before
         or was not started
blind    a script may still be running on the target          nothing: two scripts at once are worse than one too few
=======  ===================================================  =======================================================

The steps of gates stand last, and begin when the wave has ended. Steps whose turn does not come are ``skipped``. Where
launching has stopped, what was begun is still brought to its end: rescue and always steps of targets that were reached
run, and spread nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from fleet.plan.model import Left
from fleet.playbook.model import Turn
from fleet.run import events as e
from fleet.run.facts import Known, is_true
from fleet.run.job_state import JobState
from fleet.run.model import FAILURES, NOT_RUN, Cause, CauseCode, Outcome, Status

CLEANING_UP = frozenset({Turn.RESCUE, Turn.ALWAYS})
"""Turns of steps that bring a target that was begun to a good end."""

_NOTHING_MORE = frozenset({CauseCode.AZURE_UNUSABLE, CauseCode.CANCELLED_BY_USER})
"""Stops after which not even that is sent: nobody could, or a person wants an end."""

_NOTHING_KNOWN = Known()


class Course(StrEnum):
    """How it stands with a target; the table above."""

    WELL = "well"
    BROKEN = "broken"
    MENDED = "mended"
    OVER = "over"
    BLIND = "blind"


def decide(
    above: Sequence[JobState], state: JobState, stop: e.LaunchStopped | None, *, asked: bool = True
) -> Known | Outcome:
    """Give a job its turn, with what is known then, or say how it ends without one. All jobs above have ended.

    ``asked`` says whether a gate asks for a step whose turn depends on that.
    """
    turn = state.job.step.flow.turn
    course = course_of(above)
    if (ending := _without_turn(above, course, turn, stop if asked else None)) is not None:
        return ending
    if not asked:
        return _skipped(CauseCode.NOT_NEEDED, "no gate after the wave asks for it")
    known = known_of(above)
    if turn is Turn.NOTIFIED and not any(_notifies(other, state.job.step.id) for other in above):
        return _skipped(CauseCode.NOT_NEEDED, "no step above changed anything and named this one")
    when = state.job.step.flow.when
    if when and not is_true(when, state.job.target, known):
        return _skipped(CauseCode.WHEN_FALSE, _why_not(state, when))
    return known


def left_selection(left: Left) -> Outcome:
    """Say how every job ends of a target that the plan's selection does not let in any more."""
    return _skipped(CauseCode.LEFT_SELECTION, left.why)


def _why_not(state: JobState, when: str) -> str:
    """Say why a step's condition does not hold; those of a restart's own steps nobody wrote."""
    restart = state.job.step.restart
    if restart is None:
        return f"when is false: {when}"
    return "nothing was restarted" if restart.looks else f"{restart.after} asked for no restart"


def course_of(above: Sequence[JobState]) -> Course:
    """Return the course that the steps so far have left a target on."""
    course = Course.WELL
    for state in above:
        course = _after(course, state)
    return course


def known_of(above: Sequence[JobState]) -> Known:
    """Return what the steps so far have found out."""
    known = _NOTHING_KNOWN
    for state in above:
        assert state.outcome is not None
        known = known.and_step(state.job.step.id, state.outcome, state.facts)
    return known


def rescued(jobs: Sequence[JobState]) -> frozenset[int]:
    """Return the places of a target's jobs whose failure a rescue step has taken care of."""
    found: set[int] = set()
    failed: list[int] = []
    course = Course.WELL
    for place, state in enumerate(jobs):
        if state.outcome is None:
            break
        before, course = course, _after(course, state)
        if course is Course.BROKEN and state.outcome.status in FAILURES:
            failed.append(place)
        elif course is Course.MENDED:
            found.update(failed)
        elif before is Course.MENDED and state.job.step.flow.turn is Turn.RESCUE:
            found.difference_update(failed)
        if course is Course.WELL:
            failed.clear()
    return frozenset(found)


def _after(course: Course, state: JobState) -> Course:
    outcome, turn = state.outcome, state.job.step.flow.turn
    assert outcome is not None
    if course is Course.BLIND:
        return course
    if outcome.status is Status.SKIPPED:  # with a step that could have run, another rescue begins anew
        return Course.WELL if course is Course.MENDED and turn not in CLEANING_UP else course
    if outcome.may_still_run:
        return Course.BLIND
    if outcome.status is Status.SUCCEEDED:
        if turn is Turn.RESCUE:
            return Course.MENDED
        return course if turn is Turn.ALWAYS or course is not Course.MENDED else Course.WELL
    if outcome.status in FAILURES and turn is not Turn.RESCUE:
        return Course.OVER if course is Course.OVER else Course.BROKEN
    return Course.OVER


def _without_turn(
    above: Sequence[JobState], course: Course, turn: Turn, stop: e.LaunchStopped | None
) -> Outcome | None:
    """How a job ends whose turn does not come; None if it comes as far as course and stop decide."""
    reached = _was_reached(above)
    comes = {
        Turn.SUCCESS: course in (Course.WELL, Course.MENDED),
        Turn.NOTIFIED: course in (Course.WELL, Course.MENDED),
        Turn.RESCUE: course in (Course.BROKEN, Course.MENDED),
        Turn.ALWAYS: course is Course.WELL or (reached and course is not Course.BLIND),
        Turn.GATE: course is Course.WELL or (reached and course is not Course.BLIND),
    }
    if turn is Turn.RESCUE and course is Course.WELL:
        return _skipped(CauseCode.NOT_NEEDED, "no step above failed")
    if not comes[turn]:
        return _passed_over(above)
    if stop is None or (reached and turn in CLEANING_UP and stop.cause not in _NOTHING_MORE):
        return None
    return Outcome(Status.NOT_STARTED, Cause(stop.cause, stop.message))


def _was_reached(above: Sequence[JobState]) -> bool:
    """Whether anything ran on the target."""
    untouched = NOT_RUN | {Status.UNREACHABLE}
    return any(state.outcome is not None and state.outcome.status not in untouched for state in above)


def _passed_over(above: Sequence[JobState]) -> Outcome:
    """Not sent because of a step above: not started if that was not, else skipped."""
    for state in above:
        assert state.outcome is not None
        if state.outcome.status is Status.NOT_STARTED:
            return state.outcome
        if state.outcome.may_still_run:
            message = f"step {state.job.step.id!r} may still be running"
            return _skipped(CauseCode.EARLIER_STEP, message)
    bad = next((state for state in above if state.outcome and state.outcome.status not in _FINE), above[-1])
    return _skipped(CauseCode.EARLIER_STEP, f"step {bad.job.step.id!r} did not succeed")


_FINE = frozenset({Status.SUCCEEDED, Status.SKIPPED})


def _skipped(code: CauseCode, message: str) -> Outcome:
    return Outcome(Status.SKIPPED, Cause(code, message))


def _notifies(state: JobState, step: str) -> bool:
    return state.changed and step in state.job.step.flow.notify
