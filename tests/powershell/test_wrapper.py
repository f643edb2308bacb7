"""The wrapper for Windows, run by a real PowerShell: how scripts end, what is kept, and what a second delivery gets."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from fleet.guest.spool import Absence, Piece, Stream, Wanted, joined, read_piece, reader
from fleet.guest.wrapper import wrap
from fleet.lab.guests.windows.machine import quote
from tests.patience import stretched
from tests.powershell.guest import AGAIN, KEY, NONCE, Answer, Guest, delivery, verified
from tests.powershell.system import LINE, ON_WINDOWS, administrator, code, is_alive, on_linux, plays, sleeping

pytestmark = pytest.mark.slow


@pytest.fixture
def guest(pwsh: str, tmp_path: Path) -> Guest:
    return Guest(pwsh, tmp_path)


def wait_for(path: Path, within: float = 120.0) -> None:
    """Wait until a file is there and holds something."""
    until = time.monotonic() + stretched(within)
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.05)


VALUES = """
"$env:A|$env:B|$env:TOKEN|$env:EMPTY|$($args.Count)"
$args | ForEach-Object { "<$_>" }
Write-Error 'red' -ErrorAction Continue
exit 3010
"""


def test_a_script_gets_its_values_and_its_answer_is_kept(guest: Guest) -> None:
    """Environment, secrets and arguments arrive unchanged, errors are without colours, and a second delivery runs nothing."""
    order = delivery(
        VALUES,
        env={"A": "it's \u00e9", "B": "C:\\new"},
        args=("x y", 'a"b\\', "", "-Name"),
        secret_names=("TOKEN", "EMPTY"),
    )
    secrets = {"TOKEN": "s3cr\u00e9t", "EMPTY": ""}
    answer, receipt = verified(order, guest.deliver(order, secrets).answer())
    lines = ["it's \u00e9|C:\\new|s3cr\u00e9t||4", "<x y>", '<a"b\\>', "<>", "<-Name>"]
    assert answer.stdout.splitlines() == lines
    assert "red" in answer.stderr and "\x1b" not in answer.stderr
    assert (receipt.exit_code, answer.code, receipt.replayed, receipt.partial) == (code(3010), code(3010), False, False)
    again = delivery(order.script, nonce=AGAIN, env=order.env, args=order.args, secret_names=order.secret_names)
    second, kept = verified(again, guest.deliver(again, secrets).answer())
    assert (second.stdout, second.code, kept.replayed, kept.boot_id) == (
        answer.stdout,
        answer.code,
        True,
        receipt.boot_id,
    )
    names = {path.name for path in guest.place().iterdir()}
    assert names == {"answer", "child", "claim", "script.ps1", "started", "stderr", "stdout"}


def test_a_colour_that_was_asked_for_stays(guest: Guest) -> None:
    """What the step's environment says of NO_COLOR goes before the wrapper's own."""
    answer, _ = guest.receipt(delivery("Write-Error 'red'; \"<$env:NO_COLOR>\"", env={"NO_COLOR": ""}))
    assert "<>" in answer.stdout


def test_long_output_comes_packed_and_whole_by_pieces(guest: Guest) -> None:
    """Both ends arrive packed; the reader brings every byte of both streams, also of an empty one."""
    order = delivery("1..3000 | ForEach-Object { 'line ' + $_ }")
    answer, receipt = guest.receipt(order)
    whole = b"".join(b"line %d" % number + LINE for number in range(1, 3001))
    assert whole.replace(LINE, b"\n").endswith(answer.stdout.encode()) and len(answer.stdout) > 8000
    assert receipt.stdout_length == len(whole)
    assert _fetch(guest, Stream.STDOUT, receipt.stdout_length) == whole
    assert _fetch(guest, Stream.STDERR, 0) == b""


def _fetch(guest: Guest, stream: Stream, length: int) -> bytes:
    pieces: list[Piece] = []
    while not pieces or len(pieces) < pieces[0].count:
        wanted = Wanted(KEY, stream, len(pieces), NONCE)
        piece = read_piece(guest.run(reader(wanted, windows=True)).message, wanted)
        assert isinstance(piece, Piece)
        pieces.append(piece)
    return joined(pieces, length)


def test_the_reader_says_what_is_missing(guest: Guest) -> None:
    """Of a delivery that never came there is nothing to read, and that is what the reader says."""
    wanted = Wanted(KEY, Stream.STDOUT, 0, NONCE)
    assert read_piece(guest.run(reader(wanted, windows=True)).message, wanted) is Absence.MISSING


def test_the_time_limit_ends_the_tree(guest: Guest) -> None:
    """At the limit the script and what it started are gone; what they printed until then is kept."""
    script = f"""
    'begun'
    $below = {sleeping(300, "-PassThru")}
    [IO.File]::WriteAllText({quote(str(guest.folder / "below"))}, $below.Id)
    Start-Sleep 300
    """
    answer, receipt = guest.receipt(delivery(script, timeout=12.0))
    assert (answer.code, receipt.timed_out, receipt.exit_code, answer.stdout) == (124, True, None, "begun\n")
    assert not is_alive(int((guest.folder / "below").read_text("ascii")))


def test_what_a_script_leaves_behind_is_waited_for_a_little(guest: Guest) -> None:
    """A process that holds a stream open delays the answer by seconds; more may come, so the receipt says partial."""
    answer, receipt = guest.receipt(delivery(f"{sleeping(30)}; 'said'"))
    assert (answer.code, receipt.partial, answer.stdout) == (0, True, "said\n")


def test_a_script_that_cannot_be_started_is_told_apart(guest: Guest) -> None:
    """No line of it ran: the fault says so, and the exit code is not that of a script."""
    order = delivery("'ran'")
    text = wrap(order).replace("@(Get-FleetShell (Get-Process -Id $PID).Path)", "@('/nowhere/powershell')")
    answer, receipt = verified(order, guest.run(text))
    assert (answer.code, receipt.exit_code, receipt.fault, answer.stdout) == (127, 127, "no_interpreter", "")
    assert "cannot be started" in answer.stderr


@plays("WMI")
def test_a_question_that_hangs_keeps_no_answer_back(guest: Guest) -> None:
    """Where WMI gives no answer for good, the script's end is told all the same, without the boot's time."""
    guest.machine.file("wmi-hangs").write_text("Win32_OperatingSystem\n", "ascii")
    answer, receipt = guest.receipt(delivery("'done'; exit 4"))
    assert (answer.code, answer.stdout, receipt.exit_code) == (4, "done\n", 4)
    assert receipt.boot_id.startswith("x-x-")


@on_linux("starts a shell of Linux that outlives the script")
@pytest.mark.parametrize("moment", ["held", "for good"])
def test_an_answer_that_cannot_be_kept_is_told(guest: Guest, moment: str) -> None:
    """While another program keeps the answer from its place the wrapper tries again; its receipt comes in any case."""
    free = f"sh -c \"(sleep 4; rmdir '{guest.place() / 'answer'}') >/dev/null 2>&1 &\"" if moment == "held" else ""
    answer, receipt = guest.receipt(delivery(f"[void](mkdir (Join-Path $PSScriptRoot answer)); {free}\n'told'; exit 5"))
    assert (answer.code, answer.stdout, receipt.exit_code) == (5, "told\n", 5)
    assert (guest.place() / "answer").is_file() is (moment == "held")


def test_half_an_answer_is_none(guest: Guest) -> None:
    """An answer of zeros, as a loss of power leaves it, is no answer: nothing runs again, the end is unknown."""
    ran = guest.folder / "ran"
    order = delivery(f"[IO.File]::AppendAllText({quote(str(ran))}, 'x'); exit 3")
    guest.receipt(order)
    (guest.place() / "answer").write_bytes(bytes(300))
    answer, receipt = guest.receipt(delivery(order.script, nonce=AGAIN))
    assert (answer.code, receipt.interrupted, ran.read_bytes()) == (125, True, b"x")


def test_files_that_are_left_over_do_no_harm(guest: Guest) -> None:
    """Without a claim nothing has run, so whatever else stands in the folder is replaced."""
    guest.place().mkdir(parents=True)
    for name in ("script.ps1", "child", "started", "stdout", "stderr", "stdout.live", "stdout.gz", "answer.1.new"):
        (guest.place() / name).write_text("'left over'\n", "ascii")
    (guest.place() / "answer").touch()
    answer, receipt = guest.receipt(delivery("'new'; exit 3"))
    assert (answer.code, answer.stdout, receipt.exit_code, receipt.replayed) == (3, "new\n", 3, False)
    assert (guest.place() / "answer").stat().st_size > 100 and not (guest.place() / "stdout.gz").exists()


# -- the folder


USERS, GUESTS = "S-1-5-32-545", "S-1-5-32-546"
"""Groups that every Windows has."""


@administrator
def test_a_folder_of_another_owner_is_refused(guest: Guest) -> None:
    """Whoever made the folder could let himself in again, so nothing runs there."""
    guest.spool.mkdir(parents=True)
    _change(guest, guest.spool, f"owner {GUESTS}\n", "/setowner", f"*{GUESTS}")
    refused = guest.deliver(delivery("'ran'")).answer()
    assert refused.code == 125 and refused.stdout == ""
    assert f"belongs to another user, {GUESTS}; the script was not started" in refused.stderr


def test_rights_of_others_are_taken_and_read_back(guest: Guest) -> None:
    """Entries that somebody added to the list of a folder, or of the one above it, are gone before anything runs."""
    guest.spool.mkdir(parents=True)
    played = f"owner S-1-5-32-544\nrule {GUESTS}\ninherited {USERS}\n"
    for folder in (guest.spool, guest.spool.parent):
        _change(guest, folder, played, "/grant", f"*{GUESTS}:(OI)(CI)F")
    answer, _ = guest.receipt(delivery("'ran'"))
    assert answer.stdout == "ran\n"
    for folder in (guest.spool, guest.spool.parent):
        kept = set(guest.run(RULES, FOLDER=str(folder)).stdout.split())
        assert {"True", "S-1-5-18", "S-1-5-32-544"} <= kept and not kept & {USERS, GUESTS}, kept


RULES = """
$list = Get-Acl -LiteralPath $env:FOLDER
"$($list.AreAccessRulesProtected)"
$identifier = [System.Security.Principal.SecurityIdentifier]
$list.GetAccessRules($true, $true, $identifier) | ForEach-Object { $_.IdentityReference.Value }
"""


def _change(guest: Guest, folder: Path, played: str, *words: str) -> None:
    """Give a folder another owner or one entry more: by Windows' own program, or in the list that is played."""
    if ON_WINDOWS:
        subprocess.run(["icacls.exe", str(folder), *words], capture_output=True, check=True, timeout=60)
        return
    lists = guest.machine.file("lists")
    lists.mkdir(exist_ok=True)
    (lists / hashlib.sha256(str(folder).encode()).hexdigest()[:16]).write_text(played, "ascii")


