"""What strangers may hand to Fleet, one function for each door: any bytes go in, and its invariant must hold.

A target raises for a defect only. What bad input is answered with (a sentence, a value that says "no") is part of the
invariant and swallowed here.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from fleet.azure.wire import arm, compute, machines, redaction, resource_graph, run_command
from fleet.azure.wire.http import Response, parse_json
from fleet.azure.wire.links import links
from fleet.errors import MOST_SHOWN, InvalidInput, StateError
from fleet.guest import receipt
from fleet.plan import file as plan_file
from fleet.playbook.load import load
from fleet.playbook.model import Playbook
from fleet.store.sqlite import journal, records, wal
from fleet.store.sqlite.records import KINDS, Row
from fleet.targets.model import Kind, Subscription

NONCE = "0123456789abcdef"
BASE = "https://management.azure.com"


def playbook(data: bytes) -> None:
    """A playbook's text is a playbook, or problems with a place and a code, in bounded number."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        assert isinstance(load(text, file="p.yaml", read_script=_script), Playbook)
    except InvalidInput as error:
        assert 0 < len(error.problems) <= MOST_SHOWN + 1
        assert all(item.code and item.message for item in error.problems)
        assert all(item.line >= 1 for item in error.problems if item.code != "more_problems")
    with contextlib.suppress(InvalidInput):
        plan_file.load(text, file="p.json")


def _script(name: str) -> str:
    if name.startswith("absent"):
        raise FileNotFoundError(2, "No such file or directory")
    return "echo hi\n"


def answer_of_a_guest(data: bytes) -> None:
    """What a VM printed is read without failing; nothing is lost, and without our nonce nothing is verified."""
    first, _, second = data.decode("utf-8", "surrogateescape").partition("\x00")
    for reading in (receipt.read(first, second, NONCE), receipt.read_combined(first, NONCE)):
        verdict = receipt.verify(reading, nonce=NONCE, digest="a" * 64)
        if reading.receipt is None:
            assert not verdict.verified
        else:
            assert reading.receipt.nonce == NONCE
            assert NONCE in first
            assert (reading.receipt.exit_code is None) or (reading.receipt.signal is None)
            assert receipt.render(reading.receipt).isascii()
        if verdict.verified:
            assert reading.receipt is not None
            assert reading.receipt.script_digest in ("a" * 64, "-")
    plain = receipt.read(first, second, NONCE)
    if plain.receipt is None:
        assert (plain.stdout, plain.stderr) == (first, second)


def answer_of_arm(data: bytes) -> None:
    """Whatever comes over the wire, every reader answers; no wait is nonsense, and no link leads elsewhere."""
    head, _, body = data.partition(b"\n\n")
    names = [b"retry-after", b"azure-asyncoperation", b"location", b"www-authenticate", arm._COMPUTE_LIMIT.encode()]
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    headers = {name.decode(): (line,) for name, line in zip(names, lines, strict=False)}
    answer = Response(202, headers, body)
    _check_headers(answer)
    for status in (200, 302, 400, 408, 429, 500):
        sorted_out = arm.not_done(Response(status, headers, body), 1e9)
        assert (sorted_out is None) == (status == 200)
    _check_bodies(parse_json(body))


def _check_headers(answer: Response) -> None:
    wait = arm.retry_after(answer, 1e9)
    assert wait is None or (math.isfinite(wait) and wait >= 0)
    found = links(answer, BASE, "/x")
    for link in (found.status, found.location):
        assert not link or urlsplit(link).hostname == "management.azure.com"
    quota = arm.quota(answer, "s", "l")
    assert quota is None or all(left >= 0 for left in quota.remaining.values())
    arm.claims_challenge(answer)
    redacted = redaction.redact_url(answer.header("location"))
    assert {value for name, value in _query(redacted) if name in ("sig", "c", "s", "h")} <= {"REDACTED"}


def _query(url: str) -> list[list[str]]:
    pairs = url.partition("?")[2].split("&")
    return [pair.split("=", 1) for pair in pairs if "=" in pair]


def _check_bodies(data: object) -> None:
    operation = arm.read_operation(data)  # type: ignore[arg-type]
    if operation is not None:
        run_command.action_state(operation)
    for reader in (run_command.action_result, run_command.managed_state, run_command.names):
        reader(data)  # type: ignore[operator]
    run_command.provisioning_failed(data, operation)  # type: ignore[arg-type]
    owner = Subscription("s", "n")
    page, graph = compute.read_page(data), resource_graph.read_page(data)  # type: ignore[arg-type]
    for kind in Kind:
        targets, partial = machines.read_all(page.rows if page else (), owner, kind)
        assert all(target.id for target in targets) and all(one.unknown and one.reason for one in partial)
    for row in graph.rows if graph else ():
        resource_graph.target(row, owner)


def journal_on_disk(data: bytes) -> None:
    """A journal with any bytes changed is read as a sentence, or as a good prefix whose damage is named.

    The first two bytes say where the others are laid over a sound journal's file or, if odd, over its log.
    """
    sound = _sound_journal()
    events = journal.read(sound).events
    place = int.from_bytes(data[:2].ljust(2, b"\0"), "big")
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        damaged = Path(shutil.copytree(sound, Path(folder) / "r"))
        name = journal.DATABASE + ("-wal" if place % 2 else "")
        whole = bytearray((damaged / name).read_bytes())
        start = place // 2 % len(whole)
        changed = whole[start : start + len(data[2:])] != data[2:]
        whole[start : start + len(data[2:])] = data[2:]
        (damaged / name).write_bytes(whole)
        wal.end(damaged / name)
        try:
            found = journal.read(damaged)
        except StateError as error:
            assert error.hint
            assert changed
        else:
            assert found.events == events[: len(found.events)]
            assert found.damage or found.events == events


def journal_row(data: bytes) -> None:
    """A row with a sound chain and any words in it is an event of this version or said to be a newer one's."""
    number, text = data[:1], data[1:].decode("utf-8", "surrogateescape")
    names = [*KINDS, "vm_hibernated"]
    row = Row(names[(number or b"\0")[0] % len(names)], text)
    try:
        event = records.from_row(row)
    except StateError as error:
        assert error.code == "newer_version"
    else:
        again = records.to_row(event)
        assert records.to_row(records.from_row(again)) == again
        json.loads(again.body)


@cache
def _scratch() -> Path:
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="fleet-fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def _sound_journal() -> Path:
    """A journal as a killed owner leaves it: half of its life folded into the file, half in the log."""
    from tests.fuzz import sound

    return sound.make(_scratch())


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "playbook": playbook,
    "guest": answer_of_a_guest,
    "arm": answer_of_arm,
    "journal": journal_on_disk,
    "row": journal_row,
}
