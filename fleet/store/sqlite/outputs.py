"""Whole output that was fetched from a VM, kept beside the run it belongs to.

Layout: ``<run folder>/output/<job>.<stream>``, folders 0700, files 0600. What is read back is believed only if it has
the length and the digest that the run's journal names.
"""

from __future__ import annotations

from pathlib import Path

from fleet.run.model import Extent
from fleet.store.sqlite.files import is_plain_file, make_folder, read_plain, write_private

FOLDER = "output"


def kept(folder: Path, job: int, stream: str, extent: Extent) -> bytes | None:
    """Return a stream that was fetched before; None if it was not, or is no longer what it should be."""
    path = _path(folder, job, stream)
    try:
        if not is_plain_file(path) or path.stat().st_size != extent.length:
            return None
        data = read_plain(path)
    except OSError:
        return None
    return data if extent.fits(data) else None


def keep(folder: Path, job: int, stream: str, data: bytes) -> None:
    """Keep a fetched stream, in place of an earlier one. Raises StateError."""
    path = _path(folder, job, stream)
    make_folder(path.parent)
    write_private(path, data)


def _path(folder: Path, job: int, stream: str) -> Path:
    return folder / FOLDER / f"{job}.{stream}"