@administrator
def test_a_folder_that_is_a_link_is_refused(guest: Guest) -> None:
    """A link leads to a place that others may own."""
    elsewhere = guest.folder / "elsewhere"
    elsewhere.mkdir()
    guest.spool.mkdir(parents=True)
    guest.place().symlink_to(elsewhere, target_is_directory=True)
    refused = guest.deliver(delivery("'ran'")).answer()
    assert refused.code == 125 and "is a link; the script was not started" in refused.stderr


# -- what stays in the VM


def test_output_is_bounded_and_the_oldest_goes_first(guest: Guest) -> None:
    """After a run 256 MiB of output stay at most; answers stay, and what grew beside an answer is always deleted."""
    for number in range(400):
        entry = guest.spool / f"old{number:03}"
        entry.mkdir(parents=True)
        (entry / "answer").write_text("script=- end", "ascii")
        with open(entry / "stdout", "wb") as file:
            file.truncate(1 << 20)
        (entry / "stderr.live").write_text("x", "ascii")
        os.utime(entry, (time.time() - 1000 + number,) * 2)
    guest.receipt(delivery("'new'"))
    left = sorted(path.parent.name for path in guest.spool.glob("old*/stdout"))
    assert len(left) in (255, 256) and left == [f"old{number:03}" for number in range(400 - len(left), 400)]
    assert len(list(guest.spool.glob("old*/answer"))) == 400
    assert not list(guest.spool.glob("*/*.live"))


