"""The receipt: what the wrapper prints last in the VM, and what it proves.

What a receipt proves: the wrapper of this very delivery (nonce) ran on the machine, the script it started or
found kept is the one that was meant (digest), and it ended as said; where a stream arrived whole, its bytes
are the ones the wrapper saw (length and digest). What it does not prove: that a VM tells the truth. The
script runs with the same rights as the wrapper, can read the nonce, and so could print or keep a false
receipt; a receipt guards against lost, cut, mixed-up, repeated and unfinished answers, not against the owner
of the machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.guest.packing import CHANNEL_TAIL, Ends, Pack, pack, unpack

_NUMBERS = 60
"""Bytes that the wrapper leaves in the frame's room for the numbers of a pack."""

_CUT_CHARACTER = 3
"""The cut ignores characters: up to three bytes of a UTF-8 character may be lost at the head."""

_LEAD = "Enable succeeded: \n[stdout]\n"
_STDOUT = "[stdout]\n"
_STDERR = "\n[stderr]\n"

_DOUBTFUL = re.compile("[\ufffd\ud800-\udfff]")
"""What stands for bytes that were no UTF-8."""

_HASH = r"[0-9a-f]{64}|-"
_LEADING = "fleet-receipt v1 "
_FRAME = re.compile(
    rf"(?:\A|\n){_LEADING}nonce=(?P<nonce>[0-9a-f]{{8,64}}) replayed=(?P<replayed>[01])"
    r"(?P<pack> packed=(?P<pack_out>[0-9]{1,9}):(?P<pack_err>[0-9]{1,9}):(?P<head>[0-9]{1,4}):(?P<rest>[0-9]{1,4}))?"
    rf" script=(?P<script>{_HASH}) exit=(?P<exit>-?[0-9]{{1,10}}|-) signal=(?P<signal>[0-9]{{1,2}}|-)"
    r" timed_out=(?P<timed_out>[01]) interrupted=(?P<interrupted>[01])"
    r"(?P<partial> partial=1)?(?: fault=(?P<fault>[a-z_]{1,20}))?"
    rf" stdout=(?P<out>[0-9]{{1,15}}):(?P<out_hash>{_HASH})"
    rf" stderr=(?P<err>[0-9]{{1,15}}):(?P<err_hash>{_HASH})"
    r" boot=(?P<boot>[0-9A-Za-z-]{1,64}) started=(?P<started>[0-9]{1,12}) ended=(?P<ended>[0-9]{1,12})"
    r" end(?=\r?\n|\Z)"
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the wrapper says about one execution. Lengths in bytes, digests sha256 (hex), times epoch seconds.

    ``exit_code`` is the script's true exit code, or None when ``signal`` ended it. On Linux an exit code of
    129 to 192 reads as signal 1 to 64, since a shell cannot tell the two apart. ``timed_out`` says that the
    wrapper's own time limit ended it. ``replayed`` says that this delivery found the script already run and
    returns the kept answer. ``interrupted`` says that an earlier delivery began the script, was gone before
    it could keep the answer (a reboot, a kill), and nothing was run again: how the script ended is unknown,
    the streams hold what it had printed so far, and exit code and signal are None. A digest is ``-`` where
    the machine has no tool to make it. ``partial`` says that the streams may not be all that was printed: a process
    of the script held one still, or the disk was full. ``fault`` is a :class:`Fault`, or a newer wrapper's word, or empty.
    Wrappers of earlier versions wrote neither.
    """

    nonce: str
    script_digest: str
    exit_code: int | None
    signal: int | None
    timed_out: bool
    replayed: bool
    stdout_length: int
    stdout_digest: str
    stderr_length: int
    stderr_digest: str
    boot_id: str
    started: float
    ended: float
    interrupted: bool = False
    partial: bool = False
    fault: str = ""


class Fault(StrEnum):
    """What the wrapper knows of an end that no exit code tells."""

    NO_ROOM = "no_room"
    """The disk was full, so the script was not started; nothing is kept and it may be sent again."""
    NO_INTERPRETER = "no_interpreter"
    """The machine has not what runs the script, so no line of it ran."""
    DISK_FULL = "disk_full"
    """The disk was full when the script had ended."""
    OUT_OF_MEMORY = "out_of_memory"
    """SIGKILL ended the script, and the kernel's out-of-memory killer ran while it did."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What came back, taken apart: the streams without the frame, and the receipt if our nonce was on one.

    ``frame_length`` is the size of the frame in bytes; ``foreign`` counts frames with other nonces, which are
    left where they are, as plain output. ``ends`` holds the bytes of output that came packed; ``damaged`` says that
    the frame announces a pack and what came is none, so that the streams are not what the script printed. ``disputed``
    says that another frame with our nonce tells something else: the wrapper prints one, so one of them is forged.
    """

    receipt: Receipt | None
    stdout: str
    stderr: str
    frame_length: int = 0
    foreign: int = 0
    ends: Ends | None = None
    damaged: bool = False
    disputed: bool = False


class Reason(StrEnum):
    """Why a reading is verified, or is not."""

    OK = "ok"
    MISSING = "missing"
    WRONG_NONCE = "wrong_nonce"
    WRONG_SCRIPT = "wrong_script"
    UNHASHED_SCRIPT = "unhashed_script"
    LENGTH_MISMATCH = "length_mismatch"
    HASH_MISMATCH = "hash_mismatch"
    DAMAGED_PACK = "damaged_pack"
    TWO_RECEIPTS = "two_receipts"


class StreamCheck(StrEnum):
    """How far a stream's text could be compared with what the receipt says of its bytes."""

    MATCHED = "matched"
    TRUNCATED = "truncated"
    UNCHECKED = "unchecked"
    WRONG_LENGTH = "wrong_length"
    WRONG_HASH = "wrong_hash"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the reading answers for the delivery.

    ``truncated``: the channel cut off a stream's head, or the receipt says that more may have been printed.
    """

    verified: bool
    reason: Reason
    truncated: bool = False
    stdout: StreamCheck = StreamCheck.UNCHECKED
    stderr: StreamCheck = StreamCheck.UNCHECKED


def render(receipt: Receipt, packed: Pack | None = None) -> str:
    """Return the frame as the wrapper prints it: one line of ASCII below 640 bytes, line ends around it.

    The line end before it belongs to the frame, so output without a last line end comes back unchanged. ``packed``
    says what stands before the frame, and on stderr, in place of the streams.
    """
    return (
        f"\nfleet-receipt v1 nonce={receipt.nonce} replayed={receipt.replayed:d}"
        f" {packed.field if packed else ''}script={receipt.script_digest}"
        f" exit={_number(receipt.exit_code)} signal={_number(receipt.signal)}"
        f" timed_out={receipt.timed_out:d} interrupted={receipt.interrupted:d}"
        f"{' partial=1' if receipt.partial else ''}{f' fault={receipt.fault}' if receipt.fault else ''}"
        f" stdout={receipt.stdout_length}:{receipt.stdout_digest}"
        f" stderr={receipt.stderr_length}:{receipt.stderr_digest}"
        f" boot={receipt.boot_id} started={int(receipt.started)} ended={int(receipt.ended)} end\n"
    )


def printed(receipt: Receipt, stdout: bytes, stderr: bytes, *, packing: bool = True) -> tuple[bytes, bytes]:
    """Return what the wrapper prints for a script with this receipt and these streams: packed where that helps."""
    room = CHANNEL_TAIL - len(render(receipt)) - _NUMBERS
    packed = pack(stdout, stderr, room) if packing else None
    frame = render(receipt, packed).encode("ascii")
    if packed is None:
        return stdout + frame, stderr
    return packed.head.encode("ascii") + frame, packed.rest.encode("ascii")


def read(stdout: str, stderr: str, nonce: str) -> Reading:
    """Take the last frame with our nonce out of stdout. Frames with other nonces are output. Never raises."""
    frames = _frames(stdout)
    ours = [frame for frame in frames if frame["nonce"] == nonce]
    if not ours:
        return Reading(None, stdout, stderr, foreign=len(frames))
    return _disputed(_taken_out(stdout, stderr, ours[-1], len(frames) - len(ours)), ours[-1], nonce)


def read_combined(message: str, nonce: str) -> Reading:
    """Read the one message of the Linux action, which holds both streams under their names (recorded).

    A receipt marks the end of stdout. Among equal frames with our nonce the one that fits both streams is taken;
    different ones are disputed. Without a receipt the message is split at the first ``[stdout]`` and the last
    ``[stderr]``, which is a guess; a message without both is returned as stdout.
    """
    head = message.find(_STDOUT)
    body = message.removeprefix(_LEAD) if message.startswith(_LEAD) else message[head + len(_STDOUT) :]
    if head < 0 or _STDERR not in message[head:]:
        return read(message, "", nonce)
    candidates = list(_split_at_frames(body, nonce))
    if candidates:
        return max(enumerate(candidates), key=lambda pair: (_fit(pair[1]), pair[0]))[1]
    stdout, _, stderr = body.rpartition(_STDERR)
    return read(stdout, stderr, nonce)


def verify(reading: Reading, *, nonce: str, digest: str) -> Verdict:
    """Judge a reading against the delivery it should answer.

    A stream shorter than the receipt says counts as truncated only if as much arrived as the channel keeps, or if it
    came packed. A whole stream's digest is compared. Of one that did not come packed that is only possible unless its
    text holds U+FFFD: ARM's JSON has put that in place of bytes that are no UTF-8, so length and digest can no longer
    be told from the text and the check is ``unchecked``.
    """
    receipt = reading.receipt
    if receipt is None:
        return Verdict(False, Reason.WRONG_NONCE if reading.foreign else Reason.MISSING)
    if receipt.nonce != nonce:
        return Verdict(False, Reason.WRONG_NONCE)
    if reading.disputed:
        return Verdict(False, Reason.TWO_RECEIPTS)
    if reading.damaged:
        return Verdict(False, Reason.DAMAGED_PACK)
    stdout, stderr = _checks(reading, receipt)
    reason = _script_reason(receipt, digest) or _stream_reason(stdout, stderr)
    truncated = receipt.partial or StreamCheck.TRUNCATED in (stdout, stderr)
    return Verdict(reason is Reason.OK, reason, truncated, stdout, stderr)


def _frames(text: str) -> list[re.Match[str]]:
    first = text.find(_LEADING)  # much faster than the pattern, on a long text without a frame
    found = () if first < 0 else _FRAME.finditer(text, max(first - 1, 0))
    return [frame for frame in found if _says_one_end(frame)]


def _disputed(reading: Reading, frame: re.Match[str], nonce: str) -> Reading:
    """Mark a reading in whose streams another frame with our nonce tells something else than its own."""
    others = (other for text in (reading.stdout, reading.stderr) for other in _frames(text))
    disputed = any(other["nonce"] == nonce and other[0].strip() != frame[0].strip() for other in others)
    return replace(reading, disputed=disputed)


def _says_one_end(frame: re.Match[str]) -> bool:
    """Tell a frame that says how the script ended, once, from nonsense that looks like a frame."""
    ends = [frame["exit"], frame["signal"]].count("-")
    if frame["interrupted"] == "1":
        return ends == 2 and frame["timed_out"] == "0"
    return ends == 1 or (ends == 2 and frame["timed_out"] == "1")


def _taken_out(stdout: str, stderr: str, frame: re.Match[str], foreign: int) -> Reading:
    end = re.compile(r"\r?\n|\Z").match(stdout, frame.end())
    after = frame.end() if end is None else end.end()
    text = stdout[: frame.start()] + stdout[after:]
    plain = Reading(_receipt(frame), text, stderr, after - frame.start(), foreign)
    return plain if frame["pack"] is None else _opened(plain, frame)


def _opened(packed: Reading, frame: re.Match[str]) -> Reading:
    """Put the streams in place of their pack. A line end after its second part may have been added on the way."""
    head, rest = packed.stdout, packed.stderr.rstrip("\r\n")
    try:
        if (len(head), len(rest)) != (int(frame["head"]), int(frame["rest"])):
            raise ValueError("not as long as it says")
        ends = unpack(head + rest, int(frame["pack_out"]), int(frame["pack_err"]))
    except ValueError:
        return replace(packed, damaged=True)
    stdout, stderr = (part.decode("utf-8", "replace") for part in (ends.stdout, ends.stderr))
    return replace(packed, stdout=stdout, stderr=stderr, ends=ends)


def _receipt(frame: re.Match[str]) -> Receipt:
    return Receipt(
        nonce=frame["nonce"],
        script_digest=frame["script"],
        exit_code=None if frame["exit"] == "-" else int(frame["exit"]),
        signal=None if frame["signal"] == "-" else int(frame["signal"]),
        timed_out=frame["timed_out"] == "1",
        replayed=frame["replayed"] == "1",
        stdout_length=int(frame["out"]),
        stdout_digest=frame["out_hash"],
        stderr_length=int(frame["err"]),
        stderr_digest=frame["err_hash"],
        boot_id=frame["boot"],
        started=float(frame["started"]),
        ended=float(frame["ended"]),
        interrupted=frame["interrupted"] == "1",
        partial=frame["partial"] is not None,
        fault=frame["fault"] or "",
    )


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _split_at_frames(body: str, nonce: str) -> Iterator[Reading]:
    """Yield the reading for each frame with our nonce that ends stdout."""
    frames = _frames(body)
    for number, frame in enumerate(frames):
        marker = f"\n{_STDERR}"
        if frame["nonce"] == nonce and body.startswith(marker, frame.end()):
            cut = frame.end() + 1
            before = sum(1 for earlier in frames[:number] if earlier["nonce"] != nonce)
            yield _disputed(_taken_out(body[:cut], body[cut + len(_STDERR) :], frame, before), frame, nonce)


def _fit(reading: Reading) -> int:
    """Rank how well a frame fits the streams around it: 2 for a stream that matches, 1 for one that may."""
    assert reading.receipt is not None
    worth = {StreamCheck.MATCHED: 2, StreamCheck.TRUNCATED: 1, StreamCheck.UNCHECKED: 1}
    ranks = [worth.get(check, 0) for check in _checks(reading, reading.receipt)]
    return 0 if 0 in ranks or reading.damaged else sum(ranks)


def _checks(reading: Reading, receipt: Receipt) -> tuple[StreamCheck, StreamCheck]:
    if reading.ends is not None:
        return (
            _exact(reading.ends.stdout, receipt.stdout_length, receipt.stdout_digest),
            _exact(reading.ends.stderr, receipt.stderr_length, receipt.stderr_digest),
        )
    return (
        _check(reading.stdout, receipt.stdout_length, receipt.stdout_digest, reading.frame_length),
        _check(reading.stderr, receipt.stderr_length, receipt.stderr_digest, 0),
    )


def _check(text: str, length: int, digest: str, frame_length: int) -> StreamCheck:
    """Compare a text with what the receipt says of it; ``frame_length`` bytes came along in the channel."""
    least, most = _byte_bounds(text)
    if length > most:
        full = most + frame_length >= CHANNEL_TAIL - _CUT_CHARACTER
        return StreamCheck.TRUNCATED if full else StreamCheck.WRONG_LENGTH
    if length < least:
        return StreamCheck.WRONG_LENGTH
    if digest == "-":
        return StreamCheck.UNCHECKED
    data = text.encode("utf-8", "surrogatepass")
    if len(data) == length and hashlib.sha256(data).hexdigest() == digest:
        return StreamCheck.MATCHED
    return StreamCheck.UNCHECKED if least != most else StreamCheck.WRONG_HASH


def _exact(data: bytes, length: int, digest: str) -> StreamCheck:
    """Compare bytes that came packed with what the receipt says of the whole stream."""
    if len(data) != length:
        return StreamCheck.TRUNCATED if len(data) < length else StreamCheck.WRONG_LENGTH
    if digest == "-":
        return StreamCheck.UNCHECKED
    return StreamCheck.MATCHED if hashlib.sha256(data).hexdigest() == digest else StreamCheck.WRONG_HASH


def _byte_bounds(text: str) -> tuple[int, int]:
    """Return how few and how many bytes can have become this text: a U+FFFD stands for one to three."""
    most = len(text.encode("utf-8", "surrogatepass"))
    return most - 2 * len(_DOUBTFUL.findall(text)), most


def _script_reason(receipt: Receipt, digest: str) -> Reason | None:
    """Judge the script's digest. A receipt without one does not say what ran."""
    if receipt.script_digest == "-":
        return Reason.UNHASHED_SCRIPT
    return None if receipt.script_digest == digest else Reason.WRONG_SCRIPT


def _stream_reason(*checks: StreamCheck) -> Reason:
    if StreamCheck.WRONG_LENGTH in checks:
        return Reason.LENGTH_MISMATCH
    if StreamCheck.WRONG_HASH in checks:
        return Reason.HASH_MISMATCH
    return Reason.OK
