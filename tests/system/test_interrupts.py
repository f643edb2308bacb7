"""Interrupting every verb that carries a run out, by either signal, in every phase, with and without a network."""

from __future__ import annotations

import getpass
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.patience import stretched
from tests.system.cli import PLAYBOOKS, Done, Here, LabUp, Machine, counted, ended, kill, read_until, wait_for
from tests.system.hole import Hole, hole_up

pytestmark = pytest.mark.slow

SLOW = PLAYBOOKS / "slow.yaml"
COMMAND = ("--", "echo this takes a while")

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: little, version: 1.0.0}
targets: {where: tag.env == "dev"}
rollout: {concurrency: 1, slow_start: falseMORE}
steps:
  - {id: slow, run: {inline: "echo this takes a while"}, timeout: 2h}
"""


def little(machine: Machine, more: str = "") -> Path:
    """A playbook of four VMs, one after the other; ``more`` is said of its rollout."""
    file = machine.cwd / "little.yaml"
    file.write_text(PLAY.replace("MORE", f", {more}" if more else ""))
    return file


BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def _run(machine: Machine, lab: LabUp, here: Here) -> tuple[object, ...]:
    return "run", little(machine), "-y"


def _exec(machine: Machine, lab: LabUp, here: Here) -> tuple[object, ...]:
    return "exec", 'tag.env == "dev"', "-y", "-f", 1, "--timeout", "2h"


def _apply(machine: Machine, lab: LabUp, here: Here) -> tuple[object, ...]:
    assert here("plan", little(machine), lab.flag, "--out", "little.plan").code == 0
    return "apply", "little.plan", "-y"


def _resume(machine: Machine, lab: LabUp, here: Here) -> tuple[object, ...]:
    process = machine.start("run", little(machine), lab.flag, "-y", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "run_opened") == 1)
    kill(process)
    return "resume", "last"


def _rerun(machine: Machine, lab: LabUp, here: Here) -> tuple[object, ...]:
    assert here("run", little(machine), lab.flag, "-y").code == 0
    return "rerun", "last:succeeded", "-y"


def _approve(machine: Machine, lab: LabUp, here: Here) -> tuple[object, ...]:
    play = little(machine, f"waves: [1], gates: [{{before_wave: 2, approve: [{getpass.getuser()}]}}]")
    assert here("run", play, lab.flag, "-y").code == 5
    return "approve", "last"


VERBS: dict[str, Callable[[Machine, LabUp, Here], tuple[object, ...]]] = {
    "run": _run,
    "exec": _exec,
    "apply": _apply,
    "resume": _resume,
    "rerun": _rerun,
    "approve": _approve,
}
"""How each verb is called that carries a run out, after what it needs was made."""


def started(machine: Machine, words: tuple[object, ...], flag: str, *more: object) -> subprocess.Popen[str]:
    """The verb in a process of its own, its events on stdout."""
    return machine.start(*words, flag, "-o", "jsonl", *more, *(COMMAND if words[0] == "exec" else ()))


def continued(here: Here, done: Done, flag: str) -> Any:
    """Execute the last line on stderr, word for word, and return the report of the run."""
    run_id = here("runs", "-o", "json").report[0]["id"]  # newest first
    assert done.last == f"fleet resume {run_id} {flag}", done.err
    again = here(*done.last.split()[1:], "-o", "json")
    assert again.code == 0, again.err
    assert again.report["ended"] is not None
    return again.report


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
PHASES = ["submission_intended", "submission_accepted"]
EACH = [
    (verb, phase, *ENDS[(place + turn) % 2]) for place, verb in enumerate(VERBS) for turn, phase in enumerate(PHASES)
]
"""Each verb in each phase, and each verb by each signal."""


@pytest.mark.parametrize(("verb", "phase", "number", "code"), EACH)
def test_every_verb_is_interrupted_and_resumed(
    machine: Machine, lab: LabUp, verb: str, phase: str, number: int, code: int, here: Here
) -> None:
    """While a submission is on the wire, and while a script runs: the exit code names the signal, and the last line
    continues to a full report, in which each VM has succeeded and nothing ran twice.
    """
    words = VERBS[verb](machine, lab, here)
    before = lab.executions()
    if phase == "submission_intended":
        lab.fault({"request": "submit", "kind": "slow", "delay": 1})
    process = started(machine, words, lab.flag)
    read_until(process, lambda events: counted(events, phase) >= 1)
    process.send_signal(number)
    done = ended(process)
    lab.fault()
    assert done.code == code, done.err
    counts = continued(here, done, lab.flag)["counts"]
    assert counts["succeeded"] == counts["total"] == 4
    assert set(lab.executions(before).values()) == {1}


@BOTH
@pytest.mark.parametrize("verb", ["run", "exec", "apply"])
def test_before_a_run_exists_there_is_nothing_to_resume(
    machine: Machine, lab: LabUp, verb: str, number: int, code: int, here: Here
) -> None:
    """While targets are looked for, one interrupt ends the verb with a sentence, and no run is left behind."""
    words = VERBS[verb](machine, lab, here)
    with hole_up(lab.url) as hole:
        hole.swallows.set()
        process = started(machine, words, hole.flag)
        wait_for(lambda: hole.swallowed > 0)
        begun = time.monotonic()
        process.send_signal(number)
        done = ended(process)
    assert (done.code, done.last) == (code, "interrupted: no run was started, and nothing was sent")
    assert time.monotonic() - begun < stretched(5)
    assert not list((machine.state / "runs").glob("*"))


@pytest.fixture
def hole(lab: LabUp) -> Iterator[Hole]:
    with hole_up(lab.url) as relay:
        yield relay


def twice(process: subprocess.Popen[str], *numbers: signal.Signals) -> tuple[Done, float]:
    """Interrupt a process twice, the second time once the first was heard; and how long it took from then on."""
    first, second = numbers
    process.send_signal(first)
    seen = read_until(process, lambda events: counted(events, "stop_requested") == 1)
    begun = time.monotonic()
    process.send_signal(second)
    done = ended(process)
    lines = "".join(f"{json.dumps(line)}\n" for line in seen)
    return Done(done.code, lines + done.out, done.err), time.monotonic() - begun


MIXTURES = [
    (signal.SIGINT, signal.SIGINT, 130),
    (signal.SIGTERM, signal.SIGINT, 130),
    (signal.SIGINT, signal.SIGTERM, 143),
]


@pytest.mark.parametrize(("first", "second", "code"), MIXTURES)
def test_the_second_interrupt_ends_a_run_whose_network_is_gone(
    machine: Machine, lab: LabUp, hole: Hole, first: signal.Signals, second: signal.Signals, code: int, here: Here
) -> None:
    """No answer comes to anything: the process ends within five seconds all the same, and a resume finds what ran."""
    before = lab.executions()
    process = started(machine, ("run", SLOW, "-y"), hole.flag)
    read_until(process, lambda events: counted(events, "submission_accepted") == 12)
    hole.swallows.set()
    done, took = twice(process, first, second)
    assert (done.code, took < 5) == (code, True), (done.err, took)
    hole.swallows.clear()
    report = continued(here, done, hole.flag)
    assert report["counts"]["succeeded"] == 12
    assert set(lab.executions(before).values()) == {1}


def test_a_submission_that_was_swallowed_is_journalled_as_lost(
    machine: Machine, lab: LabUp, hole: Hole, here: Here
) -> None:
    """What was on the wire when the run was left is `unknown` at once, and found out by the resume."""
    hole.only = b"PUT "
    hole.swallows.set()
    process = started(machine, ("run", SLOW, "-y"), hole.flag, "-f", 3)
    read_until(process, lambda events: counted(events, "submission_intended") == 3)
    wait_for(lambda: hole.swallowed >= 3)
    done, took = twice(process, signal.SIGINT, signal.SIGINT)
    assert (done.code, took < 5) == (130, True), (done.err, took)
    assert counted(done.lines, "submission_lost") == 3
    rows = here("show", "last", "-o", "json").report["jobs"]
    assert sorted(row["status"] for row in rows) == ["not_started"] * 9 + ["unknown"] * 3
    hole.swallows.clear()
    assert continued(here, done, hole.flag)["counts"]["succeeded"] == 12


@contextmanager
def silent_gate() -> Iterator[tuple[str, Event]]:
    """A webhook that takes a question and never answers."""
    asked, over = Event(), Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.set()
            over.wait(60)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_two_interrupts_end_the_waiting_for_a_webhook(machine: Machine, lab: LabUp) -> None:
    """A gate that never answers holds nobody: the second interrupt leaves it unasked for this time."""
    with silent_gate() as (url, asked):
        play = little(machine, f"waves: [1], gates: [{{before_wave: 2, webhook: {{url: '{url}'}}}}]")
        process = started(machine, ("run", play, "-y"), lab.flag)
        assert asked.wait(60)
        done, took = twice(process, signal.SIGINT, signal.SIGINT)
    assert (done.code, took < 5) == (130, True), (done.err, took)
    assert done.last.startswith("fleet resume ")


@pytest.mark.parametrize(
    ("rollout", "awaited"),
    [
        ("waves: [1], soak: 1h", "job_ended"),
        ("waves: [1], gates: [{before_wave: 2, approve: true}]", "approval_awaited"),
    ],
)
@BOTH
def test_one_interrupt_ends_the_waiting_for_time_or_people(
    machine: Machine, lab: LabUp, number: int, code: int, rollout: str, awaited: str
) -> None:
    """While a wave settles, or a person is awaited, nothing runs: the first interrupt leaves the run to be resumed."""
    process = started(machine, ("run", little(machine, rollout), "-y", "--wait"), lab.flag)
    read_until(process, lambda events: counted(events, awaited) >= 1)
    process.send_signal(number)
    done = ended(process)
    assert done.code == code
    assert done.last.startswith("fleet resume ")


def test_a_look_up_that_hangs_keeps_no_process(machine: Machine, tmp_path: Path) -> None:
    """Signing in hangs in a thread that cannot be ended: one interrupt before the run is enough all the same."""
    folder = tmp_path / "bin"
    folder.mkdir()
    az = folder / "az"
    az.write_text(f"#!/bin/sh\n: > {tmp_path}/asked\nexec sleep 60\n")
    az.chmod(0o755)
    config = machine.cwd / "hangs.yaml"
    config.write_text("azure: {credential: cli}\n")
    process = machine.start(
        "run", SLOW, "-y", "--config", config, env={"PATH": f"{folder}:{machine.environment()['PATH']}"}
    )
    wait_for((tmp_path / "asked").exists)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(stretched(20)) == 130
    assert time.monotonic() - begun < stretched(5)
    assert process.stderr is not None and process.stderr.readline()
    process.stderr.close()
    assert process.stdout is not None
    process.stdout.close()
