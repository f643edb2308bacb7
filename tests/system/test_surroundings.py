"""What the process that starts Fleet may have left it: closed streams, full disks, no home, a folder that is gone."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.system.cli import PLAYBOOKS, Done, Here, LabUp, Machine

pytestmark = pytest.mark.slow

HELLO = PLAYBOOKS / "hello.yaml"
FULL = Path("/dev/full")


def shell(machine: Machine, *args: object, ending: str = "", before: str = "", **env: str) -> Done:
    """Run the command in a shell, which redirects its streams."""
    line = f"{before} {shlex.join(machine.start_words(*args))} {ending}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=machine.cwd,
        env=machine.environment(**env),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "Traceback" not in done.stderr and "[internal]" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("words", [["version"], ["--help"], ["runs"], ["show", "last"], ["config", "show"]])
def test_a_closed_stdout_is_a_sentence(machine: Machine, words: list[str]) -> None:
    """Output that nobody could get is refused beforehand, with a code and what to do instead."""
    done = shell(machine, *words, ending=">&-")
    assert (done.code, done.err.splitlines()) == (
        1,
        [
            "error: stdout is closed, so the output would be lost [stdout]",
            "  hint: send it to a file, or to /dev/null; nothing was done",
        ],
    )


def test_nothing_is_sent_without_a_stdout(machine: Machine, lab: LabUp) -> None:
    """A run whose report would be lost does not begin."""
    before = lab.executions()
    assert shell(machine, "run", HELLO, lab.flag, "-y", ending=">&-").code == 1
    assert lab.executions() == before and not machine.state.exists()


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["version"], ["run", "--help"], ["schema"], ["config", "show"]]
)
@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_full_stdout_is_a_sentence(machine: Machine, words: list[str]) -> None:
    """Whoever writes there, Fleet or its library for help, the code is the same and the exit code is not the shell's 120."""
    done = shell(machine, *words, ending=">/dev/full")
    assert (done.code, "[stdout]" in done.err) == (1, True)


@pytest.mark.parametrize("ending", ["2>&-", "2>/dev/full", "2> >(exec <&-; sleep 0.1)"])
def test_messages_that_cannot_be_written_end_no_run(machine: Machine, lab: LabUp, ending: str) -> None:
    """A closed or full stderr, or one whose reader went away: the run goes on to its end and its own exit code."""
    done = shell(machine, "run", HELLO, lab.flag, "-y", "-vv", "-l", "web01", "-o", "json", ending=ending)
    assert done.code == 0
    assert [row["status"] for row in done.report["jobs"]] == ["succeeded"]


def test_a_file_never_gets_the_number_of_a_closed_stream(machine: Machine, lab: LabUp) -> None:
    """With all that can be closed, the journal is whole: no message was written into it."""
    report = machine.cwd / "r.json"
    words = ("run", HELLO, lab.flag, "-y", "-vv", "-l", "web01", "--report", f"json={report}")
    assert shell(machine, *words, ending="<&- 2>&- >/dev/null").code == 0
    assert report.exists() and shell(machine, "verify", "last").code == 0


def test_a_closed_stdin_is_nobody_to_ask(machine: Machine, lab: LabUp) -> None:
    """A question is refused as in a pipe; with -y there is none."""
    words = ("run", HELLO, lab.flag, "-l", "web01")
    asked = shell(machine, *words, ending="<&-")
    assert (asked.code, "[unconfirmed]" in asked.err) == (6, True)
    assert shell(machine, *words, "-y", ending="<&-").code == 0


