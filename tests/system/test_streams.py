"""Data on stdout, everything else on stderr, and nothing for terminals in a pipe."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tests.system.cli import PLAYBOOKS, Here, LabUp, Machine

pytestmark = pytest.mark.slow

EVERYTHING = PLAYBOOKS / "everything.yaml"


def test_json_is_the_promised_document(kept: Here) -> None:
    """`-o json` is one document that fits the schema which `fleet schema report` prints."""
    done = kept("show", "last", "-o", "json")
    jsonschema.validate(done.report, json.loads(kept("schema", "report").out))
    assert done.err == ""


def test_json_lines_are_typed(here: Here, lab: LabUp) -> None:
    """Every line of `-o jsonl` is an object with `event` and `at`; one `job_ended` a job, and the `report` is last."""
    done = here("run", EVERYTHING, lab.flag, "-y", "-o", "jsonl")
    events = done.lines
    assert all(isinstance(event["event"], str) and event["at"].endswith("Z") for event in events)
    assert events[0]["event"] == "run_opened"
    assert [event["event"] for event in events].count("report") == 1 == [events[-1]["event"]].count("report")
    rows = [event for event in events if event["event"] == "job_ended"]
    assert len({row["target"] for row in rows}) == len(rows) == 14
    report = here("show", "last", "-o", "json").report
    without = ("event", "at")
    assert sorted((row["target"], row["status"], row["stdout"]) for row in rows) == sorted(
        (row["target"], row["status"], row["stdout"]) for row in report["jobs"]
    )
    assert {key for row in rows for key in row if key not in without} == set(report["jobs"][0])


def test_kept_runs_are_told_as_lines_too(kept: Here, machine: Machine) -> None:
    """`fleet show -o jsonl` and `--report jsonl=FILE` give the rows and the summary, one object a line."""
    shown = kept("show", "last", "-o", "jsonl")
    assert [line["event"] for line in shown.lines] == ["job_ended"] * 14 + ["report"]
    kept("report", "last", "--report", "jsonl=rows.jsonl")
    assert (machine.cwd / "rows.jsonl").read_text() == shown.out


def test_csv_has_a_line_for_each_row(kept: Here) -> None:
    """`-o csv` parses, with a head and one line a job."""
    rows = list(csv.DictReader(io.StringIO(kept("show", "last", "-o", "csv").out)))
    assert len(rows) == 14
    assert {row["status"] for row in rows} == {"succeeded", "unreachable"}


def test_nothing_for_terminals_in_a_pipe(machine: Machine, lab: LabUp) -> None:
    """In a pipe neither stream has an escape sequence, and there is no live picture."""
    done = machine.run("run", EVERYTHING, lab.flag, "-y")
    assert "\x1b" not in done.out + done.err
    assert len(done.err.splitlines()) == 1


def test_colour_is_a_choice(kept: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--color always` colours a pipe; NO_COLOR wins over what the terminal can; the flag wins over NO_COLOR."""
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert "\x1b[" in kept("show", "last", "-o", "table").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in kept("show", "last", "-o", "table").out
    assert "\x1b" not in kept("show", "nothing").err
    assert "\x1b[" in kept("show", "last", "-o", "table", "--color", "always").out
    assert "\x1b" not in kept("show", "last", "-o", "table", "--color", "never").out
    assert "\x1b" not in kept("show", "last", "-o", "table", "--color", "always", "-o", "json").out


def test_a_reader_that_leaves_early_is_fine(machine: Machine, lab: LabUp) -> None:
    """`| head -1` is silent, and the run behind it goes on to its end and its own exit code."""
    process = machine.start("run", EVERYTHING, lab.flag, "-y", "-q", "-o", "jsonl")
    head = subprocess.run(["head", "-1"], stdin=process.stdout, capture_output=True, text=True, check=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (4, "")
    process.stderr.close()
    assert json.loads(head.stdout)["event"] == "run_opened"
    assert json.loads(machine.run("runs", "-o", "json").out)[0]["state"] == "ended"


def test_quiet_says_nothing_but_the_data(here: Here, lab: LabUp) -> None:
    """With -q stderr is empty where all is well, and warnings still come."""
    assert here("run", EVERYTHING, lab.flag, "-y", "-q", "-o", "csv").err == ""
    assert here("targets", "all", lab.flag, "-q").err == ""
    assert "fits no VM" in here("targets", "all", lab.flag, "-q", "-x", "web1").err


def test_names_that_fit_nothing_are_told(here: Here, lab: LabUp) -> None:
    """A slip in --exclude or --limit would leave out nobody; it is told with what was perhaps meant."""
    done = here("targets", "all", lab.flag, "-x", "wbe01", "-l", "web*", "-o", "names")
    assert done.out == "web[01-08]\n"
    assert "exclude 'wbe01' fits no VM; did you mean web01?" in done.err


def test_verbose_logs_go_to_stderr(here: Here, lab: LabUp) -> None:
    """-vv tells every request on stderr; stdout stays one JSON document."""
    done = here("targets", "all", lab.flag, "-o", "json", "-vv")
    assert len(json.loads(done.out)) == 14
    assert "azure_request" in done.err


def test_a_closed_stderr_harms_nothing(machine: Machine) -> None:
    """Without a stderr the data still comes."""
    line = " ".join([*machine.start_words("schema", "playbook"), "2>&-"])
    done = subprocess.run(line, shell=True, cwd=machine.cwd, env=machine.environment(), capture_output=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)


def test_reports_are_private_files(kept: Here, machine: Machine) -> None:
    """Every format is written as a file that only its owner may read, and nothing is left beside it."""
    formats = ("json", "jsonl", "csv", "md", "junit", "html")
    done = kept("report", "last", *(word for form in formats for word in ("--report", f"{form}=r.{form}")))
    assert (done.code, done.out) == (0, "")
    found = sorted(machine.cwd.iterdir())
    assert [path.name for path in found] == sorted(f"r.{form}" for form in formats)
    assert {mode(path) for path in found} == {0o600}
    assert all(path.read_text(encoding="utf-8").strip() for path in found)


def test_the_state_is_private(kept: Here, machine: Machine) -> None:
    """Folders of the state are 0700 and files 0600, whatever the umask."""
    paths = [machine.state, *machine.state.rglob("*")]
    assert {mode(path) for path in paths if path.is_dir()} == {0o700}
    assert {mode(path) for path in paths if path.is_file()} == {0o600}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_pipe_gets_json(kept: Here) -> None:
    """Where stdout is no terminal, a report is JSON unless another form is asked for."""
    assert kept("show", "last").report["counts"]["total"] == 14
    assert not kept("show", "last", "-o", "table").out.startswith("{")


TAGGED = """
apiVersion: fleet/v1
kind: Lab
subscriptions:
  - name: "one, two"
    groups:
      - name: rg
        vms:
          - {name: web1, guest: scripted, tags: {note: 'a "quoted", text', formula: "=cmd|x", lines: "a\\nb"}}
          - {name: web2, guest: scripted}
"""


def test_targets_are_told_as_csv(here: Here, machine: Machine) -> None:
    """A line for each VM and a cell for each column, whatever tags hold; no cell is a formula."""
    (machine.cwd / "lab.yaml").write_text(TAGGED)
    done = here("targets", "all", "--lab=lab.yaml", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["name"] for row in rows] == ["web1", "web2"]
    assert {row["subscription"] for row in rows} == {"one, two"}
    assert 'note=a "quoted", text' in rows[0]["tags"] and rows[1]["tags"] == ""
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
