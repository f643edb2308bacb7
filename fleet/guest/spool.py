"""What the wrapper keeps of a script's output in the VM, read back piece by piece.

A stream that the channel cut lies whole in the delivery's folder for up to seven days. A *reader* is a script that
prints one piece of it: the stream is gzipped as a whole, so a piece is worth some 25 KB of text. Readers change nothing
but that they keep the gzipped stream beside it, so any of them may be sent again. What a piece says of itself is checked
here, and the whole by the digest of the receipt, which the run's journal holds.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from fleet.guest import wrapper_pwsh, wrapper_sh
from fleet.guest.packing import gunzip

PIECE = 5700
"""Bytes of a piece: their base64 fills both streams of the channel beside the frame."""

LARGEST = 64 * 1024 * 1024
"""Bytes of a stream that the wrapper keeps, at most: of longer ones it keeps the end."""

KEPT_SH = wrapper_sh.TOOLS + "".join(
    files("fleet.guest").joinpath(name).read_text(encoding="ascii") for name in ("folder.sh", "kept.sh")
)
_BODY_SH = KEPT_SH + files("fleet.guest").joinpath("reader.sh").read_text(encoding="ascii")
_BODY_PS1 = wrapper_pwsh.script_text("tools", "claim", "kept", "reader")
_TITLE = "# Fleet reads back what a script has printed; nothing is run.\n"

_HEAD = re.compile(
    r"#[^\n]*\n\$?(?:fleet_k|FleetK)ey ?= ?'(?P<key>[^'\n]+)'\n(?:\$FleetEntry = '[^'\n]+'\n)?"
    r"\$?(?:fleet_n|FleetN)once ?= ?'(?P<nonce>[^'\n]+)'\n\$?(?:fleet_s|FleetS)tream ?= ?'(?P<stream>stdout|stderr)'\n"
    r"\$?(?:fleet_n|FleetN)umber ?= ?(?P<number>[0-9]+)\n"
)
_FRAME = re.compile(
    r"(?P<head>[A-Za-z0-9+/=]*)\r?\nfleet-piece v1 nonce=(?P<nonce>[0-9a-f]{8,64}) (?:error=(?P<error>missing|running)|"
    r"stream=(?P<stream>stdout|stderr) number=(?P<number>[0-9]{1,6}) form=(?P<form>gzip|plain) total=(?P<total>[0-9]{1,9})"
    r" length=(?P<length>[0-9]{1,4}):(?P<digest>[0-9a-f]{64}|-) base64=(?P<first>[0-9]{1,4}):(?P<second>[0-9]{1,4}))"
    r" end\r?\n?(?:\n?\[stderr\]\n)?(?P<rest>[A-Za-z0-9+/=]*)"
)


class Stream(StrEnum):
    """One of a script's two streams."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One piece of one stream of one delivery. ``nonce`` names this question, and the answer must repeat it."""

    key: str
    stream: Stream
    number: int
    nonce: str


class Absence(StrEnum):
    """Why the VM has no piece to show."""

    MISSING = "missing"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece. ``form`` is how the pieces together hold the stream, ``total`` how many bytes they have together."""

    number: int
    form: str
    total: int
    data: bytes

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return max(-(-self.total // PIECE), 1)


def reader(wanted: Wanted, *, windows: bool) -> str:
    """Return the script that prints a piece."""
    if windows:
        return (
            f"{_TITLE}$FleetKey = '{wanted.key}'\n$FleetEntry = '{wrapper_pwsh.entry(wanted.key)}'\n"
            f"$FleetNonce = '{wanted.nonce}'\n$FleetStream = '{wanted.stream}'\n$FleetNumber = {wanted.number}\n"
            f"$FleetBytes = {PIECE}\n\n{_BODY_PS1}"
        )
    return (
        f"{_TITLE}fleet_key='{wanted.key}'\nfleet_nonce='{wanted.nonce}'\nfleet_stream='{wanted.stream}'\n"
        f"fleet_number={wanted.number}\nfleet_bytes={PIECE}\n\n{_BODY_SH}"
    )


def asked(script: str) -> Wanted | None:
    """Read back what a reader asks for; None if the text is none."""
    text = script.replace("\r\n", "\n")
    head = _HEAD.match(text)
    if head is None:
        return None
    wanted = Wanted(head["key"], Stream(head["stream"]), int(head["number"]), head["nonce"])
    same = any(text.rstrip("\n") == reader(wanted, windows=windows).rstrip("\n") for windows in (False, True))
    return wanted if same else None


def shown(wanted: Wanted, kept: Mapping[Stream, bytes] | None, *, running: bool = False) -> tuple[bytes, bytes]:
    """Return what a reader prints on stdout and stderr in a VM that keeps these streams, or has none of the key."""
    if kept is None or running:
        return _frame(wanted, "error=missing" if kept is None else "error=running"), b""
    return shown_piece(wanted, gzip.compress(kept[wanted.stream], mtime=0))


def shown_piece(wanted: Wanted, packed: bytes) -> tuple[bytes, bytes]:
    """Return what is printed on stdout and stderr for one piece of a gzipped stream."""
    data = packed[wanted.number * PIECE :][:PIECE]
    text = base64.b64encode(data)
    head, rest = text[:3800], text[3800:]
    about = (
        f"stream={wanted.stream} number={wanted.number} form=gzip total={len(packed)}"
        f" length={len(data)}:{hashlib.sha256(data).hexdigest()} base64={len(head)}:{len(rest)}"
    )
    return head + _frame(wanted, about), rest


def _frame(wanted: Wanted, about: str) -> bytes:
    return f"\nfleet-piece v1 nonce={wanted.nonce} {about} end\n".encode("ascii")


def read_piece(message: str, wanted: Wanted) -> Piece | Absence | None:
    """Read the answer to a question out of both streams as the channel gave them, stdout first.

    None if there is no answer to this very question, or if it is damaged: its length, digest and number must hold.
    """
    found = [frame for frame in _FRAME.finditer(message) if frame["nonce"] == wanted.nonce]
    if len(found) != 1:
        return None
    frame = found[0]
    if frame["error"]:
        return Absence(frame["error"])
    if (frame["stream"], int(frame["number"])) != (wanted.stream, wanted.number):
        return None
    text = frame["head"] + frame["rest"]
    if (len(frame["head"]), len(frame["rest"])) != (int(frame["first"]), int(frame["second"])):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    if len(data) != int(frame["length"]) or frame["digest"] not in ("-", hashlib.sha256(data).hexdigest()):
        return None
    return Piece(wanted.number, frame["form"], int(frame["total"]), data)


def joined(pieces: Sequence[Piece], length: int) -> bytes:
    """Put a stream of ``length`` bytes together from all its pieces, in their order.

    Raises ValueError if they do not belong together, or hold more or less than that; memory is bounded by it.
    """
    first = pieces[0]
    data = b"".join(piece.data for piece in pieces)
    if {(piece.form, piece.total) for piece in pieces} != {(first.form, first.total)} or len(data) != first.total:
        raise ValueError("the pieces do not belong together")
    plain = gunzip(data, length) if first.form == "gzip" else data
    if len(plain) != length:
        raise ValueError("the pieces hold another length")
    return plain
