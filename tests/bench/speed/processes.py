"""Clients as processes of their own beside the minimal service: what each took, and what it did.

This module imports nothing large: a child's peak of memory is never less than that of the process that started it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.bench.speed.limits import DELETE, READ, WRITE, bound
from tests.bench.speed.rows import (
    FLEET,
    GROUPS,
    MINIMAL,
    SUBSCRIPTIONS,
    Case,
    Measured,
    percentile,
    subscription_of,
)

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
LONGEST_S = 900.0
"""A client that takes longer is ended."""

PLAYBOOK = """apiVersion: fleet/v1
kind: Playbook
metadata: {name: speed, version: 1.0.0}
steps:
  - id: work
    run: {inline: "hostname"}
"""


@dataclass
class Server:
    """The service's process."""

    process: subprocess.Popen[str]
    url: str
    folder: Path
    vms: int
    seconds: float

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and return the figures."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def serving(folder: Path, vms: int, seconds: float, output: int = 200) -> Iterator[Server]:
    """Serve this many VMs. The process ends with the block, and by itself when this process does."""
    words = [sys.executable, "-m", "tests.bench.speed.server", str(folder), str(vms), str(seconds), str(output)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield Server(process, process.stdout.readline().strip(), folder, vms, seconds)
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def sdk_python() -> Path | None:
    """Return the interpreter that has Microsoft's SDK, as the tests of ``tests/peers`` leave it; None if there is none."""
    kept = os.environ.get("FLEET_PEERS_DIR")
    place = Path(kept, "sdk") if kept else None
    return place / "bin" / "python" if place is not None and (place / "installed").exists() else None


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code, and seconds and MB that it took."""

    code: int
    wall: float
    cpu: float
    rss_mb: float


def client_folder(folder: Path, url: str, ca_file: Path | None) -> None:
    """Make a folder with a playbook and a config for a service."""
    folder.mkdir()
    azure: dict[str, object] = {"cloud": {"resource_manager": url, "authority": url}}
    azure |= {"credential": {"token_env": "SPEED_TOKEN"}, "ca_file": ca_file and str(ca_file)}
    (folder / "speed.yaml").write_text(PLAYBOOK, encoding="utf-8")
    (folder / "config.yaml").write_text(json.dumps({"azure": azure}), encoding="utf-8")


def environment(folder: Path, ca_file: Path | None) -> dict[str, str]:
    """Return what a client is given of the environment: nothing of ours but what Python needs."""
    own = {"HOME": str(folder), "FLEET_STATE_DIR": str(folder / "state"), "SPEED_TOKEN": "t", "NO_PROXY": "localhost"}
    trust = {} if ca_file is None else {"SSL_CERT_FILE": str(ca_file)}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **own, **trust}


def fleet_words(case: Case, folder: Path, limit: str = "") -> list[str]:
    """Return Fleet's command line: what somebody types who sets nothing but the transport, and not that for managed."""
    report = f"json={folder / 'results.json'}" if not limit else f"json={folder / limit}.json"
    words = [sys.executable, "-m", "fleet", "run", "speed.yaml", "--config", "config.yaml", "-y", "--report", report]
    words += ["--transport", "action"] if case.transport == "action" else []
    return [*words, "--limit", f'resource_group == "{limit}"'] if limit else words


class Client:
    """Runs of clients over one service, in a folder of their own: what Fleet learns in one, it knows in the next."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._folder = server, folder
        client_folder(folder, server.url, server.ca_file)

    def words(self, case: Case) -> list[str]:
        """Return the command line of a client."""
        server, results = self._server, str(self._folder / "results.json")
        if case.client == FLEET:
            return fleet_words(case, self._folder)
        if case.client == MINIMAL:
            first = [str(server.seconds + 0.3)] if case.later else []
            return [sys.executable, str(HERE / "minimal.py"), server.url, str(server.ca_file), results, *first]
        return [
            str(sdk_python()),
            str(HERE / "sdk.py"),
            server.url,
            results,
            *map(subscription_of, range(SUBSCRIPTIONS)),
        ]

    def run(self, case: Case) -> Measured:
        """Run a client to its end. Raises RuntimeError, with what it said, if it leaves no results."""
        self._server.ask(f"begin {'on' if case.throttled else 'off'}")
        with self._started("results", self.words(case)) as process:
            if case.trouble:
                trouble(process, case.trouble, self._server)
            ended = wait_for(process, process.began)
        return judge(case, ended, self._server, self._read(case, "results", ended))

    def run_two(self, case: Case) -> Measured:
        """Run Fleet twice at once on one state store, each with half of the VMs, in the same subscriptions."""
        self._server.ask(f"begin {'on' if case.throttled else 'off'}")
        first, second = GROUPS
        with (
            self._started(first, fleet_words(case, self._folder, first)) as one,
            self._started(second, fleet_words(case, self._folder, second)) as other,
        ):
            ended = [wait_for(process, process.began) for process in (one, other)]
        rows = [row for name, each in zip(GROUPS, ended, strict=True) for row in self._read(case, name, each)]
        both = Ended(
            max(each.code for each in ended),
            max(each.wall for each in ended),
            sum(each.cpu for each in ended),
            sum(each.rss_mb for each in ended),
        )
        return judge(case, both, self._server, rows)

    def _started(self, name: str, words: list[str]) -> Started:
        (self._folder / f"{name}.json").unlink(missing_ok=True)
        return Started(words, self._folder, environment(self._folder, self._server.ca_file), f"{name}.txt")

    def _read(self, case: Case, name: str, ended: Ended) -> list[dict[str, Any]]:
        file, said = self._folder / f"{name}.json", self._folder / f"{name}.txt"
        if not file.exists():
            raise RuntimeError(f"{case.name} ended with {ended.code}: {said.read_text(encoding='utf-8')[-2000:]}")
        return read_results(case, file)


class Started(subprocess.Popen[str]):
    """A client's process; what it says goes to a file."""

    def __init__(self, words: list[str], folder: Path, environ: dict[str, str], said: str) -> None:
        self.began = time.monotonic()
        with (folder / said).open("w", encoding="utf-8") as file:
            nothing = subprocess.DEVNULL
            super().__init__(words, cwd=folder, env=environ, text=True, stdin=nothing, stdout=file, stderr=file)


def wait_for(process: subprocess.Popen[str], began: float) -> Ended:
    """Wait for a process and read what it and its children took."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - began > LONGEST_S:
            process.kill()
        time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    return Ended(process.returncode, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


SUSPENDED, STARVED, TWO = "suspended for 8 s", "a tenth of a core for 15 s", "two processes, one state store"


def trouble(process: subprocess.Popen[str], kind: str, server: Server) -> None:
    """Stop a process once the first twentieth of its submissions has come: once for long, or again and again."""
    while process.poll() is None and sum(server.ask("figures")["starts"].values()) < server.vms / 20:
        time.sleep(0.1)
    until = time.monotonic() + (8 if kind == SUSPENDED else 15)
    while time.monotonic() < until and process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(8 if kind == SUSPENDED else 0.45)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.05)


def read_results(case: Case, file: Path) -> list[dict[str, Any]]:
    """Read a client's rows: the VM's name, what it printed, and when the client knew."""
    data = json.loads(file.read_text(encoding="utf-8"))
    if case.client != FLEET:
        return list(data)
    return [
        {"name": row["name"], "stdout": row["stdout"], "ended": datetime.fromisoformat(row["ended"]).timestamp()}
        for row in data["jobs"]
        if row["status"] == "succeeded"
    ]


def judge(case: Case, ended: Ended, server: Server, rows: list[dict[str, Any]]) -> Measured:
    """Compare what a client says with what the service knows."""
    known = server.ask("figures")
    over, ends = known["over"], known["ends"]
    lanes = [[server.seconds] * len(range(n, server.vms, SUBSCRIPTIONS)) for n in range(SUBSCRIPTIONS)]
    right = [row for row in rows if f"{row['name']}: " in row["stdout"]]
    lags = [row["ended"] - ends[row["name"]] for row in right]
    return Measured(
        case,
        wall=ended.wall,
        bound=bound(lanes, case.throttled),
        requests=sum(known["requests"].values()) / server.vms,
        lag_p50=percentile(lags, 0.5),
        lag_p95=percentile(lags, 0.95),
        refused_writes=over.get(WRITE, 0) + over.get(DELETE, 0),
        refused_reads=over.get(READ, 0),
        wrong=len(rows) - len(right),
        twice=sum(count > 1 for count in known["starts"].values()),
        lost=server.vms - len(rows),
        cpu=ended.cpu,
        rss_mb=ended.rss_mb,
        server_share=known["cpu_share"],
        load=os.getloadavg()[0],
    )


def unknown(figures: Mapping[str, Any]) -> list[str]:
    """Return the requests that the service has no answer to."""
    return [name for name in figures["requests"] if name.startswith("unknown")]
