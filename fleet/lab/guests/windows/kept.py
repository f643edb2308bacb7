"""Where a Windows guest's state is kept: a folder of its own beside the guest, which is bound into it.

Only the played Windows is to change it, but a script can. So no link in it is followed, and what is not understood stays.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from fleet.lab.guests.windows import stock
from fleet.lab.guests.windows.state import State

_NAME = "state.json"
_OFF = "off"
_LARGEST = 16 * 1024 * 1024


def write(folder: Path, state: State) -> None:
    """Put a state into the folder, at once and whole."""
    owner = folder.stat()
    draft = folder / f".{_NAME}"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(state, stream)
        if os.geteuid() == 0:
            os.chown(descriptor, owner.st_uid, owner.st_gid)
    draft.replace(folder / _NAME)


def went_off(folder: Path) -> bool:
    """Take the word that the machine powers off, and say whether it was there."""
    with suppress(OSError):
        (folder / _OFF).unlink()
        return True
    return False


def boot(folder: Path, booted: float) -> None:
    """Change the state as a restart at this time does: updates are complete or undone, wishes for a restart are gone."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        descriptor = os.open(folder / _NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            text = stream.read(_LARGEST)
        write(folder, stock.after_boot(json.loads(text), booted))
