"""The verbs for managed commands, by the real command line against a lab that holds what others left there."""

from __future__ import annotations

import csv
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import Here, LabUp, Machine, lab_up, wait_for

LAB = r"""
apiVersion: fleet/v1
kind: Lab
speed: 1000
rules:
  - {when: hang, duration: 900000}
  - {when: evil, stdout: "one\ntwo\n", exit: 3}
subscriptions:
  - name: prod
    id: 11111111-1111-4111-8111-111111111111
    groups:
      - name: rg-web
        vms:
          - {name: "web{n}", count: 3, guest: scripted}
          - {name: idle, guest: scripted, power: deallocated}
"""
PLACE = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/rg-web/providers/Microsoft.Compute"
RUN = "20250101-000000-ab12"
OWN = f"fleet-{RUN}-0"


class Shelf:
    """A lab, and what lies on its VMs."""

    def __init__(self, lab: LabUp) -> None:
        self.lab = lab
        self.flag = lab.flag

    def ask(self, method: str, path: str, body: object = None) -> Any:
        url = f"{self.lab.url}{PLACE}/virtualMachines/{path}{'&' if '?' in path else '?'}api-version=2024-11-01"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Authorization": "Bearer t"}, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def put(self, vm: str, name: str, script: str = "true", **properties: object) -> None:
        """Put a command there and wait for its end, unless it hangs."""
        body = {
            "location": "westeurope",
            "tags": {"by": "us"},
            "properties": {"source": {"script": script}, **properties},
        }
        self.ask("PUT", f"{vm}/runCommands/{name}", body)
        if script != "hang":
            wait_for(lambda: bool(self.view(vm, name).get("endTime")))

    def view(self, vm: str, name: str) -> Any:
        return self.ask("GET", f"{vm}/runCommands/{name}?$expand=instanceView")["properties"]["instanceView"]

    def names(self, vm: str) -> set[str]:
        return {row["name"] for row in self.ask("GET", f"{vm}/runCommands")["value"]}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUp]:
    """One lab for all tests here."""
    machine = Machine(tmp_path_factory.mktemp("shelf"))
    (machine.cwd / "lab.yaml").write_text(LAB)
    with lab_up(machine, "lab.yaml") as lab:
        yield lab


@pytest.fixture
def shelf(running: LabUp) -> Shelf:
    """The lab, with a leftover, a failed, a good and a hanging command on its VMs, and no others."""
    running.fault()
    shelf = Shelf(running)
    vms = ("web1", "web2", "web3")
    for vm in vms:
        for name in shelf.names(vm):
            shelf.ask("DELETE", f"{vm}/runCommands/{name}")
    wait_for(lambda: not any(map(shelf.names, vms)))
    shelf.put("web1", OWN)
    shelf.put("web1", "deploy", "evil", parameters=[{"name": "TOKEN", "value": "hidden-value"}], timeoutInSeconds=60)
    shelf.put("web2", "deploy")
    shelf.put("web3", "watch", "hang")
    return shelf


def by_place(rows: list[Any]) -> dict[str, Any]:
    return {f"{row['vm']}/{row['name']}": row for row in rows}


def test_listing_what_lies_on_every_vm(here: Here, shelf: Shelf) -> None:
    """Every form names each command with state, age and owner; VMs that are off are asked too."""
    done = here("commands", "list", "all", shelf.flag, "-o", "json")
    rows = by_place(done.report)
    assert done.code == 0
    assert set(rows) == {f"web1/{OWN}", "web1/deploy", "web2/deploy", "web3/watch"}
    assert (rows[f"web1/{OWN}"]["owner"], rows[f"web1/{OWN}"]["run"]) == ("fleet", RUN)
    assert rows["web1/deploy"]["owner"] == "other"
    assert (rows["web1/deploy"]["state"], rows["web1/deploy"]["exit_code"]) == ("failed", 3)
    assert rows["web3/watch"]["running"] is True
    assert rows["web2/deploy"]["age_s"] is not None
    assert "4 managed commands on 3 VMs of 4" in done.err
    lines = here("commands", "list", "all", shelf.flag, "-o", "jsonl", "--name", "DEPLOY").lines
    assert [row["vm"] for row in lines] == ["web1", "web2"]
    table = here("commands", "list", "all", shelf.flag, "--name", "fleet-*").out
    assert f"run {RUN}" in table and "web2" not in table
    told = list(csv.DictReader(io.StringIO(here("commands", "list", "all", shelf.flag, "-o", "csv").out)))
    assert {(row["vm"], row["command"]) for row in told} == {tuple(place.split("/")) for place in rows}


