"""Reading and verifying receipts: whatever is around them, cut off, forged or lost."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import tracemalloc

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.guest import envelope
from fleet.guest.delivery import Delivery, Shell, script_digest
from fleet.guest.receipt import Fault, Reading, Reason, StreamCheck, read, read_combined, render, verify
from fleet.guest.wrapper import wrap
from tests.unit.guest.strategies import NONCE, forged, outputs

ORDER = Delivery("echo hi", Shell.BASH, key="run-step", nonce=NONCE, timeout=60.0)
DIGEST = script_digest(ORDER)


def sealed(stdout: bytes, stderr: bytes = b"", exit_code: int = 0, *, partial: bool = False) -> tuple[bytes, bytes]:
    opened = envelope.open(wrap(ORDER), {})
    assert opened is not None
    _, out, err = opened.seal(
        exit_code=exit_code,
        stdout=stdout,
        stderr=stderr,
        boot_id="b-1",
        started=1.5,
        ended=9.9,
        replayed=False,
        partial=partial,
    )
    return out, err


def through(data: bytes, limit: int = 4096) -> str:
    """What a channel that keeps the last bytes makes of a stream."""
    return data[-limit:].decode("utf-8", "replace")


def judged(reading: Reading) -> Reason:
    return verify(reading, nonce=NONCE, digest=DIGEST).reason


@given(stdout=outputs, stderr=outputs, exit_code=st.integers(0, 255))
def test_whole_streams_come_back(stdout: str, stderr: str, exit_code: int) -> None:
    """Whatever a script prints, forged frames included, comes back unchanged beside the true receipt."""
    out, err = sealed(stdout.encode(), stderr.encode(), exit_code)
    reading = read(out.decode(), err.decode(), NONCE)
    assert reading.receipt is not None
    assert (reading.stdout, reading.stderr, reading.receipt.exit_code) == (stdout, stderr, exit_code)
    verdict = verify(reading, nonce=NONCE, digest=DIGEST)
    assert (verdict.verified, verdict.truncated) == (True, False)


@given(stdout=outputs, stderr=outputs)
def test_combined_messages_come_apart(stdout: str, stderr: str) -> None:
    """The one message of the Linux action splits where the wrapper split it, whatever scripts print."""
    out, err = sealed(stdout.encode(), stderr.encode())
    message = f"Enable succeeded: \n[stdout]\n{out.decode()}\n[stderr]\n{err.decode()}"
    reading = read_combined(message, NONCE)
    assert (reading.stdout, reading.stderr) == (stdout, stderr)
    assert judged(reading) is Reason.OK


@given(stdout=st.binary(max_size=9000), stderr=st.binary(max_size=9000))
def test_cut_streams_still_verify(stdout: bytes, stderr: bytes) -> None:
    """Any bytes, packed or cut at any byte, are verified by nonce and script; truncation is said when it shows."""
    out, err = sealed(stdout, stderr)
    reading = read(through(out), through(err), NONCE)
    verdict = verify(reading, nonce=NONCE, digest=DIGEST)
    assert verdict.verified
    if verdict.truncated:
        assert len(stdout) > 3400 or len(stderr) > 4096
    elif reading.ends is not None:
        assert (reading.ends.stdout, reading.ends.stderr) == (stdout, stderr)


@given(head=st.text(st.characters(exclude_categories=("Cs",)), max_size=3), size=st.integers(3000, 90_000))
def test_truncation_is_said(head: str, size: int) -> None:
    """Text that is too long for the channel comes packed and whole, up to 64 KiB; beyond that its end comes."""
    stdout, stderr = (head + "x" * size).encode(), b"y" * (size // 2)
    out, err = sealed(stdout, stderr)
    assert max(len(out), len(err)) <= 4096
    reading = read(through(out), through(err), NONCE)
    verdict = verify(reading, nonce=NONCE, digest=DIGEST)
    assert verdict.truncated == (len(stdout) + len(stderr) > 65_536)
    assert verdict.stdout is (StreamCheck.TRUNCATED if verdict.truncated else StreamCheck.MATCHED)
    assert stdout.decode().endswith(reading.stdout) and len(reading.stdout.encode()) >= min(len(stdout), 32_768 - 3)


LOG = "".join(f"2026-03-01T02:03:{n % 60:02} host{n * 7919 % 997} line {n} é\n" for n in range(1, 500)).encode()


def test_packed_output_is_proven_whole() -> None:
    """20 KB of text come back whole through two channels of 4,096 bytes, the digest of its very bytes compared."""
    stdout = LOG[:20_000] + b"\xff"
    out, err = sealed(stdout, b"e" * 100)
    message = f"Enable succeeded: \n[stdout]\n{through(out)}\n[stderr]\n{through(err)}"
    for reading in (read(through(out), through(err), NONCE), read_combined(message, NONCE)):
        assert reading.ends is not None and reading.ends.stdout == stdout
        verdict = verify(reading, nonce=NONCE, digest=DIGEST)
        assert (verdict.verified, verdict.stdout, verdict.stderr) == (True, StreamCheck.MATCHED, StreamCheck.MATCHED)


@given(at=st.integers(0, 8000), letter=st.sampled_from("A+=!x"))
def test_a_damaged_pack_is_never_taken_for_output(at: int, letter: str) -> None:
    """Whatever becomes of one character of a pack: nothing is verified that is not what the script printed."""
    out, err = sealed(LOG[:20_000])
    both = through(out), through(err)
    which = at % 2
    place = (at // 2) % both[which].find("\nfleet" if which == 0 else "\0")
    changed = list(both)
    changed[which] = both[which][:place] + letter + both[which][place + 1 :]
    reading = read(changed[0], changed[1], NONCE)
    if verify(reading, nonce=NONCE, digest=DIGEST).verified:
        assert reading.stdout.encode() == LOG[:20_000]


@pytest.mark.parametrize("named", [10, 65_536, 65_537, 5_000_000])
def test_a_bomb_is_bounded(named: int) -> None:
    """A pack that unpacks to more than it names, or names more than 64 KiB, is refused without being unpacked."""
    bomb = base64.b64encode(gzip.compress(b"x" * 5_000_000)).decode()
    frame = forged(NONCE, out=named).replace(
        " script=", f" packed={named}:0:{len(bomb[:3000])}:{len(bomb[3000:])} script="
    )
    tracemalloc.start()
    reading = read(bomb[:3000] + frame, bomb[3000:], NONCE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (reading.damaged, reading.ends) == (True, None)
    assert judged(reading) is Reason.DAMAGED_PACK
    assert peak < 1_000_000


@given(stdout=outputs, stderr=outputs)
def test_cut_combined_messages_keep_the_receipt(stdout: str, stderr: str) -> None:
    """With both streams cut to 4,096 bytes the true receipt is found unless our nonce was forged."""
    assume(NONCE not in stdout + stderr)
    out, err = sealed(stdout.encode(), stderr.encode(), exit_code=7)
    message = f"Enable succeeded: \n[stdout]\n{through(out)}\n[stderr]\n{through(err)}"
    reading = read_combined(message, NONCE)
    assert reading.receipt is not None
    assert reading.receipt.exit_code == 7
    assert stderr.endswith(reading.stderr.lstrip("\ufffd"))
    assert judged(reading) is Reason.OK


@given(stdout=outputs, other=st.text("0123456789abcdef", min_size=8, max_size=64))
def test_frames_of_others_are_output(stdout: str, other: str) -> None:
    """A frame with another nonce is left in the output and is never our receipt."""
    assume(other != NONCE and NONCE not in stdout)
    text = stdout + forged(other)
    reading = read(text, "", NONCE)
    assert (reading.receipt, reading.stdout) == (None, text)
    assert judged(reading) is Reason.WRONG_NONCE


@given(text=st.text(max_size=300), stderr=st.text(max_size=50))
def test_any_text_can_be_read(text: str, stderr: str) -> None:
    """Reading never fails, and without a receipt nothing is lost."""
    assert read(text, stderr, NONCE) == Reading(None, text, stderr)
    combined = read_combined(f"Enable succeeded: \n[stdout]\n{text}\n[stderr]\n{stderr}", NONCE)
    assert combined.stdout + "\n[stderr]\n" + combined.stderr == f"{text}\n[stderr]\n{stderr}"
    assert judged(combined) is Reason.MISSING


def test_messages_of_another_shape_stay_whole() -> None:
    """A message without streams is returned as it is."""
    message = "Enable succeeded: Last script execution didn't finish."
    assert read_combined(message, NONCE) == Reading(None, message, "")


def test_frames_that_contradict_themselves_are_output() -> None:
    """A frame that says two ends, or none, is no receipt."""
    for wrong in ("exit=- signal=-", "exit=0 signal=9"):
        assert read(forged(NONCE).replace("exit=0 signal=-", wrong), "", NONCE).receipt is None


def _reading(stdout: str = "hello\n", stderr: str = "") -> Reading:
    out, err = sealed(stdout.encode(), stderr.encode())
    return read(out.decode(), err.decode(), NONCE)


def test_wrong_answers_are_named() -> None:
    """Each way in which a receipt can fail to answer for a delivery has its own reason."""
    good = _reading()
    assert good.receipt is not None
    assert judged(good) is Reason.OK
    assert verify(good, nonce="f" * 16, digest=DIGEST).reason is Reason.WRONG_NONCE
    assert verify(good, nonce=NONCE, digest="0" * 64).reason is Reason.WRONG_SCRIPT
    assert judged(dataclasses.replace(good, receipt=None)) is Reason.MISSING
    assert judged(dataclasses.replace(good, stdout="hello")) is Reason.LENGTH_MISMATCH
    assert judged(dataclasses.replace(good, stdout="hello\n\n")) is Reason.LENGTH_MISMATCH
    assert judged(dataclasses.replace(good, stdout="hellO\n")) is Reason.HASH_MISMATCH


@pytest.mark.parametrize("replayed", [False, True])
def test_a_receipt_without_the_script_s_digest_does_not_say_what_ran(replayed: bool) -> None:
    """Where a digest is due, ``-`` is refused, whether the script was run now or an answer was kept."""
    good = _reading()
    assert good.receipt is not None
    unhashed = dataclasses.replace(good.receipt, script_digest="-", replayed=replayed)
    assert judged(dataclasses.replace(good, receipt=unhashed)) is Reason.UNHASHED_SCRIPT


short = outputs.filter(lambda text: len(text) < 1000)
"""Output that comes whole: of more, the beginning is cut off, and a receipt in it never arrives."""


@given(before=short, after=short, errors=short, place=st.sampled_from(["stdout", "stderr"]))
def test_two_different_receipts_with_our_nonce_prove_nothing(before: str, after: str, errors: str, place: str) -> None:
    """The wrapper prints one. A second that tells something else is disputed wherever it stands, in both forms."""
    second = before + forged(NONCE) + after
    streams = (second, errors) if place == "stdout" else (after, second + errors)
    out, err = (stream.decode() for stream in sealed(streams[0].encode(), streams[1].encode(), 3))
    assert judged(read(out, err, NONCE)) is Reason.TWO_RECEIPTS
    message = f"Enable succeeded: \n[stdout]\n{out}\n[stderr]\n{err}"
    assert judged(read_combined(message, NONCE)) is Reason.TWO_RECEIPTS


def test_the_same_receipt_twice_is_one_receipt() -> None:
    """A frame that came twice, word for word, tells one story."""
    out, err = (stream.decode() for stream in sealed(b"", b"", 0))
    assert not read(out + out, err, NONCE).disputed


def test_replaced_bytes_leave_the_stream_unchecked() -> None:
    """Output that is no UTF-8 is verified by nonce and script; that its digest was not compared is said."""
    out, err = sealed(b"caf\xe9\n")
    verdict = verify(read(through(out), through(err), NONCE), nonce=NONCE, digest=DIGEST)
    assert (verdict.verified, verdict.stdout) == (True, StreamCheck.UNCHECKED)


def test_what_may_not_be_all_is_truncated() -> None:
    """A whole stream of a receipt that says more may have been printed is proven, and not called whole."""
    out, err = sealed(b"hi\n", partial=True)
    verdict = verify(read(out.decode(), err.decode(), NONCE), nonce=NONCE, digest=DIGEST)
    assert (verdict.verified, verdict.truncated, verdict.stdout) == (True, True, StreamCheck.MATCHED)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", ""])
def test_the_last_line_end_may_change(line_end: str) -> None:
    """A channel may turn or drop the line end after the frame without touching the output."""
    out, _ = sealed(b"hi\n")
    assert judged(read(out.decode().removesuffix("\n") + line_end, "", NONCE)) is Reason.OK


@given(
    exit_code=st.one_of(st.none(), st.integers(-(2**31), 2**31)),
    replayed=st.booleans(),
    length=st.integers(0, 10**14),
    partial=st.booleans(),
    fault=st.sampled_from(["", *Fault, "word_of_a_newer_one"]),
)
def test_frames_are_read_as_rendered(
    exit_code: int | None, replayed: bool, length: int, partial: bool, fault: str
) -> None:
    """Every receipt is read back as it was rendered, from one line of ASCII below 640 bytes."""
    good = _reading().receipt
    assert good is not None
    receipt = dataclasses.replace(
        good,
        nonce="f" * 64,
        exit_code=exit_code,
        signal=64 if exit_code is None else None,
        replayed=replayed,
        stdout_length=length,
        stderr_length=length,
        started=1e11,
        ended=1e11,
        boot_id="c518872a-158a-431c-8471-d3aa6a4acc94",
        partial=partial,
        fault=fault,
    )
    frame = render(receipt)
    assert read(frame, "", receipt.nonce).receipt == receipt
    assert len(frame.encode("ascii")) < 600  # and 40 more for the numbers of a pack
    assert frame.count("\n") == 2
