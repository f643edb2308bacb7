"""Rows are the events, for ever."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import StateError
from fleet.run.events import Event
from fleet.store.sqlite import records
from fleet.store.sqlite.records import KINDS, Row

DURABLE = [kind for kind in get_args(Event) if kind.durable]


def joined(text: str) -> str:
    """Return the text as any decoder would give it: two halves of a pair, side by side, are one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


ANY_TEXT = st.text(st.characters(categories=None)).map(joined)
st.register_type_strategy(str, ANY_TEXT)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, FINITE)
EVENTS = st.one_of(*(st.from_type(kind) for kind in DURABLE))


def test_every_durable_event_has_a_kind() -> None:
    """Each durable event, and nothing else, has a name of its own: its class's words in small letters."""
    words = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in DURABLE}
    assert dict(KINDS) == words


@given(EVENTS)
def test_round_trip(event: Event) -> None:
    """Every durable event comes back equal, whatever its texts hold: lone surrogates, NUL, all of Unicode."""
    row = records.to_row(event)
    assert row.body.isascii()
    assert records.from_row(row) == event


@given(EVENTS, st.integers(1, 5), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_chain_depends_on_everything(event: Event, epoch: int, previous: str) -> None:
    """A change of the body, the kind, the epoch or anything before changes the chain value."""
    row = records.to_row(event)
    values = {
        records.link(previous, epoch, row),
        records.link(previous, epoch + 1, row),
        records.link(previous[::-1] + "0", epoch, row),
        records.link(previous, epoch, Row(row.kind, row.body + " ")),
        records.link(previous, epoch, Row(row.kind + "_", row.body)),
    }
    assert len(values) == 5


@pytest.mark.parametrize(
    "row",
    [
        Row("vm_hibernated", "{}"),
        Row("stop_requested", '{"at":1.0,"kind":"gently"}'),
        Row("wave_opened", '{"at":1.0}'),
    ],
)
def test_newer_rows_are_named(row: Row) -> None:
    """A sound row that this program does not understand is said to be a newer version's."""
    with pytest.raises(StateError, match="made by a newer version") as error:
        records.from_row(row)
    assert error.value.code == "newer_version"
