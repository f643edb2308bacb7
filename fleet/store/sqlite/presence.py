"""Whether the files that a process has open are still the ones at their paths.

A file that was removed or replaced takes writes without an error, and nothing of them is found afterwards. So the files
are compared by device and inode. SQLite has all of them open, and an inode is not used again while a file is open.

A file that was overwritten in its place (emptied, or by ``cp`` of an older copy) keeps its inode. But a database only
grows, as nothing here makes one smaller: one that became shorter was overwritten. Of a log this cannot be said.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

_Identity = tuple[int, ...]


class Presence:
    """Remembers files and folders, and says which of them is no longer there. A folder may be any folder, but no link."""

    def __init__(self, paths: Iterable[Path], growing: Path) -> None:
        """Remember what is at these paths now; a path with nothing there is left out. Raises OSError.

        The file ``growing``, one of them, is lost as well when it gets shorter.
        """
        self._growing = os.fspath(growing)
        self._size = os.lstat(growing).st_size
        self._known: dict[str, _Identity] = {}
        for path in paths:
            try:
                self._known[os.fspath(path)] = _identity(os.lstat(path))
            except FileNotFoundError:
                continue

    def lost(self) -> str:
        """Say what was removed or replaced; empty if nothing was. Costs a call of lstat for each path. For one thread."""
        for path, known in self._known.items():
            try:
                found = os.lstat(path)
            except OSError as error:
                return _missing(Path(path), error)
            if _identity(found) != known:
                return f"{path} was replaced"
            if path == self._growing:
                if found.st_size < self._size:
                    return f"{path} was cut short or overwritten"
                self._size = found.st_size
        return ""


def _identity(found: os.stat_result) -> _Identity:
    kind = stat.S_IFMT(found.st_mode)
    return (kind, found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else (kind,)


def _missing(path: Path, error: OSError) -> str:
    """Name the topmost folder that is missing, since the rest went with it."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{path} can no longer be reached ({error.strerror})"
    gone = next((place for place in reversed((path, *path.parents)) if not os.path.lexists(place)), path)
    return f"{gone} was removed or renamed"
