"""Waves count from 1 wherever a person or a program reads them."""

from __future__ import annotations

import csv
import getpass
import io
import re
import xml.etree.ElementTree as Xml
from pathlib import Path

import pytest

from tests.system.cli import Here, LabUp

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: waves}
targets: {where: 'name matches "web*"'}
rollout:
  waves: [1, 4]
  slow_start: false
  gates: [{before_wave: 2, approve: [NAMES]}]
steps:
  - {id: say, run: {inline: "echo hello"}}
"""
WAVES = {1: 1, 2: 3, 3: 4}
"""Targets by wave: one, up to four, and the rest of eight."""


@pytest.fixture
def play(tmp_path: Path) -> Path:
    file = tmp_path / "play.yaml"
    file.write_text(PLAY.replace("NAMES", getpass.getuser()))
    return file


def sizes(numbers: list[int]) -> dict[int, int]:
    return {number: numbers.count(number) for number in sorted(set(numbers))}


def test_every_form_counts_waves_from_one(here: Here, lab: LabUp, play: Path, tmp_path: Path) -> None:
    """JSON, JSON lines, CSV, JUnit, HTML and the plan name the same wave by the same number."""
    planned = here("plan", play, lab.flag, "-o", "json").report
    assert planned["schema"] == "urn:fleet:plan:v2"
    assert {wave["index"]: len(wave["targets"]) for wave in planned["waves"]} == WAVES
    assert [gate["wave"] for gate in planned["gates"]] == [2]

    begun = here("run", play, lab.flag, "-y", "--no-wait", "-o", "jsonl").lines
    waiting = here("show", "last", "-o", "json").report
    assert waiting["stopped"]["message"] == "wave 2 waits for approval"
    assert [gate["wave"] for gate in waiting["gates"]] == [2]
    report = {form: tmp_path / f"report.{form}" for form in ("csv", "junit", "html")}
    files = [word for form, file in report.items() for word in ("--report", f"{form}={file}")]
    went_on = here("approve", "last", lab.flag, "-o", "jsonl", *files).lines
    events = [(line["event"], line["wave"]) for line in (*begun, *went_on) if "wave" in line]
    assert [wave for event, wave in events if event == "wave_opened"] == [1, 2, 3]
    assert {wave for event, wave in events if event in ("approval_awaited", "wave_approved")} == {2}
    assert sizes([wave for event, wave in events if event == "job_ended"]) == WAVES

    found = here("show", "last", "-o", "json").report
    assert found["schema"] == "urn:fleet:report:v2"
    assert {wave["index"]: wave["targets"] for wave in found["waves"]} == WAVES
    assert sizes([row["wave"] for row in found["jobs"]]) == WAVES
    assert sizes([int(row["wave"]) for row in csv.DictReader(io.StringIO(report["csv"].read_text()))]) == WAVES
    tree = Xml.fromstring(report["junit"].read_text())
    assert {node.get("value") for node in tree.iter("property") if node.get("name") == "fleet.wave"} == {"1", "2", "3"}
    assert set(re.findall(r"wave (\d)</span>", report["html"].read_text())) <= {"1", "2", "3"}


def test_the_number_that_is_read_is_the_one_to_tune(here: Here, lab: LabUp, play: Path) -> None:
    """``tune --wave`` takes the number that an event and a report give, and names it back."""
    here("run", play, lab.flag, "-y", "--no-wait")
    told = here("tune", "last", "--wave", "2", "--max-failures", "1")
    assert told.code == 0 and "wave 2" in told.out + told.err
    lines = here("approve", "last", lab.flag, "-o", "jsonl").lines
    assert {line["wave"] for line in lines if line["event"] == "limits_changed"} <= {2}
