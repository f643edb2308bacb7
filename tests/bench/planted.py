"""Plant deliberate defects in copies of Fleet and see whether its simulation notices: ``python -m tests.bench.planted``.

``[NAME...]`` takes some of the defects, ``--seeds N`` tries the first N seeds (300), ``--jobs N`` plants N at a time. Each
defect is an edit of the text of the package, made in a copy in a temporary folder; the seeds run there in a process of
their own. Shown is the first seed that fails, with the sentence by which the defect was noticed. An edit that no longer
applies is an error: the table below has to follow the code. Exit code 0 if every defect was noticed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.cores import ROOT

SEEDS = 300
LONGEST = 600.0
"""Seconds that the seeds of one defect may take."""

TRIAL = """
import sys
import fleet
from tests.verification.seeds import judge

assert fleet.__file__.startswith(sys.argv[1]), fleet.__file__
for seed in map(int, sys.argv[2:]):
    if breaches := judge(seed).breaches:
        print(seed, breaches[0].strip().splitlines()[-1 if "broke down" in breaches[0] else 0])
        break
"""


@dataclass(frozen=True)
class Edit:
    """A text that stands once in a file of the package, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Noticed:
    """What became of a defect: the first seed that failed, -1 for none, and by which sentence."""

    seed: int
    sentence: str = ""


class DoesNotApply(Exception):
    """An edit's text is not in its file, or is there more than once."""


ENGINE, JOB, JUDGE, STATE = "engine/loop.py", "run/job.py", "run/outcome.py", "run/state.py"
REMOVAL = "run/removal.py"
RECEIPT, REPORT, VERDICT, BUDGET = "guest/receipt.py", "report/aggregate.py", "report/verdict.py", "run/budget.py"
ROWS = "    jobs = tuple(row(job, record, resumable=resumable) for job in record.jobs)\n"
GREEN = "Outcome(Status.SUCCEEDED, Cause(CauseCode.COMPLETED), exit_code=0, verified=True)"

