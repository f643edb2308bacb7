"""A running script's output, followed from another terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote

import pytest

from tests.system.cli import Here, LabUp, Machine, ended, lab_up, wait_for
from tests.system.test_full_output import playbook

pytestmark = pytest.mark.slow

LAB = """
apiVersion: fleet/v1
kind: Lab
speed: 100
rules: [{when: speaks, stdout: "SPEECH", exit: 3, duration: [600, 600]}]
subscriptions:
  - {name: prod, groups: [{name: rg, vms: [{name: "web{n:02}", count: 2, guest: GUEST}]}]}
"""


@contextmanager
def under_way(
    machine: Machine, here: Here, lab: LabUp, play: Path, *more: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a run and go on when its scripts have started; in the end it is ended."""
    process = machine.start("run", play, lab.flag, "-y", "-q", "-o", "json", "--no-slow-start", *more, env=env)
    try:
        wait_for(lambda: sum(lab.executions().values()) == 2)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.sandbox
@pytest.mark.parametrize("transport", ["managed", "action"])
def test_a_real_script_is_followed(here: Here, machine: Machine, transport: str) -> None:
    """First lines are shown while the script waits; the rest, each byte once, when it ends, and its exit code."""
    file = machine.cwd / "lab.yaml"
    file.write_text(LAB.replace("SPEECH", "").replace("GUEST", "sandbox"))
    script = (
        "printf 'first \\033[2J é\\n'\necho warned >&2\nwhile [ ! -e /tmp/go ]; do sleep 0.1; done\necho last\nexit 3"
    )
    with lab_up(machine, file) as lab:
        go = playbook(machine, "touch /tmp/go").rename(machine.cwd / "go.yaml")
        with under_way(machine, here, lab, playbook(machine, script), "--transport", transport) as run:
            follower = machine.start("output", "last", "web01", "--follow", lab.flag)
            assert follower.stdout is not None
            assert follower.stdout.readline() == "first \\x1b[2J é\n"
            assert run.poll() is None
            release = here("run", go, lab.flag, "-y", "-q", "--lease", "none", "--transport", "managed")
            assert release.code == 0, release.err
            assert follower.stderr is not None
            with follower:
                rest, said = follower.stdout.read(), follower.stderr.read()
            assert (follower.returncode, rest) == (3, "warned\nlast\n"), said
            assert "web01  long  failed, exit code 3" in said
            run.communicate(timeout=60)


BLOBS = """
parameters:
  sas: {type: string, secret: true, required: true}
"""
OUTPUT = """
    output:
      stdout_blob: "URL/{{ target.name }}.out?{{ params.sas }}"
      stderr_blob: "URL/{{ target.name }}.err?{{ params.sas }}"
"""


def with_blobs(lab: LabUp, play: Path) -> str:
    """Let the playbook's step write its output to blobs, and return the signature of their addresses."""
    with urllib.request.urlopen(f"{lab.url}/lab/sas?container=logs/runs") as answer:
        given = json.loads(answer.read())
    text = play.read_text().replace("targets:", f"{BLOBS.strip()}\ntargets:")
    play.write_text(text.rstrip() + OUTPUT.replace("URL", given["container"]))
    return str(given["sas"])


@pytest.mark.sandbox
def test_a_real_script_is_followed_through_its_blobs(here: Here, machine: Machine) -> None:
    """First lines come while the script waits, the rest once; the VM is asked nothing, the signature written nowhere."""
    file = machine.cwd / "lab.yaml"
    file.write_text(LAB.replace("SPEECH", "").replace("GUEST", "sandbox"))
    script = (
        "echo first\necho warned >&2\nwhile [ ! -e /tmp/go ]; do sleep 0.1; done\n"
        "head -c 9000 /dev/zero | tr '\\0' x\nexit 3"
    )
    with lab_up(machine, file) as lab:
        go = playbook(machine, "touch /tmp/go").rename(machine.cwd / "go.yaml")
        play = playbook(machine, script)
        sas = with_blobs(lab, play)
        signature = parse_qs(sas)["sig"][0]
        secret, environ = ("-e", "sas=env:SAS"), {"SAS": sas}
        log = (machine.cwd / "log").open("wb")
        process = machine.start("run", play, lab.flag, "-y", "-o", "json", *secret, "-vvv", env=environ, stderr=log)
        try:
            wait_for(lambda: sum(lab.executions().values()) >= 1)
            follow = ("output", "last", "web01", "--follow", lab.flag, "-vvv")
            wrong = machine.run(*follow, *secret, env={"SAS": sas.replace("sig=", "sig=x")})
            assert (wrong.code, "[blob_refused]" in wrong.err, "403" in wrong.err) == (6, True, True), wrong.err
            follower = machine.start(*follow, *secret, env=environ)
            assert follower.stdout is not None and follower.stderr is not None
            assert follower.stdout.readline() == "first\n"
            assert process.poll() is None
            release = here("run", go, lab.flag, "-y", "-q", "--lease", "none", "--transport", "managed")
            assert release.code == 0, release.err
            with follower:
                rest, said = follower.stdout.read(), follower.stderr.read()
            out, _ = process.communicate(timeout=60)
            asked = lab.executions()
            full = machine.run(
                "output",
                json.loads(out)["run"],
                "web01",
                "--full",
                "--raw",
                "--stream",
                "stdout",
                lab.flag,
                *secret,
                env=environ,
            )
            assert lab.executions() == asked, "the VM was asked for what its blob holds"
        finally:
            process.kill()
            process.communicate()
            log.close()
    row = json.loads(out)["jobs"][0]
    assert (full.code, full.out) == (0, "first\n" + "x" * 9000), full.err
    assert (follower.returncode, row["exit_code"], row["verified"], row["truncated"]) == (3, 3, True, True), said
    assert sorted(rest.split()) == ["warned", "x" * 9000]
    assert "vouches" not in said and "blob_request" in said
    assert "web01  long  failed, exit code 3" in said
    kept = [path.read_bytes() for path in machine.written()]
    assert any(b"azure_request" in where for where in kept)
    for where in (out.encode(), said.encode(), wrong.err.encode(), *kept):
        assert signature.encode() not in where and quote(signature, safe="").encode() not in where