def test_showing_is_whole_and_keeps_secrets(here: Here, shelf: Shelf) -> None:
    """The instance view is told whole; scripts and values stay hidden."""
    page = here("commands", "show", "all", shelf.flag, "--name", "deploy", "-l", "web1")
    assert page.code == 0
    assert "exitCode: 3" in page.out and "  | two\n" in page.out
    told = here("commands", "show", "all", shelf.flag, "--name", "deploy", "-l", "web1", "-o", "json").report
    assert told[0]["instanceView"]["output"] == "one\ntwo\n"
    assert told[0]["parameters"] == ["TOKEN"]
    assert "hidden-value" not in page.out + json.dumps(told)


def test_deleting_asks_first_and_shows_what_it_would_do(here: Here, shelf: Shelf) -> None:
    """Nothing without naming commands, nothing in a dry run, nothing where nobody can confirm."""
    assert here("commands", "delete", "all", shelf.flag, "-y").code == 2
    dry = here("commands", "delete", "all", shelf.flag, "--name", "deploy", "--dry-run", "-o", "json")
    assert (dry.code, [row["vm"] for row in dry.report]) == (0, ["web1", "web2"])
    assert "2 commands would be deleted" in dry.err
    unconfirmed = here("commands", "delete", "all", shelf.flag, "--name", "deploy")
    assert unconfirmed.code == 6 and "delete 2 managed commands on 2 VMs" in unconfirmed.err
    assert shelf.names("web1") == {OWN, "deploy"}


def test_deleting_in_bulk_spares_what_may_be_running(here: Here, shelf: Shelf) -> None:
    """With -y everything that has ended goes; a running command only where --running is said."""
    done = here("commands", "delete", "all", shelf.flag, "--all", "-y", "-o", "json")
    assert (done.code, {row["result"] for row in done.report}, len(done.report)) == (0, {"done"}, 3)
    assert "1 command may still be running and will stay" in done.err
    wait_for(lambda: not shelf.names("web1") | shelf.names("web2"))
    assert shelf.names("web3") == {"watch"}
    assert here("commands", "delete", "all", shelf.flag, "--name", "watch", "--running", "-y").code == 0
    wait_for(lambda: not shelf.names("web3"))


def test_leftovers_are_fleets_own_and_over(here: Here, shelf: Shelf) -> None:
    """What just ended under a run that is not known here is none yet; under one that is known to have ended, it is."""
    assert here("commands", "list", "all", shelf.flag, "--leftovers", "-o", "json").report == []
    done = here("run", playbook(), shelf.flag, "-y", "-q", "-l", "web2", "-o", "json")
    assert done.code == 0
    run = done.report["run"]
    shelf.put("web2", f"fleet-{run}-9")
    left = here("commands", "list", "all", shelf.flag, "--leftovers", "-o", "json").report
    assert [row["name"] for row in left] == [f"fleet-{run}-9"]
    assert here("commands", "delete", "all", shelf.flag, "--leftovers", "-y").code == 0
    wait_for(lambda: shelf.names("web2") == {"deploy"})


def test_updating_lists_changes_and_makes_them(here: Here, shelf: Shelf, tmp_path: Path) -> None:
    """Script, time limit, parameters and tags change in place; each command says what changes; scripts run again."""
    script = tmp_path / "new.sh"
    script.write_text("evil again")
    flags = ("--name", "deploy", "--script", script, "--timeout", "5m", "--parameter", "A=1", "--tag", "by=them")
    dry = here("commands", "update", "all", shelf.flag, *flags, "--dry-run", "-o", "json")
    assert dry.code == 0
    first = by_place(dry.report)["web1/deploy"]["changes"]
    assert "timeout: 1m 00s -> 5m 00s" in first and "parameter A" in first and "tag by: us -> them" in first
    assert any(change.startswith("source: script sha256:") for change in first)
    assert here("commands", "update", "all", shelf.flag, *flags, "-y").code == 0
    wait_for(lambda: bool(shelf.view("web2", "deploy").get("endTime")))
    found = shelf.ask("GET", "web1/runCommands/deploy")
    assert found["tags"] == {"by": "them"}
    assert found["properties"]["timeoutInSeconds"] == 300
    assert {p["name"] for p in found["properties"]["parameters"]} == {"TOKEN", "A"}
    assert shelf.view("web2", "deploy")["exitCode"] == 3
    again = here("commands", "update", "all", shelf.flag, "--name", "deploy", "--tag", "by=them", "-y")
    assert (again.code, "nothing to change" in again.err) == (0, True)


