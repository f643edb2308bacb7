"""Green is earned: what proves a row at the command line, and what one VM's answer can do to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.between import Passing, between
from tests.system.cli import Here, LabUp, Machine, kill, wait_for

pytestmark = pytest.mark.slow


LAB = """
apiVersion: fleet/v1
kind: Lab
speed: 500
rules:
  - {{when: undo, stdout: "undone\\n"}}
  - {{{rule}}}
subscriptions:
  - name: prod
    id: 11111111-1111-4111-8111-111111111111
    groups:
      - {{name: rg-web, vms: [{{name: "web{{n}}", count: {count}, guest: scripted}}]}}
"""


def lab_file(folder: Path, rule: str, count: int = 6) -> str:
    """Write a lab of scripted VMs that answer by one rule, but to a script that undoes."""
    file = folder / "lab.yaml"
    file.write_text(LAB.format(rule=rule, count=count))
    return f"--lab={file}"


def play(folder: Path, script: str, *, rollout: str = "{slow_start: false}", undo: bool = False) -> Path:
    """Write a playbook of one step, and perhaps one that undoes."""
    (folder / "s.sh").write_text(script)
    file = folder / "play.yaml"
    last = "\n  - {id: undo, turn: always, run: {inline: echo undo}}" if undo else ""
    file.write_text(
        "apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: play, version: 1.0.0}\n"
        f'targets: {{where: os == "linux"}}\nrollout: {rollout}\nsteps:\n  - {{id: work, run: {{file: s.sh}}}}{last}\n'
    )
    return file


def rows(report: Any, step: str = "work") -> list[tuple[str, str]]:
    """Status and cause of each VM's row of a step."""
    return [(row["status"], row["cause"]["code"]) for row in report["jobs"] if row["step"] == step]


def test_a_failure_is_no_less_one_for_what_its_script_prints(here: Here, machine: Machine) -> None:
    """A script that fails and prints the words of Azure's handler spends the budget: one VM, then no other."""
    words = "Last script execution didn't finish."
    file = play(machine.cwd, "work", rollout="{max_failures: 0, slow_start: false}", undo=True)
    lab = lab_file(machine.cwd, f'stderr: "{words}\\n", exit: 3')
    done = here("run", file, lab, "-y", "-o", "json", "--transport", "action")
    assert done.code == 5, done.err
    found = rows(done.report)
    assert sorted(found) == [("failed", "exit_code"), *[("not_started", "budget_failures")] * 5]
    assert rows(done.report, "undo").count(("succeeded", "completed")) == 1


def test_a_success_is_no_less_one_for_what_its_script_prints(here: Here, machine: Machine) -> None:
    """The same words at the end of a good script's output change nothing."""
    lab = lab_file(machine.cwd, 'stderr: "Last script execution didn\'t finish."', count=2)
    done = here("run", play(machine.cwd, "work"), lab, "-y", "-o", "json", "--transport", "action")
    assert (done.code, rows(done.report)) == (0, [("succeeded", "completed")] * 2), done.err


def test_one_vm_s_status_text_ends_neither_the_run_nor_its_resume(here: Here, machine: Machine, lab: LabUp) -> None:
    """A number of thousands of digits in a handler's message is text: its row is unknown, all others are as they were."""

    def spoil(passing: Passing) -> None:
        if passing.method == "GET" and "web03/runCommands/" in passing.path:
            properties = passing.body["properties"]
            message = "command terminated with exit status=" + "9" * 5000
            properties |= {"provisioningState": "Failed", "instanceView": {"executionMessage": message}}
        if passing.method == "GET" and "/operations/" in passing.path.lower():
            passing.status, passing.body = 404, {"error": {"code": "NotFound", "message": "gone"}}

    with between(lab.url, spoil) as door:
        done = here("run", play(machine.cwd, "echo hi"), door.flag, "-y", "-o", "json", "-l", "web*")
        again = here("resume", "last", door.flag, "-o", "json")
    assert done.code == 4, done.err
    by_name = {row["name"]: row for row in done.report["jobs"]}
    assert by_name.pop("web03")["status"] == "unknown"
    assert {row["status"] for row in by_name.values()} == {"succeeded"}
    assert rows(again.report) == rows(done.report)


FORGED = """
key=$(basename "$(dirname "$0")")
nonce=$(printf %s "$key" | sha256sum | cut -c1-32)
for try in "$nonce" 00000000000000000000000000000000; do
printf 'ok\\nfleet-receipt v1 nonce=%s replayed=0 script=- exit=0 signal=- timed_out=0 interrupted=0 ' "$try"
printf 'stdout=2:%s stderr=1500:- boot=x started=1 ended=2 end\\n\\n[stderr]\\n' "$(printf ok | sha256sum | cut -c1-64)"
done
head -c 600 /dev/zero | tr '\\0' '\\377'
exit 3
"""


@pytest.mark.sandbox
@pytest.mark.parametrize("transport", ["action", "managed"])
def test_a_script_that_prints_receipts_does_not_make_itself_green(here: Here, machine: Machine, transport: str) -> None:
    """What it can compute in the VM is no nonce of ours, so it failed with 3 as its true receipt says."""
    file = play(machine.cwd, FORGED, rollout="{max_failures: 0, slow_start: false}")
    done = here("run", file, "--lab", "-y", "-o", "json", "--transport", transport, "--pick", "3")
    found = [row for row in done.report["jobs"] if row["status"] != "not_started"]
    assert (done.code, len(found)) == (5, 1), done.err
    assert (found[0]["status"], found[0]["exit_code"], found[0]["verified"]) == ("failed", 3, True)


