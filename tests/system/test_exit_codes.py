"""The exit codes that scripts rely on, one by one, and what stands on stderr with each."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from fleet.errors import ExitCode
from tests.system.cli import PLAYBOOKS, Done, Here, LabUp, Machine, counted, ended, lab_up, read_until
from tests.system.gate import gate

HELLO = PLAYBOOKS / "hello.yaml"


def refused(done: Done, code: int, *words: str) -> None:
    """The command ended with the code, printed no data, and said what, where and what to do next."""
    assert done.code == code, done.err
    assert done.out == ""
    for word in words:
        assert word in done.err


def test_every_target_verified_is_0(machine: Machine, lab: LabUp) -> None:
    """0 means that every selected target ended well, with proof."""
    done = machine.run("run", HELLO, lab.flag, "-y", "-o", "json")
    assert done.code == 0
    assert {(row["status"], row["verified"]) for row in done.report["jobs"]} == {("succeeded", True)}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["rum"], ["no verb 'rum'", "did you mean 'run'"]),
        (["run"], ["Missing argument", "--help"]),
        (["run", HELLO, "--transport", "pigeon"], ["pigeon", "managed"]),
        (["run", HELLO, "--max-failures", "200%"], ["200%", "5%"]),
        (["run", HELLO, "--report", "doc=x"], ["doc=x", "html"]),
        (["run", HELLO, "-y", "--lab", "--report", "json=nowhere/x.json"], ["nowhere", "hint"]),
        (["run", "absent.yaml"], ["absent.yaml", "hint"]),
        (["run", PLAYBOOKS / "ten-mistakes.yaml"], ["ten-mistakes.yaml:4:", "hint", "nothing was sent"]),
        (["run", HELLO, "--config", "absent.yaml"], ["absent.yaml", "--config"]),
        (["run", HELLO, "-e", "colour=red", "--lab"], ["colour", "nothing was sent"]),
        (["run", HELLO, "-e", "colour"], ["-e", "colour"]),
        (["targets", "os =="], ["EXPR:6", "expected"]),
        (["show", "nothing"], ["no runs", "hint"]),
    ],
)
def test_a_mistake_of_the_caller_is_2(here: Here, args: list[object], words: list[str]) -> None:
    """2 means that nothing was sent, and says what is wrong, where, and what would be right."""
    refused(here(*args), ExitCode.USAGE, *words)


def test_a_bad_setting_is_2(here: Here, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the config file or the environment is told with its place."""
    (machine.cwd / "config.yaml").write_text("run:\n  concurency: 5\n")
    monkeypatch.setenv("FLEET_RUN_TRANSPORT", "pigeon")
    refused(here("run", HELLO, "--lab"), ExitCode.USAGE, "config.yaml:2:", "concurrency", "FLEET_RUN_TRANSPORT")


def test_a_failing_script_is_3(here: Here, lab: LabUp) -> None:
    """3 wins over 4: a script failed, and other targets were not reached."""
    done = here("run", PLAYBOOKS / "fails.yaml", lab.flag, "-y", "-o", "json")
    assert done.code == 3 == done.report["exit_code"]
    assert {row["status"] for row in done.report["jobs"]} == {"failed", "unreachable"}


def test_stopped_machines_are_4(here: Here, lab: LabUp) -> None:
    """4 means that no script failed, but not every target is proven; each row says why."""
    done = here("run", PLAYBOOKS / "everything.yaml", lab.flag, "-y", "-o", "json")
    assert done.code == 4
    off = [row for row in done.report["jobs"] if row["status"] != "succeeded"]
    assert {row["name"] for row in off} == {"off01", "off02"}
    assert {row["cause"]["code"] for row in off} == {"vm_not_running"}
    assert all(row["cause"]["hint"] for row in off)


def test_an_unread_subscription_is_4(here: Here, lab: LabUp) -> None:
    """A subscription that may not be listed is named on stderr and in the report, and is never silently missing."""
    graph, dev = r"POST /providers/Microsoft.ResourceGraph", r"GET /subscriptions/2222.*/virtualMachines\?"
    with gate(lab.url, {graph: 403, dev: 403}) as url:
        done = here("run", HELLO, f"--lab={url}", "-y", "-o", "json")
    assert done.code == 4
    assert "subscription dev could not be read" in done.err
    assert [scope["name"] for scope in done.report["unread"]] == ["dev"]
    assert {row["status"] for row in done.report["jobs"]} == {"succeeded"}


def test_a_spent_budget_is_5(here: Here, lab: LabUp) -> None:
    """5 wins over 3: the budget stopped the run, strictly, and what was not sent is `not_started`."""
    done = here("run", PLAYBOOKS / "fails.yaml", lab.flag, "-y", "--max-failures", 2, "-o", "json")
    assert done.code == 5
    counts = done.report["counts"]
    assert 1 <= counts["failed"] <= 3
    assert counts["not_started"] == 14 - counts["failed"] - counts["unreachable"]
    assert done.report["stopped"]["cause"] == "budget_failures"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([HELLO, "-l", "nobody", "-y"], ["no target", "--explain"]),
        ([HELLO, "--max-targets", 3, "-y"], ["12 targets", "--max-targets"]),
        ([PLAYBOOKS / "capped.yaml", "-y"], ["14 targets", "at most 3"]),
        ([HELLO], ["12 targets", "-y"]),
    ],
    ids=["no-targets", "too-many", "above-the-playbook's-cap", "nobody-to-confirm"],
)
def test_a_refusal_before_the_start_is_6(here: Here, lab: LabUp, args: list[object], words: list[str]) -> None:
    """6 means that nothing was sent, and what to do about it."""
    before = lab.executions()
    refused(here("run", *args, lab.flag), ExitCode.REFUSED, *words)
    assert lab.executions(before) == {}


