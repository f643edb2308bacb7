"""A stream as a blob brings it, piece by piece: the script's own bytes, and the receipt that stands behind them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from fleet.guest.receipt import Receipt, read

_LONGEST = 640
"""A frame is one line of ASCII below so many bytes."""


@dataclass(slots=True)
class Tail:
    """Takes what is added to a stream and hands over what the script printed, each byte once.

    ``nonce`` is the delivery's where the wrapper's receipt ends this stream (stdout), else empty. A receipt is taken for
    the true one only if length and digest of all that came before it are the ones it tells; anything else is output.
    """

    nonce: str
    shown: int = 0
    """Bytes of output handed over."""
    receipt: Receipt | None = None
    _held: bytes = b""
    _sum: Any = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """The sha256, in hex, of what was handed over."""
        return str(self._sum.hexdigest())

    @property
    def waits(self) -> bool:
        """Whether a line end is held: another look, which brings nothing, releases it."""
        return self._held == b"\n"

    def take(self, data: bytes) -> bytes:
        """Take what was added and return what the script surely printed.

        A line end may be the receipt's own, which arrives with it: one is held until it is known that nothing follows.
        """
        if self.receipt is not None:
            return b""
        held = self._held + data
        cut = self._cut(held)
        if not data and held == b"\n":
            cut = 1
        self._held = b"" if self.receipt else held[cut:]
        return self._hand_over(held[:cut])

    def rest(self) -> bytes:
        """Return what is held back, once nothing more will come."""
        held, self._held = self._held, b""
        return self._hand_over(held)

    def _hand_over(self, data: bytes) -> bytes:
        self._sum.update(data)
        self.shown += len(data)
        return data

    def _cut(self, held: bytes) -> int:
        """Where that begins which is, or may become, a receipt. Notes one that is."""
        if not self.nonce:
            return len(held)
        mark = f"\nfleet-receipt v1 nonce={self.nonce} ".encode("ascii")
        cut = held.find(mark)
        while cut >= 0:
            end = held.find(b"\n", cut + 1)
            if end < 0 and len(held) - cut <= _LONGEST:
                return cut
            receipt = read(held[cut : end + 1].decode("ascii", "replace"), "", self.nonce).receipt
            if receipt is not None and self._fits(receipt, held[:cut]):
                self.receipt = receipt
                return cut
            cut = held.find(mark, cut + 1)
        return len(held) - next(n for n in range(len(mark), -1, -1) if held.endswith(mark[:n]))

    def _fits(self, receipt: Receipt, before: bytes) -> bool:
        if receipt.stdout_length != self.shown + len(before):
            return False
        whole = self._sum.copy()
        whole.update(before)
        return receipt.stdout_digest in ("-", whole.hexdigest())
