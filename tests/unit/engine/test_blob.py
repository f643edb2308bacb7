"""Following through blobs: how often they are read, and what becomes of what cannot be read."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from fleet.engine.ports import Added, Unread
from fleet.errors import Refused
from fleet.guest.receipt import Receipt, render
from fleet.guest.spool import Stream
from fleet.inspection.blob import LATEST, SOONEST, BlobFollower, whole
from tests.virtual import run

NONCE = "0123456789abcdef"


class Store:
    """Blobs by address; an answer that is no bytes is given as it is."""

    def __init__(self, **blobs: bytes | Unread) -> None:
        self.blobs = blobs

    async def added(self, url: str, start: int, most: int) -> Added | Unread:
        found = self.blobs[url]
        return found if isinstance(found, Unread) else Added(found[start : start + most])


def follower(store: Store) -> BlobFollower:
    return BlobFollower(store, {Stream.STDOUT: "out", Stream.STDERR: "err"}, NONCE)


def ending(out: bytes, err: bytes) -> bytes:
    sums = [hashlib.sha256(data).hexdigest() for data in (out, err)]
    receipt = Receipt(NONCE, "-", 0, None, False, False, len(out), sums[0], len(err), sums[1], "b", 1.0, 2.0)
    return out + render(receipt).encode()


def news(of: BlobFollower, *, over: bool = False) -> dict[Stream, bytes] | None:
    return run(of.news(over=over))


def test_it_ends_when_both_streams_have_come() -> None:
    """The receipt behind stdout says how long stderr is; both are proven by its digests."""
    store = Store(out=b"", err=b"")
    each = follower(store)
    assert news(each) is None
    store.blobs |= {"out": b"one", "err": b"oo"}
    assert news(each) == {Stream.STDOUT: b"one", Stream.STDERR: b"oo"}
    store.blobs["out"] = ending(b"one", b"oops")
    news(each)
    assert (each.whole, each.proven) == (False, False)
    store.blobs["err"] = b"oops"
    assert news(each) == {Stream.STDOUT: b"", Stream.STDERR: b"ps"}
    assert (each.whole, each.proven) == (True, True)


def test_a_line_is_shown_with_its_end() -> None:
    """A line end is shown with its line, not later, though it might be the receipt's own."""
    each = follower(Store(out=b"line\n", err=b"oops\n"))
    assert news(each) == {Stream.STDOUT: b"line\n", Stream.STDERR: b"oops\n"}


def test_other_bytes_are_not_proven() -> None:
    """A stderr of the right length and other bytes comes to an end, unproven."""
    each = follower(Store(out=ending(b"one", b"oops"), err=b"OOPS"))
    news(each)
    assert (each.whole, each.proven) == (True, False)


def test_it_looks_less_often_where_nothing_comes() -> None:
    """The pause doubles from one second to fifteen, and news bring it back; a blob not made yet is no news."""
    store = Store(out=Unread(404, "BlobNotFound"), err=b"")
    each, pauses = follower(store), []
    for _ in range(6):
        assert news(each) is None
        pauses.append(each.pause)
    assert pauses == [2.0, 4.0, 8.0, LATEST, LATEST, LATEST]
    store.blobs["out"] = b"x"
    assert news(each)
    assert each.pause == SOONEST


@pytest.mark.parametrize(
    ("answer", "over", "code"),
    [
        (Unread(404, "BlobNotFound"), True, "blob_missing"),
        (Unread(403, "AuthenticationFailed"), False, "blob_refused"),
        (Unread(302, ""), False, "blob_refused"),
    ],
)
def test_what_cannot_be_read_is_said_at_once(answer: Unread, over: bool, code: str) -> None:
    """A wrong signature, a redirect, and a blob that is gone when the job has ended are refused by their own codes."""
    with pytest.raises(Refused) as caught:
        news(follower(Store(out=answer, err=b"")), over=over)
    assert caught.value.code == code


def test_what_can_pass_is_read_again_a_few_times() -> None:
    """A server that is busy, or silent, is asked again; six times in succession are enough."""
    store = Store(out=Unread(503, "ServerBusy"), err=b"")
    each = BlobFollower(store, {Stream.STDOUT: "out"}, NONCE)
    for _ in range(5):
        assert news(each) is None
    store.blobs["out"] = b"x"
    assert news(each) == {Stream.STDOUT: b"x"}
    store.blobs["out"] = Unread(0, "timeout")
    for _ in range(5):
        news(each)
    with pytest.raises(Refused, match="timeout"):
        news(each)


class Flaky(Store):
    """Every second read of each blob fails in a way that can pass, or every read of one blob does."""

    def __init__(self, hopeless: str = "", **blobs: bytes | Unread) -> None:
        super().__init__(**blobs)
        self._hopeless = hopeless
        self._reads: Counter[str] = Counter()

    async def added(self, url: str, start: int, most: int) -> Added | Unread:
        self._reads[url] += 1
        if url == self._hopeless or self._reads[url] % 2:
            return Unread(503, "ServerBusy")
        return await super().added(url, start, most)


def test_all_of_an_ended_jobs_blobs_is_read_though_reads_fail() -> None:
    """A read that fails is made again, a little later, and is not taken for the end."""
    urls = {Stream.STDOUT: "out", Stream.STDERR: "err"}
    held = run(whole(Flaky(out=ending(b"one\n", b"oops"), err=b"oops"), urls, NONCE))
    assert held == {Stream.STDOUT: b"one\n", Stream.STDERR: b"oops"}


def test_a_blob_that_cannot_be_read_ends_the_reading_though_the_other_can() -> None:
    """Failures are counted for each blob: one that answers does not make up for one that never does."""
    with pytest.raises(Refused, match="blob of stderr cannot be read: HTTP 503"):
        run(
            whole(Flaky("err", out=ending(b"one\n", b""), err=b""), {Stream.STDOUT: "out", Stream.STDERR: "err"}, NONCE)
        )
