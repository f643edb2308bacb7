"""Output that is larger than the channel: packed by the wrapper, kept in the guest, read back in pieces."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.guest.delivery import Delivery, script_digest
from fleet.guest.live import News, Part, Since, follower, read_news
from fleet.guest.receipt import Reading, read, verify
from fleet.guest.spool import Absence, Piece, Stream, Wanted, joined, read_piece, reader
from tests.patience import stretched
from tests.system.test_guest_shells import Guest, _tools, delivery, guest, interpreter, spool

__all__ = ["guest", "interpreter", "spool"]

LOG = (
    "awk 'BEGIN { for (i = 0; i < %d; i++) printf \"2026-03-01 02:03:%%02d host%%d unit %%d é\\n\", i, i * 7919, i }'\n"
)
NONCE = "00112233445566778899aabbccddeeff"


def through(data: bytes) -> str:
    """What the channel makes of a stream: its last 4,096 bytes, as text."""
    return data[-4096:].decode("utf-8", "replace")


def answer(guest: Guest, order: Delivery, path: str | None = None) -> Reading:
    """Run a delivery and read its answer as it comes through the channel."""
    _, stdout, stderr = guest.run(order, path=path)
    return read(through(stdout), through(stderr), order.nonce)


def ask(guest: Guest, stream: Stream, number: int, key: str = "run-step", path: str | None = None) -> Piece | Absence:
    """Send a reader to the guest, and read its answer as it comes through the channel."""
    wanted = Wanted(key, stream, number, NONCE)
    environment = {"PATH": path or os.environ["PATH"], "FLEET_SPOOL": str(guest.spool)}
    command = [shutil.which(guest.interpreter[0]) or "", *guest.interpreter[1:], "-c", reader(wanted, windows=False)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=stretched(30))
    assert max(len(done.stdout), len(done.stderr)) <= 4096
    found = read_piece(
        f"Enable succeeded: \n[stdout]\n{done.stdout.decode()}\n[stderr]\n{done.stderr.decode()}", wanted
    )
    assert found is not None, (done.stdout, done.stderr)
    return found


def fetched(guest: Guest, stream: Stream, length: int, path: str | None = None) -> bytes:
    """Ask for every piece of a stream."""
    first = ask(guest, stream, 0, path=path)
    assert isinstance(first, Piece)
    rest = [ask(guest, stream, number, path=path) for number in range(1, first.count)]
    return joined([first, *(piece for piece in rest if isinstance(piece, Piece))], length)


def test_twenty_kilobytes_need_no_fetch(guest: Guest) -> None:
    """20 KB of a log, and what went to stderr, come back whole and proven through two channels of 4,096 bytes."""
    order = delivery(f"{LOG % 500}echo gave up >&2; exit 3")
    reading = answer(guest, order)
    verdict = verify(reading, nonce=order.nonce, digest=script_digest(order))
    assert len(guest.kept(order, "stdout")) > 19_000
    assert (verdict.verified, verdict.truncated, verdict.stdout, verdict.stderr) == (True, False, "matched", "matched")
    assert reading.ends is not None and reading.ends.stdout == guest.kept(order, "stdout")
    assert reading.stderr == "gave up\n"


@pytest.mark.parametrize("script", [f"{LOG % 9000}", f"{{ {LOG % 9000}}} >&2", "head -c 30000 /dev/urandom"])
def test_of_more_the_end_comes(guest: Guest, script: str) -> None:
    """What does not fit even packed is cut to its end, verified, and called truncated."""
    order = delivery(script)
    reading = answer(guest, order)
    verdict = verify(reading, nonce=order.nonce, digest=script_digest(order))
    assert (verdict.verified, verdict.truncated) == (True, True)
    if "urandom" not in script:
        assert reading.ends is not None
        assert guest.kept(order, "stdout").endswith(reading.ends.stdout)
        assert guest.kept(order, "stderr").endswith(reading.ends.stderr)
        assert len(reading.ends.stdout + reading.ends.stderr) >= 16_384


def test_a_kept_answer_is_packed_again(guest: Guest) -> None:
    """A second delivery returns the same output, packed under its own nonce."""
    first, second = delivery(LOG % 500), delivery(LOG % 500, nonce=NONCE)
    assert answer(guest, first).stdout == answer(guest, second).stdout


def test_without_gzip_the_tails_come(interpreter: list[str], spool: Path, tmp_path: Path) -> None:
    """On a machine that cannot pack, the last 4,096 bytes of each stream come, as Azure cuts them."""
    if interpreter[0] == "busybox":
        pytest.skip("busybox sh brings its own gzip")
    order = delivery("i=0; while [ $i -lt 900 ]; do echo line $i; i=$((i+1)); done")
    guest = Guest(interpreter, spool)
    path = _tools(tmp_path / "bin", "sh", "sha256sum", "tail", "base64", "dd")
    reading = answer(guest, order, path)
    assert (reading.ends, verify(reading, nonce=order.nonce, digest=script_digest(order)).truncated) == (None, True)
    kept = guest.kept(order, "stdout")
    assert kept.decode().endswith(reading.stdout)
    assert fetched(guest, Stream.STDOUT, len(kept), path) == kept


@pytest.mark.parametrize("tool", ["openssl", "busybox"])
def test_other_tools_pack_too(spool: Path, tmp_path: Path, tool: str) -> None:
    """Where base64 or gzip is missing, openssl or busybox do their work."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    order = delivery("i=0; while [ $i -lt 1500 ]; do echo line $i; i=$((i+1)); done")
    more = ["gzip"] if tool == "openssl" else []
    guest = Guest(["dash"], spool)
    path = _tools(tmp_path / "bin", "sh", "tail", "dd", tool, *more)
    reading = answer(guest, order, path)
    assert verify(reading, nonce=order.nonce, digest=script_digest(order)).stdout == "matched"
    assert reading.ends is not None and len(reading.ends.stdout) > 12_000
    assert fetched(guest, Stream.STDOUT, 13_890, path) == reading.ends.stdout


