"""Gates with a webhook: real runs against a small server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import LabUp, Machine, counted, kill, read_until, wait_for

pytestmark = pytest.mark.slow

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: gated, version: 1.0.0}
targets: {where: power == "running"}
rollout:
  waves: [2]
  slow_start: false
  gates: [{before_wave: 2, webhook: {url: "URL", token_env: GATE_TOKEN, timeout: TIMEOUT}}]
steps:
  - {id: say, run: {inline: "echo printed-in-the-vm"}}
"""
TOKEN = {"GATE_TOKEN": "hook-t0ken-value"}
Answer = Callable[[int], tuple[int, dict[str, Any]] | None]
GO: tuple[int, dict[str, Any]] = (200, {"go": True, "why": "no incident"})


class Hook(ThreadingHTTPServer):
    """Answers the n-th question, counted from 1, as told; ``None`` is never answered."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.heard: list[tuple[str, str]] = []
        self.over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
                self.heard.append((handler.headers.get("Authorization", ""), body))
                said = answer(len(self.heard))
                if said is None:
                    self.over.wait(60)
                    return
                handler.send_response(said[0])
                handler.end_headers()
                handler.wfile.write(json.dumps(said[1]).encode())

            def log_message(handler, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A killed client is what some of these tests are about."""


@contextmanager
def hook(answer: Answer) -> Iterator[Hook]:
    with Hook(answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Hook, str], Path]:
    def write(server: Hook, timeout: str = "60s") -> Path:
        file = tmp_path / "play.yaml"
        url = f"http://127.0.0.1:{server.server_port}/gate"
        file.write_text(PLAY.replace("URL", url).replace("TIMEOUT", timeout))
        return file

    return write


Play = Callable[..., Path]


def test_a_webhook_lets_a_wave_go(machine: Machine, lab: LabUp, play: Play) -> None:
    """After a 500 it is asked again; its yes and its reason stand in the report, its token and no output left us."""
    before = lab.executions()
    with hook(lambda n: (500, {}) if n == 1 else GO) as server:
        done = machine.run("run", play(server), lab.flag, "-y", "-vv", "-o", "json", env=TOKEN)
    assert done.code == 0
    assert len(lab.executions(before)) == 12
    assert any("let wave 2 go: no incident" in note for note in done.report["notes"])
    assert [token for token, _ in server.heard] == ["Bearer hook-t0ken-value"] * 2
    asked = json.loads(server.heard[-1][1])
    assert asked["wave"]["number"] == 2 and asked["counts"]["succeeded"] == 2
    assert "printed-in-the-vm" not in server.heard[-1][1]
    kept = "".join(path.read_bytes().decode("latin-1") for path in machine.written())
    assert TOKEN["GATE_TOKEN"] not in kept + done.out + done.err


def test_a_webhook_stops_a_run(machine: Machine, lab: LabUp, play: Play) -> None:
    """Exit code 5, the cause and the reason; what was not begun is not started."""
    before = lab.executions()
    with hook(lambda n: (200, {"go": False, "why": "an incident is open"})) as server:
        done = machine.run("run", play(server), lab.flag, "-y", "-o", "json", env=TOKEN)
    assert done.code == 5
    assert done.report["stopped"]["cause"] == "gate_refused"
    assert done.report["stopped"]["message"].endswith("did not let wave 2 go: an incident is open")
    assert len(lab.executions(before)) == 2 and len(server.heard) == 1


def test_a_webhook_that_hangs_stops_the_run(machine: Machine, lab: LabUp, play: Play) -> None:
    """When its time is over; the run does not hang with it."""
    with hook(lambda n: None) as server:
        done = machine.run("run", play(server, "2s"), lab.flag, "-y", "-o", "json", env=TOKEN)
    assert done.code == 5
    assert done.report["stopped"]["cause"] == "gate_unanswered"
    assert "no answer within 2 s" in done.report["stopped"]["message"]


def test_a_run_killed_while_it_asks_asks_again(machine: Machine, lab: LabUp, play: Play) -> None:
    """What was asked and not answered is asked by the next owner; nothing runs twice."""
    before = lab.executions()
    with hook(lambda n: None if n == 1 else GO) as server:
        process = machine.start("run", play(server), lab.flag, "-y", "-o", "jsonl", env=TOKEN)
        read_until(process, lambda events: counted(events, "gate_asked") == 1)
        wait_for(lambda: len(server.heard) == 1)
        kill(process)
        missing = machine.run("resume", "last", lab.flag)
        assert missing.code == 2 and "[no_gate_token]" in missing.err
        done = machine.run("resume", "last", lab.flag, "-o", "jsonl", env=TOKEN)
    assert done.code == 0 and len(server.heard) == 2
    answered = next(line for line in done.lines if line["event"] == "gate_answered")
    assert (answered["wave"], answered["go"], answered["why"]) == (2, True, "no incident")
    ran = lab.executions(before)
    assert len(ran) == 12 and set(ran.values()) == {1}