# -- kills


LONG = (
    "'before'; [IO.File]::WriteAllText({ran}, 'x'); Start-Sleep 4; 'after'; [IO.File]::WriteAllText({end}, 'x'); exit 7"
)


WITHOUT_WRAPPER = "no script outlives its wrapper on Windows, where a job object ends it"


@on_linux(WITHOUT_WRAPPER)
def test_a_second_delivery_waits_for_a_script_without_its_wrapper(guest: Guest) -> None:
    """The wrapper alone is killed: the script goes on, the later delivery answers once it has ended, and runs nothing."""
    ran, end = guest.folder / "ran", guest.folder / "end"
    order = delivery(LONG.format(ran=quote(str(ran)), end=quote(str(end))))
    started = guest.deliver(order)
    wait_for(ran)
    started.kill(alone=True)
    answer, receipt = guest.receipt(delivery(order.script, nonce=AGAIN))
    child = int((guest.place() / "child").read_text("ascii").split()[0])
    assert (answer.code, receipt.interrupted, answer.stdout) == (125, True, "before\n")
    assert not is_alive(child)


@on_linux(WITHOUT_WRAPPER)
def test_a_second_delivery_keeps_the_time_limit_of_a_script_without_its_wrapper(guest: Guest) -> None:
    """A script that outlives its wrapper and its limit is ended by the delivery that waits for it."""
    ran = guest.folder / "ran"
    order = delivery(f"[IO.File]::WriteAllText({quote(str(ran))}, 'x'); Start-Sleep 300", timeout=8.0)
    started = guest.deliver(order)
    wait_for(ran)
    started.kill(alone=True)
    child = int((guest.place() / "child").read_text("ascii").split()[0])
    answer, receipt = guest.receipt(delivery(order.script, nonce=AGAIN, timeout=8.0))
    assert (answer.code, receipt.interrupted, is_alive(child)) == (125, True, False)


