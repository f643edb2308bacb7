"""What every verb does around its work: settings in, data out on stdout, everything else on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fleet import logs
from fleet.cli.streams import STDOUT_HINT, to_nowhere
from fleet.errors import InvalidInput, Problem, StateError
from fleet.report import safe

if TYPE_CHECKING:
    from fleet.config.load import Config

T = TypeVar("T")

Origins = Mapping[str, str]


def run_loop(verb: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
    """Run the asynchronous half of a verb in an event loop of its own, and return its result.

    It is uvloop's where that is installed (``azfleet[fast]``): TLS and the loop then take less of the processor.
    """
    import anyio

    fast = find_spec("uvloop") is not None
    return anyio.run(verb, *args, backend="asyncio", backend_options={"use_uvloop": fast})


def settings(
    config_file: str | None = None, verbose: int = 0, quiet: int = 0, tenant: str | None = None
) -> tuple[Config, Origins]:
    """Set up the log and load the settings. ``tenant`` is ``azure.tenant``; None is not given."""
    from fleet.config.load import load

    logs.set_up(verbose=verbose, quiet=quiet)
    given = {} if tenant is None else {"azure.tenant": tenant}
    if config_file:
        given["config"] = config_file
    return load(flags=given, environ=os.environ, cwd=_working_folder(), home=_home())


def _working_folder() -> Path:
    """The current folder. Raises InvalidInput where it was deleted, or may not be looked up."""
    try:
        return Path.cwd()
    except OSError as error:
        message = f"the current folder cannot be used: {error.strerror}"
        hint = "change to a folder that exists, such as cd ~"
        raise InvalidInput([Problem("no_working_folder", message, hint=hint)]) from error


def _home() -> Path | None:
    """The user's home; None where HOME is not set and the user has no entry in the list of users, as in containers."""
    if sys.platform == "win32":
        return Path.home()
    import pwd

    named = Path(os.environ.get("HOME", ""))
    if named.is_absolute():
        return named
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def colour_on(choice: str, stream: object = None) -> bool:
    """Whether to colour: the flag, then NO_COLOR, CLICOLOR_FORCE and a dumb terminal, then whether it is one."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    target = stream or sys.stdout
    return os.environ.get("TERM") != "dumb" and bool(getattr(target, "isatty", bool)())


def report_form(asked: str | None) -> str:
    """The form of a report on stdout: what was asked for, else text on a terminal and JSON in a pipe."""
    return asked or ("table" if sys.stdout.isatty() else "json")


def width() -> int:
    """Columns of the terminal, or 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def emit(text: str) -> None:
    """Write data to stdout, lone surrogates escaped, with one line end at its end.

    A reader that went away (``| head -1``) is no mistake: what follows goes nowhere, and the run goes on. Raises
    StateError where stdout cannot be written for another reason.
    """
    data = text.encode("utf-8", errors="backslashreplace")
    emit_bytes(data if data.endswith(b"\n") or not data else data + b"\n")


def emit_pieces(pieces: Iterable[str]) -> None:
    """Write data to stdout, piece by piece; otherwise as :func:`emit`."""
    waiting: list[str] = []
    size, ended = 0, True
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size > _AT_ONCE:
            text = "".join(waiting)
            ended = text.endswith("\n")
            emit_bytes(text.encode("utf-8", errors="backslashreplace"))
            waiting, size = [], 0
    if waiting:
        emit("".join(waiting))
    elif not ended:
        emit_bytes(b"\n")


_AT_ONCE = 1 << 20
"""Characters that are written in one call."""


def emit_bytes(data: bytes) -> None:
    """Write bytes to stdout as they are; otherwise as :func:`emit`."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        to_nowhere()
    except OSError as error:
        to_nowhere()
        message = f"stdout cannot be written: {error.strerror}"
        raise StateError(message, hint=STDOUT_HINT, code="stdout") from error


def say(text: str, *, quiet: int = 0) -> None:
    """Tell a person something on stderr, unless they asked for quiet."""
    if not quiet:
        click.echo(safe.terminal(text), err=True)


def warn(text: str) -> None:
    """Tell a person something that matters, even when quiet."""
    click.echo(f"{label('warning', 'yellow')}: {safe.terminal(text)}", err=True)


def warn_of(problem: Problem) -> None:
    """Warn of something a person wrote that can be used, and perhaps is not what they meant."""
    warn(str(problem) + (f"; {problem.hint}" if problem.hint else ""))


def show_notes(error: BaseException) -> None:
    """Show what else failed at the same time as an error, as :func:`fleet.engine.gather.most_telling` noted it."""
    for note in getattr(error, "__notes__", ()):
        click.echo(f"  {safe.terminal_line(logs.masked(note))}", err=True)


def label(word: str, colour: str) -> str:
    """The first word of a message on stderr, coloured where that is wanted."""
    return click.style(word, fg=colour, bold=True) if colour_on("auto", sys.stderr) else word


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns as wide as their longest cell; what VMs and clouds say is made harmless."""
    cells = [[safe.terminal_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines) + "\n"
