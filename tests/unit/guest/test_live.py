"""What a script has printed since: what a follower asks, what a guest shows, and what is believed of it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.guest.live import FAR, News, Since, asked, follower, read_news, shown
from fleet.guest.spool import Absence, Stream
from tests.unit.guest.strategies import NONCE

OFFSETS = st.one_of(st.none(), st.integers(0, 30_000))


def message(stdout: bytes, stderr: bytes) -> str:
    assert max(len(stdout), len(stderr)) <= 4096
    return f"Enable succeeded: \n[stdout]\n{stdout.decode()}\n[stderr]\n{stderr.decode()}"


@given(out=OFFSETS, err=OFFSETS, wait=st.integers(0, 60), windows=st.booleans())
def test_a_follower_is_read_back(out: int | None, err: int | None, wait: int, windows: bool) -> None:
    """A played guest sees what is asked; other text, or a changed follower, asks for nothing."""
    since = Since("run-1", out, err, wait, NONCE)
    text = follower(since, windows=windows)
    assert asked(text) == asked(text.rstrip("\n")) == since
    assert asked(text + "echo more\n") is None
    assert asked(text.replace("fleet-news", "fleet-lies")) is None


@given(out=st.binary(max_size=60_000), err=st.binary(max_size=9_000), ahead=st.integers(1, 50_000))
def test_every_byte_comes_once(out: bytes, err: bytes, ahead: int) -> None:
    """Asked again and again while both streams grow, each byte comes once, in order, and the end is told last."""
    have = {Stream.STDOUT: b"", Stream.STDERR: b""}
    length = 0
    while True:
        length = min(length + ahead, max(len(out), len(err)))
        kept = {Stream.STDOUT: out[:length], Stream.STDERR: err[:length]}
        done = length == max(len(out), len(err))
        since = Since("run-1", len(have[Stream.STDOUT]), len(have[Stream.STDERR]), 0, NONCE)
        news = read_news(message(*shown(since, kept, 3 if done else None)), since)
        assert isinstance(news, News)
        for stream in Stream:
            have[stream] += news.of(stream).data
        if news.exit == 3 and all(len(have[stream]) == news.of(stream).total for stream in Stream):
            break
    assert have == {Stream.STDOUT: out, Stream.STDERR: err}


def test_no_bytes_at_all_are_an_answer() -> None:
    """A guest whose gzip gives no byte for an empty text is believed that nothing is new, with the exit code."""
    since = Since("run-1", 4, 0, 0, NONCE)
    digest = hashlib.sha256(b"").hexdigest()
    for form in ("gzip", "plain"):
        frame = (
            f"\nfleet-news v1 nonce={NONCE} exit=3 stdout=4:0:4 stderr=0:0:0 form={form} sum={digest} base64=0:0 end\n"
        )
        news = read_news(message(frame.encode(), b""), since)
        assert isinstance(news, News) and (news.stdout.end, news.exit) == (4, 3)
        assert read_news(message(frame.replace("4:0:4", "4:1:5").encode(), b""), since) is None


def test_of_what_runs_far_ahead_the_end_comes() -> None:
    """A follower that lags 256 KiB behind is shown the end, and told where that begins."""
    since = Since("run-1", 5, None, 0, NONCE)
    out = b"x" * (FAR + 100)
    news = read_news(message(*shown(since, {Stream.STDOUT: out, Stream.STDERR: b"y"}, None)), since)
    assert isinstance(news, News)
    assert (news.stdout.end, news.stdout.start, news.stderr.data) == (len(out), len(out) - 32_768, b"")


@given(at=st.integers(0, 8000), letter=st.sampled_from("A0=!\n"))
def test_changed_news_are_not_believed(at: int, letter: str) -> None:
    """Whatever becomes of one character on the way: the bytes are the ones that came, or there are none."""
    since = Since("run-1", 0, 0, 0, NONCE)
    text = message(*shown(since, {Stream.STDOUT: bytes(range(256)) * 9, Stream.STDERR: b"e"}, None))
    at %= len(text)
    news = read_news(text[:at] + letter + text[at + 1 :], since)
    if isinstance(news, News):
        assert (news.stdout.data + news.stderr.data) == bytes(range(256)) * 9 + b"e"


def test_nothing_comes_twice_and_nothing_uninvited() -> None:
    """News that begin before what was asked for, that nobody asked for, or of another question are none."""
    since = Since("run-1", 10, None, 0, NONCE)
    kept = {Stream.STDOUT: b"0123456789more", Stream.STDERR: b"e"}
    for other in (
        Since("run-1", 0, None, 0, NONCE),
        Since("run-1", 10, 0, 0, NONCE),
        Since("k", 10, None, 0, "f" * 16),
    ):
        assert read_news(message(*shown(other, kept, None)), since) is None
    text = message(*shown(since, kept, None))
    assert isinstance(read_news(text, since), News)
    assert read_news(text + text, since) is None
    assert read_news(message(*shown(since, None, None)), since) is Absence.MISSING


@pytest.mark.parametrize("length", ["00001", "40000", "99999"])
def test_a_bomb_is_bounded(length: str) -> None:
    """News that unpack to another length than they name, or name too much, are none."""
    since = Since("run-1", 0, None, 0, NONCE)
    text = message(*shown(since, {Stream.STDOUT: bytes(30_000), Stream.STDERR: b""}, None))
    assert read_news(text.replace("stdout=0:30000:", f"stdout=0:{length}:"), since) is None
