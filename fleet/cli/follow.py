"""A running script's output on the terminal as it comes, made safe for it."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field

from fleet.app.follow import Followed
from fleet.cli.terminal import emit_bytes, say, warn
from fleet.guest.spool import Stream
from fleet.report import safe


@dataclass(slots=True)
class FollowScreen:
    """Writes parts of streams, each byte once, with a line on stderr wherever the stream changes."""

    head: str
    several: bool
    raw: bool
    quiet: int
    _decoders: dict[Stream, codecs.IncrementalDecoder] = field(default_factory=dict)
    _last: Stream | None = None
    _in_line: bool = False

    def show(self, stream: Stream, data: bytes, left_out: int) -> None:
        """Write the next bytes of a stream."""
        if left_out:
            say(f"-- {left_out:,} bytes of {stream} are left out here; --full fetches all once it has ended")
        if not data:
            return
        if self.several and stream is not self._last:
            self.end_line()
            say(f"-- {self.head}  {stream}", quiet=self.quiet)
        self._last, self._in_line = stream, not data.endswith(b"\n")
        if self.raw:
            emit_bytes(data)
            return
        if stream not in self._decoders:
            self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._decoders[stream].decode(data)
        emit_bytes(safe.terminal(text).encode("utf-8", "backslashreplace"))

    def say(self, text: str) -> None:
        """Write a note about the job on a line of its own."""
        self.end_line()
        say(f"-- {self.head}: {text}", quiet=self.quiet)

    def warn(self, text: str) -> None:
        """Write a warning."""
        warn(text)

    def end_line(self) -> None:
        """End a line that the script left open."""
        if self._in_line and not self.raw:
            emit_bytes(b"\n")
            self._in_line = False

    def finish(self, followed: Followed) -> None:
        """Write how the job ended."""
        self.end_line()
        row = followed.row
        if row is None:
            say(f"-- {self.head}  ended in the VM, exit code {followed.exit}", quiet=self.quiet)
            return
        exit_text = "" if row.exit_code is None else f", exit code {row.exit_code}"
        say(f"-- {self.head}  {row.status.value}{exit_text}", quiet=self.quiet)
