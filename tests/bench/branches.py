"""Hold every branch of the trusted cores to be taken by their fast tests: ``python -m tests.bench.branches [CORE...]``.

Chance is fixed and examples are few, so that what is covered does not depend on luck.
"""

from __future__ import annotations

import sys

import coverage
import pytest

from tests.bench.chance import Fixed, same_hashes
from tests.bench.cores import CORES, ROOT


def main() -> int:
    chosen = sys.argv[1:] or list(CORES)
    if unknown := set(chosen) - set(CORES):
        print(f"no such core: {', '.join(sorted(unknown))}; there are: {', '.join(CORES)}", file=sys.stderr)
        return 2
    files = {core: [str(path) for path in CORES[core].paths()] for core in chosen}
    tracer = coverage.Coverage(
        data_file=None,
        branch=True,
        include=[name for names in files.values() for name in names],
        config_file=str(ROOT / "pyproject.toml"),
    )
    tests = dict.fromkeys(test for core in chosen for test in CORES[core].tests)
    tracer.start()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *(str(ROOT / test) for test in tests)], [Fixed()])
    tracer.stop()
    if code != 0:
        return int(code)
    whole = True
    for core, names in files.items():
        print(f"{core}:")
        whole = tracer.report(names, show_missing=True, skip_empty=True) == 100 and whole
    print("every branch is taken" if whole else "NOT EVERY BRANCH IS TAKEN")
    return 0 if whole else 1


if __name__ == "__main__":
    same_hashes()
    raise SystemExit(main())
