"""Files that a person names, read up to a bound."""

from __future__ import annotations

import errno
from pathlib import Path

from fleet.errors import InvalidInput, Problem

MOST_READ = 1 << 20
"""Characters read of a file that a person named, if it is no plan: a mistaken name may be a disk or an endless device."""


def read_text(path: Path, what: str, *, most: int = MOST_READ) -> str:
    """Read a file that a person named. Raises InvalidInput with a sentence, also for more than ``most`` characters."""
    try:
        return read_bounded(path, most)
    except FileNotFoundError:
        problem = Problem("no_file", f"{what} {path} does not exist", hint="check the path")
    except IsADirectoryError:
        problem = Problem("no_file", f"{path} is a folder, not {what}", hint="name a file in it")
    except UnicodeDecodeError as error:
        problem = Problem("not_utf8", f"{what} {path} is not UTF-8 text ({error.reason} at byte {error.start})")
    except OSError as error:
        problem = Problem("unreadable", f"{what} {path} cannot be read: {error.strerror}")
    raise InvalidInput([problem])


def read_bounded(path: Path, most: int) -> str:
    """Read text of at most so many characters. Raises OSError, also for more, and UnicodeDecodeError."""
    with path.open(encoding="utf-8") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} characters")
    return text
