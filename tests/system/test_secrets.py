"""A secret parameter reaches its script, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import stat
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fleet.cli import main
from fleet.logs import conceal
from tests.patience import stretched
from tests.system.cli import LABS, PLAYBOOKS, Done, Here, LabUp, Machine, wait_for
from tests.verification.canary import forms

SECRET = PLAYBOOKS / "secret.yaml"
VALUE = "p4ss/\"w\\rd'; $(id) ä +=&\tfor nobody"
HASH = hashlib.sha256(VALUE.encode()).hexdigest()


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


CANARIES = {
    "parameter": VALUE,
    "parameter in a file": "kanari-in-a-file-7f3a91c2\"'\\$;ü",
    "bearer token": "eyJhbGciOiJub25lIn0.eyJvaWQiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeS03NzQx",
    "client secret": "Sw0rdfish~8Q~canary/+=%&secret 5d21",
}
"""A value for each way in which a secret can be given, but for a token of azure-identity's, which the lab makes up."""

TWO_SECRETS = """\
apiVersion: fleet/v1
kind: Playbook
metadata: {name: two-secrets, version: 1.0.0}
parameters:
  token: {type: string, secret: true}
  filed: {type: string, secret: true}
steps:
  - id: hash
    run: {inline: 'sleep 0.3; printf "%s\\n" "$TOKEN" "$FILED" | sha256sum | cut -c1-64'}
    shell: sh
    env: {TOKEN: "{{ params.token }}", FILED: "{{ params.filed }}"}
    timeout: 2m
"""


class Watch:
    """Notes the command line of every process on the machine, guests of the lab included, until it is left."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for line in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    self.seen.add(line.read_bytes())


@contextmanager
def tls_lab(machine: Machine, log: Path, file: Path = LABS / "real.yaml") -> Iterator[tuple[str, str, str]]:
    """A lab over TLS in a process of its own: its URL, the file of its authority, its tenant."""
    with log.open("w") as out:
        process = machine.start("lab", "up", file, "--tls", stderr=out)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            wait_for(lambda: "ca.pem" in log.read_text())
            authority = re.findall(r"\S+/ca\.pem", log.read_text())[0]
            with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=authority)) as answer:
                tenant = json.load(answer)["tenant"]
            yield url, authority, tenant
        finally:
            process.terminate()
            process.communicate(timeout=stretched(30))


@pytest.mark.sandbox
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to see command lines")
def test_no_secret_input_is_in_any_byte(machine: Machine, tmp_path: Path) -> None:
    """Parameters, a bearer token and a client secret: none is in state, reports, logs at -vvv or any process's argv."""
    log, given = tmp_path / "lab.log", machine.cwd / "given.yaml"
    (machine.cwd / "play.yaml").write_text(TWO_SECRETS)
    given.write_text("filed: " + json.dumps(CANARIES["parameter in a file"]) + "\n")
    secrets = {"A_TOKEN": CANARIES["bearer token"], "A_SECRET": CANARIES["client secret"], "FLEET_VAR_token": VALUE}
    with tls_lab(machine, log) as (url, authority, tenant), Watch() as watch:
        cloud = f"{{resource_manager: '{url}', authority: '{url}', audience: '{url}'}}"
        azure = f"azure:\n  cloud: {cloud}\n  ca_file: {authority}\n"
        (machine.cwd / "token.yaml").write_text(f"{azure}  credential: {{token_env: A_TOKEN}}\n")
        (machine.cwd / "config.yaml").write_text(
            f"{azure}  credential:\n    client_secret:\n      tenant_id: {tenant}\n"
            "      client_id: 00000000-0000-4000-8000-000000000001\n      secret_env: A_SECRET\n"
        )
        reports = [f"--report={form}=report.{form}" for form in ("json", "jsonl", "csv", "md", "junit", "html")]
        env = {**secrets, "REQUESTS_CA_BUNDLE": authority}
        flags = ["-y", "-vvv", "-o", "json", "-e", "@given.yaml", *reports]
        done = machine.run("run", "play.yaml", *flags, env=env)
        assert done.code == 0, done.err
        shown = machine.run("show", "last", "--all", "-vvv")
        listed = machine.run("targets", 'name == "web01"', "-vvv", "--config=token.yaml", env=env)
        assert listed.code == 0, listed.err
    expected = hashlib.sha256(f"{VALUE}\n{CANARIES['parameter in a file']}\n".encode()).hexdigest()
    assert {row["stdout"] for row in done.report["jobs"]} == {f"{expected}\n"}
    assert any(b"sleep\x000.3" in line for line in watch.seen), "the guests were not seen"
    assert any(b"play.yaml" in line for line in watch.seen)
    assert "azure_request" in done.err and "azure_request" in listed.err
    places = {
        "stdout": done.out,
        "stderr": done.err,
        "show": shown.out + shown.err + listed.out + listed.err,
        "lab": log.read_text(),
    }
    data = {name: text.encode() for name, text in places.items()}
    data |= {str(path): path.read_bytes() for path in machine.written() if path != given}
    data |= {repr(line): line for line in watch.seen}
    assert {
        place for place, found in data.items() if any(canary_in(found, value) for value in CANARIES.values())
    } == set()
    assert modes(machine) == set()


def canary_in(data: bytes, value: str) -> bool:
    return any(form in data for form in forms(value))


def modes(machine: Machine) -> set[tuple[str, str]]:
    """What Fleet wrote that others may read: files that are not 0600, folders that are not 0700."""
    ours = [machine.state, *machine.state.rglob("*"), *machine.cwd.glob("report.*")]
    expected = {path: 0o700 if path.is_dir() else 0o600 for path in ours}
    actual = {path: stat.S_IMODE(path.stat().st_mode) for path in ours}
    return {(str(path), oct(actual[path])) for path in ours if actual[path] != expected[path]}


def test_a_crash_dump_holds_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    """What is kept of a defect of ours is masked like the log, and only its owner can read it."""
    conceal(VALUE)
    try:
        raise RuntimeError(f"with {VALUE} and https://x/?sig=abc") from ValueError(VALUE)
    except RuntimeError as error:
        code = main._internal(error)
    said = capfd.readouterr().err
    dump = Path(re.findall(r"\S+fleet-defect-\w+\.txt", said)[0])
    kept, mode = dump.read_bytes(), stat.S_IMODE(dump.stat().st_mode)
    dump.unlink()
    assert (code, mode) == (1, 0o600)
    assert b"RuntimeError" in kept and b"sig=abc" not in kept
    assert not canary_in(kept, VALUE) and not canary_in(said.encode(), VALUE)
