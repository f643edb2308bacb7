"""What starting Fleet costs: CPU seconds of whole processes, user and system together.

    python -m tests.bench.start [--runs 1000] [--rounds 5] [--packages]

Each figure is the least of so many rounds, byte code compiled before. A run is ended as its first request arrives.
``--packages`` shows which packages the CPU of that run goes to, by their imports. POSIX only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
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


def by_package(command: Sequence[str], environment: Mapping[str, str], until: socket.socket) -> Counter[str]:
    """Return the seconds that each package's own modules took to import, until a request arrives."""
    with subprocess.Popen(
        [command[0], "-X", "importtime", *command[1:]],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        arrived, _ = until.accept()
        assert arrived.recv(1)
        process.kill()
        arrived.close()
        _, said = process.communicate()
    found: Counter[str] = Counter()
    for own, name in re.findall(r"^import time: +([0-9]+) \| +[0-9]+ \| +(\S+)$", said, re.MULTILINE):
        top = name.partition(".")[0]
        found["Python" if top.lstrip("_") in STANDARD or top in STANDARD else top] += int(own)
    return found


STANDARD = sys.stdlib_module_names


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=1000, help="how many runs are kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packages", action="store_true", help="where the CPU before the first request goes")
    asked = parser.parse_args()
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        state = Path(folder, "state")
        environment |= {"HOME": folder, "FLEET_STATE_DIR": str(state), "FLEET_BENCH_TOKEN": "token"}
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        config = Path(folder, "config.yaml")
        cloud = f"{{resource_manager: {url}, authority: {url}}}"
        config.write_text(
            f"azure:\n  cloud: {cloud}\n  credential: {{token_env: FLEET_BENCH_TOKEN}}\n", encoding="utf-8"
        )
        run = (*FLEET, "run", str(PLAYBOOK), "-y")
        asyncio.run(keep_runs(state, asked.runs))
        time.sleep(SETTLED_S)
        completion = {"_FLEET_COMPLETE": "bash_complete", "COMP_WORDS": "fleet run --conc", "COMP_CWORD": "2"}

        def least(command: Sequence[str], more: Mapping[str, str] | None = None, *, sends: bool = False) -> float:
            until = server if sends else None
            return min([spent(command, environment | (more or {}), until) for _ in range(asked.rounds + 1)][1:])

        rows: list[tuple[str, float]] = [("python -c pass", least((sys.executable, "-c", "pass")))]
        rows.append(("fleet --help", least((*FLEET, "--help"))))
        helps = [(f"fleet {verb} --help", least((*FLEET, verb, "--help"))) for verb in VERBS]
        rows += sorted(helps, key=lambda row: row[1])
        rows.append(("completion of an option", least(FLEET, completion)))
        rows.append((f"fleet runs, {asked.runs:,} kept", least((*FLEET, "runs"))))
        rows.append(("fleet run, to the first request, a lab", least((*run, f"--lab={url}"), sends=True)))
        rows.append(("the same, settings and a token", least((*run, "--config", str(config)), sends=True)))
        for name, seconds in rows:
            print(f"{name:40} {seconds:.3f}")
        if asked.packages:
            for name, micro in by_package((*run, "--config", str(config)), environment, server).most_common(12):
                print(f"  {name:38} {micro / 1e6:.3f}")


if __name__ == "__main__":
    main()
