"""Looking into VMs beside a run: what a VM says is believed as far as it can be read, and errors have one voice."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from itertools import count

import pytest

from fleet.engine.ports import Reply
from fleet.engine.turns import SharedRates
from fleet.errors import AzureUnusable
from fleet.guest.probe import Findings, Standing, asked
from fleet.guest.spool import Wanted, shown, shown_piece
from fleet.inspection.probe import AT_ONCE, Prober, each
from fleet.inspection.query import Source
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run.answers import Command, Operation, Refusal
from fleet.run.model import Cause, CauseCode
from fleet.targets.model import Target
from tests.unit.run.factory import target
from tests.virtual import run as in_virtual_time

Says = Callable[[Wanted], tuple[bytes, bytes]]


class Vm:
    """A VM behind the Cloud port that answers every question with what ``says`` returns, or refuses it."""

    def __init__(self, says: Says | Refusal) -> None:
        self.says = says
        self.sent: list[Command] = []
        self.present: set[str] = set()

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        self.sent.append(command)
        if isinstance(self.says, Refusal):
            return Reply(a.Refused(self.says))
        self.present.add(command.name)
        return Reply(a.Accepted(Operation(command.transport, resource=command.name)))

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        wanted = asked(next(command.script for command in self.sent if command.name == operation.resource))
        assert wanted is not None and not isinstance(self.says, Refusal)
        out, err = self.says(wanted)
        return Reply(a.Finished(a.Answer("Succeeded", "", 0, out.decode(), err.decode())))

    async def find(self, target: Target, name: str) -> Reply[a.FindAnswer]:
        raise AssertionError("a probe is never looked for")

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        self.present.discard(name)
        return Reply(a.Removed())


def look(vm: Vm, *, free: bool = False) -> Findings | Cause:
    numbers = count(1)
    prober = Prober(vm, SharedRates(), lambda: f"{next(numbers):08x}" + "0" * 24)
    source = Source(target(0), Transport.ACTION, "fleet-run-1")
    return in_virtual_time(prober.free(source) if free else prober.probe(source))


def report(text: str) -> Says:
    return lambda wanted: shown_piece(wanted, gzip.compress(f"{text}\n\n{wanted.nonce} end\n".encode()))


@pytest.mark.parametrize("free", [False, True])
def test_a_vm_is_asked_beside_what_hangs_there(free: bool) -> None:
    """A question is a managed command, whatever the run sends, since an action would wait; none is left behind."""
    vm = Vm(report("state=alive"))
    found = look(vm, free=free)
    assert isinstance(found, Findings)
    assert (found.standing, found.whole) == (Standing.ALIVE, True)
    assert {command.transport for command in vm.sent} == {Transport.MANAGED}
    assert vm.present == set()


@pytest.mark.parametrize(
    ("says", "code", "said"),
    [
        (lambda wanted: shown(wanted, None), CauseCode.NO_ANSWER, "no usable answer"),
        (lambda wanted: shown_piece(wanted, gzip.compress(b"a" * 70_000)), CauseCode.NO_ANSWER, "cannot be read"),
        (lambda wanted: shown_piece(wanted, b"no gzip"), CauseCode.NO_ANSWER, "cannot be read"),
        (lambda wanted: (b"hello", b""), CauseCode.NO_ANSWER, "no usable answer"),
        (Refusal(404, "ResourceNotFound", "gone"), CauseCode.VM_NOT_FOUND, "gone"),
    ],
    ids=["another answer", "a bomb", "garbage", "no frame", "no VM"],
)
def test_what_cannot_be_seen_has_a_cause(says: Says | Refusal, code: CauseCode, said: str) -> None:
    """Whatever a VM answers in place of a report is a cause with a hint, and nothing is believed."""
    vm = Vm(says)
    found = look(vm)
    assert isinstance(found, Cause)
    assert (found.code, said in found.message, bool(found.hint)) == (code, True, True), found
    assert vm.present == set()


def test_some_at_once_and_the_first_error_ends_all() -> None:
    """No more than ``AT_ONCE`` are asked side by side; that Azure cannot be used is one error, not a group of them."""
    most, now = 0, 0

    async def one(number: int) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(1.0)
        now -= 1
        if number == 3 * AT_ONCE:
            raise AzureUnusable("no token", code="no_token")

    in_virtual_time(each(range(2 * AT_ONCE), one))
    assert most == AT_ONCE
    with pytest.raises(AzureUnusable, match="no token"):
        in_virtual_time(each(range(4 * AT_ONCE), one))