@pytest.mark.sandbox
@pytest.mark.parametrize("transport", ["action", "managed"])
@pytest.mark.parametrize("script", ["rm -rf /var/lib/fleet\necho gone", "kill -9 $PPID; sleep 1; echo still"])
def test_what_ends_the_wrapper_proves_nothing(here: Here, machine: Machine, transport: str, script: str) -> None:
    """Without its receipt the row says so, whichever code the service shows: that is the wrapper's and no script's."""
    done = here("run", play(machine.cwd, script), "--lab", "-y", "-o", "json", "--transport", transport, "--pick", "1")
    (row,) = done.report["jobs"]
    assert (done.code, row["status"], row["cause"]["code"]) == (4, "unverified", "no_receipt"), done.err
    assert (row["exit_code"], row["verified"]) == (None, False)


@pytest.mark.parametrize(
    ("code", "message", "status", "cause", "deleted"),
    [
        ("InternalExecutionError", "An internal execution error occurred.", "unknown", "no_answer", False),
        ("VMAgentStatusCommunicationError", "VM 'V' has not reported status.", "unknown", "agent_not_ready", False),
        ("X", "VM agent on VM 'V' has not reported latest status for extension 'E'.", "unknown", "no_answer", False),
        ("VMExtensionProvisioningTimeout", "has timed out", "timed_out", "service_timeout", False),
        ("X", "command terminated with exit status=7", "unverified", "no_receipt", False),
    ],
)
def test_a_command_whose_report_is_missing_is_not_ended(
    here: Here, machine: Machine, lab: LabUp, code: str, message: str, status: str, cause: str, deleted: bool
) -> None:
    """Its script may still run: no sentence says that it failed or did not run, and nothing is deleted on its VM."""

    def spoil(passing: Passing) -> None:
        if passing.method == "GET" and "/runCommands/" in passing.path:
            passing.body["properties"] |= {"provisioningState": "Failed", "instanceView": {"executionState": "Running"}}
        if passing.method == "GET" and "/operations/" in passing.path.lower():
            passing.status = 200
            passing.body = {"status": "Failed", "error": {"code": code, "message": message}, "name": "o"}

    with between(lab.url, spoil) as door:
        done = here("run", play(machine.cwd, "echo hi"), door.flag, "-y", "-o", "json", "-l", "web01")
    assert rows(done.report) == [(status, cause)], done.err
    assert bool(door.bodies("DELETE", "/runCommands/")) == deleted
    assert [left["target"].rpartition("/")[2] for left in done.report["leftovers"]] == ([] if deleted else ["web01"])


def test_a_preempted_command_is_followed_to_its_end(here: Here, machine: Machine, lab: LabUp) -> None:
    """Another operation took its operation's place. Nobody cancelled it, and its receipt comes."""
    seen = []

    def spoil(passing: Passing) -> None:
        if passing.method == "GET" and "/runCommands/" in passing.path and len(seen) < 3:
            seen.append(passing)
            passing.body["properties"] |= {
                "provisioningState": "Canceled",
                "instanceView": {"executionState": "Running"},
            }
        if passing.method == "GET" and "/operations/" in passing.path.lower():
            error = {"code": "OperationPreempted", "message": "preempted by a more recent operation."}
            passing.status, passing.body = 200, {"status": "Canceled", "error": error, "name": "o"}

    with between(lab.url, spoil) as door:
        done = here("run", play(machine.cwd, "echo hi"), door.flag, "-y", "-o", "json", "-l", "web01")
    assert (done.code, len(seen), rows(done.report)) == (0, 3, [("succeeded", "completed")]), done.err


def test_a_put_that_is_sent_again_is_the_first_byte_for_byte(here: Here, machine: Machine, lab: LabUp) -> None:
    """The nonce of a try is drawn once and kept with its first intent, so both requests carry the same."""
    lab.fault({"request": "submit", "kind": "reset", "times": 2})
    with between(lab.url) as door:
        done = here("run", play(machine.cwd, "echo hi"), door.flag, "-y", "-o", "json", "-l", "web01")
    sent = door.bodies("PUT", "/runCommands/")
    assert (done.code, len(sent), len(set(sent))) == (0, 3, 1), done.err
    with between(lab.url) as door:
        here("run", machine.cwd / "play.yaml", door.flag, "-y", "-o", "json", "-l", "web01")
    assert door.bodies("PUT", "/runCommands/")[0] not in sent


@pytest.mark.parametrize("fault", ["reset", "lost_answer"])
def test_a_kill_between_two_submissions_runs_no_script_twice(machine: Machine, lab: LabUp, fault: str) -> None:
    """``kill -9`` after the first PUT left; whether it was carried out or not, the next owner sends the same or nothing."""
    file = play(machine.cwd, "echo hi")
    lab.fault({"request": "submit", "kind": fault, "times": 1})
    before = lab.executions()
    closed = [True]

    def hide(passing: Passing) -> None:
        if closed and passing.method == "GET" and "/runCommands/" in passing.path:
            passing.status, passing.body = 503, None

    with between(lab.url, hide) as door:
        running = machine.start("run", file, door.flag, "-y", "-l", "web01")
        wait_for(lambda: bool(door.bodies("PUT", "/runCommands/")))
        wait_for(lambda: bool([each for each in door.passed if each.method == "GET" and "/runCommands/" in each.path]))
        kill(running)
        closed.clear()
        done = machine.run("resume", "last", door.flag, "-o", "json")
    assert (done.code, rows(done.report)) == (0, [("succeeded", "completed")]), done.err
    assert list(lab.executions(before).values()) == [1]
    sent = door.bodies("PUT", "/runCommands/")
    assert (len(sent), len(set(sent))) == (2 if fault == "reset" else 1, 1)
