"""The log lines of a block of code, whatever was set up for the process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from fleet import logs


@contextmanager
def collected(stream: TextIO) -> Iterator[None]:
    """Write every line of Fleet's, as ``-vvv`` would, to this stream alone until the block ends."""
    before = logs._threshold, logs._stream
    logs._threshold, logs._stream = logging.DEBUG, stream
    try:
        yield
    finally:
        logs._threshold, logs._stream = before