def test_all_of_it_is_read_back(guest: Guest) -> None:
    """Streams of any bytes come back byte for byte, piece by piece, and each piece fits the channel."""
    order = delivery("head -c 20000 /dev/urandom; head -c 3000 /dev/zero >&2")
    assert answer(guest, order).receipt is not None
    for stream in Stream:
        kept = guest.kept(order, stream)
        assert fetched(guest, stream, len(kept)) == kept
    files = {path.name: path for path in (guest.spool / "run-step").iterdir() if not path.is_symlink()}
    assert files.pop("script").stat().st_mode & 0o777 == 0o500
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert not list((guest.spool / "run-step").glob("piece*"))


def test_a_reader_finds_nothing(guest: Guest) -> None:
    """A key that never ran here has nothing to show; a script that has not answered yet says so."""
    assert ask(guest, Stream.STDOUT, 0) is Absence.MISSING
    answer(guest, delivery("echo x"))
    (guest.spool / "run-step" / "answer").unlink()
    assert ask(guest, Stream.STDOUT, 0) is Absence.RUNNING
    assert ask(guest, Stream.STDOUT, 0, key="other") is Absence.MISSING


def test_a_reader_does_not_look_where_others_may_enter(guest: Guest) -> None:
    """A folder with a wider mode is not read: somebody else may have put the stream there."""
    answer(guest, delivery("echo x"))
    (guest.spool / "run-step").chmod(0o755)
    assert ask(guest, Stream.STDOUT, 0) is Absence.MISSING


def test_the_spool_is_bounded(spool: Path) -> None:
    """Above 256 MiB in all, the oldest output goes; its answer stays, and the script still does not run again."""
    guest = Guest(["dash"], spool)
    old, young = delivery("echo old", key="old"), delivery("echo young", key="young")
    for order in (old, young):
        answer(guest, order)
        with (spool / order.key / "stdout.gz").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 150 * 1024 * 1024)
    os.utime(spool / "old", (1_000_000_000 + 7e8, os.stat(spool / "young").st_mtime - 3600))
    answer(guest, delivery("echo new", key="new"))
    assert sorted(path.parent.name for path in spool.glob("*/stdout")) == ["new", "young"]
    again = delivery("echo old", key="old", nonce=NONCE)
    reading = answer(guest, again)
    assert reading.receipt is not None and (reading.receipt.replayed, reading.stdout) == (True, "")
    assert verify(reading, nonce=NONCE, digest=script_digest(again)).truncated
    assert ask(guest, Stream.STDOUT, 0, key="old") is Absence.MISSING


