"""What can go wrong, in three shapes.

* A :class:`Problem` is a mistake in something a person wrote (playbook, config, selector, lab file). Problems are
  collected and shown together, and travel in :class:`InvalidInput`.
* An *outcome* (``fleet.run.model``) says how a job ended. Outcomes are data and never raised.
* A :class:`FleetError` means that Fleet itself cannot go on. The tree is small and caught once, in ``fleet.cli.main``,
  where its exit code becomes the command's::

    FleetError
    ├── InvalidInput          2   usage, playbook, config, selector: nothing was sent
    ├── Refused               6   refused before start: no targets, cap, unanswered confirmation
    ├── AzureUnusable         7   authentication, authorisation, or the service cannot be used
    ├── StateError            1   the state folder, a journal or a report file cannot be used
    └── RunNotFound           2   no such run, or the prefix fits several
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit code tells a script. Part of the public contract; see ``docs/exit-codes.md``."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    SCRIPT_FAILED = 3
    NOT_REACHED = 4
    STOPPED = 5
    REFUSED = 6
    AZURE_UNUSABLE = 7
    DEADLINE = 8
    DIFFERENCES = 10
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in something a person wrote.

    ``line`` and ``column`` count from 1; both are 0 where the text has no lines (a flag, an environment variable).
    ``found`` is the offending text, ``expected`` what would have been right, ``hint`` what to do next (did-you-mean).
    """

    code: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    found: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)]).strip(":")
        return f"{place}: {self.message}" if place else self.message


def defect(error: BaseException) -> str:
    """Say in one short line what went wrong inside Fleet, and where in its code. Never raises."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place, trace = f" in {code.co_name}, line {trace.tb_lineno}", trace.tb_next
    try:
        text = str(error)
    except Exception:
        text = ""
    return f"internal error: {type(error).__name__}{place}: {text[:200]}".rstrip(": ")


class FleetError(Exception):
    """Fleet cannot go on. The message says what and where; ``hint`` says what to do next."""

    code = "internal"
    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code


MOST_SHOWN = 100
"""Problems told at once. Who made more mends these first."""

MOST_LOOKED_FOR = 1000
"""Problems after which nobody looks further: a text of mistakes must not cost more time than it is worth."""


class InvalidInput(FleetError):
    """Something a person wrote cannot be used.

    Carries the problems found, in the order of the text; beyond ``MOST_SHOWN`` the last one says how many more there
    are.
    """

    code = "invalid_input"
    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = _bounded(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def _bounded(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    if len(problems) <= MOST_SHOWN:
        return tuple(problems)
    more = len(problems) - MOST_SHOWN
    count = f"at least {more}" if len(problems) >= MOST_LOOKED_FOR else f"{more}"
    message = f"and {count} more, not shown"
    note = Problem("more_problems", message, problems[MOST_SHOWN].file, hint="mend these first, then look again")
    return (*problems[:MOST_SHOWN], note)


class Refused(FleetError):
    """The run was refused before anything was sent."""

    code = "refused"
    exit_code = ExitCode.REFUSED


class AzureUnusable(FleetError):
    """No token, no rights, or the service cannot be reached at all."""

    code = "azure_unusable"
    exit_code = ExitCode.AZURE_UNUSABLE


class StateError(FleetError):
    """The state folder, a journal or a file to be written cannot be used."""

    code = "state_error"
    exit_code = ExitCode.INTERNAL


class RunNotFound(FleetError):
    """No run fits the id or prefix given, or several do."""

    code = "run_not_found"
    exit_code = ExitCode.USAGE
