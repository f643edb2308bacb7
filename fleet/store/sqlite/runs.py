"""The folder of runs: new ids, the list, and finding one by what a person typed.

Layout: ``<state_dir>/runs/<run id>/``. What a person typed is only ever compared with names that are there;
it never becomes part of a path.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from fleet.clock import wall_time
from fleet.errors import RunNotFound, StateError
from fleet.run.kept import RunState, RunSummary
from fleet.store.sqlite import acknowledged, database, reading
from fleet.store.sqlite.database import DATABASE, LOCK, as_state_error, obstructed
from fleet.store.sqlite.files import is_locked, is_obstructed, is_plain_file, make_folder
from fleet.store.sqlite.index import Index

LAST = "last"
"""The word for the newest run."""

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_STAMP = re.compile(r"([0-9]{8}-[0-9]{6})-[a-z0-9]+")
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Without i, l, o and u: ids are read out aloud and typed again."""
_SHOWN = 8


def new_id(now: float, rng: Random) -> str:
    """Make a run id such as ``20261122-191733-k3f9``: UTC time to the second, and four random characters.

    Sortable by time; lower-case letters, digits and hyphens only, so that it may be part of an Azure resource
    name.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{''.join(rng.choices(_LETTERS, k=4))}"


class RunsFolder:
    """The runs kept under one state directory, which need not exist yet."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "runs"

    def prepare(self) -> None:
        """Make the folder (0700). Raises StateError."""
        make_folder(self.path)

    def folder(self, run_id: str) -> Path:
        """Return where the run of this id lies, or would lie. Raises RunNotFound if that is no run id."""
        if not _ID.fullmatch(run_id):
            raise RunNotFound(
                f"{run_id!r} is not a run id",
                hint="an id is lower-case letters, digits and hyphens; see fleet runs",
            )
        return self.path / run_id

    def list(self) -> tuple[RunSummary, ...]:
        """Return every run, newest first; what cannot be read is listed as damaged. Raises StateError."""
        index = Index(self.path, wall_time())
        found = [index.summary(name, self._summary) for name in self._names()]
        index.save()
        return tuple(sorted(found, key=lambda run: (run.created, run.id), reverse=True))

    def find(self, text: str) -> str:
        """Return the id that an id, a unique prefix of one, or ``last`` stands for. Raises RunNotFound."""
        names = self._names()
        if not names:
            raise RunNotFound(f"there are no runs in {self.path}", hint="fleet run PLAYBOOK begins one")
        if text == LAST:
            return self.list()[0].id
        fits = [name for name in names if text and name.startswith(text)]
        if text in names or len(fits) == 1:
            return text if text in names else fits[0]
        if fits:
            raise RunNotFound(f"{text!r} fits {len(fits)} runs: {_listed(fits)}", hint="type more of the id")
        close = difflib.get_close_matches(text, names, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "fleet runs lists the runs kept here"
        raise RunNotFound(f"there is no run {text!r} in {self.path}", hint=hint)

    def _names(self) -> tuple[str, ...]:
        """Return the names of the folders here that may be run ids, in order. Links are not followed."""
        try:
            entries = [entry for entry in self.path.iterdir() if entry.is_dir() and not entry.is_symlink()]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StateError(
                f"the runs in {self.path} cannot be listed ({error.strerror})",
                hint="check the folder's permissions",
            ) from error
        return tuple(sorted(entry.name for entry in entries if _ID.fullmatch(entry.name)))

    def _summary(self, name: str) -> RunSummary:
        path = self.path / name / DATABASE
        try:
            if not is_plain_file(path):
                raise StateError(f"there is no journal in {path.parent}")
            return _read_summary(name, path)
        except (StateError, *database.FAILURES) as error:
            said = error if isinstance(error, StateError) else as_state_error(error, path)
            return RunSummary(name, RunState.DAMAGED, created=_stamped(name), detail=str(said))


def _read_summary(name: str, path: Path) -> RunSummary:
    if is_obstructed(path.with_name(LOCK)):
        raise obstructed(path.with_name(LOCK))
    said = acknowledged.read(path.parent) or reading.NOTHING_SAID
    connection = database.open_to_read(path, database.connect)
    try:
        header = reading.read_header(connection, path)
        reading.check_count(connection, path, said)
        ended = reading.has_ended(connection)
    finally:
        connection.close()
    if header.run_id != name:
        raise StateError(f"the folder {path.parent} holds the run {header.run_id}: it was renamed or copied")
    state = RunState.ENDED if ended else RunState.UNFINISHED
    if is_locked(path.with_name(LOCK)):
        state = RunState.LIVE
    return RunSummary(name, state, header.playbook, header.created, header.targets)


def _stamped(name: str) -> float:
    """Read the time out of an id, 0.0 if it bears none."""
    fits = _STAMP.fullmatch(name)
    if not fits:
        return 0.0
    try:
        return datetime.strptime(fits[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[-_SHOWN:])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
