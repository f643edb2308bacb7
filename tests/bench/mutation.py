"""Change the trusted cores one small thing at a time and see whether the tests notice: ``python -m tests.bench.mutation``.

``[CORE...]`` takes some of the cores, ``--only TEXT`` the mutants with that text in their names, ``--every N`` one in N,
``--jobs N`` works in N processes. The tests are collected once; each mutant then costs a fork, a swap of one function's
code, and those tests that run the changed line, the likeliest to notice it first. Chance is fixed, so a second run says
the same. Mutants that no test can notice are named, with the reason, in ``equivalent.toml``. Those of root are fenced in:
a wrong ``chmod`` would be the machine's last.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import functools
import gc
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import types
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests.bench.chance import Fixed, same_hashes
from tests.bench.cores import CORES, ROOT
from tests.bench.fence import SCRATCH, stay_behind
from tests.bench.mutants import Mutant, mutants

LEAST = 0.9
"""The share that must be killed."""
PATIENCE = 3.0
"""Seconds of tests, as they took while they were being timed, within which most mutants should be killed."""
MEMORY = 3 << 30
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass
class Tally:
    """What became of a core's mutants."""

    killed: int = 0
    equivalent: int = 0
    survived: list[str] = field(default_factory=list)
    wrongly_excused: list[str] = field(default_factory=list)
    endless: int = 0
    """Of the killed: those that did not come to an end."""

    @property
    def share(self) -> float:
        """The killed, of those that a test could kill."""
        return self.killed / max(1, self.killed + len(self.survived))

    def __str__(self) -> str:
        total = self.killed + self.equivalent + len(self.survived)
        return (
            f"{self.killed} of {total} mutants killed ({self.killed / max(1, total):.1%}), {self.equivalent} equivalent; "
            f"{self.share:.1%} of those that a test could kill; {self.endless} were killed by not coming to an end"
        )


@dataclass
class Witnesses:
    """Which tests run a line, and how long each takes."""

    seconds: dict[str, float]
    lines: dict[str, dict[int, frozenset[str]]]
    """By file, then line: the node ids."""

    @functools.cached_property
    def reach(self) -> Counter[str]:
        """How many lines each test runs in all."""
        return Counter(test for lines in self.lines.values() for tests in lines.values() for test in tests)

    def of(self, path: Path, lines: Iterator[int]) -> frozenset[str]:
        known = self.lines.get(str(path), {})
        return frozenset().union(*(known.get(line, frozenset()) for line in lines))

    def in_order(self, tests: frozenset[str]) -> list[str]:
        """Put first those that run little else, then some spread over the others, then the rest."""
        ordered = sorted(tests, key=lambda test: (self.reach[test], test))
        spent = list(accumulate(self.seconds[test] for test in ordered))
        near = bisect_right(spent, PATIENCE / 3) or 1
        stride = math.ceil((spent[-1] - spent[near - 1]) / (PATIENCE * 2 / 3)) if spent else 1
        return list(dict.fromkeys(ordered[:near] + ordered[near :: max(stride, 1)] + ordered))


