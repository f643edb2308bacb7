"""Asking a VM about a script that is running: the scripts that ask, and what is believed of the answers."""

from __future__ import annotations

import gzip
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_sitter import Language, Parser

from fleet.guest import envelope
from fleet.guest.probe import Disk, Findings, Process, Standing, prober, read_report, releaser
from fleet.guest.spool import Piece, Stream, Wanted, read_piece

NONCE = "00112233445566778899aabbccddeeff"
REPORT = f"""time=1000
booted=400
memtotal=1000
stdout=5
stdout_at=880
state=alive
lock=/var/lib/dpkg/lock 77 apt-get

{NONCE} processes
10 0 S 90 0 do_wait /bin/sh script.sh
12 1 D 88 3 io_schedule dd of=/mnt/dead disk
rubbish

{NONCE} stdout
hello

{NONCE} disk
1000 10 /
1000 x /tmp

{NONCE} end
"""


def piece(text: str) -> Piece:
    """A report as a VM packs it."""
    data = gzip.compress(text.encode())
    return Piece(0, "gzip", len(data), data)


def test_a_report_is_read_back() -> None:
    """Facts, locks, processes and disks come out as they went in; what is malformed is left out."""
    found = read_report(piece(REPORT), NONCE)
    assert (found.standing, found.whole, found.stdout) == (Standing.ALIVE, True, "hello\n")
    assert found.locks == ("/var/lib/dpkg/lock 77 apt-get",)
    assert found.processes[1] == Process(12, 1, "D", 88, 3, "io_schedule", "dd of=/mnt/dead disk")
    assert len(found.processes) == 2
    assert found.disks == (Disk("/", 1_024_000, 10_240),)
    assert (found.silent_for(), found.number("memtotal"), found.number("nosuch")) == (120, 1000, None)


def test_a_cut_report_says_so() -> None:
    """Without its last line a report is not whole."""
    assert not read_report(piece(REPORT.replace(f"{NONCE} end", "")), NONCE).whole


def test_a_bomb_is_not_unpacked() -> None:
    """A report that would unpack to more than its bound is refused."""
    with pytest.raises(ValueError, match="long"):
        read_report(piece("a" * 70_000), NONCE)


@given(st.text())
def test_no_answer_is_beyond_reading(text: str) -> None:
    """Whatever a VM writes gives findings, and no error."""
    data = text.encode("utf-8", "replace")
    found = read_report(Piece(0, "plain", len(data), data), NONCE)
    assert isinstance(found, Findings)


@pytest.mark.parametrize("script", [prober, releaser])
def test_the_windows_scripts_parse_and_survive_the_way(script: object) -> None:
    """They are PowerShell, in ASCII, and without a backslash, which the way into the VM may change."""
    powershell = pytest.importorskip("tree_sitter_powershell")
    parser = Parser(Language(powershell.language()))
    text = script("run-step", NONCE, windows=True)  # type: ignore[operator]
    assert text.isascii() and "\\" not in text
    assert not parser.parse(text.encode()).root_node.has_error


@pytest.mark.parametrize("script", [prober, releaser])
def test_shellcheck_is_content(script: object) -> None:
    """They are clean POSIX sh."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    text = script("run-step", NONCE, windows=False)  # type: ignore[operator]
    checked = subprocess.run(["shellcheck", "-s", "sh", "-"], input=text.encode(), capture_output=True, check=False)
    assert checked.stdout == b"", checked.stdout.decode()


@pytest.mark.parametrize("windows", [False, True])
def test_a_played_guest_has_nothing_to_tell(windows: bool) -> None:
    """A lab's guest that runs nothing knows these scripts, and answers that it cannot tell."""
    for script in (prober("run-step", NONCE, windows=windows), releaser("run-step", NONCE, windows=windows)):
        assert envelope.asks_for(script.replace("\n", "\r\n")) == "run-step"
        out, err = envelope.show(script, None, None)
        found = read_piece(f"{out.decode()}\n[stderr]\n{err.decode()}", Wanted("run-step", Stream.STDOUT, 0, NONCE))
        assert isinstance(found, Piece)
        assert read_report(found, NONCE) == Findings(Standing.UNTOLD, {"state": ""})
    assert envelope.asks_for(prober("run-step", NONCE, windows=windows) + "rm -rf /\n") is None
