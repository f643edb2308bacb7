"""How a script's end is seen in the guest: output that comes late, a full disk, want of memory, a folder that is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fleet.guest.delivery import Delivery, Shell, script_digest
from fleet.guest.receipt import Receipt, read, verify
from fleet.guest.wrapper import wrap
from tests.patience import stretched
from tests.system.test_guest_shells import Guest, delivery, guest, interpreter, spool

pytestmark = pytest.mark.slow

__all__ = ["guest", "interpreter", "spool"]

AGAIN = "fedcba9876543210"
STAMPED = (
    'exec > >(while IFS= read -r l; do printf \'%s %s\\n\' "$(date +%T)" "$l"; done) 2>&1\n'
    "for i in $(seq 100); do echo line $i; done\necho result=done\n"
)


def lines(order: Delivery, target: Guest) -> list[str]:
    """The last word of each line that a delivery printed, with a receipt that calls them whole."""
    _, reading, receipt = target.answer(order)
    assert not receipt.partial
    assert verify(reading, nonce=order.nonce, digest=script_digest(order)).stdout == "matched"
    return [line.split()[-1] for line in target.kept(order, "stdout").decode().splitlines()]


@pytest.mark.parametrize("live", [False, True], ids=["", "live"])
def test_output_that_comes_through_a_program_is_whole(guest: Guest, live: bool) -> None:
    """What a loop behind the script prints after the script's end is waited for, the last line included."""
    found = lines(delivery(STAMPED, shell=Shell.BASH, live=live), guest)
    assert (found[0], len(found), found[-1]) == ("1", 101, "result=done")


@pytest.mark.parametrize("tee", ["tee", "setsid tee", "tee | cat"])
def test_a_tee_is_waited_for(spool: Path, tmp_path: Path, tee: str) -> None:
    """20,000 lines through a tee are whole, whatever session it lives in."""
    command = tee.replace("tee", f"tee {tmp_path}/log", 1)
    order = delivery(f"exec > >({command}) 2>&1\nseq 20000\necho result=done\n", shell=Shell.BASH)
    guest = Guest(["dash"], spool)
    _, _, receipt = guest.answer(order)
    assert not receipt.partial
    assert guest.kept(order, "stdout").decode().split()[-2:] == ["20000", "result=done"]


@pytest.mark.parametrize(
    "left",
    [
        "sleep 30 &",
        "setsid sleep 30 &",
        pytest.param("(while :; do echo more; sleep 0.2; done) &", marks=pytest.mark.slow),
        "setsid sh -c 'sleep 30; echo late' 2>&1 &",
    ],
)
def test_what_holds_a_stream_is_left_behind_and_said(guest: Guest, tmp_path: Path, left: str) -> None:
    """A process that goes on holding a stream is waited for five seconds at most; the receipt says that more may come."""
    order = delivery(f"echo up\n{left} echo $! >{tmp_path}/pid\n")
    before = time.monotonic()
    code, reading, receipt = guest.answer(order)
    subprocess.run(["kill", (tmp_path / "pid").read_text().strip()], check=False)
    assert time.monotonic() - before < stretched(20)
    assert (code, reading.stdout.split()[0], receipt.partial) == (0, "up", True)
    verdict = verify(reading, nonce=order.nonce, digest=script_digest(order))
    assert (verdict.verified, verdict.truncated) == (True, True)


def test_a_service_with_its_own_output_costs_nothing(guest: Guest, tmp_path: Path) -> None:
    """A process that holds no stream of the script is not waited for, and the output is whole."""
    order = delivery(f"sleep 30 >/dev/null 2>&1 & echo $! >{tmp_path}/pid; echo up")
    _, reading, receipt = guest.answer(order)
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert (reading.stdout, receipt.partial) == ("up\n", False)


def test_a_reader_of_the_stream_is_no_writer(guest: Guest, tmp_path: Path) -> None:
    """A process that reads the growing file does not make the output look unfinished."""
    order = delivery(f'tail -f "${{0%/*}}/stdout.live" >/dev/null 2>&1 & echo $! >{tmp_path}/pid; echo up')
    _, _, receipt = guest.answer(order)
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert not receipt.partial


def test_an_answer_without_the_new_fields_is_replayed(guest: Guest) -> None:
    """What an earlier wrapper kept in a guest is returned and read as ever."""
    first, second = delivery("echo old"), delivery("echo old", nonce=AGAIN)
    guest.answer(first)
    answer = guest.spool / first.key / "answer"
    assert " partial=" not in answer.read_text() and " fault=" not in answer.read_text()
    _, reading, receipt = guest.answer(second)
    assert (receipt.replayed, receipt.fault, reading.stdout) == (True, "", "old\n")


