"""A script's first line at the command line: it decides what runs, or the playbook is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.cli import Here, LabUp, Machine, lab_up
from tests.system.conftest import Labs

PLAY = """\
apiVersion: fleet/v1
kind: Playbook
metadata: {name: p, version: 1.0.0}
targets: {where: WHERE}
steps:
  - {id: s, timeout: 1m, STEP}
"""

MIXED = """\
apiVersion: fleet/v1
kind: Lab
speed: 500
subscriptions:
  - name: prod
    groups:
      - name: rg
        vms:
          - {name: lin, guest: scripted}
          - {name: win, os: windows, guest: scripted}
"""


def play(machine: Machine, script: str, step: str = "", *, name: str = "s.sh", where: str = "name != ''") -> Path:
    """Write a playbook of one step that runs a script file."""
    (machine.cwd / name).write_bytes(script.encode())
    file = machine.cwd / "p.yaml"
    keys = f"run: {{file: {name}}}" + (f", {step}" if step else "")
    file.write_text(PLAY.replace("STEP", keys).replace("WHERE", f'"{where}"'))
    return file


REFUSED = {
    "python under bash": ("#!/usr/bin/env python3\nprint(1)\n", "shell: bash", "other_interpreter", 1),
    "bash under sh": ("#!/bin/bash\n", "shell: sh", "other_interpreter", 1),
    "sh under bash": ("#!/bin/sh\n", "shell: bash", "other_interpreter", 1),
    "dash under sh": ("#!/bin/dash\n", "shell: sh", "other_interpreter", 1),
    "bash under pwsh": ("\ufeff#!/bin/bash\r\nls\r\n", "shell: pwsh", "other_interpreter", 1),
    "behind env -S": ("#!/usr/bin/env -S -u X perl -w\n", "shell: bash", "other_interpreter", 1),
    "more than one word for env": ("#!/usr/bin/env A=b bash\n", "", "first_line", 1),
    "no program for env": ("#!/usr/bin/env A=b\n", "", "first_line", 1),
    "no whole path": ("#!bash\n", "", "first_line", 1),
    "too long": ("#!/bin/bash " + "x" * 300 + "\n", "", "first_line", 1),
    "too late": ("\n\n#!/usr/bin/env python3\nprint(1)\n", "", "first_line", 3),
    "too far right": (" #!/bin/bash -e\n", "", "first_line", 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_contradiction_is_refused_by_file_and_line(here: Here, machine: Machine, lab: LabUp, name: str) -> None:
    """``validate``, ``plan`` and ``run`` name file and line, and nothing is sent."""
    script, step, code, line = REFUSED[name]
    file, before = play(machine, script, step), lab.executions()
    for verb, *more in (("validate",), ("plan", lab.flag), ("run", lab.flag, "-y")):
        done = here(verb, file, *more)
        assert (done.code, done.out) == (2, "")
        assert f"error: s.sh:{line}:1: " in done.err and f"[{code}]" in done.err, done.err
    assert lab.executions(before) == {}


def test_an_inline_script_is_refused_where_it_stands(here: Here, machine: Machine) -> None:
    """The line is the playbook's own."""
    file = machine.cwd / "p.yaml"
    text = PLAY.replace("WHERE", '""').replace(
        "{id: s, timeout: 1m, STEP}", "id: s\n    shell: sh\n    run:\n      inline: |"
    )
    file.write_text(text + "        #!/usr/bin/python3\n        print(1)\n")
    done = here("validate", file)
    assert done.code == 2 and "p.yaml:10:9: " in done.err and "[other_interpreter]" in done.err, done.err


def test_a_file_of_another_language_names_its_interpreter(here: Here, machine: Machine) -> None:
    """A .py file without a first line would be read by a shell; saying which shell is enough."""
    done = here("validate", play(machine, "print(1)\n", name="s.py"))
    assert done.code == 2 and "[first_line]" in done.err and "#!/usr/bin/env python3" in done.err
    assert here("validate", play(machine, "print(1)\n", "shell: bash", name="s.py")).code == 0


@pytest.mark.parametrize(
    ("script", "step"),
    [
        ("#!/bin/bash -e\n", "shell: bash"),
        ("#! /usr/local/bin/bash\n", "shell: bash"),
        ("#!/usr/bin/env -S bash -eu\n", "shell: bash"),
        ("#!/bin/sh -e\r\n", "shell: sh"),
        ("#!/usr/bin/env pwsh\n", "shell: pwsh"),
        ("#!/usr/bin/env pwsh -NoProfile\n", "shell: pwsh7"),
        ("#!\necho\n", "shell: bash"),
        ("\n#!/bin/bash\n", ""),
        ("#!/usr/bin/perl -w\n", ""),
    ],
)
def test_what_agrees_is_valid(here: Here, machine: Machine, script: str, step: str) -> None:
    """The same interpreter, with options or under another path, and a comment to PowerShell."""
    done = here("validate", play(machine, script, step))
    assert done.code == 0, done.err


