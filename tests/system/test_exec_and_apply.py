"""One command on many VMs, and plans that are carried out exactly as they were frozen."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.system.cli import LABS, PLAYBOOKS, Here, LabUp, Machine, lab_up

pytestmark = pytest.mark.slow

EVERYTHING = PLAYBOOKS / "everything.yaml"


def test_exec_shows_equal_answers_once(here: Here) -> None:
    """Five hundred VMs with three kinds of answers print three groups, which name every VM."""
    done = here("exec", 'tag.env == "dev"', f"--lab={LABS / 'kernels.yaml'}", "-y", "--", "uname", "-r")
    assert done.code == 0
    heads = re.findall(r"^-{15}\n(.+) \((\d+)\)\n-{15}\n(.+)\n", done.out, re.MULTILINE)
    assert sorted(kernel for _, _, kernel in heads) == ["5.15.0-1001", "6.5.0-1002", "6.8.0-1003"]
    assert sum(int(count) for _, count, _ in heads) == 500
    assert heads[-1][2] == "6.8.0-1003", "the largest group comes last"


def test_exec_shows_differences_to_the_majority(here: Here) -> None:
    """With --diff the smaller groups show what they print otherwise."""
    done = here("exec", "all", f"--lab={LABS / 'kernels.yaml'}", "--diff", "-y", "--", "uname")
    assert "-6.8.0-1003\n+5.15.0-1001\n" in done.out


def test_exec_is_a_run_like_any_other(here: Here, lab: LabUp, tmp_path: Path) -> None:
    """It is kept, its exit code follows the same rules, its script is what was typed, and files hold the streams."""
    script = tmp_path / "ends.sh"
    script.write_text("echo this ends badly\n")
    done = here(
        "exec", 'tag.env == "prod"', lab.flag, "-y", "-o", "json", "--outdir", str(tmp_path / "o"), "--", f"@{script}"
    )
    assert done.code == 3
    rows = done.report["jobs"]
    assert {(row["status"], row["exit_code"], row["stderr"]) for row in rows} >= {("failed", 3, "web01 gave up\n")}
    assert len(list((tmp_path / "o").glob("*.stdout"))) == len(rows) == 8
    assert "web08" in here("show", "last").out


@pytest.mark.parametrize("words", [["@missing.sh"], ["@a.sh", "more"]])
def test_exec_of_a_script_that_cannot_be_used(here: Here, lab: LabUp, words: list[str]) -> None:
    """A script that is not there, or has arguments, is a sentence, and nothing is sent."""
    done = here("exec", "all", lab.flag, "-y", "--", *words)
    assert done.code == 2
    assert "nothing was sent" in done.err


def test_exec_asks_first(here: Here, lab: LabUp) -> None:
    """Where nobody can confirm, nothing is sent without -y."""
    assert here("exec", "all", lab.flag, "--", "true").code == 6


def test_a_plan_file_is_carried_out_exactly(here: Here, lab: LabUp, tmp_path: Path) -> None:
    """`plan --out` freezes, `apply` runs that: the same targets, and the same digest in the report."""
    file = tmp_path / "x.plan"
    assert here("plan", EVERYTHING, lab.flag, "--out", str(file), "-q").code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    done = here("apply", str(file), lab.flag, "-y", "-o", "json")
    assert done.code == 4
    assert done.report["plan"] == json.loads(file.read_text())["digest"]
    assert len(done.report["jobs"]) == 14


def test_drift_between_plan_and_apply_is_refused(here: Here, lab: LabUp, tmp_path: Path) -> None:
    """A target that came, went or changed is named, and nothing runs; a tolerance lets it pass."""
    file = tmp_path / "x.plan"
    assert here("plan", EVERYTHING, lab.flag, "--out", str(file), "-x", "web08", "-q").code == 0
    document = json.loads(file.read_text())
    frozen = document["plan"]
    frozen["scope"].pop("exclude")
    frozen["targets"][0]["size"] = "Standard_M128"
    document["digest"] = _digest(frozen)
    file.write_text(json.dumps(document))
    before = lab.executions()
    done = here("apply", str(file), lab.flag, "-y")
    assert done.code == 6
    assert "target web08 added" in done.err
    assert "Standard_M128 -> " in done.err
    assert "[plan_drift]" in done.err
    assert lab.executions() == before
    assert here("apply", str(file), lab.flag, "-y", "--tolerance", "2", "-q").code == 4


def test_an_edited_plan_file_is_refused(here: Here, lab: LabUp, tmp_path: Path) -> None:
    """A plan changed by hand does not run."""
    file = tmp_path / "x.plan"
    here("plan", EVERYTHING, lab.flag, "--out", str(file), "-q")
    file.write_text(file.read_text().replace("web01", "web02"))
    done = here("apply", str(file), lab.flag, "-y")
    assert done.code == 2
    assert "was changed after it was written" in done.err


def test_differences_to_an_earlier_plan(here: Here, lab: LabUp, tmp_path: Path) -> None:
    """`plan --diff` names what would be done differently, and exits 10 where that is asked for."""
    file = tmp_path / "x.plan"
    here("plan", EVERYTHING, lab.flag, "--out", str(file), "-q")
    same = here("plan", EVERYTHING, lab.flag, "--diff", str(file), "--detailed-exitcode")
    assert (same.code, same.out) == (0, "")
    other = here("plan", EVERYTHING, lab.flag, "--diff", str(file), "--detailed-exitcode", "-x", "dev01", "-f", "3")
    assert other.code == 10
    assert "target dev01 removed" in other.out
    assert "limit concurrency changed: 20000 -> 3" in other.out


def _digest(frozen: object) -> str:
    from fleet import codec
    from fleet.plan.model import Plan

    return codec.decode(Plan, frozen).digest


def test_output_that_was_cut_off_is_said_before_it(here: Here, machine: Machine, tmp_path: Path) -> None:
    """Where the channel dropped the beginning, a line before the rest and a note on stderr say so, and how to get all."""
    file = tmp_path / "lab.yaml"
    lines = "".join(f"{n} {hashlib.sha256(str(n).encode()).hexdigest()}\\n" for n in range(3000))
    rule = f'{{stdout: "{lines}"}}'
    file.write_text(
        "subscriptions: [{name: s, groups: [{name: g, vms: "
        f"[{{name: 'node{{n}}', count: 2, guest: scripted, rules: [{rule}]}}]}}]}}]\n"
    )
    with lab_up(machine, file) as lab:
        one = here("exec", 'name == "node1"', lab.flag, "-y", "--", "much")
        two = here("exec", "all", lab.flag, "-y", "--", "much")
        shown = here("show", "last", "-o", "table")
    run = one.err.split("run ")[1].split(":")[0]
    told = f"[the beginning of the output was cut off: fleet output {run} node1 --full fetches all of it]"
    assert one.out.splitlines()[3] == told
    assert "note: The beginning of the output of 1 job was too much for the channel" in one.err
    assert "VM --full fetches all of it]" in two.out
    assert "the beginning of the output was cut off" in shown.out and "lines that arrived" in shown.out
