"""Fetching kept output: what is asked of a VM, what is believed of it, and what is said when it cannot be had."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from itertools import count

import pytest

from fleet.engine.ports import Reply
from fleet.engine.turns import SharedRates
from fleet.guest.spool import LARGEST, Stream, Wanted, asked, shown
from fleet.inspection.fetch import AT_ONCE, Fetcher
from fleet.inspection.query import QueryFailed, Source
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run.answers import Command, LostReason, Operation, Refusal
from fleet.run.model import CauseCode, Extent
from fleet.targets.model import Target
from tests.unit.run.factory import target
from tests.virtual import run as in_virtual_time

DATA = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(1500))
Trick = Callable[[Wanted, int], "a.SubmitAnswer | tuple[bytes, bytes] | None"]


class Vm:
    """One VM behind the Cloud port, which keeps one stream. ``trick`` may answer a reader otherwise."""

    def __init__(self, kept: bytes | None = DATA, trick: Trick = lambda wanted, n: None) -> None:
        self.kept, self.trick = kept, trick
        self.sent: list[Command] = []
        self.present: set[str] = set()
        self.most = 0
        self._answers: dict[str, tuple[bytes, bytes]] = {}

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        self.sent.append(command)
        wanted = asked(command.script)
        assert wanted is not None, "only readers are sent"
        answer = self.trick(wanted, len(self.sent))
        if isinstance(answer, a.Refused | a.Lost):
            return Reply(answer)
        kept = None if self.kept is None else dict.fromkeys(Stream, self.kept)
        self._answers[command.name] = answer if isinstance(answer, tuple) else shown(wanted, kept)
        self.present.add(command.name)
        self.most = max(self.most, len(self.present))
        return Reply(a.Accepted(Operation(command.transport, resource=command.name)))

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        out, err = self._answers[operation.resource]
        if operation.transport is Transport.ACTION:
            self.present.discard(operation.resource)
            text = f"Enable succeeded: \n[stdout]\n{out.decode()}\n[stderr]\n{err.decode()}"
            return Reply(a.Finished(a.Answer(combined=text)))
        return Reply(a.Finished(a.Answer("Succeeded", "", 0, out.decode(), err.decode())))

    async def find(self, target: Target, name: str) -> Reply[a.FindAnswer]:
        raise AssertionError("a reader is never looked for")

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        await asyncio.sleep(0.1)
        self.present.discard(name)
        return Reply(a.Removed())


def extent(data: bytes = DATA) -> Extent:
    return Extent(len(data), hashlib.sha256(data).hexdigest())


def fetch(vm: Vm, transport: Transport = Transport.MANAGED, of: Extent | None = None) -> bytes:
    numbers = count(1)
    source = Source(target(0), transport, "fleet-run-1")

    async def go() -> bytes:
        fetcher = Fetcher(vm, SharedRates(), lambda: f"{next(numbers):08x}" + "0" * 24)
        return await fetcher.fetch(source, Stream.STDOUT, of or extent(), lambda done, whole: None)

    return in_virtual_time(go())


@pytest.mark.parametrize(("transport", "at_once"), [(Transport.MANAGED, AT_ONCE), (Transport.ACTION, 1)])
def test_all_of_it_comes(transport: Transport, at_once: int) -> None:
    """Every byte comes over both transports; the action asks one at a time; no managed command is left behind."""
    vm = Vm()
    assert fetch(vm, transport) == DATA
    assert (vm.most, vm.present) == (at_once, set())
    assert len({command.name for command in vm.sent}) == len(vm.sent) == 9


def test_trouble_on_the_way_costs_time_only() -> None:
    """A throttled, lost or garbled answer is asked for again, under a new name."""

    def trick(wanted: Wanted, n: int) -> a.SubmitAnswer | tuple[bytes, bytes] | None:
        match n % 6:
            case 1:
                return a.Refused(Refusal(429, "TooManyRequests", "", 30.0))
            case 2:
                return a.Lost(LostReason.TIMEOUT)
            case 3:
                return b"hello", b""
            case _:
                return None

    vm = Vm(trick=trick)
    assert fetch(vm) == DATA
    assert vm.present == set()


@pytest.mark.parametrize(
    ("vm", "code", "said"),
    [
        (Vm(kept=None), CauseCode.OPERATION_GONE, "does not keep"),
        (Vm(kept=DATA[:-1] + b"x"), CauseCode.RECEIPT_MISMATCH, "digest differs"),
        (Vm(kept=DATA + b"x"), CauseCode.RECEIPT_MISMATCH, "not what the script printed"),
        (Vm(kept=DATA * 3), CauseCode.RECEIPT_MISMATCH, "longer than"),
        (Vm(trick=lambda w, n: a.Refused(Refusal(404, "ResourceNotFound", "no"))), CauseCode.VM_NOT_FOUND, "no"),
        (
            Vm(trick=lambda w, n: a.Refused(Refusal(409, "OperationNotAllowed", "requires the VM to be running"))),
            CauseCode.VM_NOT_RUNNING,
            "running",
        ),
        (Vm(trick=lambda w, n: (b"garbage", b"")), CauseCode.NO_ANSWER, "no usable answer"),
    ],
    ids=["expired", "changed", "grown", "huge", "deleted", "stopped", "garbage"],
)
def test_what_cannot_be_had_is_said(vm: Vm, code: CauseCode, said: str) -> None:
    """Each way to fail has a cause and a sentence; nothing unproven is ever returned."""
    with pytest.raises(QueryFailed, match=said) as caught:
        fetch(vm)
    assert caught.value.cause.code is code
    assert caught.value.cause.hint
    assert vm.present == set()


def test_nothing_is_asked_in_vain() -> None:
    """An empty stream is known, and of one that the VM cannot keep whole nothing is asked."""
    vm = Vm()
    assert fetch(vm, of=extent(b"")) == b""
    with pytest.raises(QueryFailed, match="64 MiB"):
        fetch(vm, of=Extent(LARGEST + 1, "-"))
    assert vm.sent == []


class Unlooked(Vm):
    """A VM of which nobody learns how the first ``times`` readers ended."""

    def __init__(self, answer: a.LookAnswer, times: int) -> None:
        super().__init__()
        self.answer, self.left = answer, times

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        if self.left == 0:
            return await super().look(target, operation)
        self.left -= 1
        return Reply(self.answer)


FAILED = a.OperationFailed("VMAgentStatusCommunicationError", "no agent")
FORBIDDEN = a.Refused(Refusal(403, "AuthorizationFailed", "no right"))


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (FAILED, CauseCode.OPERATION_FAILED, "VMAgentStatusCommunicationError: no agent"),
        (FORBIDDEN, CauseCode.OPERATION_GONE, "AuthorizationFailed: no right"),
        (a.StillRunning(), CauseCode.NO_ANSWER, "no usable answer"),
        (a.Refused(Refusal(429, "TooManyRequests", "", 30.0)), CauseCode.NO_ANSWER, "no usable answer"),
    ],
    ids=["failed", "forbidden", "for ever", "throttled"],
)
def test_a_reader_of_which_nothing_is_heard(answer: a.LookAnswer, code: CauseCode, said: str) -> None:
    """It is sent again, within limits, and deleted each time; in the end Azure's own word is the cause."""
    for times, whole in ((1, True), (100_000, False)):
        vm = Unlooked(answer, times)
        if whole:
            assert fetch(vm) == DATA
        else:
            with pytest.raises(QueryFailed, match=said) as caught:
                fetch(vm)
            assert caught.value.cause.code is code
            assert len(vm.sent) < 20
        assert vm.present == set()


