"""Looking into VMs where a run hangs, and ending such a script, by the real command line and in real guests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import LABS, Here, LabUp, Machine, ended, kill, lab_up, wait_for
from tests.system.test_full_output import playbook

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
]

HANGS = r"""case $(hostname) in web02) echo fine; exit 0;; esac
echo "working on it"
printf 'beware \033[31m\n' >&2
sleep 60000 | cat
echo never"""


def _lab(machine: Machine) -> Path:
    """The lab of two real guests, slow enough that Azure does not give up on what hangs."""
    path = machine.cwd / "lab.yaml"
    path.write_text((LABS / "real.yaml").read_text().replace("speed: 200", "speed: 60"))
    return path


WHY = ("--as", "Jo", "--why", "it hangs")

RETRIES = """
    idempotent: true
    retries: 1
    retry_delay: 1s
"""


@contextmanager
def hanging(
    here: Here, machine: Machine, transport: str, script: str = HANGS, more: str = ""
) -> Iterator[tuple[LabUp, subprocess.Popen[str]]]:
    """A run whose script hangs on web01; web02 waits for its turn. ``more`` is YAML for the step."""
    with lab_up(machine, _lab(machine)) as lab:
        play = playbook(machine, script)
        play.write_text(play.read_text().rstrip() + more)
        run = machine.start("run", play, lab.flag, "-y", "-o", "jsonl", "-q", "--transport", transport)
        try:
            wait_for(lambda: bool(lab.executions()))
            wait_for(lambda: seen(here, lab)[0] == "alive")
            yield lab, run
        finally:
            run.kill()
            run.communicate()


def seen(here: Here, lab: LabUp) -> tuple[str, str]:
    """What is seen of the script in web01: whether it is at work, and what it has printed."""
    asked = here("probe", "last", "web01", lab.flag, "-o", "json")
    return (asked.report[0]["state"], asked.report[0]["stdout"]) if asked.code == 0 else ("", "")


def row(here: Here) -> dict[str, Any]:
    """The report's row of web01."""
    report = here("show", "last", "-o", "json").report
    return next(job for job in report["jobs"] if job["name"] == "web01")


@pytest.mark.parametrize("transport", ["managed", "action"])
def test_a_hung_script_is_seen_and_freed(here: Here, machine: Machine, transport: str) -> None:
    """Its processes, output and machine are seen from beside; ended in the guest, the receipt proves the signal, and the
    row names who ended it and why.
    """
    with hanging(here, machine, transport) as (lab, run):
        asked = here("probe", "last", lab.flag, "-o", "json")
        assert asked.code == 0, asked.err
        (found,) = asked.report
        assert (found["vm"], found["state"], found["whole"]) == ("web01", "alive", True)
        assert found["stdout"] == "working on it\n"
        commands = {process["command"]: process for process in found["processes"]}
        assert commands["sleep 60000"]["depth"] == commands["cat"]["depth"] > 0
        assert commands["sleep 60000"]["state"] == "S"
        assert found["facts"]["memtotal"].isdigit() and found["disks"]
        page = here("probe", "last", "WEB01", lab.flag)
        assert "the script is running" in page.out and "sleep 60000" in page.out
        assert "beware \\x1b[31m" in page.out and "\x1b" not in page.out
        dry = here("unstick", "last", "web01", lab.flag, "--in-guest", "--dry-run")
        assert (dry.code, "TERM, and KILL after" in dry.out) == (0, True)
        freed = here("unstick", "last", "web*", lab.flag, "--in-guest", "-y", "-o", "json", *WHY)
        assert freed.code == 0, freed.out + freed.err
        assert [(each["vm"], each["done"]) for each in freed.report] == [("web01", True)]
        assert "ended by TERM" in freed.report[0]["message"]
        assert ended(run).code == 3
    end = row(here)
    assert (end["status"], end["cause"]["code"], end["verified"]) == ("cancelled", "cancelled", True)
    assert (end["exit_code"], end["stdout"]) == (143, "working on it\n")
    assert "ended by Jo (" in end["cause"]["message"] and "it hangs" in end["cause"]["message"]


def test_a_managed_command_is_freed_by_deleting_it(here: Here, machine: Machine) -> None:
    """Asked for nothing else, a managed command is deleted; the row names who ended it and why, the report and the events
    as well, no budget is spent, and nothing is said to lie on the VM.
    """
    with hanging(here, machine, "managed") as (lab, run):
        refused = here("unstick", "last", "web01", lab.flag)
        assert (refused.code, "[unconfirmed]" in refused.err) == (6, True)
        assert here("unstick", "last", "web02", lab.flag, "-y").code == 2
        freed = here("unstick", "last", "web01", lab.flag, "-y", *WHY)
        assert (freed.code, "is being deleted" in freed.out) == (0, True)
        done = ended(run)
        assert done.code == 3
        events = [line for line in done.lines if line["event"] == "job_unstuck"]
        assert [(line["stage"], line["how"], line["name"], line["why"]) for line in events] == [
            ("asked", "deleted", "web01", "it hangs"),
            ("done", "deleted", "web01", "it hangs"),
        ]
        next_one = here("run", playbook(machine, "echo next"), lab.flag, "-y", "-q", "--lease", "refuse")
        assert next_one.code == 0, "its lease was released at once"
    report = here("show", here("runs", "-o", "json").report[-1]["id"], "-o", "json").report
    end = next(job for job in report["jobs"] if job["name"] == "web01")
    assert (end["status"], end["cause"]["code"]) == ("cancelled", "cancelled")
    assert "ended by Jo (" in end["cause"]["message"] and "it hangs" in end["cause"]["message"]
    assert report["counts"]["unknown"] == 0
    notes = " ".join(report["notes"])
    assert "Script on web01 ended by Jo (" in notes and "may still lie" not in notes


