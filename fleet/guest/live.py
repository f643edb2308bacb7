"""What a script has printed since one last looked, while it runs.

The wrapper writes both streams to files as they come. A *follower* is a script that prints what lies behind an offset
of each of them, gzipped; it may wait a while for something to be there. It changes nothing, so any of them may be sent
again. What comes back is hostile: it is unpacked up to the length that it names, 64 KiB at most.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from fleet.guest import wrapper_pwsh, wrapper_sh
from fleet.guest.packing import gunzip
from fleet.guest.spool import Absence, Stream

FAR = 262_144
"""Bytes: of a stream that is so far ahead only the end is shown."""

_MOST = (32_768, 8_192, 2_800)
"""How many bytes of each stream are tried; the last ones fit whatever they are."""

_TEXT = 7600
_HEAD = 3800


def _text(name: str) -> str:
    return files("fleet.guest").joinpath(name).read_text(encoding="ascii")


_BODY_SH = wrapper_sh.TOOLS + _text("folder.sh") + _text("follower.sh")
_BODY_PS1 = wrapper_pwsh.script_text("tools", "claim", "follower")
_TITLE = "# Fleet shows what a script has printed so far; nothing is run.\n"

_ASKED = re.compile(
    r"#[^\n]*\n\$?(?:fleet_k|FleetK)ey ?= ?'(?P<key>[^'\n]+)'\n(?:\$FleetEntry = '[^'\n]+'\n)?"
    r"\$?(?:fleet_n|FleetN)once ?= ?'(?P<nonce>[^'\n]+)'\n"
    r"\$?(?:fleet_stdo|FleetStdo)ut ?= ?(?P<stdout>[0-9]+|-1?)\n\$?(?:fleet_stde|FleetStde)rr ?= ?(?P<stderr>[0-9]+|-1?)\n"
    r"\$?(?:fleet_w|FleetW)ait ?= ?(?P<wait>[0-9]+)\n"
)
_PART = r"(?P<{0}_start>[0-9]{{1,15}}):(?P<{0}_length>[0-9]{{1,5}}):(?P<{0}_total>[0-9]{{1,15}})"
_FRAME = re.compile(
    r"(?P<head>[A-Za-z0-9+/=]*)\r?\nfleet-news v1 nonce=(?P<nonce>[0-9a-f]{8,64}) (?:error=(?P<error>missing)|"
    rf"exit=(?P<exit>-|-?[0-9]{{1,10}}) stdout={_PART.format('stdout')} stderr={_PART.format('stderr')}"
    r" form=(?P<form>gzip|plain) sum=(?P<sum>[0-9a-f]{64}|-) base64=(?P<first>[0-9]{1,4}):(?P<second>[0-9]{1,4}))"
    r" end\r?\n?(?:\n?\[stderr\]\n)?(?P<rest>[A-Za-z0-9+/=]*)"
)


@dataclass(frozen=True, slots=True)
class Since:
    """From which byte on each stream is wanted (None: not at all), and how many seconds to wait for news.

    ``nonce`` names this question, and the answer must repeat it.
    """

    key: str
    stdout: int | None
    stderr: int | None
    wait: int
    nonce: str

    def of(self, stream: Stream) -> int | None:
        """From which byte on a stream is wanted."""
        return self.stdout if stream is Stream.STDOUT else self.stderr


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a stream from ``start`` on; ``total`` is how many it has had until now."""

    start: int
    data: bytes
    total: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class News:
    """What has come. ``exit`` is the wrapper's exit code once the script has ended."""

    stdout: Part
    stderr: Part
    exit: int | None

    def of(self, stream: Stream) -> Part:
        """One stream's part."""
        return self.stdout if stream is Stream.STDOUT else self.stderr