def test_no_target_may_be_fine(here: Here, lab: LabUp) -> None:
    """With --allow-empty an empty run ends 0 with an empty report."""
    done = here("run", HELLO, lab.flag, "-y", "-l", "nobody", "--allow-empty", "-o", "json")
    assert (done.code, done.report["jobs"]) == (0, [])


@pytest.mark.parametrize("status", [401, 403])
def test_a_principal_without_rights_is_7(here: Here, lab: LabUp, status: int) -> None:
    """401 and 403 at the door end the command with what Azure said and what to do."""
    with gate(lab.url, {"GET /subscriptions": status}) as url:
        refused(here("run", HELLO, f"--lab={url}", "-y"), ExitCode.AZURE_UNUSABLE, f"HTTP {status}", "hint")


def test_nobody_at_the_other_end_is_7(here: Here) -> None:
    """A host that does not answer is told as such."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused(here("targets", "all", f"--lab={url}"), ExitCode.AZURE_UNUSABLE, "hint", "network")


def test_no_credential_is_7(here: Here, machine: Machine) -> None:
    """Without any way to sign in the command says what was tried, and sends nothing."""
    (machine.cwd / "config.yaml").write_text("azure:\n  credential: {token_env: ABSENT_TOKEN}\n")
    done = here("targets", "all")
    assert done.code in (ExitCode.AZURE_UNUSABLE, ExitCode.USAGE)
    assert "ABSENT_TOKEN" in done.err


def test_a_credential_that_expires_in_mid_run_is_7(here: Here, lab: LabUp) -> None:
    """7 wins over all of the run's other codes; the rest is `not_started` and the run has its report."""
    with gate(lab.url, {"PUT .*web0": 401}) as url:
        done = here("run", HELLO, f"--lab={url}", "-y", "-o", "json", "-l", "web*")
    assert done.code == 7 == done.report["exit_code"]
    assert len(done.report["jobs"]) == 8


def test_a_deadline_is_8(here: Here, lab: LabUp) -> None:
    """8 wins over 4: the deadline cut the run off, and what was not sent is `not_started` for that cause."""
    done = here("run", PLAYBOOKS / "deadline.yaml", lab.flag, "-y", "-o", "json")
    assert done.code == 8
    cut = [row for row in done.report["jobs"] if row["status"] == "not_started"]
    assert len(cut) == 10
    assert {row["cause"]["code"] for row in cut} == {"deadline"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_names_the_command_that_finishes_it(
    machine: Machine, lab: LabUp, number: signal.Signals, code: int
) -> None:
    """130 and 143: state saved, and the last line on stderr, executed as it stands, finishes the run."""
    before = lab.executions()
    process = machine.start("run", PLAYBOOKS / "slow.yaml", lab.flag, "-y", "-f", 4, "-l", "web*", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "submission_accepted") == 4)
    process.send_signal(number)
    stopped = ended(process)
    assert stopped.code == code
    assert stopped.lines[-1]["counts"]["not_started"] == 4
    resumed = machine.resume(stopped.last, "-o", "json")
    assert resumed.code == 0, resumed.err
    assert [row["status"] for row in resumed.report["jobs"]] == ["succeeded"] * 8
    assert set(lab.executions(before).values()) == {1}


def test_an_interrupt_before_the_run_is_130(machine: Machine, lab: LabUp) -> None:
    """Interrupted while the VMs are still being listed, nothing was sent and there is nothing to resume."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = machine.start("run", HELLO, f"--lab=http://127.0.0.1:{silent.getsockname()[1]}", "-y")
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            done = ended(process)
    refused(done, 130, "interrupted")
    assert "resume" not in done.err


def test_a_state_folder_that_cannot_be_used_is_1(machine: Machine, lab: LabUp) -> None:
    """1: the record cannot be kept, so nothing is sent."""
    machine.state.write_text("a file, where a folder should be")
    before = lab.executions()
    refused(machine.run("run", HELLO, lab.flag, "-y"), ExitCode.INTERNAL, str(machine.state), "hint")
    assert lab.executions(before) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_folder_of_somebody_else_is_1(machine: Machine, lab: LabUp) -> None:
    """A folder without rights is told as such."""
    machine.state.mkdir(mode=0o500)
    refused(machine.run("run", HELLO, lab.flag, "-y"), ExitCode.INTERNAL, str(machine.state), "hint")


def test_a_full_disk_under_stdout_is_1(machine: Machine) -> None:
    """What cannot be printed is told on stderr."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = machine.run("schema", stdout=full)
    refused(done, ExitCode.INTERNAL, "stdout", "No space left", "hint")


def test_a_taken_port_is_1(machine: Machine, here: Here) -> None:
    """A lab that cannot have its port says so."""
    with lab_up(machine, "default") as other:
        refused(here("lab", "up", "--port", other.url.rpartition(":")[2]), ExitCode.INTERNAL, "taken", "--port")
