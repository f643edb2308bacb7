"""Fuzz under coverage guidance: ``python -m tests.fuzz [TARGET...] [--seconds N] [--keep]``.

Needs atheris (``.ci/tools.lock``). Each target runs in a process of its own, from the kept corpus, within bounds on
time and memory for each input. An input that breaks an invariant is left in the working folder as ``crash-...``: mend
the defect and put the file into the target's corpus. ``--keep`` adds what reached new code to the corpus.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
TARGETS = ("playbook", "guest", "arm", "journal", "row")
SECONDS_EACH = 20
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; all of them if none"
    )
    parser.add_argument("--seconds", type=int, default=SECONDS_EACH, help="for each target")
    parser.add_argument("--keep", action="store_true", help="keep inputs that reached new code")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if given.inside:
        _fuzz(given.targets[0], rest)
    return max(_one(name, given.seconds, keep=given.keep) for name in given.targets or TARGETS)


def _one(name: str, seconds: int, *, keep: bool) -> int:
    """Fuzz one target and say how many inputs it saw. Returns 0, or 1 if an invariant broke."""
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as found:
        flags = [f"-max_total_time={seconds}", "-print_final_stats=1", "-verbosity=1", *LIMITS]
        done = _call(name, [*flags, found, str(kept)])
        if keep and done.returncode == 0:
            _call(name, ["-merge=1", *LIMITS, str(kept), found])
    stats = dict(line[6:].split(":", 1) for line in done.stderr.splitlines() if line.startswith("stat::"))
    print(f"{name:10} {stats.get('number_of_executed_units', '?').strip():>9} inputs in {seconds} s", end="  ")
    print(
        "invariant held" if done.returncode == 0 else f"BROKEN\n{done.stdout[-4000:]}{done.stderr[-2000:]}", flush=True
    )
    return int(done.returncode != 0)


def _call(name: str, flags: list[str]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.fuzz", "--inside", name, *flags]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run(words, capture_output=True, text=True, errors="replace", env=environment, check=False)


def _fuzz(name: str, flags: list[str]) -> None:
    """Hand the process to libFuzzer, which ends it."""
    import atheris

    with atheris.instrument_imports(include=["fleet"]):
        from tests.fuzz.targets import TARGETS as functions
    again = f"{sys.executable} -m tests.fuzz --inside {name}"  # how libFuzzer calls itself while it merges
    atheris.Setup([again, *flags], functions[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
