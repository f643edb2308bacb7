"""The parts that everything else trusts, module by module, and the fast tests that hold them.

``python -m tests.bench.branches`` checks that these tests take every branch of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Core:
    """Modules below ``fleet``, and the fast tests that must hold them alone. Paths are those of the repository."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]

    def paths(self) -> tuple[Path, ...]:
        return tuple(ROOT / "fleet" / f"{module}.py" for module in self.modules)


CORES = {
    "redaction": Core(
        ("logs", "azure/wire/redaction"),
        ("tests/unit/test_logs.py", "tests/wire/test_redaction.py"),
    ),
    "limiter": Core(
        ("run/rate", "run/limits", "run/budget", "run/admission"),
        ("tests/unit/run/test_rate.py", "tests/unit/run/test_limits.py", "tests/unit/run/test_pace.py"),
    ),
    "journal": Core(
        (
            "store/sqlite/acknowledged",
            "store/sqlite/database",
            "store/sqlite/files",
            "store/sqlite/journal",
            "store/sqlite/presence",
            "store/sqlite/reading",
            "store/sqlite/records",
            "store/sqlite/wal",
            "store/sqlite/writer",
        ),
        ("tests/unit/store", "tests/unit/test_files.py", "tests/contracts/test_run_store.py"),
    ),
    "state machine": Core(
        (
            "run/job",
            "run/job_state",
            "run/state",
            "run/outcome",
            "run/retry",
            "run/diagnosis",
            "run/expiry",
            "run/removal",
        ),
        ("tests/unit/run", "tests/unit/engine/test_defects.py"),
    ),
    "what comes next": Core(
        ("run/view", "run/scheduler", "run/steps", "run/reboot", "run/directives"),
        ("tests/unit/run", "tests/unit/engine", "tests/unit/test_without_left.py"),
    ),
}