@pytest.mark.skipif(not ON_WINDOWS, reason="only Windows has job objects")
def test_a_script_ends_with_its_wrapper(guest: Guest) -> None:
    """Where the wrapper is killed, its script is gone as well, and a second delivery says that it was cut off."""
    ran = guest.folder / "ran"
    order = delivery(f"'before'; [IO.File]::WriteAllText({quote(str(ran))}, $PID); Start-Sleep 300")
    started = guest.deliver(order)
    wait_for(ran)
    started.kill()
    answer, receipt = guest.receipt(delivery(order.script, nonce=AGAIN))
    assert (answer.code, receipt.interrupted, answer.stdout) == (125, True, "before\n")
    assert not is_alive(int(ran.read_text("ascii")))


def test_an_earlier_delivery_that_goes_on_is_not_called_a_script_that_was_not_started(guest: Guest) -> None:
    """A later delivery that has waited for long enough says that it did not start the script again."""
    ran = guest.folder / "ran"
    order = delivery(f"[IO.File]::WriteAllText({quote(str(ran))}, 'x'); Start-Sleep 300", timeout=300.0)
    started = guest.deliver(order)
    wait_for(ran)
    try:
        late = guest.deliver(delivery(order.script, nonce=AGAIN, timeout=0.1)).answer()
    finally:
        started.kill()
    assert late.code == 125 and late.stderr.rstrip().endswith("the script was not started again")


# -- a full disk, in a mount namespace of the test's own


SMALL_DISK = "makes a small disk in a mount namespace of Linux"
FILL = "head -c 1m /dev/zero >fill 2>/dev/null"


def full(guest: Guest, script: str, before: str, between: str) -> list[Answer]:
    """Deliver a script twice on a machine whose disk for receipts is small."""
    disk = guest.folder / "disk"
    commands = [f"mkdir {disk}; mount -t tmpfs -o size=256k,mode=755 none {disk}; cd {disk}", before]
    for nonce in (NONCE, AGAIN):
        file = guest.folder / f"{nonce}.ps1"
        file.write_text(wrap(delivery(script, nonce=nonce)))
        line = " ".join(
            f"'{word.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'" for word in guest.machine.command(file)
        )
        commands += [
            f"FLEET_SPOOL={disk}/spool {line} >{guest.folder}/{nonce}.out 2>{guest.folder}/{nonce}.err; echo $?",
            between,
        ]
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    environment = guest.machine.environment(os.environ)
    run = subprocess.run(
        [*unshare, "bash", "-c", "\n".join(commands)], env=environment, capture_output=True, check=True, timeout=120
    )
    ends = zip(run.stdout.split(), (NONCE, AGAIN), strict=True)
    return [
        Answer(int(code), *((guest.folder / f"{nonce}.{end}").read_text()[-4096:] for end in ("out", "err")))
        for code, nonce in ends
    ]


@on_linux(SMALL_DISK)
def test_on_a_full_disk_nothing_is_started(guest: Guest) -> None:
    """The receipt says that the script was not started; once there is room, the same delivery runs it."""
    first, second = full(guest, "'hi'", FILL, "rm -f fill")
    _, receipt = verified(delivery("'hi'"), first)
    assert (first.code, receipt.fault, receipt.exit_code, receipt.replayed) == (125, "no_room", 125, False)
    _, later = verified(delivery("'hi'", nonce=AGAIN), second)
    assert (second.code, later.fault, later.replayed) == (0, "", False)


@on_linux(SMALL_DISK)
def test_a_disk_that_fills_while_the_script_runs_is_said(guest: Guest) -> None:
    """The script goes on to its end although its output has no room; a later delivery has the same answer."""
    script = "1..20000 | ForEach-Object { 'a line that fills the disk ' + $_ }; exit 6"
    for number, answer in enumerate(full(guest, script, "", "")):
        _, receipt = verified(delivery(script, nonce=(NONCE, AGAIN)[number]), answer)
        assert (answer.code, receipt.exit_code, receipt.fault, receipt.partial) == (6, 6, "disk_full", True)
        assert receipt.replayed is bool(number)
