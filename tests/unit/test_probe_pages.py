"""What VMs said of themselves, as people read it: what is worth knowing first, and nothing that steers a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.app.inspect import Freed
from fleet.cli.probe_pages import Probed, freeings, probes, remarks
from fleet.guest.probe import Disk, Findings, Process, Standing
from fleet.run.job_state import JobState
from fleet.run.model import Cause, CauseCode
from fleet.run.state import Run
from tests.unit.run.factory import plan

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
GIB = 1 << 30


def job() -> JobState:
    return Run(plan(1), "r").jobs[0]


def facts(**given: object) -> Findings:
    return Findings(Standing.ALIVE, {name: str(value) for name, value in given.items()})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (facts(time=1000, stdout_at=100, stderr_at=880), "nothing printed for 2m 00s"),
        (facts(memtotal=1_000_000, memavailable=10_000), "memory is short: 10 MiB of 977 MiB left"),
        (Findings(Standing.ALIVE, disks=(Disk("/", 100 * GIB, GIB),)), "disk / is full: 1 GiB left"),
        (
            Findings(Standing.ALIVE, locks=("/var/lib/dpkg/lock 77 apt",)),
            "package lock held: /var/lib/dpkg/lock 77 apt",
        ),
        (
            Findings(Standing.ALIVE, processes=(Process(12, 0, "D", 9, 3, "io_schedule", "dd if=/x"),)),
            "process 12 waits for a device (io_schedule): dd if=/x",
        ),
        (Findings(Standing.ALIVE, whole=False), "the VM did not tell all"),
    ],
)
def test_what_is_worth_knowing_is_said_first(found: Findings, said: str) -> None:
    """How the script stands, then each trouble in a few words; a VM without it has no such word."""
    first, *others = remarks(found)
    assert first == "the script is running"
    assert len(others) == 1 and others[0].startswith(said)
    assert said in probes([Probed(job(), found)], "table")
    assert remarks(Findings(Standing.ALIVE)) == ("the script is running",)


@pytest.mark.parametrize(
    "found",
    [
        facts(time=1000, stdout_at=941),
        facts(memtotal=1_000_000, memavailable=100_000),
        Findings(Standing.ALIVE, disks=(Disk("/", 100 * GIB, 50 * GIB), Disk("/proc", 0, 0))),
        Findings(Standing.ENDED, {"time": "1000", "stdout_at": "1"}),
    ],
)
def test_what_is_as_it_should_be_has_no_remark(found: Findings) -> None:
    """A minute's silence, some memory, half a disk, and the silence of a script that has ended."""
    assert len(remarks(found)) == 1


def test_the_machine_is_told_on_one_line() -> None:
    """Load, processors, memory, disks and ages, each only where the VM told it."""
    found = Findings(
        Standing.ALIVE,
        {"load": "0.5", "processors": "4", "memtotal": "2000000", "memavailable": "1000000", "time": "7200",
         "booted": "0", "started": "7140"},
        disks=(Disk("/data", 5 << 40, 3 << 40),),
    )  # fmt: skip
    page = probes([Probed(job(), found)], "table")
    line = "load 0.5, 4 processors, memory 977 MiB free of 2 GiB, disk /data 3.0 TiB free of 5.0 TiB, up 2h 00m"
    assert f"  {line}, script begun 1m 00s ago\n" in page
    assert probes([Probed(job(), Findings(Standing.GONE))], "table").endswith("step0\n")


def test_windows_tells_its_load_in_percent() -> None:
    """Where there is no load average, how busy the processors are stands in its column."""
    assert " 97% " in probes([Probed(job(), facts(busy=97))], "table").splitlines()[1]


def test_a_vm_that_could_not_be_seen_has_its_reason() -> None:
    """In both forms: the cause, and what to do; it has no page of its own."""
    cause = Cause(CauseCode.VM_NOT_RUNNING, "it is stopped", "start it")
    assert "vm_not_running: it is stopped; start it" in probes([Probed(job(), cause)], "table")
    [told] = json.loads(probes([Probed(job(), cause)], "json"))
    assert (told["state"], told["cause"], told["message"]) == (None, "vm_not_running", "it is stopped")
    assert told["hint"] == "start it"


@given(st.text() | st.just("\x1b]0;owned\x07\u202e\r\n=cmd|x"))
def test_nothing_that_a_vm_says_steers_a_terminal(text: str) -> None:
    """Pages hold no control or invisible character but line ends and tabs; JSON keeps every character."""
    found = Findings(
        Standing.ALIVE, {"load": text}, (text,), (Process(1, 0, text, 1, 1, text, text),), (Disk(text, 9, 9),),
        text, text, text,
    )  # fmt: skip
    freed = Freed(job(), "signal", False, text)
    for page in (probes([Probed(job(), found)], "table"), freeings([freed], "table")):
        assert all(char in "\n\t" or unicodedata.category(char) not in UNSEEN for char in page)
    [told] = json.loads(probes([Probed(job(), found)], "json"))
    assert (told["stdout"], told["locks"], told["processes"][0]["command"]) == (text, [text], text)
    assert json.loads(freeings([freed], "json"))[0]["message"] == text
