"""Measure which lines and branches of all modules the tests reach: ``python -m tests.bench.covered``.

Counted is what runs in the tests' own processes and in every process that they start: the command line, the lab, the
workers of the trials. What a process did that was ended with SIGKILL is lost. Chance is fixed and sweeps are left
out (``tests/bench/chance.py``), so that the figure does not depend on luck. The suite runs in parts, several at once:
most of them wait rather than compute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import coverage
import pytest

from tests.bench.chance import Fixed
from tests.bench.cores import ROOT

WANTED = 95.0
"""Percent of lines and branches together, of all modules together."""
SHOWN = 90.0
"""Modules with less are shown, with the lines and branches that they miss."""

LEFT_OUT = {
    "tests/unit/report/test_aggregate.py::test_many_rows_aggregate_quickly": "held to seconds of CPU",
    "tests/system/test_startup.py::test_what_is_not_needed_is_not_imported": "coverage itself imports sqlite3",
    "tests/system/test_kill_moments.py::test_kills_at_random_moments": "a sweep; the killed leave no data",
    "tests/system/test_disk_faults.py::test_every_call_of_a_run_fails_once": "a sweep of minutes",
}
"""Tests that are not run while lines are counted, each with the reason."""

CONFIG = """\
[run]
branch = true
parallel = true
data_file = {folder}/data
source = {source}
sigterm = true
patch = _exit
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    at_once = (os.cpu_count() or 1) + 1
    parser.add_argument("--jobs", type=int, default=at_once, help="Parts at once (default: one more than processors).")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="Keep the data, for `coverage html` and the like.")
    parser.add_argument("--part", nargs="+", metavar="PATH", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        return _test(asked.part)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = _measure(folder, asked.jobs)
        data = str(asked.keep.resolve() if asked.keep else folder / "all")
        counted = coverage.Coverage(data_file=data, config_file=str(ROOT / "pyproject.toml"), messages=False)
        counted.combine([str(path) for path in folder.glob("data.*")], strict=True)
        counted.save()
        percent = _told(counted, folder)
    print(f"{percent:.2f} % of the lines and branches of all modules, after {time.monotonic() - began:.0f} s")
    if not whole:
        print("NOT ALL TESTS PASSED")
    if percent < WANTED:
        print(f"UNDER {WANTED:g} %")
    return int(not whole or percent < WANTED)


def _parts() -> list[list[Path]]:
    """What is run together in one process: where tests take long, a file each, else a folder each."""
    tests = ROOT / "tests"
    folders = sorted({path.parent for path in tests.glob("unit/*/test_*.py")})
    alone = [*sorted(tests.glob("verification/test_*.py")), *folders, *sorted(tests.glob("system/test_*.py"))]
    loose = sorted([*tests.glob("unit/test_*.py"), *tests.glob("test_*.py")])
    return [*([path] for path in alone), [tests / "lab"], [tests / "wire", tests / "contracts"], loose]


def _measure(folder: Path, at_once: int) -> bool:
    """Run all parts; say whether every test passed."""
    config = folder / "config"
    config.write_text(CONFIG.format(folder=folder, source=ROOT / "fleet"))
    # Coverage starts by itself in every Python process that finds the first of these.
    environment = {**os.environ, "COVERAGE_PROCESS_START": str(config), "PYTHONHASHSEED": "0"}

    def run(part: list[Path]) -> bool:
        names = [str(path.relative_to(ROOT)) for path in part]
        words = [sys.executable, "-m", "tests.bench.covered", "--part", *names]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
        lines = done.stdout.splitlines() or [done.stderr]
        print(f"{' '.join(names)}: {lines[-1]}", *(lines if done.returncode else ()), sep="\n", flush=True)
        return done.returncode == 0

    with ThreadPoolExecutor(at_once) as pool:
        return all(list(pool.map(run, _parts())))


def _test(paths: list[str]) -> int:
    """Run a part, in this process; coverage has started by itself."""
    # A shell's background job has these ignored, and hands that on to what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    left_out = [f"--deselect={test}" for test in LEFT_OUT]
    code = pytest.main(["-p", "no:cacheprovider", "--timeout=600", *left_out, *paths], [Fixed()])
    return 0 if code is pytest.ExitCode.NO_TESTS_COLLECTED else int(code)  # a part may be left out wholly


def _told(counted: coverage.Coverage, folder: Path) -> float:
    """Print the modules that miss much; return the percentage of all."""
    page = folder / "report.json"
    percent = counted.json_report(outfile=str(page))
    files = json.loads(page.read_text())["files"]
    if low := [name for name, file in files.items() if file["summary"]["percent_covered"] < SHOWN]:
        counted.report(low, show_missing=True)
    return percent


if __name__ == "__main__":
    raise SystemExit(main())
