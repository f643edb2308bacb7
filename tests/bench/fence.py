"""Keeps what runs as root, and may do anything, from changing the machine: of its files only a scratch folder is left."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

SCRATCH = Path("/dev/shm")
"""What can still be written: fresh and empty behind the fence, and gone with the last process behind it."""

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MOUNT_SETATTR = 442
"""The same number on every architecture; Linux 5.12 and later."""
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY = 1


def stay_behind() -> None:
    """Let this process and its children see everything that is mounted as read-only, except ``SCRATCH``.

    There is no way back, and no other process notices. Raises OSError where that cannot be had.
    """
    if not hasattr(os, "geteuid") or not SCRATCH.is_dir():
        raise OSError(f"this system has no {SCRATCH}")
    libc = ctypes.CDLL(None, use_errno=True)
    read_only = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY)  # struct mount_attr: set, clear, propagation, user namespace
    _done(libc.unshare(_CLONE_NEWNS), "unshare")
    _done(libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "make mounts private")
    changed = libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR), _AT_FDCWD, b"/", _AT_RECURSIVE, read_only, ctypes.c_size_t(32)
    )
    _done(changed, "make mounts read-only")
    _done(libc.mount(b"tmpfs", os.fsencode(SCRATCH), b"tmpfs", ctypes.c_ulong(0), b"mode=1777"), "mount a tmpfs")
    if not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise OSError("/ is not read-only")


def _done(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
