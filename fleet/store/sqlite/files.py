"""Folders and files that only their owner may read, and the lock that says who writes.

POSIX modes 0700 and 0600 are set whatever the umask is; on Windows the profile's own access list applies.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fleet.documents.files import is_own_stream
from fleet.errors import StateError

_LOCK_TRIES = 5
_LOCK_PAUSE = 0.02
"""Seconds. Who asks whether a run is live holds its lock for an instant; an opener waits that long."""


def make_folder(path: Path) -> None:
    """Create a folder (0700) with its missing parents (0700). An existing folder is left as it is.

    Raises StateError if it cannot be made.
    """
    try:
        missing = [path, *path.parents]
        for folder in reversed([folder for folder in missing if not folder.exists()]):
            with suppress(FileExistsError):  # it has come since we looked: it is not ours to close
                folder.mkdir(mode=0o700)
                folder.chmod(0o700)
        if not path.is_dir():
            raise NotADirectoryError(20, "Not a directory")
    except OSError as error:
        raise StateError(
            f"the folder {path} cannot be made: {_reason(error)}",
            hint="name another folder with FLEET_STATE_DIR or state_dir in the config",
        ) from error


def make_file(path: Path) -> None:
    """Create an empty file (0600) that was not there before. Raises FileExistsError or another OSError."""
    os.close(open_new(path))


def open_new(path: Path) -> int:
    """Create a file (0600) that was not there before, and return its descriptor. Raises as :func:`make_file` does."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o600)  # with O_EXCL no link is followed (POSIX)
    try:
        if sys.platform != "win32":
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_plain_file(path: Path) -> bool:
    """Say whether a regular file, and no link to one, lies there."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def is_obstructed(path: Path) -> bool:
    """Say whether something is there that is not a regular file: a link, a pipe, a device, a folder."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


_AS_PLAIN = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_plain(path: Path, flags: int) -> int:
    """Open a regular file that may be missing only if ``flags`` create it (0600); return its descriptor.

    Never waits and never follows a link: opening a pipe to read it would wait for a writer. Raises OSError, also for
    anything that is not a regular file.
    """
    if is_obstructed(path) and not path.is_symlink():  # opening a device may already do something to it
        raise _not_plain(path)
    descriptor = os.open(path, flags | _AS_PLAIN, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_plain(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _not_plain(path: Path) -> OSError:
    return OSError(errno.EINVAL, "Not a regular file", os.fspath(path))


def read_plain(path: Path, *, most: int = -1) -> bytes:
    """Read a file that :func:`open_plain` opens, or its first ``most`` bytes. Raises OSError."""
    with os.fdopen(open_plain(path, os.O_RDONLY), "rb") as file:
        return file.read(most)


def sync_folder(path: Path) -> None:
    """Make the folder's entries durable, so that a new file survives a power cut.

    POSIX only; elsewhere nothing.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """The right to write a run. The kernel lets go of it when the process ends, however it ends.

    ``flock`` belongs to the open file and not to the process, so a second opener in the same process is
    refused too.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises BlockingIOError if somebody holds it, OSError where there is no locking."""
        self._descriptor: int | None = _open_lock(path)
        try:
            for attempt in range(_LOCK_TRIES):
                if _try_lock(self._descriptor, shared=False):
                    return
                if attempt + 1 < _LOCK_TRIES:
                    time.sleep(_LOCK_PAUSE)
            raise BlockingIOError(11, "held by another process")
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go of the lock. Safe to repeat."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(path: Path) -> bool:
    """Say whether somebody holds the lock now.

    A lock file that is not there, or cannot be read, is held by nobody.
    """
    try:
        descriptor = open_plain(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, shared=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    descriptor = open_plain(path, os.O_CREAT | os.O_RDWR)
    if sys.platform != "win32":
        os.fchmod(descriptor, 0o600)
    return descriptor


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        if shared:
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def write_private(path: Path, content: str | bytes | Iterable[str], *, tidy: bool = True) -> None:
    """Write a file that only its owner may read (0600), replacing it whole. Raises StateError.

    ``tidy`` also takes away what killed writers left in the folder, which reads the whole folder.
    """
    _write(path, content, 0o600, tidy=tidy)


def write_shared(path: Path, content: str) -> None:
    """Write a file that others may read as far as the umask lets them, replacing it whole. Raises StateError."""
    _write(path, content, 0o644, tidy=True)


def obstacle(path: Path) -> str:
    """Say why no file can be put there; empty if one can, as far as can be seen. A link is replaced, not followed."""
    if os.path.isdir(path):  # noqa: PTH112  unlike Path's, it takes a name of any length
        return "it is a folder"
    if not os.path.isdir(path.parent):  # noqa: PTH112  for the same reason
        return f"there is no folder {path.parent}"
    if why := _other_kind(path):
        return why
    return "" if os.access(path.parent, os.W_OK) else f"the folder {path.parent} is not yours to write to"


def _other_kind(path: Path) -> str:
    """Say that something is there that is neither a file nor a folder: it would be replaced by a file."""
    if is_own_stream(path):
        return "it is a stream of this process"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except ValueError:
        return "its name holds a null character"
    except OSError as error:
        return _reason(error)
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "it is a device, a pipe or a socket"


def _write(path: Path, content: str | bytes | Iterable[str], mode: int, *, tidy: bool) -> None:
    if not path.name:
        raise StateError(f"{path} is a folder, not a file", hint="name a file in it")
    hint = "choose a folder that exists and that you may write to"
    if why := _other_kind(path):
        raise StateError(f"{path} cannot be written: {why}", hint=hint)
    if tidy:
        _tidy(path.parent)
    try:
        partial, descriptor = _partial(path, mode)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in (content,) if isinstance(content, str | bytes) else content:
                file.write(piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass"))
            file.flush()
            if sys.platform != "win32":  # while it is locked, so that nobody takes it for a leftover
                partial.replace(path)
        if sys.platform == "win32":
            partial.replace(path)
    except BaseException as error:  # of the disk, or of what makes the pieces
        partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise StateError(f"{path} cannot be written: {error.strerror}", hint=hint) from error


_PARTIAL = re.compile(r"\.fleet-[0-9a-f]{16}-[0-9a-f]{16}\.part")


def _partial(path: Path, mode: int) -> tuple[Path, int]:
    """Open a new file beside the one to be written, under a name that no other writer has, and lock it. Raises OSError.

    The kernel lets go of the lock when the process ends, so one that is not locked is nobody's.
    """
    prefix = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    while True:
        partial = path.with_name(f".fleet-{prefix}-{secrets.token_hex(8)}.part")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            if _try_lock(descriptor, shared=False) and _is_there(partial, descriptor):
                return partial, descriptor
        except OSError:  # a file system without locks: then nothing is tidied up there either
            return partial, descriptor
        os.close(descriptor)  # somebody who tidies up looked at it before it was locked
        partial.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Take away the partial files of writers of this user that were killed: those that are not locked."""
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208  names are enough
            if _PARTIAL.fullmatch(name):
                with suppress(OSError):
                    _take_away(folder / name)


def _take_away(partial: Path) -> None:
    descriptor = os.open(partial, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        found = os.fstat(descriptor)
        own = stat.S_ISREG(found.st_mode) and (sys.platform == "win32" or found.st_uid == os.geteuid())
        if own and _try_lock(descriptor, shared=False) and _is_there(partial, descriptor):
            partial.unlink()
    finally:
        os.close(descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