@pytest.mark.parametrize(
    "words",
    [["runs"], ["show", "last"], ["report", "last"], ["output", "last"], ["config", "show"], ["plan", HELLO], ["sim", HELLO],
     ["run", HELLO, "-y"], ["approve", "x"], ["cancel", "last"], ["verify", "last"], ["rerun", "last"]],
    ids=lambda words: str(words[0]),
)  # fmt: skip
def test_a_folder_that_was_deleted_is_a_sentence(
    kept: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[object]
) -> None:
    """`cd d; rmdir ../d`: whatever reads settings says that the current folder is gone, and what to do."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = kept(*words)
    assert (done.code, "[no_working_folder]" in done.err, "hint: change to a folder" in done.err) == (2, True, True)


def nobody(machine: Machine, *args: object, **env: str) -> Done:
    """Run the command as a user without a name, as in a container, and with nothing but these variables."""
    words = ["unshare", "--user", "--map-user=54321", "--map-group=54321", "env", "-i"]
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": machine.environment()["PYTHONPATH"], **env}
    line = [*words, *(f"{name}={value}" for name, value in kept.items()), *machine.start_words(*args)]
    done = subprocess.run(line, cwd=machine.cwd, capture_output=True, text=True, timeout=90)
    if "unshare failed" in done.stderr or "write failed /proc" in done.stderr:
        pytest.skip("no user namespaces here")
    assert "Traceback" not in done.stderr and "[internal]" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "words", [["runs"], ["show", "last"], ["config", "show"], ["plan", HELLO]], ids=lambda w: str(w[0])
)
def test_a_user_without_name_and_home_is_told_what_to_set(machine: Machine, words: list[object]) -> None:
    """Where runs are kept is not known then; with FLEET_STATE_DIR it is."""
    done = nobody(machine, *words)
    assert (done.code, "[no_home]" in done.err, "FLEET_STATE_DIR" in done.err) == (2, True, True)


def test_a_user_without_name_and_home_can_work(machine: Machine, lab: LabUp) -> None:
    """Plan, approve, apply by another user, show: with a state folder named, nothing else is needed."""
    state = {"FLEET_STATE_DIR": str(machine.state)}
    assert nobody(machine, "plan", HELLO, lab.flag, "-l", "web01", "--out", "x.plan", **state).code == 0
    approved = nobody(machine, "approve", "x.plan", **state)
    assert (approved.code, "uid-54321" in approved.out) == (0, True)
    refused = nobody(machine, "apply", "x.plan", "--approved", "--by-other", lab.flag, "-y", **state)
    assert (refused.code, "uid-54321 approved it" in refused.err) == (6, True)
    assert nobody(machine, "apply", "x.plan", "--approved", lab.flag, "-y", "-q", **state).code == 0
    assert nobody(machine, "runs", **state).code == 0


@pytest.mark.parametrize("name", ["x" * 256, "x" * 300 + ".plan", "d/" + "x" * 300, "y" * 5000])
def test_names_of_any_length_are_looked_for(here: Here, name: str) -> None:
    """What is no run and no file is said so, however long."""
    for verb in ("approve", "show", "apply", "validate"):
        done = here(verb, name)
        assert done.code == 2 and any(f"[{code}]" in done.err for code in ("run_not_found", "unreadable", "no_file")), (
            done.err
        )


PLACES = (
    ["run", "PIPE", "-y"],
    ["plan", "PIPE"],
    ["validate", "PIPE"],
    ["targets", "PIPE.yaml"],
    ["doctor", "PIPE"],
    ["rbac", "PIPE"],
    ["sim", "PIPE"],
    ["apply", "PIPE", "-y"],
    ["plan", HELLO, "--diff", "PIPE"],
    ["approve", "PIPE.plan"],
    ["run", HELLO, "-y", "--lab=PIPE"],
    ["lab", "check", "PIPE"],
    ["lab", "up", "PIPE"],
    ["run", HELLO, "-y", "-e", "@PIPE"],
    ["exec", "all", "-y", "--", "@PIPE"],
    ["config", "show", "--config", "PIPE"],
    ["validate", "names-a-pipe.yaml"],
)
NAMES_A_PIPE = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: x, version: 1.0.0}
steps: [{id: a, run: {file: PIPE}}]
"""


@pytest.mark.parametrize("words", PLACES, ids=lambda words: "-".join(map(str, words)).replace(str(HELLO), "hello")[:40])
def test_a_named_pipe_is_refused_and_never_waited_for(
    here: Here, machine: Machine, lab: LabUp, words: list[object]
) -> None:
    """Wherever a file is named, by flag, argument, playbook or variable."""
    os.mkfifo(machine.cwd / "PIPE")
    os.mkfifo(machine.cwd / "PIPE.plan")
    os.mkfifo(machine.cwd / "PIPE.yaml")
    (machine.cwd / "names-a-pipe.yaml").write_text(NAMES_A_PIPE)
    takes_lab = words[0] in ("run", "plan", "targets", "exec", "doctor") and "--lab=PIPE" not in words
    done = here(*words[:2], *([lab.flag] if takes_lab else []), *words[2:])
    assert done.code == 2
    assert "it is a named pipe, not a plain file" in done.err


def test_a_report_replaces_no_pipe_and_no_device(here: Here, machine: Machine, lab: LabUp) -> None:
    """It is found out before anything is sent."""
    os.mkfifo(machine.cwd / "PIPE")
    before = lab.executions()
    for place in ("PIPE", "/dev/fd/1", "/dev/stdout"):
        done = here("run", HELLO, lab.flag, "-y", "--report", f"json={place}")
        assert (done.code, "[no_folder]" in done.err) == (2, True), done.err
    assert lab.executions() == before


@pytest.mark.parametrize("verb", ["validate", "plan", "run", "targets", "doctor", "rbac", "sim"])
def test_a_playbook_may_come_from_a_command(machine: Machine, lab: LabUp, verb: str) -> None:
    """`<(command)` is read to its end, its scripts from the current folder; so is what stdin brings."""
    (machine.cwd / "s.sh").write_text("echo hello\n")
    text = NAMES_A_PIPE.replace("PIPE", "s.sh").replace("steps:", "targets: {where: 'name == \"web01\"'}\nsteps:")
    (machine.cwd / "p.txt").write_text(text)
    more = {"run": [lab.flag, "-y", "-q"], "plan": [lab.flag], "targets": [lab.flag], "doctor": [lab.flag]}.get(
        verb, []
    )
    last = f"{' '.join(more)} >/dev/null"
    wanted = {0, 4} if verb == "doctor" else {0}
    assert shell(machine, verb, ending=f"<(sleep 0.1; cat p.txt) {last}").code in wanted
    assert shell(machine, verb, "/dev/stdin", before="cat p.txt |", ending=last).code in wanted