class Bench:
    """A pytest plugin: instead of running what was collected once, run it once for each mutant."""

    def __init__(self, cores: Sequence[str], only: str, every: int, jobs: int, folder: Path) -> None:
        self._cores, self._only, self._every, self._jobs, self._folder = cores, only, every, jobs, folder
        self.tallies: dict[str, Tally] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        gc.collect()
        self._functions = _Functions()
        gc.freeze()
        self._witnesses = self._watch()
        excused = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
        for core in self._cores:
            self.tallies[core] = self._try(core, excused.get(core, {}))
        return True

    def _watch(self) -> Witnesses:
        """Run every test once, in a process of its own, noting which lines it runs."""
        note = self._folder / "witnesses.json"

        def watch() -> int:
            tracer = coverage.Coverage(data_file=None, branch=False, include=[str(ROOT / "fleet/*")], config_file=False)
            tracer.start()
            seconds, failed = {}, []
            for name, item in self._items.items():
                tracer.switch_context(name)
                self._functions.forget()  # an answer kept from an earlier test hides the lines that made it
                start = time.process_time()
                if not _passes(item):
                    failed.append(name)
                seconds[name] = time.process_time() - start
            tracer.stop()
            data = tracer.get_data()
            lines = {path: data.contexts_by_lineno(path) for path in data.measured_files()}
            note.write_text(json.dumps({"seconds": seconds, "lines": lines, "failed": failed}))
            return 0

        if _wait(self._fork(watch, "watch")) != 0:
            raise SystemExit("the tests could not be run once without a mutant")
        found = json.loads(note.read_text())
        if found["failed"]:
            raise SystemExit(f"these tests fail without any mutant: {found['failed']}")
        print(f"{len(self._items)} tests, {sum(found['seconds'].values()):.0f} s", flush=True)
        return Witnesses(
            found["seconds"],
            {
                path: {int(line): frozenset(names) for line, names in lines.items()}
                for path, lines in found["lines"].items()
            },
        )

    def _try(self, core: str, excused: dict[str, str]) -> Tally:
        tally = Tally()
        known: set[str] = set()
        started = time.perf_counter()
        for name, code in self._judged(core):
            known.add(name)
            was_killed = code != 0
            if code in ENDLESS:
                tally.endless += 1
                print(f"  {ENDLESS[code]}  {name}", flush=True)
            if was_killed and name in excused:
                tally.wrongly_excused.append(name)
            if was_killed:
                tally.killed += 1
            elif name in excused:
                tally.equivalent += 1
            else:
                tally.survived.append(name)
                print(f"  survived  {name}", flush=True)
        if not self._only and self._every == 1:
            tally.wrongly_excused += [name for name in excused if name not in known]
        print(f"{core}: {tally} ({time.perf_counter() - started:.0f} s)", flush=True)
        return tally

    def _judged(self, core: str) -> Iterator[tuple[str, int]]:
        """Each mutant, and what its process ended with: 0 if the mutant lives."""
        flying: dict[int, str] = {}
        for name, job in self._work(core):
            if job is None:
                yield name, 0
                continue
            if len(flying) >= self._jobs:
                yield self._landed(flying)
            flying[self._fork(job, name)] = name
        while flying:
            yield self._landed(flying)

    def _landed(self, flying: dict[int, str]) -> tuple[str, int]:
        pid, status = os.wait()
        shutil.rmtree(self._folder / str(pid), ignore_errors=True)
        name = flying.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == BROKEN:
            raise SystemExit(f"the bench itself failed at {name}")
        return name, code

    def _work(self, core: str) -> Iterator[tuple[str, Callable[[], int] | None]]:
        """Each mutant's name, and what tells in a process of its own whether it lives; None if no test runs its line."""
        for path in CORES[core].paths():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for number, mutant in enumerate(mutants(path, tree)):
                if self._only in mutant.name and number % self._every == 0:
                    tests = self._witnesses.in_order(self._tests(path, tree, mutant))
                    yield mutant.name, functools.partial(self._survives, path, tree, mutant, tests) if tests else None

    def _tests(self, path: Path, tree: ast.Module, mutant: Mutant) -> frozenset[str]:
        found = self._witnesses.of(path, iter(range(mutant.lines[0], mutant.lines[1] + 1)))
        if found:
            return found
        if mutant.function is not None:
            return frozenset()
        target = _target(mutant.statement)
        readers = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _reads(node, target)]
        lines = (line for reader in readers for line in range(reader.body[0].lineno, (reader.end_lineno or 0) + 1))
        users = self._witnesses.of(path, lines) | {name for name, item in self._items.items() if _names(item, target)}
        return users or self._witnesses.of(path, iter(self._witnesses.lines[str(path)]))

    def _survives(self, path: Path, tree: ast.Module, mutant: Mutant, tests: list[str]) -> int:
        mutant.make()
        module = sys.modules[".".join(path.relative_to(ROOT).with_suffix("").parts)]
        if mutant.function is None:
            self._functions.put_default(module, *_put_statement(module, mutant.statement))
        else:
            self._functions.put(module, mutant.function, compile(tree, str(path), "exec"))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for name in tests:
            seconds = self._witnesses.seconds[name]
            signal.setitimer(signal.ITIMER_PROF, 10 + 5 * seconds)
            signal.setitimer(signal.ITIMER_REAL, 15 + 30 * seconds)
            if not _passes(self._items[name]):
                return 1
        return 0

    def _fork(self, job: Callable[[], int], name: str) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = BROKEN
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives the bench
            quiet = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1):
                os.dup2(quiet, stream)
            if not os.environ.get("BENCH_STDERR"):
                os.dup2(quiet, 2)
            for alarm in (signal.SIGALRM, signal.SIGPROF):
                signal.signal(alarm, signal.SIG_DFL)
            own = self._folder / str(os.getpid())
            own.mkdir()
            _give_folder(next(iter(self._items.values())).config, own)
            code = job()
        except BaseException:
            import traceback

            (self._folder / "broken.txt").write_text(f"{name}\n{traceback.format_exc()}")
        finally:
            os._exit(code)