@pytest.mark.parametrize("removed", ["rm -rf {spool}", "mv {spool} {spool}.old"])
def test_without_its_folder_the_wrapper_proves_nothing(guest: Guest, spool: Path, removed: str) -> None:
    """Nothing would keep a later delivery from running the script again: there is no receipt, and the output is shown."""
    script = f"echo before; {removed.format(spool=spool)}; echo after; echo err >&2; exit 3"
    code, stdout, stderr = guest.run(delivery(script))
    assert (code, stdout) == (2, b"before\nafter\n")
    assert stderr.startswith(b"err\nfleet: the script removed ")


def test_removed_streams_lose_nothing(guest: Guest, spool: Path) -> None:
    """A script that removes the files of its streams still has its whole output, and does not run again."""
    script = f"echo before; rm -f {spool}/*/*.live {spool}/*/group; echo after; echo err >&2; exit 3"
    code, reading, receipt = guest.answer(delivery(script))
    assert (code, receipt.exit_code, reading.stdout, reading.stderr) == (3, 3, "before\nafter\n", "err\n")
    code, again, receipt = guest.answer(delivery(script, nonce=AGAIN))
    assert (code, receipt.replayed, again.stdout) == (3, True, "before\nafter\n")


# -- the first line


def test_the_options_of_the_first_line_hold(guest: Guest) -> None:
    """A script for ``bash -e`` ends at its first failure."""
    code, reading, receipt = guest.answer(delivery("#!/bin/bash -e\necho one\nfalse\necho two", shell=Shell.BASH))
    assert (code, receipt.exit_code, reading.stdout) == (1, 1, "one\n")


@pytest.mark.parametrize(
    ("script", "out"),
    [
        ("#!/usr/bin/env python3\nimport sys\nprint('hi', sys.argv[1:], sys.stdin.read())", "hi ['a b'] \n"),
        ("\ufeff#! /bin/bash\r\na=(x y); echo ${a[1]}\r\n", "y\n"),
        ("#!/usr/bin/env -S V=w bash -eu\necho $V $-", "w ehuB\n"),
        ("#!/bin/cat\nread me\n", "#!/bin/cat\nread me\n"),
        ('#!/bin/sh\necho $0 | grep -c /script; [ -n "$1" ] && exec "$0" \'\'', "1\n1\n"),
        ("#!\necho ${BASH_VERSION:+bash}", "bash\n"),
    ],
    ids=["python", "bom and crlf", "env -S", "cat", "runs itself", "empty"],
)
def test_the_first_line_decides(guest: Guest, script: str, out: str) -> None:
    """What the first line names runs the script, with its arguments, an empty stdin and its path as ``$0``."""
    order = delivery(script, shell=Shell.BASH, args=("a b",))
    _, reading, receipt = guest.answer(order)
    shown = reading.stdout.replace("a b\n", "") if "cat" in script else reading.stdout
    assert shown == out, reading.stderr
    assert receipt.script_digest == script_digest(order)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("#!/opt/no/bash -e", 127),
        ("#!/usr/bin/env no-such-program", 127),
        ("#!/usr/bin/env -S A=b no-such-program -x", 127),
        ("#!/etc/passwd", 126),
        ("#!/usr", 126),
        ("#!bash", 127),
    ],
)
def test_a_missing_interpreter_is_said(guest: Guest, line: str, code: int) -> None:
    """The exit code is a shell's, and the receipt says that no line ran."""
    found, reading, receipt = guest.answer(delivery(f"{line}\necho ran", shell=Shell.BASH))
    assert (found, receipt.exit_code, receipt.fault, reading.stdout) == (code, code, "no_interpreter", "")
    assert reading.stderr.startswith("fleet: the script's interpreter")


def test_a_script_that_ends_with_127_is_not_a_missing_interpreter(guest: Guest) -> None:
    """Only what the wrapper found missing is called so."""
    _, _, receipt = guest.answer(delivery("#!/bin/sh\nno-such-program"))
    assert (receipt.exit_code, receipt.fault) == (127, "")


def test_half_an_answer_is_none(guest: Guest, spool: Path, tmp_path: Path) -> None:
    """An empty answer, as a loss of power leaves it, is no answer: nothing runs again, and the end is unknown."""
    script = f"echo >>{tmp_path}/ran; exit 3"
    guest.answer(delivery(script))
    (spool / delivery(script).key / "answer").write_text("")
    again = delivery(script, nonce=AGAIN)
    code, _, receipt = guest.answer(again)
    assert (code, receipt.interrupted, len((tmp_path / "ran").read_text())) == (125, True, 1)
    assert guest.answer(again)[2].replayed


# -- disk and memory, in a mount namespace of the test's own


