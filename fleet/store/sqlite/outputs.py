"""Whole output that was fetched from a VM, kept beside the run it belongs to.

Layout: ``<run folder>/output/<job>.<stream>``, folders 0700, files 0600. What is read back is believed only if it has
the length and the digest that the run's journal names.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fleet.store.sqlite.files import is_plain_file, make_folder, read_plain, write_private

FOLDER = "output"


def kept(folder: Path, job: int, stream: str, *, length: int, digest: str) -> bytes | None:
    """Return a stream that was fetched before; None if it was not, or is no longer what it should be."""
    path = _path(folder, job, stream)
    try:
        if not is_plain_file(path) or path.stat().st_size != length:
            return None
        data = read_plain(path)
    except OSError:
        return None
    return data if fits(data, length, digest) else None


def fits(data: bytes, length: int, digest: str) -> bool:
    """Whether a stream is the one that a receipt tells of; ``-`` stands for a digest that the VM could not make."""
    return len(data) == length and digest in ("-", hashlib.sha256(data).hexdigest())


def keep(folder: Path, job: int, stream: str, data: bytes) -> None:
    """Keep a fetched stream, in place of an earlier one. Raises StateError."""
    path = _path(folder, job, stream)
    make_folder(path.parent)
    write_private(path, data)


def _path(folder: Path, job: int, stream: str) -> Path:
    return folder / FOLDER / f"{job}.{stream}"
