"""A secret parameter reaches its script, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from fleet.lab import sandbox
from tests.system.cli import PLAYBOOKS, Done, Here, LabUp, Machine

SECRET = PLAYBOOKS / "secret.yaml"
VALUE = "p4ss/\"w\\rd'; $(id) ä +=&\tfor nobody"
HASH = hashlib.sha256(VALUE.encode()).hexdigest()
REASON = sandbox.supported()
real = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def forms(value: str) -> Iterator[bytes]:
    """The value in every form that something on its way could have written it in."""
    raw = value.encode()
    yield raw
    yield from (quote(value).encode(), quote(value, safe="").encode(), quote_plus(value).encode())
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1].encode()
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        yield text[4 * bool(before) : len(text) // 4 * 4 - 4]


def test_the_forms_are_found() -> None:
    """The search below would find the value, were it there."""
    around = base64.b64encode(b"xy" + VALUE.encode() + b"z")
    assert sum(form in around for form in forms(VALUE)) == 1
    assert any(form in json.dumps({"env": VALUE}).encode() for form in forms(VALUE))


def nowhere(machine: Machine, done: Done, *given: Path) -> None:
    """The value is in no byte of what was printed and written."""
    places = {"stdout": done.out.encode(), "stderr": done.err.encode()}
    places |= {str(path): path.read_bytes() for path in machine.written() if path not in given}
    found = [(place, form) for place, data in places.items() for form in forms(VALUE) if form in data]
    assert found == []


@real
@pytest.mark.sandbox
@pytest.mark.parametrize("way", ["@file", "env:", "FLEET_VAR_token"])
def test_a_secret_reaches_the_script_and_nothing_else(machine: Machine, real_lab: LabUp, way: str) -> None:
    """By file, variable or FLEET_VAR_, the script has the exact value; state, reports, stdout and stderr at -vv have not."""
    file = machine.cwd / "token"
    file.write_text(VALUE + "\n")
    flags, env = {
        "@file": (["-e", "token=@token"], {}),
        "env:": (["-e", "token=env:MY_TOKEN"], {"MY_TOKEN": VALUE}),
        "FLEET_VAR_token": ([], {"FLEET_VAR_token": VALUE}),
    }[way]
    reports = [f"--report={form}=report.{form}" for form in ("json", "jsonl", "csv", "md", "junit", "html")]
    done = machine.run("run", SECRET, real_lab.flag, "-y", "-vv", "-o", "json", *reports, *flags, env=env)
    assert done.code == 0, done.err
    assert {row["stdout"] for row in done.report["jobs"]} == {f"{HASH}\n"}
    assert "azure_request" in done.err
    written = {path.name for path in machine.written()}
    assert {"report.json", "report.html", "report.xml", "report.junit"} <= written
    nowhere(machine, done, file)


@pytest.fixture
def real_lab(labs: object) -> LabUp:
    assert callable(labs)
    up = labs("real")
    assert isinstance(up, LabUp)
    return up


def test_a_secret_on_the_command_line_is_refused(here: Here, machine: Machine, lab: LabUp) -> None:
    """Everybody on the machine can read a command line; the refusal says how to give it, and does not repeat it."""
    before = lab.requests()
    done = here("run", SECRET, lab.flag, "-y", "-e", f"token={VALUE}")
    assert done.code == 2
    assert "token=@FILE" in done.err and "env:" in done.err and "FLEET_VAR_token" in done.err
    assert lab.requests() == before
    nowhere(machine, done)


def test_a_secret_over_the_action_is_refused(
    here: Here, machine: Machine, lab: LabUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The action has no protected parameters, so nothing is sent and managed is named."""
    monkeypatch.setenv("FLEET_VAR_token", VALUE)
    done = here("run", SECRET, lab.flag, "-y", "--transport", "action")
    assert done.code == 2
    assert "in the clear" in done.err and "--transport managed" in done.err
    nowhere(machine, done)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["token"]),
        (["-e", "token=@absent"], ["absent", "token"]),
        (["-e", "token=env:ABSENT"], ["env:ABSENT", "token"]),
        (["-e", "token=@."], ["folder"]),
    ],
)
def test_a_missing_secret_is_told(here: Here, lab: LabUp, flags: list[str], words: list[str]) -> None:
    """A secret that is not there is a mistake of the caller, told by its name."""
    done = here("run", SECRET, lab.flag, "-y", *flags)
    assert done.code == 2
    assert all(word in done.err for word in words)


def test_a_rerun_asks_for_the_secret_again(
    here: Here, machine: Machine, lab: LabUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets are not kept with a run: rerun says so, and takes them as run does."""
    monkeypatch.setenv("MY_TOKEN", VALUE)
    assert here("run", SECRET, lab.flag, "-y", "-l", "off*", "-e", "token=env:MY_TOKEN").code == 4
    done = here("rerun", "last", lab.flag, "-y")
    assert done.code == 2
    assert "not kept" in done.err and "token=@FILE" in done.err
    again = here("rerun", "last", lab.flag, "-y", "-e", "token=env:MY_TOKEN")
    assert again.code == 4
    nowhere(machine, again)
