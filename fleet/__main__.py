"""``python -m fleet`` and the ``fleet`` command."""

from __future__ import annotations

import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. An interrupt while the program is loaded ends it as any other does."""
    try:
        from fleet.cli.main import main as command
    except KeyboardInterrupt:
        os.write(2, b"interrupted\n")
        os._exit(130)  # an exit in order may end by the signal instead: Python remembers it if code was made from text
    command()


if __name__ == "__main__":
    main()