class Small:
    """A machine whose disk for receipts is small, and whose counters of kills are a file."""

    def __init__(self, shell: list[str], folder: Path) -> None:
        self.shell, self.folder = shell, folder
        self.ran = folder / "ran"

    def deliver(
        self, script: str, *, before: str = "", between: str = "", size: str = "256k"
    ) -> list[tuple[int, Receipt | None, str]]:
        """Deliver a script twice, and return exit code, receipt and stdout of each."""
        disk, orders = self.folder / "disk", []
        commands = [f"mkdir {disk}; mount -t tmpfs -o size={size},mode=755 none {disk}; cd {disk}", before]
        for nonce in ("0123456789abcdef", AGAIN):
            order = delivery(f"echo >>{self.ran}\n{script}", shell=Shell.BASH, nonce=nonce)
            orders.append(order)
            (self.folder / nonce).write_text(wrap(order))
            run = " ".join([shutil.which(self.shell[0]) or "", *self.shell[1:]])
            out = f">{self.folder}/{nonce}.out 2>{self.folder}/{nonce}.err"
            commands += [f"FLEET_SPOOL={disk}/spool {run} {self.folder}/{nonce} {out}; echo $?", between]
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", "\n".join(commands)],
            capture_output=True,
            check=True,
            timeout=60,
        )
        found = []
        for order, code in zip(orders, done.stdout.split(), strict=True):
            out, err = (
                (self.folder / f"{order.nonce}.{end}").read_bytes().decode("utf-8", "replace") for end in ("out", "err")
            )
            reading = read(out, err, order.nonce)
            if reading.receipt is not None:
                assert verify(reading, nonce=order.nonce, digest=script_digest(order)).verified
            found.append((int(code), reading.receipt, reading.stdout))
        return found

    @property
    def runs(self) -> int:
        """How often the script ran."""
        return len(self.ran.read_text()) if self.ran.exists() else 0


@pytest.fixture
def small(interpreter: list[str], tmp_path: Path) -> Small:
    if subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("no namespaces here")
    return Small(interpreter, tmp_path)


FILL = "head -c 1m /dev/zero >fill 2>/dev/null"


@pytest.mark.parametrize("before", [FILL, f"mkdir -m 700 spool; {FILL}"])
def test_on_a_full_disk_nothing_is_started(small: Small, before: str) -> None:
    """The receipt says that the script was not started; once there is room, the same delivery runs it."""
    (first, receipt, _), (second, later, _) = small.deliver("echo hi", before=before, between="rm -f fill")
    assert receipt is not None and later is not None
    assert (first, receipt.fault, receipt.exit_code, receipt.replayed) == (125, "no_room", 125, False)
    assert (second, later.fault, later.replayed, small.runs) == (0, "", False, 1)


@pytest.mark.parametrize("fills", ["head -c 1m /dev/zero >fill", "head -c 1m /dev/zero", "head -c 1m /dev/zero >&2"])
def test_a_disk_that_fills_while_the_script_runs_is_said(small: Small, fills: str) -> None:
    """Exit code 0, what was kept of the output, and the fault; a later delivery has the same answer and runs nothing."""
    answers = small.deliver(f"echo hi; {fills}; seq 3000; exit 0")
    for number, (code, receipt, _) in enumerate(answers):
        assert receipt is not None
        assert (code, receipt.exit_code, receipt.fault, receipt.partial) == (0, 0, "disk_full", True)
        assert receipt.replayed is bool(number)
    assert small.runs == 1


def test_output_of_half_the_disk_needs_no_second_half(small: Small) -> None:
    """Keeping the output takes no room of its own."""
    _, receipt, _ = small.deliver("head -c 150000 /dev/urandom")[0]
    assert receipt is not None and (receipt.stdout_length, receipt.partial, receipt.fault) == (150_000, False, "")


def test_a_wrapper_killed_on_a_full_disk_is_not_run_again(small: Small) -> None:
    """Nothing is known of the end, and that is what the later delivery says, from the room that was kept for it."""
    first, (code, receipt, _) = small.deliver(f"{FILL}; kill -9 $PPID; sleep 0.3")
    assert first[1] is None and receipt is not None
    assert (code, receipt.interrupted, small.runs) == (125, True, 1)


KILLED = "cp /proc/vmstat v; sed 's/^oom_kill .*/oom_kill 4711/' v >w; mount --bind w /proc/vmstat; "


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (f"{KILLED}kill -9 $$", "out_of_memory"),
        (f"{KILLED}sh -c 'kill -9 $$'; exit $?", "out_of_memory"),
        ("kill -9 $$", ""),
        (f"{KILLED}kill -15 $$", ""),
        (f"{KILLED}exit 1", ""),
    ],
)
def test_the_kernels_killer_is_told_from_a_signal(small: Small, script: str, fault: str) -> None:
    """SIGKILL together with a kernel counter that rose is want of memory; either alone is not."""
    _, receipt, _ = small.deliver(script)[0]
    assert receipt is not None and receipt.fault == fault