DEFECTS: dict[str, tuple[Edit, ...]] = {
    "crash-not-sent": (Edit(STATE, "state.job.id, LostReason.CRASHED)", "state.job.id, LostReason.NOT_CONNECTED)"),),
    "sent-again-after-reset": (
        Edit(
            JOB,
            "if event.reason is LostReason.NOT_CONNECTED:",
            "if event.reason in (LostReason.NOT_CONNECTED, LostReason.RESET):",
        ),
    ),
    "row-dropped": (Edit(REPORT, ROWS, ROWS + "    jobs = jobs[:-1] if len(jobs) > 12 else jobs\n"),),
    "rows-swapped": (
        Edit(
            REPORT,
            ROWS,
            "    others = (*record.jobs[1::-1], *record.jobs[2:])\n"
            "    jobs = tuple(\n"
            "        row(replace(job, outcome=other.outcome), record, resumable=resumable)\n"
            "        for job, other in zip(record.jobs, others, strict=True)\n"
            "    )\n",
        ),
    ),
    "answers-swapped": (
        Edit(
            ENGINE,
            "        self._inbox.append(event)\n",
            "        if isinstance(event, e.ResultReceived):\n"
            "            mine = event.answer\n"
            "            event = replace(event, answer=getattr(self, '_last', mine))\n"
            "            self._last = mine\n"
            "        self._inbox.append(event)\n",
        ),
    ),
    "budget-one-over": (
        Edit(BUDGET, "self.failures + in_flight <= failures)", "self.failures + in_flight <= failures + 1)"),
        Edit(BUDGET, "self.failures > failures:", "self.failures > failures + 1:"),
    ),
    "unreachable-not-counted": (
        Edit(BUDGET, "self.not_reached += status in NOT_REACHED", "self.not_reached += status in ()"),
    ),
    "told-before-journalled": (
        Edit(
            ENGINE,
            "        try:\n            await self._journal.append([event for event in events if event.durable])\n",
            "        for event in events:\n            self._observe(event)\n"
            "        try:\n            await self._journal.append([event for event in events if event.durable])\n",
        ),
    ),
    "sent-before-journalled": (
        Edit(ENGINE, "                calls.append(call)\n", "                tasks.create_task(call)\n"),
    ),
    "exit-code-forgets": (
        Edit(
            VERDICT,
            "ExitCode.NOT_REACHED)\n    return ExitCode.NOT_REACHED\n",
            "ExitCode.NOT_REACHED)\n    return ExitCode.OK\n",
        ),
    ),
    "give-up-is-success": (
        Edit(
            JUDGE, "return Outcome(Status.TIMED_OUT, Cause(CauseCode.SERVICE_TIMEOUT, text, hint))", f"return {GREEN}"
        ),
    ),
    "silent-agent-is-success": (
        Edit(JUDGE, "return Outcome(Status.UNKNOWN, Cause(CauseCode.AGENT_NOT_READY, text, hint))", f"return {GREEN}"),
    ),
    "any-nonce": (
        Edit(RECEIPT, 'ours = [frame for frame in frames if frame["nonce"] == nonce]', "ours = frames"),
        Edit(RECEIPT, 'if frame["nonce"] == nonce and body.startswith', "if body.startswith"),
        Edit(RECEIPT, "if receipt.nonce != nonce:", "if not receipt.nonce:"),
    ),
    "green-without-receipt": (
        Edit(
            JUDGE,
            "    if exit_code == 0:\n        return _unproven",
            f"    if exit_code == 0:\n        return {GREEN}\n        _unproven",
        ),
    ),
    "journal-not-fenced": (
        Edit(
            "store/sqlite/writer.py",
            "WHERE (SELECT max(epoch) FROM lease) = ?",
            "WHERE (SELECT max(epoch) FROM lease) >= ?",
        ),
        Edit("store/sqlite/database.py", "seq INTEGER PRIMARY KEY, epoch", "seq INTEGER NOT NULL, epoch"),
    ),
    # Others of the same kinds.
    "lost-frees-its-slot": (
        Edit("run/job_state.py", "held = self.possibly_sent or self.calling", "held = self.calling"),
    ),
    "receipt-names-no-script": (Edit(RECEIPT, "        return Reason.UNHASHED_SCRIPT\n", "        return None\n"),),
    "better-of-two-receipts": (Edit(RECEIPT, "    if reading.disputed:\n", "    if False:\n"),),
    "receipts-on-stderr-ignored": (
        Edit(RECEIPT, "for text in (reading.stdout, reading.stderr) for", "for text in (reading.stdout,) for"),
    ),
    "receipt-of-another-script": (
        Edit(RECEIPT, "return None if receipt.script_digest == digest else Reason.WRONG_SCRIPT", "return None"),
    ),
    "nonce-worked-out": (
        Edit(
            ENGINE,
            "nonce=self._nonces()",
            "nonce=derived_nonce(self._run.run_id, self._run.jobs[event.job].job, event.retry)",
        ),
        Edit(
            ENGINE,
            "from fleet.run.command import command_name",
            "from fleet.run.command import command_name, derived_nonce",
        ),
    ),
    "nonce-drawn-anew": (
        Edit("run/view.py", "self.jobs[job].wrapped and not self.jobs[job].nonce", "self.jobs[job].wrapped"),
        Edit(JOB, "state.nonce = state.nonce or event.nonce", "state.nonce = event.nonce or state.nonce"),
    ),
    "unhashed-streams": (Edit(RECEIPT, "    if StreamCheck.WRONG_HASH in checks:\n", "    if False:\n"),),
    "internal-error-is-failure": (
        Edit(JUDGE, 'frozenset({"InternalExecutionError", UNEXPLAINED, UNREPORTED})', "frozenset({UNEXPLAINED})"),
    ),
    "unexplained-is-failure": (
        Edit(
            JUDGE,
            'frozenset({"InternalExecutionError", UNEXPLAINED, UNREPORTED})',
            'frozenset({"InternalExecutionError", UNREPORTED})',
        ),
    ),
    "not-reported-is-failure": (Edit(JUDGE, "or any(part in message for part in _SENT_BUT_UNREPORTED)", "or False"),),
    "preempted-is-cancelled": (Edit(JUDGE, 'return code.casefold() == "operationpreempted"', "return False"),),
    "deleted-while-it-may-run": (
        Edit(
            REMOVAL,
            "outcome.status is not Status.CANCELLED and not outcome.may_still_run",
            "outcome.status is not Status.CANCELLED",
        ),
    ),
    "interrupted-is-failure": (
        Edit(JUDGE, "    if receipt.interrupted:\n", "    if receipt.interrupted and receipt.exit_code:\n"),
    ),
    "stderr-outranks-receipt": (
        Edit(
            JUDGE,
            '    reading = _read(answer, nonce or "")\n',
            '    if (answer.combined or "").strip().endswith(UNFINISHED):\n'
            "        return Outcome(Status.UNKNOWN, Cause(CauseCode.INTERRUPTED_IN_GUEST))\n"
            '    reading = _read(answer, nonce or "")\n',
        ),
    ),
    "code-without-receipt-proves": (
        Edit(
            JUDGE,
            "    return _unproven(reading, Cause(CauseCode.NO_RECEIPT, message))\n",
            "    return Outcome(Status.FAILED, Cause(CauseCode.EXIT_CODE, message), exit_code=exit_code, verified=True)\n",
        ),
    ),
    "kill-is-handler-error": (
        Edit(JUDGE, "    if status == KILLED and EXIT_STATUS.search(message):\n", "    if False:\n"),
    ),
    "running-view-proves": (
        Edit(
            JUDGE,
            '    if state == "succeeded" or (state == "failed"',
            '    if state in ("succeeded", "running") or (state == "failed"',
        ),
    ),
    "handler-error-is-success": (
        Edit(
            JUDGE,
            "        return Status.FAILED, Cause(CauseCode.HANDLER_ERROR, message)\n",
            "        return Status.SUCCEEDED, Cause(CauseCode.COMPLETED, message)\n",
        ),
    ),
    "unread-forgotten": (Edit(VERDICT, "    if unread:\n", "    if unread and not rows:\n"),),
    "vm-dropped": (
        Edit(
            "azure/inventory.py",
            "    partial = tuple(item for scope in found for item in scope.partial)\n",
            "    partial = ()\n",
        ),
    ),
    "subscription-dropped": (
        Edit(
            "azure/inventory.py",
            "= subscriptions.read_all(found.rows)\n",
            "= subscriptions.read_all(found.rows)[0], ()\n",
        ),
    ),
    "script-failure-first": (
        Edit(
            VERDICT,
            "    ExitCode.STOPPED,\n    ExitCode.DEADLINE,\n    ExitCode.SCRIPT_FAILED,\n",
            "    ExitCode.SCRIPT_FAILED,\n    ExitCode.STOPPED,\n    ExitCode.DEADLINE,\n",
        ),
    ),
    "counts-forget": (
        Edit(
            REPORT,
            "seen = Counter(job.status for job in jobs)",
            "seen = Counter(job.status for job in jobs if job.verified)",
        ),
    ),
}


