"""The call of a process to its cloud, by which the wire's requests are told apart."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from fleet.plan.model import JobId

NO_JOB = JobId(-1)
"""The job of a look, which asks about an operation of its target."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call: its job and target (by key), its kind, and the epoch of the process that made it."""

    job: JobId
    kind: str
    epoch: int
    target: str = ""
    retry: int = 0


CALL: ContextVar[Call | None] = ContextVar("call", default=None)
"""Set before a call is made; its requests leave in the same context."""
