"""What the engine needs of the world, and what can be asked of it apart from a run: protocols only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from fleet.targets.kinds import USUAL

if TYPE_CHECKING:
    from fleet.commands.model import Change, ManagedCommand
    from fleet.preflight.facts import Condition, Permissions, Principal
    from fleet.preflight.locks import Locks
    from fleet.preflight.patchers import Patching
    from fleet.run.answers import (
        Accepted,
        AgentAnswer,
        Command,
        FindAnswer,
        GateAnswer,
        LookAnswer,
        Lost,
        Operation,
        Question,
        Quota,
        Refused,
        RemoveAnswer,
        SubmitAnswer,
    )
    from fleet.run.events import Event
    from fleet.targets.model import Kind, Subscription, Target, UnreadScope, UnreadSubscription
    from fleet.targets.partial import PartialTarget

A = TypeVar("A", covariant=True)


@dataclass(frozen=True, slots=True)
class Reply(Generic[A]):
    """An answer, and what its headers said about the limits."""

    answer: A
    quota: Quota | None = None


class Cloud(Protocol):
    """Sends and reads commands. Never waits for anything but the wire, never retries, never raises for an answer.

    Only what makes the whole run impossible is raised: :class:`fleet.errors.AzureUnusable`.
    """

    async def submit(self, command: Command) -> Reply[SubmitAnswer]:
        """Send a command once. A lost answer is ``Lost``; the caller decides what that means."""
        ...

    async def look(self, target: Target, operation: Operation) -> Reply[LookAnswer]:
        """Read how an accepted command stands. Safe to repeat."""
        ...

    async def find(self, target: Target, name: str) -> Reply[FindAnswer]:
        """Look whether a managed command of this name exists on the VM. Safe to repeat."""
        ...

    async def remove(self, target: Target, name: str) -> Reply[RemoveAnswer]:
        """Delete a managed command; a running script ends. Safe to repeat; an absent one counts as removed."""
        ...

    async def agent(self, target: Target) -> Reply[AgentAnswer]:
        """Read whether the VM's agent reports to Azure. Safe to repeat; an answer that does not tell is ``Lost``."""
        ...


class Gatekeeper(Protocol):
    """Asks the webhooks of gates. Never waits for anything but the wire, never asks again, never raises for an answer."""

    async def ask(self, question: Question, within: float) -> GateAnswer:
        """Ask once, for at most so many seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The machines of the subscriptions asked for, and the subscriptions that could not be read.

    ``partial`` are machines of which too little is known, or something that cannot be read.
    """

    targets: tuple[Target, ...]
    unread: tuple[UnreadScope, ...] = ()
    partial: tuple[PartialTarget, ...] = ()


class Inventory(Protocol):
    """Finds subscriptions and machines. Raises :class:`fleet.errors.AzureUnusable` when nothing at all can be read."""

    async def subscriptions(self) -> tuple[Subscription | UnreadSubscription, ...]:
        """Return every subscription the credential can see, and each entry of the list that could not be read."""
        ...

    async def list_targets(self, subscriptions: Sequence[Subscription], kinds: frozenset[Kind] = USUAL) -> Listing:
        """Return the machines of these kinds in these subscriptions."""
        ...

    async def with_domains(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Return the targets with their update and fault domains, in the same order."""
        ...


class Preflight(Protocol):
    """Reads what may stand in a run's way. Sends nothing to any VM; what cannot be read is told, never raised.

    Only what makes everything impossible is raised: :class:`fleet.errors.AzureUnusable`.
    """

    async def principals(self) -> tuple[Principal, ...]:
        """Sign everybody in and say who they are, by what their tokens say; never a token itself."""
        ...

    async def permissions(self, asked: Sequence[tuple[int, str]]) -> tuple[Permissions, ...]:
        """Say for each principal (by number) and scope what it may do there."""
        ...

    async def conditions(self, targets: Sequence[Target], *, commands: bool) -> tuple[Condition, ...]:
        """Say how each VM stands, in their order; with ``commands`` also which managed commands it has."""
        ...

    async def locks(self, targets: Sequence[Target]) -> tuple[Locks, ...]:
        """Say which locks there are in the targets' subscriptions."""
        ...

    async def patching(self, targets: Sequence[Target]) -> Patching:
        """Say who else patches the targets."""
        ...


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that holds a VM's lease, and the moment (epoch seconds) at which the lease is void at the latest."""

    run_id: str
    until: float


class Leases(Protocol):
    """Says which run is at work on which VM, to every process that shares it. Survives the death of a holder."""

    async def take(self, target: Target, run_id: str, *, now: float, until: float) -> Holder | None:
        """Take a VM's lease, or renew one's own; void ones count for nothing. Return who holds it if that is another.

        Raises :class:`fleet.errors.StateError` when leases can be neither read nor written.
        """
        ...

    def release(self, target: Target, run_id: str) -> None:
        """Let go soon of a VM that this run holds; otherwise nothing happens. A failure only leaves the lease."""
        ...


@dataclass(frozen=True, slots=True)
class CommandsOf:
    """The managed commands of one target; ``why`` says what could not be read."""

    target: Target
    commands: tuple[ManagedCommand, ...] = ()
    why: str = ""


class ManagedCommands(Protocol):
    """The managed commands that lie on VMs. Reads are told, not raised; writes are sent once.

    Only what makes everything impossible is raised: :class:`fleet.errors.AzureUnusable`.
    """

    async def commands(self, targets: Sequence[Target], seen: Callable[[], None]) -> tuple[CommandsOf, ...]:
        """Read the commands of each target, in their order; ``seen`` hears of each that was read."""
        ...

    async def remove(self, command: ManagedCommand) -> Reply[RemoveAnswer]:
        """Delete one; a running script ends. Safe to repeat; an absent one counts as removed."""
        ...

    async def change(self, command: ManagedCommand, change: Change) -> Reply[Accepted | Refused | Lost]:
        """Send a change once: changed content runs again, so a lost answer is not sent again."""
        ...


@dataclass(frozen=True, slots=True)
class Added:
    """What a blob has had since one last looked; empty if nothing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Unread:
    """A blob could not be read. ``status`` is HTTP's, 0 if no answer came; ``why`` holds nothing of the address."""

    status: int
    why: str


class Blobs(Protocol):
    """Reads blobs by addresses that carry their own right to it."""

    async def added(self, url: str, start: int, most: int) -> Added | Unread:
        """Read from byte ``start`` on, at most so many bytes. What the service says is told, not raised."""
        ...


class Journal(Protocol):
    """Keeps events durably, in order, under one owner's epoch."""

    async def append(self, events: Sequence[Event]) -> None:
        """Return once all these events are on disk, or raise :class:`fleet.errors.StateError` and keep none.

        Raises it as well when a later owner holds the run: nothing is written under an epoch that no longer holds.
        """
        ...


class Kept(Protocol):
    """Something that a run cannot go on without, and that may be taken away meanwhile."""

    async def look(self) -> None:
        """Raise :class:`fleet.errors.StateError` if it is gone. Does not block the loop."""
        ...
