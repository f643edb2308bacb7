"""What people ask of a run that another process carries out: files in the run's folder, until its owner has taken them up.

A directive is an event not yet journalled. Whoever may write into the folder (0700) may give one: it is the same user.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fleet.errors import StateError
from fleet.run.events import Directive, Event
from fleet.store.sqlite.files import make_folder, open_new, read_plain, sync_folder
from fleet.store.sqlite.records import Row, from_row, to_row

FOLDER = "directives"
_MOST = 1 << 20
"""Bytes of a file here that are read: a directive is a few hundred."""
_ID = re.compile(r"[0-9]{20}-[0-9a-f]{8}")


class DirectiveFiles:
    """The directives that wait in one run's folder, and the answers to those that were taken up."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / FOLDER

    def leave(self, event: Directive) -> None:
        """Put a directive there, on disk before this returns. Raises StateError."""
        make_folder(self._folder)
        row = to_row(event)
        self._write(f"{event.directive}.json", json.dumps({"kind": row.kind, "body": row.body}))

    def pending(self) -> Iterator[Directive]:
        """Yield what waits, oldest first. What is no directive is passed over."""
        try:
            names = sorted(os.listdir(self._folder))  # noqa: PTH208  twice a second: the quickest way
        except OSError:
            return
        for name in names:
            if name.endswith(".json") and _ID.fullmatch(name.removesuffix(".json")):
                event = self._read(name)
                if event is not None and event.directive == name.removesuffix(".json"):
                    yield event

    def answer(self, directive: str, text: str) -> None:
        """Say what became of a directive, which waits no longer. Raises StateError."""
        self._write(f"{directive}.answer", text)
        self.withdraw(directive)

    def answered(self, directive: str) -> str | None:
        """Return the answer, once, or None while there is none."""
        path = self._folder / f"{directive}.answer"
        try:
            text = read_plain(path, most=_MOST).decode("utf-8", "replace")
            path.unlink()
        except OSError:
            return None
        return text

    def withdraw(self, directive: str) -> None:
        """Take a directive away."""
        with suppress(OSError):
            (self._folder / f"{directive}.json").unlink()

    def _read(self, name: str) -> Directive | None:
        try:
            written = json.loads(read_plain(self._folder / name, most=_MOST))
            event: Event = from_row(Row(written["kind"], written["body"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError, StateError):
            return None
        return event if isinstance(event, Directive) else None

    def _write(self, name: str, text: str) -> None:
        partial = self._folder / f".{name}.{os.getpid()}"
        try:
            partial.unlink(missing_ok=True)
            with os.fdopen(open_new(partial), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._folder / name)
            sync_folder(self._folder)
        except OSError as error:
            raise StateError(
                f"a directive cannot be left in {self._folder}: {error.strerror}", hint="check the disk and the folder"
            ) from error
