"""Every system call on the disk fails in turn: nothing acknowledged is lost, one sentence is told, and the run goes on."""

from __future__ import annotations

import errno
import json
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.cli import PLAYBOOKS, Machine
from tests.system.conftest import Labs
from tests.verification.disk_faults import Fault, compile_library, compiler, failing, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the library that fails calls is made for glibc"),
    pytest.mark.skipif(compiler() is None, reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("library"))


TRIED = ("disk full", "I/O error", "short write", "short write, then full")


@pytest.fixture(scope="module")
def sweeps(library: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All at once, each in a process of its own."""
    with ExitStack() as stack:
        started = {fault: stack.enter_context(start(library, fault, vms=1)) for fault in TRIED}
        yield started
        for sweep in started.values():
            sweep.kill()


@pytest.mark.parametrize("fault", TRIED)
def test_every_call_of_a_run_fails_once(sweeps: dict[str, subprocess.Popen[str]], fault: str) -> None:
    """Whichever write, flush or cut of a file fails: a sentence, a whole journal, and a resumed run with nothing twice.

    ``python -m tests.verification faults`` does it with 20 VMs, and with more faults.
    """
    out, _ = sweeps[fault].communicate(timeout=300)
    tries, calls, told, wrong, _ = json.loads(out)
    assert wrong == []
    assert tries > calls > 40
    assert sum(told.values()) == tries
    hindered = told.get("disk_full", 0) + told.get("disk_error", 0)
    assert (hindered == 0) if fault == "short write" else (hindered > 0.7 * tries)


@pytest.mark.parametrize(("number", "error"), [(4, errno.ENOSPC), (70, errno.EIO)])
def test_a_failing_disk_at_the_command_line(
    machine: Machine, labs: Labs, library: Path, number: int, error: int
) -> None:
    """Exit code 1 and one sentence with the file and what to do; when the disk is mended, the run goes on, nothing twice."""
    lab = labs("forty")
    before = lab.executions()
    machine.state.mkdir()
    fault = failing(library, number, Fault(error, for_good=True), machine.state)
    hello = ("run", PLAYBOOKS / "hello.yaml", "-y", "-f", 10, "-l", "one0*", lab.flag)
    failed = machine.run(*hello, env=fault)
    assert failed.code == 1, failed.err
    (sentence,) = [line for line in failed.err.splitlines() if line.startswith("error: ")]
    assert str(machine.state) in sentence
    assert re.search(r"\[(disk_full|disk_error|leases_unusable)\]$", sentence)
    begun = list(machine.state.glob("runs/*"))
    done = machine.run("resume", "last", lab.flag, "-o", "json") if begun else machine.run(*hello, "-o", "json")
    assert done.code == 0, done.err
    ran = lab.executions(before)
    assert set(ran.values()) == {1}
    assert len(ran) == len(done.report["jobs"])
    assert machine.run("verify", "last").code == 0