SYSTEMS = {
    "bash by its first line": ("#!/bin/bash\n", "", "s.sh:1:1: ", "win"),
    "python by its first line": ("#!/usr/bin/env python3\n", "", "s.sh:1:1: ", "win"),
    "bash by the step": ("true\n", "shell: bash", "p.yaml:6:", "win"),
    "PowerShell by the step": ("ls\n", "shell: pwsh", "p.yaml:6:", "lin"),
    "PowerShell that env cannot find": ("#!/usr/bin/env pwsh -NoProfile\n", "", "s.sh:1:1: ", "lin"),
    "unless the step surely stays away": (
        "#!/bin/bash\n",
        "when: os == 'linux' or name == 'x' or tag.a",
        "s.sh:1:1: ",
        "",
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_script_is_not_sent_to_the_other_system(here: Here, machine: Machine, name: str) -> None:
    """``plan`` and ``run`` refuse a step that reaches VMs whose system cannot run its script, and name some of them."""
    script, step, place, names = SYSTEMS[name]
    (machine.cwd / "lab.yaml").write_text(MIXED)
    file = play(machine, script, step)
    assert here("validate", file).code == 0
    with lab_up(machine, machine.cwd / "lab.yaml") as lab:
        for verb, *more in (("plan", lab.flag), ("run", lab.flag, "-y")):
            done = here(verb, file, *more)
            if names:
                assert done.code == 2 and "[wrong_shell]" in done.err and place in done.err, done.err
                assert f"1 of 2 targets are: {names}" in done.err
            else:
                assert done.code == 0, done.err
        assert names == "" or lab.executions() == {}


def test_exec_follows_the_first_line_too(here: Here, machine: Machine, lab: LabUp) -> None:
    """A script that ``exec`` is given is held against ``--shell`` as a playbook's is."""
    (machine.cwd / "s.sh").write_text("#!/usr/bin/env python3\n")
    done = here("exec", "name == 'web01'", lab.flag, "-y", "--shell", "bash", "--", "@s.sh")
    assert done.code == 2 and "s.sh:1:1: " in done.err and "[other_interpreter]" in done.err, done.err


RUNS = {
    "bash -e": ("#!/bin/bash -e\necho one\nfalse\necho two\n", "failed", 1, "one\n"),
    "python": ("#!/usr/bin/env python3\nimport os\nprint('hi', os.getpid() > 0)\n", "succeeded", 0, "hi True\n"),
    "sh": ("#!/bin/sh\r\necho ${BASH_VERSION:-none}\r\n", "succeeded", 0, "none\n"),
    "false": ("#!/bin/false\necho ran\n", "failed", 1, ""),
    "none": ("echo ${BASH_VERSION:+bash}\n", "succeeded", 0, "bash\n"),
    "missing": ("#!/opt/none/python3\nprint(1)\n", "failed", 127, ""),
}


def ran(here: Here, machine: Machine, lab: LabUp, names: list[str], *flags: str) -> None:
    """Run scripts in a real guest, one step after the other, and hold each row against what its author meant."""
    steps = ""
    for name in names:
        file = f"s-{name.replace(' ', '')}.txt"
        (machine.cwd / file).write_bytes(RUNS[name][0].encode())
        steps += f"  - {{id: {file.removesuffix('.txt')}, timeout: 1m, turn: always, run: {{file: {file}}}}}\n"
    (machine.cwd / "p.yaml").write_text(
        PLAY.replace("WHERE", "name == 'web01'").replace("  - {id: s, timeout: 1m, STEP}\n", steps)
    )
    done = here("run", "p.yaml", lab.flag, "-y", "-o", "json", *flags)
    for name, row in zip(names, done.report["jobs"], strict=True):
        assert (row["status"], row["exit_code"], row["stdout"]) == RUNS[name][1:], row
        assert row["verified"]
        assert row["cause"]["code"] == {127: "no_interpreter", 1: "exit_code", 0: "completed"}[row["exit_code"]]


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("transport", ["managed", "action"])
def test_scripts_run_as_their_authors_wrote_them(here: Here, machine: Machine, labs: Labs, transport: str) -> None:
    """In real guests, by either API: the interpreter of the first line with its options, proven by the receipt."""
    ran(here, machine, labs("real"), list(RUNS), "--transport", transport)


@pytest.mark.sandbox
def test_without_receipts_azures_own_rule_holds(
    here: Here, machine: Machine, labs: Labs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that goes as it is runs by its path: the first line decides there too, and without one bash runs it."""
    monkeypatch.setenv("FLEET_RUN_RECEIPTS", "false")
    ran(here, machine, labs("real"), ["bash -e", "python", "none"])