def test_a_script_that_has_not_ended_is_told() -> None:
    """Its output cannot be had yet, and that is what is said."""
    vm = Vm(trick=lambda wanted, n: shown(wanted, {}, running=True))
    with pytest.raises(QueryFailed, match="has not ended") as caught:
        fetch(vm)
    assert "wait until it ends" in caught.value.cause.hint


def test_one_lost_piece_is_the_reason() -> None:
    """Where one of the pieces that are fetched side by side is gone, that is the error, and no reader is left behind."""
    vm = Vm(trick=lambda wanted, n: shown(wanted, None) if wanted.number == 5 else None)
    with pytest.raises(QueryFailed, match="does not keep") as caught:
        fetch(vm)
    assert caught.value.cause.code is CauseCode.OPERATION_GONE
    assert vm.present == set()


class Slow(Vm):
    """A VM on which the readers of all pieces but the first and ``quick`` run for ever."""

    def __init__(self, quick: int, trick: Trick) -> None:
        super().__init__(trick=trick)
        self.quick = quick

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        wanted = asked(next(command.script for command in self.sent if command.name == operation.resource))
        assert wanted is not None
        if wanted.number in (0, self.quick):
            return await super().look(target, operation)
        return Reply(a.StillRunning())


def test_readers_beside_a_lost_piece_are_deleted() -> None:
    """They still run when the piece turns out to be gone: each is deleted before the error is raised."""
    vm = Slow(2, lambda wanted, n: shown(wanted, None) if wanted.number == 2 else None)
    with pytest.raises(QueryFailed, match="does not keep"):
        fetch(vm)
    assert (vm.most, len(vm.sent), vm.present) == (AT_ONCE, 1 + AT_ONCE, set())
