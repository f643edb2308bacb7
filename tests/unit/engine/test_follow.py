"""Following a script: what is asked, how often, and what becomes of the answers."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from fleet.clock import SystemClock
from fleet.engine.ports import Reply
from fleet.engine.turns import SharedRates
from fleet.guest.live import News, Part, asked, shown
from fleet.guest.spool import Stream
from fleet.inspection.follow import AT_FIRST, INTERVAL, Follower, Places
from fleet.inspection.query import QueryFailed, Source
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run.answers import Command, Operation, Refusal
from fleet.targets.model import Target
from tests.unit.run.factory import target
from tests.virtual import run as in_virtual_time


class Vm:
    """A VM whose script prints one more line before each question."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.out, self.begun, self.refusal = b"", True, refusal
        self.waits: list[int] = []
        self.at: list[float] = []
        self.present: set[str] = set()
        self._answers: dict[str, tuple[bytes, bytes]] = {}

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        if self.refusal:
            return Reply(a.Refused(self.refusal))
        since = asked(command.script)
        assert since is not None and command.transport is Transport.MANAGED
        self.out += b"line %d\n" % len(self.at)
        self.waits.append(since.wait)
        self.at.append(asyncio.get_running_loop().time())
        kept = {Stream.STDOUT: self.out, Stream.STDERR: b""} if self.begun else None
        self._answers[command.name] = shown(since, kept, None)
        self.present.add(command.name)
        return Reply(a.Accepted(Operation(Transport.MANAGED, resource=command.name)))

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        out, err = self._answers[operation.resource]
        return Reply(a.Finished(a.Answer("Succeeded", "", 0, out.decode(), err.decode())))

    async def find(self, target: Target, name: str) -> Reply[a.FindAnswer]:
        raise AssertionError("a follower is never looked for")

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        self.present.discard(name)
        return Reply(a.Removed())


SOURCE = Source(target(0), Transport.MANAGED, "fleet-run-1")


def follower_of(vm: Vm) -> Follower:
    numbers = count(1)
    return Follower(vm, SharedRates(), SystemClock(), lambda: f"{next(numbers):08x}" + "0" * 24)


def test_a_few_at_once_then_twice_a_minute() -> None:
    """Questions come at the pace that a VM's limit of calls leaves room for, and no command stays behind."""
    vm = Vm()
    text = b""

    async def go() -> None:
        nonlocal text

        follower, places, clock = follower_of(vm), Places((Stream.STDOUT,)), SystemClock()
        for _ in range(8):
            await asyncio.sleep(max(follower.ready_at() - clock.now(), 0.0))
            news = await follower.news(SOURCE, places)
            assert news is not None
            text += places.advance(Stream.STDOUT, news.stdout)[1]

    in_virtual_time(go())
    assert text == vm.out
    gaps = [later - earlier for earlier, later in zip(vm.at, vm.at[1:], strict=False)]
    assert max(gaps[: AT_FIRST - 1]) < 2
    assert vm.at[-1] - vm.at[0] > (len(vm.at) - AT_FIRST) * INTERVAL - 1
    assert (vm.waits[0], min(vm.waits[1:])) == (0, 15)
    assert vm.present == set()


def test_what_cannot_be_asked_is_said() -> None:
    """A VM that is off is told as such; one where nothing began yet is no trouble, one that forgot is."""
    off = Vm(Refusal(409, "OperationNotAllowed", "requires the VM to be running"))
    with pytest.raises(QueryFailed, match="running"):
        in_virtual_time(follower_of(off).news(SOURCE, Places((Stream.STDOUT,))))
    vm = Vm()
    vm.begun = False
    assert in_virtual_time(follower_of(vm).news(SOURCE, Places((Stream.STDOUT,)))) is None
    with pytest.raises(QueryFailed, match="does not keep"):
        in_virtual_time(follower_of(vm).news(SOURCE, Places((Stream.STDOUT,), {Stream.STDOUT: 4})))


def test_no_byte_is_shown_twice() -> None:
    """A part that overlaps what was shown is cut; one that begins later tells what lies between."""
    places = Places(tuple(Stream))
    assert places.advance(Stream.STDOUT, Part(0, b"abc", 3)) == (0, b"abc")
    assert places.advance(Stream.STDOUT, Part(1, b"bcdef", 6)) == (0, b"def")
    assert places.advance(Stream.STDOUT, Part(0, b"ab", 6)) == (0, b"")
    assert places.advance(Stream.STDOUT, Part(9, b"xyz", 12)) == (3, b"xyz")
    news = News(Part(9, b"xyz", 12), Part(0, b"", 1), None)
    assert not places.all_shown(news)
    assert Places((Stream.STDOUT,), {Stream.STDOUT: 12}).all_shown(news)