@pytest.mark.parametrize("how", [(), ("--in-guest",)])
def test_a_script_is_freed_whose_run_nobody_carries_out(here: Here, machine: Machine, how: tuple[str, ...]) -> None:
    """The next run gets the VM at once, and a resume knows who ended the script."""
    with hanging(here, machine, "managed") as (lab, run):
        first = here("runs", "-o", "json").report[0]["id"]
        kill(run)
        assert here("unstick", first, "web01", lab.flag, "-y", *WHY, *how).code == 0
        other = playbook(machine, "echo next")
        assert here("run", other, lab.flag, "-y", "-q", "--lease", "refuse", "-l", "web01").code == 0
        assert here("resume", first, lab.flag, "-q").code == 3
    end = next(job for job in here("show", first, "-o", "json").report["jobs"] if job["name"] == "web01")
    assert (end["status"], end["verified"]) == ("cancelled", bool(how))
    assert "ended by Jo (" in end["cause"]["message"] and "it hangs" in end["cause"]["message"]


def test_a_command_of_a_run_that_is_deleted_by_hand_is_known_to_it(here: Here, machine: Machine) -> None:
    """`fleet commands delete` tells the run of this state folder whose command it ends."""
    with hanging(here, machine, "managed") as (lab, run):
        deleted = here("commands", "delete", 'name == "web01"', "--all", "--running", lab.flag, "-y")
        assert deleted.code == 0, deleted.err
        assert ended(run).code == 3
    end = row(here)
    assert end["status"] == "cancelled"
    assert "fleet commands delete" in end["cause"]["message"]


def test_a_script_that_is_tried_again_is_seen_and_freed(here: Here, machine: Machine) -> None:
    """Of a step that was tried before, the present try is looked at, and its command is the one that is deleted."""
    twice = f"case $(hostname) in web01) [ -e /tmp/tried ] || {{ touch /tmp/tried; echo one; exit 1; }};; esac\n{HANGS}"
    with hanging(here, machine, "managed", twice, more=RETRIES) as (lab, run):
        wait_for(lambda: seen(here, lab) == ("alive", "working on it\n"))
        freed = here("unstick", "last", "web01", lab.flag, "-y")
        assert (freed.code, "is being deleted" in freed.out) == (0, True)
        assert ended(run).code == 3
    assert (row(here)["retries"], row(here)["cause"]["code"]) == (1, "cancelled")


def test_only_the_scripts_own_group_is_ended(here: Here, machine: Machine) -> None:
    """What ignores TERM gets KILL; a neighbour in the same guest, by another run, lives on."""
    stubborn = "trap '' TERM\nwhile :; do sleep 1; done"
    with hanging(here, machine, "action", f"case $(hostname) in web02) exit 0;; esac\n{stubborn}") as (lab, run):
        other = playbook(machine, "case $(hostname) in web02) exit 0;; esac\nsleep 8; echo unhurt")
        flags = ("-y", "-o", "json", "-q", "--lease", "none")
        neighbour = machine.start("run", other, lab.flag, *flags, "--transport", "managed", "-l", "web01")
        first = here("runs", "-o", "json").report[-1]["id"]
        freed = here("unstick", first, "web01", lab.flag, "-y", "-o", "json")
        assert (freed.code, "ended by KILL" in freed.report[0]["message"]) == (0, True), freed.out
        assert ended(run).code == 3
        done = ended(neighbour)
        assert (done.code, done.report["jobs"][0]["stdout"]) == (0, "unhurt\n")
    assert here("probe", "last", "nosuch", lab.flag).code == 2


def test_without_anything_running_it_says_so(here: Here, machine: Machine, tmp_path: Path) -> None:
    """A run that has ended has nothing to free, and an ended script can still be looked at by name."""
    with lab_up(machine, _lab(machine)) as lab:
        assert here("run", playbook(machine, "echo done"), lab.flag, "-y", "-q").code == 0
        none = here("unstick", "last", "web01", lab.flag, "-y")
        assert (none.code, "nothing of run" in none.err) == (2, True)
        assert here("probe", "last", lab.flag).code == 2
        (found,) = here("probe", "last", "web01", lab.flag, "-o", "json").report
        assert (found["state"], found["stdout"]) == ("ended", "done\n")
