"""Whether the files that a process has open are still the ones at their paths.

A file that was removed or replaced takes writes without an error, and nothing of them is found afterwards. So the files
are compared by device and inode. SQLite has all of them open, and an inode is not used again while a file is open.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

_Identity = tuple[int, ...]


class Presence:
    """Remembers files and folders, and says which of them is no longer there. A folder may be any folder, but no link."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Remember what is at these paths now; a path with nothing there is left out. Raises OSError."""
        self._known: dict[str, _Identity] = {}
        for path in paths:
            try:
                self._known[os.fspath(path)] = _identity(os.lstat(path))
            except FileNotFoundError:
                continue

    def lost(self) -> str:
        """Say what was removed or replaced; empty if nothing was. Costs a call of lstat for each path."""
        for path, known in self._known.items():
            try:
                found = _identity(os.lstat(path))
            except OSError as error:
                return _missing(Path(path), error)
            if found != known:
                return f"{path} was replaced"
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
