"""How one job stands, for the readers of a run."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.playbook.model import Transport
from fleet.run.command import command_name
from fleet.run.job_state import JobState
from fleet.run.model import Outcome, Phase, Status
from fleet.run.record import JobRecord, LeftCommand


def job_record(run_id: str, state: JobState, left: Outcome | None, *, finished: bool, mended: bool) -> JobRecord:
    """Return the record of a job.

    ``left`` is how it ends if its target left the selection before the run, ``finished`` whether the run has ended, and
    ``mended`` whether another step made its failure good.
    """
    operation = ""
    if state.operation is not None:
        managed = state.transport is Transport.MANAGED
        operation = (
            command_name(run_id, state.job, state.retry)
            if managed
            else _operation_id(next(iter(state.operation.links), ""))
        )
    return JobRecord(
        job=state.job,
        phase=state.phase,
        outcome=state.outcome or left,
        attempts=state.attempt - state.turned_away,
        possibly_sent=state.possibly_sent,
        may_have_run_twice=state.may_have_run_twice,
        operation=operation,
        started=state.intended,
        ended=state.ended,
        leftovers=tuple(_leftovers(state)) if finished else (),
        retries=state.retry,
        earlier=state.earlier,
        facts=state.facts,
        rescued=mended,
        nonce=state.nonce,
        waits=state.trouble if state.phase is Phase.WAITING and state.tries else None,
    )


def _leftovers(state: JobState) -> Iterator[LeftCommand]:
    """Yield the commands of the job that may lie on the VM after the run's end."""
    tries = {*state.removals, *state.undeleted}
    if _is_left(state):
        tries.add(state.retry)
    for retry in sorted(tries):
        yield LeftCommand(retry, state.undeleted.get(retry))


def _is_left(state: JobState) -> bool:
    """Whether the present try's command may lie on the VM: not deleted, nor cancelled by a person who deleted it."""
    if not (state.transport is Transport.MANAGED and state.possibly_sent) or state.removed:
        return False
    if state.job.step.properties.command:
        return False  # a standing command stays by intent
    return state.outcome is None or state.outcome.status is not Status.CANCELLED or state.reported_its_end


def _operation_id(url: str) -> str:
    """The operation's id out of its signed URL: enough to find it, free of signatures."""
    return url.partition("?")[0].rpartition("/")[2]
