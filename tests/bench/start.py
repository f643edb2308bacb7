"""What starting Fleet costs: CPU seconds of whole processes, user and system together.

    python -m tests.bench.start [--runs 1000] [--rounds 5]

Each figure is the least of so many rounds, after one that compiles byte code. A run is ended as its first request arrives.
Keeping the runs takes most of the time: ``TMPDIR=/dev/shm`` keeps them in memory. POSIX only.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.cli.main import VERBS
from fleet.run.events import RunEnded
from fleet.store.sqlite import journal
from tests.unit.run.factory import plan

ROOT = Path(__file__).parents[2]
PLAYBOOK = ROOT / "playbooks" / "linux-health.yaml"
FLEET = (sys.executable, "-m", "fleet")
SETTLED_S = 2.5
"""Seconds after which the list of runs believes that a file does not change any more."""


def spent(command: Sequence[str], environment: Mapping[str, str], until: socket.socket | None = None) -> float:
    """Return the CPU seconds of a process: to its end, or until a request arrives."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        if until is not None:
            arrived, _ = until.accept()
            assert arrived.recv(1)
            process.kill()
            arrived.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if until is None and process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


async def keep_runs(state: Path, count: int) -> None:
    """Keep so many runs that have ended."""
    frozen = plan(4)
    (state / "runs").mkdir(parents=True)
    for number in range(count):
        run_id = f"20260101-{number:06}-kept"
        kept = journal.create(state / "runs" / run_id, run_id=run_id, plan=frozen, owner="bench", now=float(number))
        await kept.append([RunEnded(float(number))])
        await kept.close()


@dataclass(frozen=True)
class Start:
    """A command that is measured."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    sends: bool = False
    """Whether it is ended as its first request arrives."""


def starts(url: str, config: Path, kept: int) -> list[Start]:
    """Return what is measured, of a cloud that answers at this URL and is named by this config file."""
    completion = {"_FLEET_COMPLETE": "bash_complete", "COMP_WORDS": "fleet run --conc", "COMP_CWORD": "2"}
    run = (*FLEET, "run", str(PLAYBOOK), "-y")
    return [
        Start("python -c pass", (sys.executable, "-c", "pass")),
        Start("fleet --help", (*FLEET, "--help")),
        *(Start(f"fleet {verb} --help", (*FLEET, verb, "--help")) for verb in VERBS),
        Start("completion of an option", FLEET, completion),
        Start(f"fleet runs, {kept:,} kept", (*FLEET, "runs")),
        Start("the same, with a config file", (*FLEET, "runs", "--config", str(config))),
        Start("fleet targets all, to the first request", (*FLEET, "targets", "all", f"--lab={url}"), sends=True),
        Start("fleet run, to the first request", (*run, f"--lab={url}"), sends=True),
        Start("the same, with a config file and a token", (*run, "--config", str(config)), sends=True),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=1000, help="how many runs are kept")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        state, config = Path(folder, "state"), Path(folder, "config.yaml")
        environment |= {"HOME": folder, "FLEET_STATE_DIR": str(state), "FLEET_BENCH_TOKEN": "token"}
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        cloud = f"{{resource_manager: {url}, authority: {url}}}"
        text = f"azure:\n  cloud: {cloud}\n  credential: {{token_env: FLEET_BENCH_TOKEN}}\n"
        config.write_text(text, encoding="utf-8")
        asyncio.run(keep_runs(state, asked.runs))
        time.sleep(SETTLED_S)
        measured = starts(url, config, asked.runs)
        least = dict.fromkeys((start.name for start in measured), math.inf)
        for number in range(asked.rounds + 1):
            for start in measured:  # one after the other, so that a busy moment of the machine meets each once
                used = spent(start.command, {**environment, **start.environment}, server if start.sends else None)
                least[start.name] = min(least[start.name], used if number else math.inf)
        for name, seconds in least.items():
            print(f"{name:41} {seconds:.3f}")


if __name__ == "__main__":
    main()
