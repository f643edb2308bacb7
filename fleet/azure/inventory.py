"""Finding subscriptions and machines: Resource Graph first, the providers' own lists wherever it leaves a doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fleet.azure.reading import MAX_PAGES, Pace, Pause, Rows, Unread, gathered, read, read_list
from fleet.azure.transport import Transport
from fleet.azure.wire import compute, hybrid, resource_graph
from fleet.azure.wire.http import TRUST_HINT, Json, as_text, is_untrusted
from fleet.engine.ports import Listing
from fleet.errors import AzureUnusable
from fleet.targets.kinds import USUAL
from fleet.targets.model import Kind, Subscription, Target, UnreadScope, kind_of

AT_ONCE = 16
"""Subscriptions read side by side; the lists have a budget per subscription, so this spares sockets only."""

_UNREADABLE = "vm_unreadable"


_NAMES = {Kind.VM: "a VM", Kind.SCALE_SET: "a scale-set instance", Kind.ARC: "an Arc machine"}
_PLACES = {Kind.VM: "", Kind.SCALE_SET: "scale sets: ", Kind.ARC: "Arc machines: "}


@dataclass(slots=True)
class _Scope:
    """What is known of one subscription so far. ``misread`` are rows that make no sense, ``failed`` lists that broke."""

    owner: Subscription
    targets: dict[str, Target] = field(default_factory=dict)
    misread: list[tuple[Kind, UnreadScope]] = field(default_factory=list)
    failed: list[tuple[Kind, UnreadScope]] = field(default_factory=list)

    @property
    def unread(self) -> list[UnreadScope]:
        """What could not be read."""
        return [scope for _, scope in (*self.misread, *self.failed)]

    def add(self, target: Target | None, row: dict[str, Json], kind: Kind) -> None:
        """Keep a machine, or say that one could not be read: none is dropped in silence."""
        if target is not None:
            self.targets[target.key] = target
            return
        name = as_text(row.get("id")) or as_text(row.get("name")) or f"{_NAMES[kind]} without a name"
        message = f"{name}: its id or its operating system cannot be told"
        self.misread.append((kind, UnreadScope(self.owner.id, self.owner.name, _UNREADABLE, message)))

    def fail(self, unread: Unread, kind: Kind, name: str = "") -> None:
        """Note that a list could not be read, or not wholly."""
        message = _PLACES[kind] + (f"{name}: " if name else "") + unread.message
        self.failed.append((kind, UnreadScope(self.owner.id, self.owner.name, unread.code, message)))

    def forget(self, kind: Kind) -> None:
        """Drop what is known of a kind: better is to come."""
        self.targets = {key: target for key, target in self.targets.items() if target.kind is not kind}
        self.misread = [item for item in self.misread if item[0] is not kind]

    def is_closed(self, kinds: frozenset[Kind]) -> bool:
        """Say whether nothing at all could be read here."""
        return not self.targets and kinds <= {kind for kind, _ in self.failed}


@dataclass(frozen=True, slots=True)
class _Graph:
    """What Resource Graph said for a batch; ``complete`` if it is certain that no row is missing."""

    rows: tuple[dict[str, Json], ...]
    complete: bool
    narrowed: bool


class AzureInventory:
    """The port ``Inventory`` over Azure Resource Manager. ``pause`` waits between attempts of a read."""

    def __init__(self, transport: Transport, *, pause: Pause = asyncio.sleep) -> None:
        self._transport = transport
        self._pause = pause

    async def subscriptions(self) -> tuple[Subscription, ...]:
        """Return every subscription the credential can see, by name. Raises AzureUnusable if that fails."""
        found = await read_list(self._transport, compute.list_subscriptions(), self._pause)
        if found.unread:
            raise _unusable("the subscriptions cannot be listed", found.unread)
        known = {sub.id.casefold(): sub for row in found.rows if (sub := compute.subscription(row))}
        if not known:
            raise AzureUnusable(
                "the credential sees no subscription",
                hint="give the principal a role on one (fleet rbac PLAYBOOK prints it), or sign in to another --tenant",
                code="no_rights",
            )
        self._transport.principals.know(known.values())
        return tuple(sorted(known.values(), key=lambda sub: (sub.name.casefold(), sub.id)))

    async def list_targets(
        self, subscriptions: Sequence[Subscription], kql: str | None, kinds: frozenset[Kind] = USUAL
    ) -> Listing:
        """Return the machines of these kinds in these subscriptions.

        A subscription that Resource Graph cannot answer for, or in which it knows no machine of a kind at all, is read
        from that kind's own provider, since the graph lags behind; instances of scale sets always are, as the graph has
        none. What cannot be read is named in ``unread``. Raises AzureUnusable when no subscription can be.
        """
        scopes = {sub.id.casefold(): _Scope(sub) for sub in subscriptions}
        doubtful = [(scope, Kind.SCALE_SET) for scope in scopes.values() if Kind.SCALE_SET in kinds]
        known = kinds & resource_graph.TABLES.keys()
        for batch in _batches(list(scopes.values()), resource_graph.MAX_SUBSCRIPTIONS) if known else ():
            doubtful += await self._ask_graph(batch, kql, known)
        await self._read_all(doubtful)
        failed = [scope for scope in scopes.values() if scope.is_closed(kinds)]
        if scopes and len(failed) == len(scopes):
            first = failed[0].unread[0]
            raise AzureUnusable(
                f"no subscription can be read; {first.name}: {first.code}: {first.message}",
                hint=_hint(Unread(0, first.code, first.message))
                if first.code == "InvalidAuthenticationTokenTenant"
                else "give the principal the Reader role on the subscriptions, or choose others",
                code="no_rights",
            )
        return _listing(list(scopes.values()))

    async def with_domains(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Return the targets with their update and fault domains, in the same order.

        Only instance views tell them. Those of scale sets came with their list; of the VMs, those in availability sets
        are asked, one read each, and no other has any (documented). Raises AzureUnusable where one cannot be read: a VM
        taken for one without a domain might be restarted together with its twin.
        """
        pace = Pace(self._transport, self._pause)

        async def asked(target: Target) -> Target:
            if not target.availability_set or target.update_domain:
                return target
            request = compute.vm_view(target)
            await pace.turn(request)
            answer = await read(self._transport, request, self._pause)
            if not isinstance(answer, Unread):
                return compute.placed(target, answer.json())
            if answer.status == 404:
                return target  # gone since it was listed; the run will say so
            raise _unusable(f"the update domain of {target.name} cannot be read", answer)

        return await gathered(targets, asked)

    async def _ask_graph(
        self, batch: list[_Scope], kql: str | None, kinds: frozenset[Kind]
    ) -> list[tuple[_Scope, Kind]]:
        """Fill the scopes from Resource Graph and return those that it leaves in doubt, and about which kind."""
        known = {scope.owner.id.casefold(): scope for scope in batch}
        answer = await self._graph([scope.owner.id for scope in batch], kql, kinds)
        told: set[tuple[str, Kind]] = set()
        for row in answer.rows:
            scope = known.get(resource_graph.subscription_of(row))
            if scope is not None:
                kind = kind_of(as_text(row.get("id")))
                told.add((scope.owner.id, kind))
                scope.add(resource_graph.target(row, scope.owner), row, kind)
        if answer.complete and answer.narrowed:
            return []
        everything = [(scope, kind) for scope in batch for kind in Kind if kind in kinds]
        if not answer.complete:
            return everything
        return [(scope, kind) for scope, kind in everything if (scope.owner.id, kind) not in told]

    async def _graph(self, subscriptions: list[str], kql: str | None, kinds: frozenset[Kind]) -> _Graph:
        narrowed = kql is not None and resource_graph.is_condition(kql)
        rows: list[dict[str, Json]] = []
        token, tokens, total = "", set[str](), -1
        for _ in range(MAX_PAGES):
            question = resource_graph.question(subscriptions, kql, token, kinds)
            answer = await read(self._transport, question, self._pause)
            if isinstance(answer, Unread):
                if answer.status == 401 or answer.code == "not_connected":
                    raise _unusable("Azure cannot be asked for VMs", answer)
                if answer.status == 400 and narrowed:
                    # The condition only spares rows; whoever asked selects again by the rows themselves.
                    return await self._graph(subscriptions, None, kinds)
                return _Graph(tuple(rows), complete=False, narrowed=narrowed)
            page = resource_graph.read_page(answer.json())
            if page is None or page.truncated:
                return _Graph(tuple(rows) + (page.rows if page else ()), complete=False, narrowed=narrowed)
            rows.extend(page.rows)
            total = max(total, page.total)
            token = page.skip_token
            if not token:
                return _Graph(tuple(rows), complete=len(rows) >= total, narrowed=narrowed)
            if token in tokens:
                break
            tokens.add(token)
        return _Graph(tuple(rows), complete=False, narrowed=narrowed)

    async def _read_all(self, doubtful: list[tuple[_Scope, Kind]]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        readers = {Kind.VM: self._read_vms, Kind.SCALE_SET: self._read_scale_sets, Kind.ARC: self._read_arc}

        async def one(scope: _Scope, kind: Kind) -> None:
            async with gate:
                await readers[kind](scope)

        try:
            async with asyncio.TaskGroup() as group:
                for scope, kind in doubtful:
                    group.create_task(one(scope, kind))
        except BaseExceptionGroup as errors:
            unusable, _ = errors.split(AzureUnusable)
            if unusable is None:
                raise
            raise _first(unusable) from None

    async def _read_vms(self, scope: _Scope) -> None:
        """Read a subscription's VMs from Compute, which is the truth; what the graph knew stays where this fails."""
        found = await read_list(self._transport, compute.list_vms(scope.owner.id), self._pause)
        states = Rows()
        if found.rows:
            request = compute.list_vms(scope.owner.id, status_only=True)
            states = await read_list(self._transport, request, self._pause)
        powers = compute.powers(tuple(states.rows))
        if found.unread is None:
            scope.forget(Kind.VM)
        for row in found.rows:
            power = powers.get(as_text(row.get("id")).casefold())
            scope.add(compute.target(row, scope.owner, power), row, Kind.VM)
        if found.unread is not None:
            scope.fail(found.unread, Kind.VM)

    async def _read_scale_sets(self, scope: _Scope) -> None:
        """Read the instances of a subscription's uniform scale sets, set by set; flexible ones have VMs instead."""
        sets = await read_list(self._transport, compute.list_scale_sets(scope.owner.id), self._pause)
        if sets.unread is not None:
            scope.fail(sets.unread, Kind.SCALE_SET)
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for row in sets.rows:
                if not compute.is_flexible(row):
                    group.create_task(self._read_instances(scope, as_text(row.get("id")), gate))

    async def _read_instances(self, scope: _Scope, scale_set: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            found = await read_list(self._transport, compute.list_instances(scale_set), self._pause)
        for row in found.rows:
            scope.add(compute.target(row, scope.owner), row, Kind.SCALE_SET)
        if found.unread is not None and found.unread.status != 404:  # deleted since the sets were listed
            scope.fail(found.unread, Kind.SCALE_SET, scale_set.rpartition("/")[2])

    async def _read_arc(self, scope: _Scope) -> None:
        """Read a subscription's Arc machines from their own provider; one that is not registered there has none."""
        found = await read_list(self._transport, hybrid.list_machines(scope.owner.id), self._pause)
        if found.unread is None:
            scope.forget(Kind.ARC)
        for row in found.rows:
            scope.add(hybrid.target(row, scope.owner), row, Kind.ARC)
        if found.unread is not None and not hybrid.is_unused(found.unread.code):
            scope.fail(found.unread, Kind.ARC)


def _listing(found: list[_Scope]) -> Listing:
    targets = [target for scope in found for target in scope.targets.values()]
    unread = tuple(item for scope in found for item in scope.unread)
    return Listing(tuple(sorted(targets, key=lambda target: target.key)), unread)


def _batches(scopes: list[_Scope], size: int) -> Iterator[list[_Scope]]:
    for start in range(0, len(scopes), size):
        yield scopes[start : start + size]


def _first(errors: BaseExceptionGroup[AzureUnusable]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _unusable(what: str, unread: Unread) -> AzureUnusable:
    status = f"HTTP {unread.status} " if unread.status else ""
    return AzureUnusable(f"{what}: {status}{unread.code}: {unread.message}", hint=_hint(unread))


def _hint(unread: Unread) -> str:
    if is_untrusted(unread.message):
        return TRUST_HINT
    if unread.code == "InvalidAuthenticationTokenTenant":
        return "the subscription is of another tenant: sign in to it with --tenant, or leave the subscription out"
    if unread.status in (401, 403):
        return "sign in again, and see that the principal has the Reader role"
    if unread.code == "not_connected":
        return "check the network, the proxy and azure.cloud"
    return "try again; if it stays, look at Azure's status page"
