"""Pieces of kept output: what a reader asks, what a guest shows, and what is believed of it."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.guest.packing import gunzip
from fleet.guest.spool import PIECE, Absence, Piece, Stream, Wanted, asked, joined, read_piece, reader, shown
from tests.unit.guest.strategies import NONCE

WANTED = Wanted("run-1", Stream.STDOUT, 0, NONCE)


def message(stdout: bytes, stderr: bytes) -> str:
    return f"Enable succeeded: \n[stdout]\n{stdout.decode()}\n[stderr]\n{stderr.decode()}"


def pieces(kept: dict[Stream, bytes], stream: Stream) -> list[Piece]:
    found: list[Piece] = []
    while not found or len(found) < found[0].count:
        wanted = Wanted("run-1", stream, len(found), NONCE)
        out, err = shown(wanted, kept)
        assert max(len(out), len(err)) <= 4096
        for text in (message(out, err), out.decode() + err.decode()):
            piece = read_piece(text, wanted)
            assert isinstance(piece, Piece)
        found.append(piece)
    return found


@given(out=st.binary(max_size=20_000), err=st.binary(max_size=20))
def test_any_bytes_come_back(out: bytes, err: bytes) -> None:
    """A stream comes back byte for byte in pieces that each fit the channel, of either transport."""
    kept = {Stream.STDOUT: out, Stream.STDERR: err}
    assert joined(pieces(kept, Stream.STDOUT), len(out)) == out
    assert joined(pieces(kept, Stream.STDERR), len(err)) == err


@pytest.mark.parametrize("windows", [False, True])
def test_a_reader_is_read_back(windows: bool) -> None:
    """A played guest sees what is asked; other text, or a changed reader, asks for nothing."""
    text = reader(WANTED, windows=windows)
    assert asked(text) == WANTED
    assert asked(text.rstrip("\n")) == WANTED
    assert asked(text + "echo more\n") is None
    assert asked("echo hi") is None


def test_what_is_not_there_is_said() -> None:
    """A guest without the key says so, in a way that names the question."""
    out, err = shown(WANTED, None)
    assert read_piece(message(out, err), WANTED) is Absence.MISSING
    assert read_piece(message(out, err).replace("missing", "running"), WANTED) is Absence.RUNNING


@given(at=st.integers(0, 8000), letter=st.sampled_from("A0=!\n"))
def test_a_changed_piece_is_not_believed(at: int, letter: str) -> None:
    """Whatever becomes of one character on the way: the piece is the one that was kept, or there is none."""
    kept = {Stream.STDOUT: bytes(range(256)) * 40}
    out, err = shown(WANTED, kept)
    text = message(out, err)
    at %= len(text)
    piece = read_piece(text[:at] + letter + text[at + 1 :], WANTED)
    assert piece is None or isinstance(piece, Piece)
    if piece is not None:
        assert piece.data == gzip.compress(kept[Stream.STDOUT], mtime=0)[:PIECE]


def test_answers_to_other_questions_are_none() -> None:
    """Another nonce, stream or number is no answer; neither are two answers at once."""
    out, err = shown(WANTED, {Stream.STDOUT: b"x", Stream.STDERR: b"y"})
    text = message(out, err)
    assert isinstance(read_piece(text, WANTED), Piece)
    for other in (
        Wanted("run-1", Stream.STDOUT, 0, "f" * 16),
        Wanted("run-1", Stream.STDERR, 0, NONCE),
        Wanted("run-1", Stream.STDOUT, 1, NONCE),
    ):
        assert read_piece(text, other) is None
    assert read_piece(text + text, WANTED) is None
    assert read_piece("", WANTED) is None


def test_pieces_that_do_not_fit_are_refused() -> None:
    """Pieces of different streams, a piece too few, another length: no stream is made of them."""
    whole = pieces({Stream.STDOUT: b"x" * 100}, Stream.STDOUT)
    other = Piece(1, "plain", 5, b"12345")
    for wrong, length in (([*whole, other], 100), (whole, 99), (whole, 101), ([other], 6)):
        with pytest.raises(ValueError, match=r"pieces|long"):
            joined(wrong, length)
    assert joined([other], 5) == b"12345"


def test_a_bomb_is_bounded() -> None:
    """A stream that unpacks to more than the receipt says is given up without being unpacked."""
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(ValueError, match="long"):
        gunzip(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
