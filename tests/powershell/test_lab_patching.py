"""The playbook that patches Windows VMs over twelve of the lab, by the command line: each meets another thing on its way."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.lab.guests.windows.state import read
from tests.powershell.test_lab_fleet import WithPowerShell
from tests.powershell.windows import installed
from tests.system.cli import LABS, Done, LabUp, lab_up
from tests.system.test_patching import quickened

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
    pytest.mark.timeout(1200),
]
_LIMIT = 900
_LONGEST = "300s"
"""The time limit of a step here: what a VM that is off is waited for, and far more than the others need."""

_RESTARTED = [
    ("patch", "succeeded", 80),
    ("patch-reboot", "succeeded", 81),
    ("patch-back", "succeeded", 0),
]
_WELL = ("health", "succeeded", 0)
ROWS: dict[str, list[tuple[str, str, int | None]]] = {
    "w01-quiet": [("patch", "succeeded", 0), _WELL],
    "w02-three": [*_RESTARTED, ("patch-restarted", "succeeded", 0), _WELL],
    "w03-fails": [("patch", "failed", 82)],
    "w04-first": [*_RESTARTED, ("patch-restarted", "succeeded", 0), _WELL],
    "w05-stays": [*_RESTARTED, ("patch-restarted", "failed", 84)],
    "w06-search": [("patch", "failed", 87)],
    "w07-full": [("patch", "failed", 84)],
    "w08-busy": [("patch", "failed", 83)],
    "w09-down": [("patch", "unknown", None)],
    "w10-again": [*_RESTARTED, ("patch-restarted", "failed", 87)],
    "w11-many": [("patch", "succeeded", 0), _WELL],
    "w12-cim": [*_RESTARTED, ("patch-restarted", "succeeded", 0), _WELL],
}
"""What happens on each, the rows that are skipped left out."""

FACTS: dict[tuple[str, str], dict[str, str]] = {
    ("w01-quiet", "patch"): {"state": "nothing_to_do", "updated": "0", "remaining": "0", "reboot": "no", "note": "-"},
    ("w02-three", "patch"): {"state": "reboot_needed", "updated": "3", "remaining": "0", "reboot": "yes"},
    ("w02-three", "patch-restarted"): {"state": "nothing_to_do", "updated": "0", "remaining": "0", "reboot": "no"},
    ("w03-fails", "patch"): {
        "state": "partial",
        "updated": "1",
        "failed": "1",
        "remaining": "1",
        "note": "KB5044281:install:0x80070643",
        "updates": "KB5044099=updated:0x00000000:60MiB KB5044281=failed:install:0x80070643:60MiB",
    },
    ("w04-first", "patch"): {"state": "reboot_needed", "updated": "0", "remaining": "unknown", "note": "restart_first"},
    ("w04-first", "patch-restarted"): {"state": "updated", "updated": "2", "remaining": "0", "reboot": "no"},
    ("w05-stays", "patch-restarted"): {
        "state": "refused",
        "updated": "0",
        "reboot": "yes",
        "note": "a_restart_does_not_clear_the_restart_that_is_pending",
    },
    ("w06-search", "patch"): {"state": "failed", "updated": "0", "remaining": "unknown"},
    ("w07-full", "patch"): {"state": "refused", "updated": "0", "note": "free_on_system_disk:2601MiB"},
    ("w08-busy", "patch"): {"state": "blocked", "updated": "0", "remaining": "1", "note": "locks_held"},
    ("w09-down", "patch"): {},
    ("w10-again", "patch"): {"state": "reboot_needed", "updated": "1", "remaining": "0"},
    ("w10-again", "patch-restarted"): {
        "state": "failed",
        "updated": "0",
        "remaining": "1",
        "note": "KB5044281:loop:installed_before_the_restart_and_offered_again",
    },
    ("w11-many", "patch"): {"state": "updated", "updated": "200", "remaining": "0", "failed": "0"},
    ("w12-cim", "patch"): {"state": "reboot_needed", "updated": "1", "remaining": "0"},
    ("w12-cim", "patch-restarted"): {"state": "nothing_to_do", "updated": "0", "remaining": "0", "reboot": "no"},
}


class InOneFolder(WithPowerShell):
    """A machine whose labs have their guests in one folder, where a test can see what became of them."""

    def __init__(self, folder: Path, program: str, guests: Path) -> None:
        super().__init__(folder, program)
        self.guests = guests

    def environment(self, **more: str) -> dict[str, str]:
        return super().environment(**{"TMPDIR": str(self.guests), **more})

    def states(self) -> dict[str, Path]:
        """The folder of each guest's state, by the guest's name."""
        found = self.guests.glob("fleet-lab-*/g-*")
        return {(guest / "root/etc/hostname").read_text().strip(): guest / "state" for guest in found}


@dataclass(frozen=True)
class Patched:
    """The twelve after one run: how it ended, what is installed on each, and what was started there how often."""

    machine: InOneFolder
    lab: LabUp
    play: Path
    done: Done
    installed: dict[str, list[str]]
    begun: dict[str, Counter[str]]
    boots: list[int]

    @property
    def rows(self) -> dict[tuple[str, str], Any]:
        return {(row["name"], row["step"].removesuffix("-windows")): row for row in self.done.report["jobs"]}


@pytest.fixture(scope="module")
def patched(pwsh: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patched]:
    """The twelve, patched once, with a lab that is still up."""
    place = tmp_path_factory.mktemp("twelve")
    guests = Path(tempfile.mkdtemp(prefix="fleet-twelve-"))
    guests.chmod(0o711)  # guests of another id pass through
    try:
        machine = InOneFolder(place, pwsh, guests)
        play = quickened("windows-patch", place)
        play.write_text(
            play.read_text()
            .replace("timeout: 4h", f"timeout: {_LONGEST}")
            .replace("reboot_timeout: 30s", "reboot_timeout: 5m")
        )
        (machine.cwd / "config.yaml").write_text("run: {answer_grace: 5s}\n")
        with lab_up(machine, LABS / "windows-patching.yaml") as lab:
            wide = ("--no-slow-start", "--max-failures", "100%", "--max-unreachable", "100%")
            command = ("run", play, lab.flag, *wide, "-y", "-e", "lock_wait=3", "-o", "json")
            done = machine.run(*command, limit=_LIMIT)
            states = machine.states()
            calls = {name: (each / "calls").read_text().splitlines() for name, each in states.items()}
            yield Patched(
                machine,
                lab,
                play,
                done,
                {name: installed(read(each)) for name, each in states.items()},
                {name: Counter(line for line in lines if line.startswith("install ")) for name, lines in calls.items()},
                list(lab.state()["boots"].values()),
            )
    finally:
        shutil.rmtree(guests, ignore_errors=True)


def test_each_of_twelve_vms_ends_as_it_went(patched: Patched) -> None:
    """Every VM has the rows that it should have, with their exit codes and facts, and nothing is green that is not. The run
    ends with 3.
    """
    assert patched.done.code == 3, patched.done.err
    found: dict[str, list[tuple[str, str, int | None]]] = {name: [] for name, _ in patched.rows}
    for (name, step), row in patched.rows.items():
        if row["status"] != "skipped":
            found[name].append((step, row["status"], row["exit_code"]))
    assert found == ROWS
    for (name, step), facts in FACTS.items():
        row = patched.rows[name, step]
        assert row["facts"].items() >= facts.items(), (name, step, row["facts"])
    assert all(row["verified"] for row in patched.rows.values() if row["status"] in ("succeeded", "failed"))
    assert patched.rows["w06-search", "patch"]["facts"]["note"].startswith("search:0x80248007:")


def test_nothing_is_installed_twice_or_left_unsaid(patched: Patched) -> None:
    """What the guests did and have: each update was started once at most, on no VM that did not report it, and each VM was
    restarted once at most. The VM that went off has what it had when it did.
    """
    assert all(count == 1 for begun in patched.begun.values() for count in begun.values()), patched.begun
    have = {name: set(articles) for name, articles in patched.installed.items()}
    many = {f"60{number:05}" for number in range(200)}
    assert have == {
        "w01-quiet": set(),
        "w02-three": {"5044281", "5044099", "5044100"},
        "w03-fails": {"5044099"},
        "w04-first": {"5044099", "5044100"},
        "w05-stays": set(),
        "w06-search": set(),
        "w07-full": set(),
        "w08-busy": set(),
        "w09-down": {"5044099"},
        "w10-again": set(),
        "w11-many": many,
        "w12-cim": {"5044099"},
    }
    assert {name: sum(begun.values()) for name, begun in patched.begun.items() if begun} == {
        "w02-three": 3,
        "w03-fails": 2,
        "w04-first": 2,
        "w09-down": 2,
        "w10-again": 1,
        "w11-many": 200,
        "w12-cim": 1,
    }
    assert patched.boots == [1] * 5
    row = patched.rows["w11-many", "patch"]
    assert row["stdout"].count("\nupdated: KB60") == 200 and not row["truncated"]


def test_the_shipped_budgets_stop_at_the_first_failure(patched: Patched) -> None:
    """With the playbook's own budgets a second run of some of them stops once a VM has failed, with 5: the VM that is off is
    not in it, those that were patched have nothing to do, and the rest is not started.
    """
    machine = patched.machine
    some = [word for vm in ("w01-*", "w03-*", "w06-*", "w07-*", "w09-*") for word in ("-l", vm)]
    words = ("run", patched.play, patched.lab.flag, *some, "-y", "-e", "lock_wait=3", "-o", "json")
    done = machine.run(*words, limit=_LIMIT)
    assert done.code == 5, done.err
    rows = {(row["name"], row["step"]): row for row in done.report["jobs"] if row["step"] == "patch"}
    ends = Counter(row["status"] for row in rows.values())
    assert len(rows) == 4 and ("w09-down", "patch") not in rows, json.dumps(ends)
    assert [row["name"] for row in done.report["jobs"] if row["status"] == "failed"], json.dumps(ends)
    assert set(ends) <= {"succeeded", "failed", "not_started"} and ends["not_started"]
    states = [row["facts"]["state"] for row in rows.values() if row["status"] == "succeeded"]
    assert set(states) <= {"nothing_to_do", "reboot_needed"}
    waits = [row["cause"]["code"] for row in rows.values() if row["status"] == "not_started"]
    assert set(waits) == {"budget_failures"}