BROKEN = 99
ENDLESS = {-signal.SIGPROF: "never ends", -signal.SIGALRM: "waits for ever"}


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _passes(item: pytest.Item) -> bool:
    reports = runtestprotocol(item, log=False, nextitem=None)
    return all(report.passed or report.skipped for report in reports)


def _give_folder(config: pytest.Config, folder: Path) -> None:
    """Let the tests of this process write below a folder of their own."""
    factory: Any = config._tmp_path_factory
    factory._given_basetemp, factory._basetemp = folder / "tests", None


def _names(item: pytest.Item, name: str) -> bool:
    """Whether a test itself reads something of that name."""
    test = getattr(item, "obj", None)
    test = getattr(getattr(test, "hypothesis", None), "inner_test", test)
    return name in test.__code__.co_names if isinstance(test, types.FunctionType) else False


def _target(statement: ast.stmt) -> str:
    """The name that a statement of a module gives a value to."""
    assert isinstance(statement, ast.Assign | ast.AnnAssign)
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    assert isinstance(target, ast.Name)
    return target.id


def _reads(function: ast.FunctionDef, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(function))


class _Functions:
    """Every function of the package, wherever it is kept: in a class, a table, a decorator's closure."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str, int], list[types.FunctionType]] = defaultdict(list)
        self._caches: list[Any] = []
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType) and str(thing.__module__).startswith("fleet"):
                code = thing.__code__
                self._by_place[thing.__module__, code.co_qualname, code.co_firstlineno].append(thing)
            elif isinstance(thing, functools._lru_cache_wrapper) and str(thing.__module__).startswith("fleet"):
                self._caches.append(thing)

    def put(self, module: types.ModuleType, function: tuple[str, int], changed: types.CodeType) -> None:
        """Give a function the changed code, and forget what was kept of its answers."""
        code = next(code for code in _codes(changed) if (code.co_qualname, code.co_firstlineno) == function)
        holders = self._by_place[module.__name__, *function]
        assert holders, f"{function} is nowhere"
        for holder in holders:
            holder.__code__ = code
        self.forget()

    def put_default(self, module: types.ModuleType, old: object, new: object) -> None:
        """Let the functions of a module that took a value as a default take another; small numbers are everybody's."""
        places = () if isinstance(old, int) else [place for place in self._by_place if place[0] == module.__name__]
        for function in (function for place in places for function in self._by_place[place]):
            function.__defaults__ = tuple(new if value is old else value for value in function.__defaults__ or ())
        self.forget()

    def forget(self) -> None:
        for cache in self._caches:
            cache.cache_clear()


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _put_statement(module: types.ModuleType, statement: ast.stmt) -> tuple[object, object]:
    """Carry the one changed statement out anew, and let all who imported its name see it. Returns the old and new value."""
    name = _target(statement)
    old = module.__dict__[name]
    exec(compile(ast.Module([statement], []), str(module.__file__), "exec"), module.__dict__)
    for other in list(sys.modules.values()):
        if other.__name__.startswith(("fleet", "tests")) and other.__dict__.get(name) is old:
            other.__dict__[name] = module.__dict__[name]
    return old, module.__dict__[name]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("cores", nargs="*", metavar="CORE", help=f"one of: {', '.join(CORES)}; all by default")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants with this text in their names")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one mutant in N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="work in N processes")
    asked = parser.parse_args()
    if unknown := set(asked.cores) - set(CORES):
        parser.error(f"no such core: {', '.join(sorted(unknown))}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        try:
            stay_behind()
        except OSError as error:
            parser.error(f"mutants of root could change the rights of any folder, and cannot be kept in: {error}")
    chosen = asked.cores or list(CORES)
    with tempfile.TemporaryDirectory(dir=SCRATCH if SCRATCH.is_dir() else None) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        bench = Bench(chosen, asked.only, asked.every, asked.jobs, Path(folder))
        options = ["-q", "-s", "-p", "no:cacheprovider", "-o", "timeout=0", f"--rootdir={ROOT}"]
        tests = dict.fromkeys(test for core in chosen for test in CORES[core].tests)
        pytest.main([*options, *(str(ROOT / test) for test in tests)], [Fixed(), bench])
        broken = Path(folder) / "broken.txt"
        if broken.exists():
            print(broken.read_text(), file=sys.stderr)
    wrong = [name for tally in bench.tallies.values() for name in tally.wrongly_excused]
    for name in wrong:
        print(f"in {EQUIVALENT.name}, but killed or not there: {name}")
    held = bench.tallies and all(tally.share >= LEAST for tally in bench.tallies.values())
    return 0 if held and not wrong else 1


if __name__ == "__main__":
    same_hashes()
    raise SystemExit(main())