def test_of_a_flood_the_end_is_kept(spool: Path) -> None:
    """Of a stream above 64 MiB the end is kept; length and digest are those of all of it."""
    guest = Guest(["dash"], spool)
    order = delivery("head -c 70000000 /dev/zero; echo end", timeout=60.0)
    reading = answer(guest, order)
    assert reading.receipt is not None and reading.receipt.stdout_length == 70_000_004
    assert reading.receipt.stdout_digest == hashlib.sha256(bytes(70_000_000) + b"end\n").hexdigest()
    assert (spool / "run-step" / "stdout").stat().st_size == 64 * 1024 * 1024
    assert verify(reading, nonce=order.nonce, digest=script_digest(order)).truncated


def news_of(guest: Guest, out: int | None, err: int | None, *, wait: int = 0) -> News:
    """Send a follower to the guest, and read its answer as it comes through the channel."""
    since = Since("run-step", out, err, wait, NONCE)
    environment = {"PATH": os.environ["PATH"], "FLEET_SPOOL": str(guest.spool)}
    command = [shutil.which(guest.interpreter[0]) or "", *guest.interpreter[1:], "-c", follower(since, windows=False)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=stretched(30))
    assert max(len(done.stdout), len(done.stderr)) <= 4096
    found = read_news(f"{done.stdout.decode()}\n[stderr]\n{done.stderr.decode()}", since)
    assert isinstance(found, News), (done.stdout, done.stderr)
    return found


def test_a_script_is_followed_while_it_runs(guest: Guest, tmp_path: Path) -> None:
    """Growing streams of any bytes come as they are; a follower that waits gets news at once when there are some."""
    go = tmp_path / "go"
    order = delivery(
        f"printf 'a\\0b\\377'; echo warned >&2; while [ ! -e {go} ]; do sleep 0.1; done; head -c 9000 /dev/urandom; exit 7"
    )
    process = guest.start(order)
    live = guest.spool / order.key / "stderr.live"
    while not live.exists() or not live.stat().st_size:
        pass
    first = news_of(guest, 0, 0)
    assert (first.stdout.data, first.stderr.data, first.exit) == (b"a\0b\xff", b"warned\n", None)
    assert news_of(guest, 4, None).stdout == Part(4, b"", 4)
    go.touch()
    process.communicate(timeout=stretched(30))
    rest, data = news_of(guest, 4, 7, wait=9), b""
    while rest.stdout.data:
        data += rest.stdout.data
        rest = news_of(guest, 4 + len(data), 7)
    assert (b"a\0b\xff" + data, rest.exit) == (guest.kept(order, "stdout"), 7)
    left = [path for path in live.parent.iterdir() if NONCE in path.name]
    assert left == []


def test_of_a_flood_the_end_is_followed(spool: Path) -> None:
    """Of a stream that the guest kept the end of, offsets stay those of all of it."""
    guest = Guest(["dash"], spool)
    answer(guest, delivery("head -c 70000000 /dev/zero; echo end", timeout=60.0))
    news = news_of(guest, 69_999_999, None)
    assert (news.stdout, news.exit) == (Part(69_999_999, b"\0end\n", 70_000_004), 0)
    assert news_of(guest, 0, None).stdout.end == 70_000_004


@pytest.mark.parametrize(
    "text",
    [
        reader(Wanted("run-step", Stream.STDERR, 7, NONCE), windows=False),
        follower(Since("run-step", 7, None, 15, NONCE), windows=False),
    ],
    ids=["reader", "follower"],
)
def test_shellcheck_is_content_with_readers(text: str) -> None:
    """What reads kept output, and what follows growing output, is clean POSIX sh."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    checked = subprocess.run(["shellcheck", "-s", "sh", "-"], input=text.encode(), capture_output=True, check=False)
    assert checked.stdout == b""