@pytest.mark.sandbox
@pytest.mark.parametrize("way", ["the VM", "blobs"])
def test_each_try_of_a_script_is_followed(here: Here, machine: Machine, way: str) -> None:
    """After a try that failed, the following goes on with the next one, from its first byte to the end of the job.

    Blobs are emptied by the next try: where it begins before the end of the last one was read, that is said.
    """
    file = machine.cwd / "lab.yaml"
    file.write_text(LAB.replace("SPEECH", "").replace("GUEST", "sandbox"))
    script = (
        "if [ ! -e /tmp/tried ]; then touch /tmp/tried; echo the first try, which is longer; n=1; code=1\n"
        "else echo second; n=2; code=0; fi\n"
        "while [ ! -e /tmp/go$n ]; do sleep 0.1; done\necho done $n\nexit $code"
    )
    with lab_up(machine, file) as lab:
        go = {n: playbook(machine, f"touch /tmp/go{n}").rename(machine.cwd / f"go{n}.yaml") for n in (1, 2)}

        def end(n: int) -> None:
            assert here("run", go[n], lab.flag, "-y", "-q", "--lease", "none", "--transport", "managed").code == 0

        play = playbook(machine, script)
        play.write_text(play.read_text().rstrip() + "\n    idempotent: true\n    retries: 1\n    retry_delay: 1s\n")
        environ = {"SAS": with_blobs(lab, play) if way == "blobs" else "none"}
        secret = ("-e", "sas=env:SAS") if way == "blobs" else ()
        with under_way(machine, here, lab, play, "--transport", "managed", *secret, env=environ) as run:
            follow = ("output", "last", "web01", "--follow", "--stream", "stdout", lab.flag, *secret)
            follower = machine.start(*follow, env=environ)
            assert follower.stdout is not None and follower.stderr is not None
            with follower:
                assert follower.stdout.readline() == "the first try, which is longer\n"
                end(1)
                line = follower.stdout.readline()
                missed = way == "blobs" and line == "second\n"
                assert missed or (line, follower.stdout.readline()) == ("done 1\n", "second\n")
                end(2)
                rest, said = follower.stdout.read(), follower.stderr.read()
            assert (follower.returncode, rest) == (0, "done 2\n"), said
            assert "web01  long: try 2 begins" in said
            assert ("what was shown may lack a part" in said) == missed
            run.communicate(timeout=60)


def test_a_cancelled_script_ends_the_following(here: Here, machine: Machine) -> None:
    """Where a job ends without a word from its VM, what had come is shown, and its row's exit code returned."""
    file = machine.cwd / "lab.yaml"
    file.write_text(
        LAB.replace("SPEECH", "line\\n" * 600).replace("GUEST", "scripted").replace("600, 600", "6000, 6000")
    )
    play = playbook(machine, "echo speaks")
    play.write_text(play.read_text() + "    timeout: 2h\n")
    with lab_up(machine, file) as lab, under_way(machine, here, lab, play):
        follower = machine.start("output", "last", "web02", "--follow", "--stream", "stdout", lab.flag)
        assert follower.stdout is not None and follower.stderr is not None
        with follower:
            assert follower.stdout.readline() == "line\n"
            assert here("cancel", "last", "--hard").code == 0
            rest, said = follower.stdout.read(), follower.stderr.read()
    assert (follower.returncode, "web02  long  cancelled" in said) == (3, True), said
    assert set(rest.splitlines()) <= {"line"}


def test_a_played_script_is_followed_and_left(here: Here, machine: Machine) -> None:
    """Ctrl-C ends the following and not the job; several VMs, a job not begun and a bare script are told apart."""
    file = machine.cwd / "lab.yaml"
    file.write_text(
        LAB.replace("SPEECH", "line\\n" * 600).replace("GUEST", "scripted").replace("600, 600", "1200, 1200")
    )
    with lab_up(machine, file) as lab:
        play = playbook(machine, "echo speaks")
        with under_way(machine, here, lab, play):
            follower = machine.start("output", "last", "web02", "--follow", "--stream", "stdout", lab.flag)
            assert follower.stdout is not None
            assert follower.stdout.readline() == "line\n"
            follower.send_signal(signal.SIGINT)
            left = ended(follower)
            assert (left.code, "its job goes on" in left.err) == (130, True), left.err
            several = here("output", "last", "--follow", lab.flag)
            assert (several.code, "one VM" in several.err) == (2, True)
        # The run was killed: nobody tells how it ends but the VM itself.
        alone = here("output", "last", "web02", "--follow", lab.flag)
        assert (alone.code, alone.out) == (3, "line\n" * 600), alone.err
        assert "ended in the VM, exit code 3" in alone.err
        here("run", play, lab.flag, "-y", "-q", "--lease", "none")
        past = here("output", "last", "web01", "--follow", lab.flag)
        assert (past.code, past.out) == (3, "line\n" * 600)
        assert here("output", "last", "web01", "--follow", "--full").code == 2
