"""``python -m tests.verification``."""

from __future__ import annotations

import sys

from tests.verification.command import invoke

if __name__ == "__main__":
    sys.exit(invoke(sys.argv[1:]))