def test_a_protected_parameter_never_stands_on_the_command_line(here: Here, shelf: Shelf) -> None:
    """It is given by reference; its value itself is refused, and told nowhere."""
    refused = here("commands", "update", "all", shelf.flag, "--name", "deploy", "--protected", "P=open-value", "-y")
    assert refused.code == 2 and "[secret_in_argv]" in refused.err and "open-value" not in refused.err


def test_what_could_not_be_done_is_named(here: Here, shelf: Shelf) -> None:
    """Of a VM that cannot be read, and a command that cannot be deleted, reason and exit code 4 tell."""
    shelf.lab.fault({"request": "delete", "kind": 403, "machines": "web2"})
    done = here("commands", "delete", "all", shelf.flag, "--name", "deploy", "-y", "-o", "json")
    results = by_place(done.report)
    assert (done.code, results["web1/deploy"]["result"], results["web2/deploy"]["result"]) == (4, "done", "failed")
    assert results["web2/deploy"]["cause"] == "forbidden"
    shelf.lab.fault({"request": "read", "kind": 403, "machines": "web3"})
    done = here("commands", "list", "all", shelf.flag)
    assert done.code == 4 and "web3: its managed commands could not be read: HTTP 403 AuthorizationFailed" in done.err


def test_what_a_run_could_not_delete_is_named_with_what_deletes_it(here: Here, shelf: Shelf) -> None:
    """The report of a run that may not delete names each command left, and the very command line that removes them."""
    shelf.lab.fault({"request": "delete", "kind": 403})
    done = here("run", playbook(), shelf.flag, "-y", "-q", "-l", "web*", "-o", "json")
    run = done.report["run"]
    assert done.code == 0
    assert [item["command"] for item in done.report["leftovers"]] == [f"fleet-{run}-{job}" for job in range(3)]
    shelf.lab.fault()
    text = here("show", "last", "-o", "table").out
    assert "3 managed commands of this run may still lie on VMs: web[1-3]" in text
    line = next(line for line in text.splitlines() if "fleet commands delete" in line)
    assert line.endswith(f"fleet commands delete all --name 'fleet-{run}-*'")
    assert (
        "fleet commands delete all"
        in here("report", "last", "--report", "html=r.html").err + Path("r.html").read_text()
    )
    removed = here("commands", "delete", "all", "--name", f"fleet-{run}-*", "-y", "-o", "json", shelf.flag)
    assert (removed.code, len(removed.report)) == (0, 3)
    clean = here("run", playbook(), shelf.flag, "-y", "-q", "-l", "web2", "-o", "json")
    assert clean.report["leftovers"] == []


def test_a_full_vm_is_told_from_other_refusals(here: Here, shelf: Shelf) -> None:
    """The 26th command of a VM is refused: the row says so, and what makes room."""
    for number in range(24):
        shelf.ask("PUT", f"web2/runCommands/c{number}", {"location": "w", "properties": {"source": {"script": "true"}}})
    done = here("run", playbook(), shelf.flag, "-y", "-q", "-l", "web2", "-o", "json")
    [job] = done.report["jobs"]
    assert (done.code, job["status"], job["cause"]["code"]) == (4, "unreachable", "no_slot")
    assert "fleet commands delete" in job["cause"]["hint"]
    table = here("doctor", playbook(), shelf.flag, "-l", "web2").out
    assert "all 25 places for managed commands are taken" in table and "fleet commands delete" in table


def playbook() -> str:
    """A playbook in the working folder, and its name."""
    text = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: hello, version: 1.0.0}
targets: {subscriptions: [all]}
steps: [{id: say, run: {inline: "echo hello"}}]
"""
    Path("hello.yaml").write_text(text)
    return "hello.yaml"


@pytest.mark.parametrize(
    ("words", "missing"),
    [(("--script", "new.sh"), "which commands: --name GLOB"), (("--name", "x*"), "what to change: --script")],
)
def test_an_update_of_nothing_is_refused(
    here: Here, machine: Machine, shelf: Shelf, words: tuple[str, ...], missing: str
) -> None:
    """It says which half is missing, and nothing is read or sent."""
    (machine.cwd / "new.sh").write_text("true\n")
    before = shelf.lab.requests()
    done = here("commands", "update", "all", shelf.flag, *words)
    assert (done.code, f"say {missing}" in done.err) == (2, True), done.err
    assert shelf.lab.requests() == before
