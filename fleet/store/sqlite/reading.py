"""What a journal's file says, held against its chain: a good prefix, and where the damage begins."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fleet import codec
from fleet.errors import StateError
from fleet.store.sqlite.acknowledged import Acknowledged
from fleet.store.sqlite.database import FAILURES, FORMAT

if TYPE_CHECKING:
    from fleet.plan.model import Plan
    from fleet.run.events import Event
    from fleet.store.sqlite.records import Row


@dataclass(frozen=True, slots=True)
class Header:
    """The run's own row. ``chain`` is where the chain of the events begins."""

    run_id: str
    created: float
    program: str
    playbook: str
    targets: int
    plan: str
    chain: str

    @staticmethod
    def of(run_id: str, created: float, program: str, plan: Plan) -> Header:
        text = codec.to_json(plan)
        name, count = plan.playbook.name, len(plan.targets)
        return Header(
            run_id,
            created,
            program,
            name,
            count,
            text,
            _header_chain(run_id, created, program, name, count, text),
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """A journal as far as it is sound. ``damage`` is empty, or says what is wrong and from where on."""

    header: Header
    plan: Plan
    events: tuple[Event, ...]
    epoch: int
    chain: str
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Rest:
    """The sound events after one that is known. ``damage`` is empty, or says what is wrong and from where on."""

    events: tuple[Event, ...]
    last: int
    damage: str = ""


class _Sound(NamedTuple):
    epoch: int
    row: Row
    chain: str


class _Damaged(Exception):
    """The row just read is not what was written."""


NOTHING_SAID = Acknowledged(0, "")


def contents(connection: sqlite3.Connection, path: Path, said: Acknowledged = NOTHING_SAID) -> Contents:
    """Read everything in one snapshot's order, and hold it against what is ``said`` to have been acknowledged.

    Raises StateError when there is no run in it, when its plan is damaged, or when a newer version made it;
    and sqlite3.Error when not even that can be told.
    """
    from fleet.plan.model import Plan
    from fleet.store.sqlite import records

    header = read_header(connection, path)
    try:
        plan = codec.decode(Plan, json.loads(header.plan))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise records.newer_version(f"its plan cannot be read ({error})") from error
    events: list[Event] = []
    epoch, chain, damage = 0, header.chain, ""
    try:
        for sound in _sound_rows(connection, header.chain):
            if len(events) + 1 == said.events and sound.chain != said.chain:
                raise _Damaged(f"event {said.events} is not the one that was acknowledged")
            events.append(records.from_row(sound.row))
            epoch, chain = sound.epoch, sound.chain
        _check_tail(connection, len(events), chain)
        if len(events) < said.events:
            raise _Damaged(f"{said.events} events were acknowledged")
    except (_Damaged, *FAILURES) as error:
        damage = f"the journal {path} is damaged after event {len(events)} ({error}); what follows is not used"
    try:
        epoch = max(epoch, latest_epoch(connection))
    except (_Damaged, *FAILURES) as error:
        damage = damage or f"the journal {path} is damaged: its owners cannot be read ({error})"
    return Contents(header, plan, tuple(events), epoch, chain, damage)


def rest(connection: sqlite3.Connection, path: Path, after: int) -> Rest:
    """Read the events that follow event ``after``, whose own row is taken to be sound. Raises StateError, sqlite3.Error."""
    from fleet.store.sqlite import records

    events: list[Event] = []
    try:
        chain = _chain_at(connection, path, after)
        for sound in _sound_rows(connection, chain, after):
            events.append(records.from_row(sound.row))
            chain = sound.chain
        _check_tail(connection, after + len(events), chain)
    except (_Damaged, *FAILURES) as error:
        last = after + len(events)
        damage = f"the journal {path} is damaged after event {last} ({error}); what follows is not used"
        return Rest(tuple(events), last, damage)
    return Rest(tuple(events), after + len(events))


def _chain_at(connection: sqlite3.Connection, path: Path, seq: int) -> str:
    if seq == 0:
        return read_header(connection, path).chain
    found = connection.execute("SELECT chain FROM events WHERE seq = ?", (seq,)).fetchone()
    if found is None:
        raise _Damaged(f"event {seq} is missing")
    return _text(found[0])


def read_header(connection: sqlite3.Connection, path: Path) -> Header:
    """Read the run's own row and hold it against its digest. Raises StateError, or sqlite3.Error."""
    from fleet.store.sqlite import records

    columns = "format, run_id, created, program, playbook, targets, plan, chain"
    try:
        found = connection.execute(f"SELECT {columns} FROM run").fetchone()  # noqa: S608  a constant
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        found = None
    if found is None:
        raise StateError(
            f"there is no run in {path}",
            hint="a run's folder has its journal from the first moment; put back a copy of this one if there is one",
            code="no_journal",
        )
    if isinstance(found[0], int) and found[0] > FORMAT:
        raise records.newer_version(f"format {found[0]}, this version reads up to {FORMAT}")
    try:
        header = Header(
            _text(found[1]),
            _real(found[2]),
            _text(found[3]),
            _text(found[4]),
            _whole(found[5]),
            *map(_text, found[6:]),
        )
    except _Damaged as error:
        raise _header_damaged(path) from error
    if found[0] != FORMAT or header.chain != _header_chain(
        header.run_id, header.created, header.program, header.playbook, header.targets, header.plan
    ):
        raise _header_damaged(path)
    return header


def latest_epoch(connection: sqlite3.Connection) -> int:
    """Return the highest epoch taken so far, 0 if none."""
    (epoch,) = connection.execute("SELECT coalesce(max(epoch), 0) FROM lease").fetchone()
    return _whole(epoch)


def is_taken_over(connection: sqlite3.Connection, epoch: int) -> bool:
    """Say whether a later owner than that of this epoch has the run; no, where that cannot be read."""

    try:
        return latest_epoch(connection) > epoch
    except (_Damaged, *FAILURES):
        return False


def stands_at(connection: sqlite3.Connection, count: int, chain: str, epoch: int) -> bool:
    """Say whether the journal ends with this event, and was last taken under this epoch."""
    try:
        _check_tail(connection, count, chain)
        return latest_epoch(connection) == epoch
    except _Damaged:
        return False


def check_count(connection: sqlite3.Connection, path: Path, said: Acknowledged) -> None:
    """See, without reading them, that there are as many events as were acknowledged. Raises StateError, sqlite3.Error."""
    (count,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    if isinstance(count, int) and count >= said.events:
        return
    raise StateError(
        f"the journal {path} is damaged: it has {count} events, and {said.events} were acknowledged",
        hint="put back a copy of the run's folder if there is one",
        code="journal_damaged",
    )


def has_ended(connection: sqlite3.Connection) -> bool:
    """Say whether the run's end is among the last events, without reading the rest."""
    last = connection.execute("SELECT kind FROM events ORDER BY seq DESC LIMIT 8").fetchall()
    return any(kind == b"run_ended" for (kind,) in last)


def holder(connection: sqlite3.Connection) -> str:
    """Say who took the run last, for a message."""
    found = connection.execute("SELECT owner, pid, host FROM lease ORDER BY epoch DESC LIMIT 1").fetchone()
    if found is None:
        return "another process"
    owner, pid, host = (item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in found)
    return f"{owner or 'another process'} (process {pid} on {host})"


def _sound_rows(connection: sqlite3.Connection, chain: str, after: int = 0) -> Iterator[_Sound]:
    """Yield the rows after one that ends with ``chain``, as long as each is the one that was written. Raises _Damaged."""
    from fleet.store.sqlite import records
    from fleet.store.sqlite.records import Row

    columns = "seq, epoch, kind, body, chain"
    cursor = connection.execute(f"SELECT {columns} FROM events WHERE seq > ? ORDER BY seq", (after,))  # noqa: S608  constant
    for expected, found in enumerate(cursor, start=after + 1):
        seq, epoch = _whole(found[0]), _whole(found[1])
        row = Row(_text(found[2]), _text(found[3]))
        chain = records.link(chain, epoch, row)
        if seq != expected:
            raise _Damaged(f"event {expected} is missing")
        if chain != _text(found[4]):
            raise _Damaged(f"event {expected} was changed")
        yield _Sound(epoch, row, chain)


def _check_tail(connection: sqlite3.Connection, count: int, chain: str) -> None:
    found = connection.execute("SELECT seq, chain FROM tail").fetchone()
    if found is None:
        raise _Damaged("its end mark is missing")
    if (_whole(found[0]), _text(found[1])) != (count, chain):
        raise _Damaged("its end mark does not fit: events are missing at the end")


def _header_chain(run_id: str, created: float, program: str, playbook: str, targets: int, plan: str) -> str:

    fields = json.dumps([FORMAT, run_id, created, program, playbook, targets, plan])
    return hashlib.sha256(fields.encode("ascii")).hexdigest()


def _header_damaged(path: Path) -> StateError:
    return StateError(
        f"the journal {path} is damaged: its plan is not the one that was kept",
        hint="put back a copy of the run's folder if there is one",
        code="journal_damaged",
    )


def _text(item: object) -> str:
    if not isinstance(item, bytes):
        raise _Damaged("a column does not hold text")
    try:
        return item.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise _Damaged("a column does not hold text") from error


def _whole(item: object) -> int:
    if not isinstance(item, int):
        raise _Damaged("a column does not hold a number")
    return item


def _real(item: object) -> float:
    if not isinstance(item, float):
        raise _Damaged("a column does not hold a number")
    return item
