"""The folder of runs: the list, and finding one by what a person typed.

Layout: ``<state_dir>/runs/<run id>/``. What a person typed is only ever compared with names that are there;
it never becomes part of a path.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from fleet.clock import wall_time
from fleet.errors import StateError
from fleet.run.kept import RunState, RunSummary
from fleet.run.run_id import check, find, is_id, stamp_of
from fleet.store.sqlite import acknowledged, database, reading
from fleet.store.sqlite.database import DATABASE, LOCK, as_state_error, obstructed
from fleet.store.sqlite.files import is_locked, is_obstructed, is_plain_file, make_folder
from fleet.store.sqlite.index import Index


class RunsFolder:
    """The runs kept under one state directory, which need not exist yet."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "runs"

    def prepare(self) -> None:
        """Make the folder (0700). Raises StateError."""
        make_folder(self.path)

    def folder(self, run_id: str) -> Path:
        """Return where the run of this id lies, or would lie. Raises RunNotFound if that is no run id."""
        return self.path / check(run_id)

    def list(self, among: Container[str] | None = None) -> tuple[RunSummary, ...]:
        """Return every run, or those of these ids, newest first; one that cannot be read is listed as damaged.

        Raises StateError.
        """
        index = Index(self.path, wall_time())
        found = [index.summary(name, self._summary) for name in self._names() if among is None or name in among]
        if among is None:
            index.save()
        return tuple(sorted(found, key=lambda run: (run.created, run.id), reverse=True))

    def find(self, text: str) -> str:
        """Return the id that an id, a unique prefix of one, or ``last`` stands for. Raises RunNotFound."""
        return find(text, self._names(), lambda: self.list()[0].id, str(self.path))

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
        return tuple(sorted(entry.name for entry in entries if is_id(entry.name)))

    def _summary(self, name: str) -> RunSummary:
        path = self.path / name / DATABASE
        try:
            if not is_plain_file(path):
                raise StateError(f"there is no journal in {path.parent}")
            return _read_summary(name, path)
        except (StateError, *database.FAILURES) as error:
            said = error if isinstance(error, StateError) else as_state_error(error, path)
            return RunSummary(name, RunState.DAMAGED, created=stamp_of(name), detail=str(said))


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
