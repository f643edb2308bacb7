"""``python -m fleet`` and the ``fleet`` command."""

from __future__ import annotations

import gc
import os
from typing import NoReturn

OBJECTS_BETWEEN_COLLECTIONS = 150_000
"""About as many as a run makes until its first request, none of them garbage: Python's default, 700, looks 150 times."""


def main() -> NoReturn:
    """Run the command line. An interrupt while the program is loaded ends it as any other does."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would search every installed package for one
    try:
        from fleet.cli.main import main as command
    except KeyboardInterrupt:
        os.write(2, b"interrupted\n")
        os._exit(130)  # an exit in order may end by the signal instead: Python remembers it if code was made from text
    command()


if __name__ == "__main__":
    main()