def follower(since: Since, *, windows: bool) -> str:
    """Return the script that prints what has come since."""
    nothing = "-1" if windows else "-"
    out, err = (nothing if offset is None else str(offset) for offset in (since.stdout, since.stderr))
    if windows:
        return (
            f"{_TITLE}$FleetKey = '{since.key}'\n$FleetEntry = '{wrapper_pwsh.entry(since.key)}'\n"
            f"$FleetNonce = '{since.nonce}'\n$FleetStdout = {out}\n$FleetStderr = {err}\n$FleetWait = {since.wait}\n"
            f"$FleetFar = {FAR}\n\n{_BODY_PS1}"
        )
    return (
        f"{_TITLE}fleet_key='{since.key}'\nfleet_nonce='{since.nonce}'\nfleet_stdout={out}\nfleet_stderr={err}\n"
        f"fleet_wait={since.wait}\nfleet_far={FAR}\n\n{_BODY_SH}"
    )


def asked(script: str) -> Since | None:
    """Read back what a follower asks for; None if the text is none."""
    text = script.replace("\r\n", "\n")
    head = _ASKED.match(text)
    if head is None:
        return None
    out, err = (None if head[name].startswith("-") else int(head[name]) for name in ("stdout", "stderr"))
    since = Since(head["key"], out, err, int(head["wait"]), head["nonce"])
    same = any(text.rstrip("\n") == follower(since, windows=windows).rstrip("\n") for windows in (False, True))
    return since if same else None


def shown(since: Since, kept: Mapping[Stream, bytes] | None, exit: int | None) -> tuple[bytes, bytes]:
    """Return what a follower prints on stdout and stderr in a VM where these streams have come, or nothing has begun."""
    if kept is None:
        return _frame(since, "error=missing"), b""
    for most in _MOST:
        parts = [_part(kept[stream], since.of(stream), most) for stream in Stream]
        data = b"".join(part.data for part in parts)
        text = base64.b64encode(gzip.compress(data, mtime=0))
        if len(text) <= _TEXT:
            break
    head, rest = text[:_HEAD], text[_HEAD:]
    about = " ".join(
        f"{stream}={part.start}:{len(part.data)}:{part.total}" for stream, part in zip(Stream, parts, strict=True)
    )
    end = "-" if exit is None else str(exit)
    sum_ = hashlib.sha256(data).hexdigest()
    return head + _frame(since, f"exit={end} {about} form=gzip sum={sum_} base64={len(head)}:{len(rest)}"), rest


def _part(stream: bytes, start: int | None, most: int) -> Part:
    if start is None:
        return Part(0, b"", 0)
    if len(stream) - start > FAR:
        start = len(stream) - most
    return Part(start, stream[start : start + most], len(stream))


def _frame(since: Since, about: str) -> bytes:
    return f"\nfleet-news v1 nonce={since.nonce} {about} end\n".encode("ascii")


def read_news(message: str, since: Since) -> News | Absence | None:
    """Read the answer to a question out of both streams as the channel gave them, stdout first.

    None if there is no answer to this very question, or if it is damaged: lengths and digest must hold, and no byte
    may come twice.
    """
    found = [frame for frame in _FRAME.finditer(message) if frame["nonce"] == since.nonce]
    if len(found) != 1:
        return None
    frame = found[0]
    if frame["error"]:
        return Absence(frame["error"])
    if (len(frame["head"]), len(frame["rest"])) != (int(frame["first"]), int(frame["second"])):
        return None
    first, second = int(frame["stdout_length"]), int(frame["stderr_length"])
    data = _unpacked(frame["head"] + frame["rest"], frame["form"], first + second)
    if data is None or frame["sum"] not in ("-", hashlib.sha256(data).hexdigest()):
        return None
    out = Part(int(frame["stdout_start"]), data[:first], int(frame["stdout_total"]))
    err = Part(int(frame["stderr_start"]), data[first:], int(frame["stderr_total"]))
    news = News(out, err, None if frame["exit"] == "-" else int(frame["exit"]))
    return news if all(_fits(news.of(stream), since.of(stream)) for stream in Stream) else None


def _unpacked(text: str, form: str, length: int) -> bytes | None:
    if length > 2 * _MOST[0]:
        return None
    try:
        data = base64.b64decode(text, validate=True)
        plain = gunzip(data, length) if form == "gzip" else data
    except (binascii.Error, ValueError):
        return None
    return plain if len(plain) == length else None


def _fits(part: Part, asked: int | None) -> bool:
    if asked is None:
        return not part.data
    return part.start >= asked and part.end <= part.total
