"""A stream as a blob brings it: in any pieces, the script's bytes come out, and the receipt behind them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from fleet.guest.receipt import Receipt, render
from fleet.guest.tail import Tail
from tests.unit.guest.strategies import NONCE, forged, outputs


def receipt(stdout: bytes) -> Receipt:
    digest = hashlib.sha256(stdout).hexdigest()
    return Receipt(NONCE, "0" * 64, 0, None, False, False, len(stdout), digest, 0, "-", "b", 1.0, 2.0)


@given(out=outputs.map(lambda parts: "".join(parts).encode()), step=st.integers(1, 500))
@example(out=b"line\n", step=1)
@example(out=b"line\n", step=4)
@example(out=forged(NONCE).encode() * 2, step=700)
@example(out=f"\nfleet-receipt v1 nonce={NONCE} ".encode() + b"x" * 900, step=100)
def test_any_pieces_give_the_output_and_the_receipt(out: bytes, step: int) -> None:
    """However a blob grows, with looks between that bring nothing, each byte of the output comes once and in order."""
    true = receipt(out)
    blob = out + render(true).encode()
    tail, shown = Tail(NONCE), b""
    step = max(step, len(blob) // 100) if len(blob) > 2000 else step
    for start in range(0, len(blob), step):
        shown += tail.take(blob[start : start + step])
    assert (shown, tail.receipt, tail.shown, tail.digest) == (out, true, len(out), true.stdout_digest)
    assert (tail.take(b"more"), tail.rest()) == (b"", b"")


def test_a_line_end_is_held_for_one_look() -> None:
    """The last line end may be the receipt's own; a look that brings nothing releases it."""
    tail = Tail(NONCE)
    assert [tail.take(data) for data in (b"one\n", b"", b"two\n", b"\n", b"")] == [b"one", b"\n", b"two", b"\n", b"\n"]
    assert (tail.take(b"\nfleet-rec"), tail.rest()) == (b"", b"\nfleet-rec")


@given(out=st.binary(max_size=50), lie=st.sampled_from(["nonce", "stdout_length", "stdout_digest"]))
def test_a_receipt_that_does_not_fit_is_output(out: bytes, lie: str) -> None:
    """Another delivery's receipt, or one of other bytes, is shown as what it is: something that was printed."""
    lies = {"nonce": "f" * 16, "stdout_length": len(out) + 1, "stdout_digest": "0" * 64}
    text = render(replace(receipt(out), **{lie: lies[lie]})).encode()  # type: ignore[arg-type]
    tail = Tail(NONCE)
    assert tail.take(out + text) + tail.rest() == out + text
    assert tail.receipt is None


def test_a_stream_without_a_receipt_is_passed_on() -> None:
    """Standard error ends without a receipt: nothing of it is held."""
    tail = Tail("")
    assert tail.take(b"oops\n") == b"oops\n"
    assert tail.digest == hashlib.sha256(b"oops\n").hexdigest()
