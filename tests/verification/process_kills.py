"""kill -9 at random moments of a real process against a lab in another one, until enough kills were survived.

Each life is a forked process with every import done, so that a kill costs milliseconds and not the start of an interpreter;
the journal, the sockets and the signal are real.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.cli.main import invoke
from tests.system.cli import LABS, PLAYBOOKS, Machine, lab_up

LONGEST_LIFE = 1.0
"""Seconds after which a process is killed at the latest: after its start or, mostly, after its first word, so that the
runs come forward on a slow machine, too."""

CALM = 40
"""Lives after which a run is left alone, so that each one ends."""


@dataclass
class Figures:
    """What was survived."""

    kills: int = 0
    runs: int = 0
    vms: int = 0
    answers_told: int = 0
    resumed_in: list[float] = field(default_factory=list)
    """Seconds from the start of a resumed process to its first word."""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        resumed = sorted(self.resumed_in) or [0.0]
        middle, most, worst = (resumed[int(share * (len(resumed) - 1))] for share in (0.5, 0.99, 1.0))
        lines = [
            f"{self.kills:,} kills in {self.runs} runs of {self.vms} VMs",
            f"{self.answers_told:,} answers told before a kill, each one in the report",
            f"resumed after {middle:.2f} s in the middle, 99 % within {most:.2f} s, {worst:.2f} s at worst",
            f"{len(self.wrong)} wrong",
            *self.wrong[:20],
        ]
        return "\n".join(lines)


PRELOADED = (
    "fleet.app", "fleet.azure.cloud", "fleet.azure.credentials", "fleet.azure.inventory", "fleet.azure.preflight",
    "fleet.azure.transport", "fleet.cli.progress", "fleet.cli.verbs.runs", "fleet.cli.verbs.run", "fleet.cli.jsonl",
    "fleet.report.render_json", "fleet.report.render_jsonl",
)  # fmt: skip
"""What a life needs, imported once before it is forked."""


def survive(kills: int, seed: int, folder: Path, vms: int = 60) -> Figures:
    """Kill runs of so many VMs at random moments until there were this many kills; judge each run by the lab's count."""
    for module in PRELOADED:
        importlib.import_module(module)
    rng = random.Random(f"kills/{seed}")
    figures = Figures()
    with lab_up(Machine(folder), _lab(folder, vms)) as lab:
        while figures.kills < kills:
            figures.runs += 1
            _one_run(lab.url, rng, folder / f"run{figures.runs}", figures, rng.choice(("managed", "action")))
    return figures


def _lab(folder: Path, vms: int) -> Path:
    """The lab of these runs, with half of so many VMs in each of its two subscriptions."""
    file = folder / "kills.yaml"
    file.write_text((LABS / "kills.yaml").read_text().replace("count: 30", f"count: {vms // 2}"))
    return file


def _one_run(url: str, rng: random.Random, state: Path, figures: Figures, transport: str) -> None:
    before = _executions(url)
    told: dict[tuple[str, str], str] = {}
    words = [
        "run",
        str(PLAYBOOKS / "hello.yaml"),
        "-y",
        "--transport",
        transport,
        "-f",
        "25",
        f"--lab={url}",
        "-o",
        "jsonl",
    ]
    for life in range(1000):
        stream = state.with_suffix(f".{life}.jsonl")
        began = time.monotonic()
        child = _fork(words, state, stream)
        spared = rng.uniform(0.0, LONGEST_LIFE) if life < CALM else None
        code, first = _wait(child, stream, spared, from_start=rng.random() < 0.25)
        lines = _lines(stream)
        if words[0] == "resume" and first is not None:
            figures.resumed_in.append(first - began)
        told |= {
            (row["target"].casefold(), row["step"]): row["status"] for row in lines if row.get("event") == "job_ended"
        }
        if code is not None:
            break
        figures.kills += 1
        if state.joinpath("runs").exists() and any(state.joinpath("runs").glob("[!.]*/journal.db")):
            words = ["resume", "last", f"--lab={url}", "-o", "jsonl"]  # a run is there whole or not at all
    _judge(url, state, before, told, code, figures)


def _judge(
    url: str, state: Path, before: dict[str, int], told: dict[tuple[str, str], str], code: int | None, figures: Figures
) -> None:
    place = f"run {figures.runs}"
    report = state.with_suffix(".report.json")
    ended, _ = _wait(_fork(["show", "last", "-o", "json"], state, report), report, None)
    if code != 0 or ended != 0:
        said = "".join(
            path.read_text(errors="replace") for path in sorted(state.parent.glob(f"{state.name}.*.err"))[-2:]
        )
        figures.wrong.append(f"{place} ended with exit code {code}, and showing it with {ended}: {said[-2000:]}")
        return
    document = json.loads(report.read_text())
    rows = {(row["target"].casefold(), row["step"]): row for row in document["jobs"]}
    runs = {vm.casefold(): n - before.get(vm, 0) for vm, n in _executions(url).items() if n != before.get(vm, 0)}
    figures.vms = len(rows)
    figures.answers_told += len(told)
    if len(rows) != len(document["jobs"]):
        figures.wrong.append(f"{place}: {len(document['jobs'])} rows for {len(rows)} VMs")
    twice = {vm: n for vm, n in runs.items() if n != 1}
    if twice or set(runs) != {vm for vm, _ in rows}:
        figures.wrong.append(f"{place}: not once each: {twice or Counter(runs)}")
    for key, status in told.items():
        if rows[key]["status"] != status:
            figures.wrong.append(f"{place}: {key} was told {status} and is {rows[key]['status']}")


def _fork(words: list[str], state: Path, stream: Path) -> int:
    """Start the command in a child of this process, what it prints going into a file."""
    child = os.fork()
    if child:
        return child
    os.environ["FLEET_STATE_DIR"] = str(state)
    file = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    errors = os.open(stream.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(file, 1)
    os.dup2(errors, 2)
    # Whoever captures this process's streams has put others in their place.
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    code = 70
    try:
        code = invoke(words)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _wait(
    child: int, stream: Path, spared: float | None, *, from_start: bool = False
) -> tuple[int | None, float | None]:
    """Wait for a child's end, or kill it when it was spared for so long. Returns its exit code, and when it first spoke."""
    began = time.monotonic()
    first = None
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        now = time.monotonic()
        if first is None and stream.exists() and stream.stat().st_size:
            first = now
        if done:
            return os.waitstatus_to_exitcode(status), first
        since = began if from_start else first
        if now > began + 120.0 or (spared is not None and since is not None and now >= since + spared):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, first
        time.sleep(0.002)


def _lines(stream: Path) -> list[dict[str, Any]]:
    """What a process printed; the line in which it was killed may be torn."""
    found: list[dict[str, Any]] = []
    if not stream.exists():
        return found
    for line in stream.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _executions(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/lab/state") as answer:
        return dict(json.load(answer)["executions"])


def try_kills(kills: int, seed: int, vms: int) -> int:
    """Kill runs of so many VMs until there were so many kills; print the figures. Returns the exit code."""
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="fleet-kills-"))
    figures = survive(kills, seed, folder, vms)
    print(figures)
    if figures.wrong:
        print(f"the runs are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if figures.wrong else 0