def check(edits: Sequence[Edit], package: Path) -> None:
    """Raise DoesNotApply for the first edit whose text is not in its file, or more than once."""
    for edit in edits:
        if (times := (package / edit.file).read_text(encoding="utf-8").count(edit.old)) != 1:
            raise DoesNotApply(f"{edit.file}: {edit.old.strip()!r} is there {times} times, expected once")


def plant(edits: Sequence[Edit], package: Path) -> None:
    """Make the edits in a copy of the package. Raises DoesNotApply."""
    for edit in edits:
        check([edit], package)
        path = package / edit.file
        path.write_text(path.read_text(encoding="utf-8").replace(edit.old, edit.new), encoding="utf-8")


def notice(edits: Sequence[Edit], seeds: Iterable[int]) -> Noticed:
    """Try seeds with the edits in a copy of the package, and return the first that fails.

    The copy has the bytecode of what is not edited. Raises DoesNotApply, and RuntimeError for a trial that breaks down.
    """
    with tempfile.TemporaryDirectory(prefix="fleet-planted-") as folder:
        package = Path(folder) / "fleet"
        shutil.copytree(ROOT / "fleet", package)
        plant(edits, package)
        environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-W", "ignore", "-c", TRIAL, folder, *map(str, seeds)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST)
        if done.returncode:
            raise RuntimeError(f"the trial ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        seed, _, sentence = done.stdout.strip().partition(" ")
        return Noticed(int(seed), sentence) if seed else Noticed(-1)


def trials(names: Sequence[str], seeds: int, jobs: int) -> Iterator[tuple[str, Noticed]]:
    """Plant each defect by itself, several side by side, and yield what became of it."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(
            names, pool.map(partial(notice, seeds=range(seeds)), (DEFECTS[name] for name in names)), strict=True
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.planted", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(DEFECTS)}; all by default")
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, metavar="N", help=f"try the first N seeds (default {SEEDS})"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="plant N defects at a time")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(DEFECTS):
        parser.error(f"no such defect: {', '.join(sorted(unknown))}")
    chosen, missed = asked.names or list(DEFECTS), []
    try:
        for name in chosen:
            check(DEFECTS[name], ROOT / "fleet")
    except DoesNotApply as error:
        parser.error(f"{name} does not apply any more: {error}")
    for name, noticed in trials(chosen, asked.seeds, asked.jobs):
        where = (
            f"seed {noticed.seed}: {noticed.sentence[:300]}"
            if noticed.seed >= 0
            else f"not noticed in {asked.seeds} seeds"
        )
        print(f"{name}: {where}", flush=True)
        missed += [name] if noticed.seed < 0 else []
    print(f"{len(missed)} not noticed" if missed else "all noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
