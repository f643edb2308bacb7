"""Finding subscriptions and VMs: Resource Graph first, the Compute lists wherever it leaves a doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fleet.azure.reading import MAX_PAGES, Pause, Rows, Unread, read, read_list
from fleet.azure.transport import Transport
from fleet.azure.wire import compute, resource_graph
from fleet.azure.wire.http import TRUST_HINT, Json, as_text, is_untrusted
from fleet.engine.ports import Listing
from fleet.errors import AzureUnusable
from fleet.targets.model import Subscription, Target, UnreadScope

AT_ONCE = 16
"""Subscriptions read side by side; the lists have a budget per subscription, so this spares sockets only."""

_UNREADABLE = "vm_unreadable"


@dataclass(slots=True)
class _Scope:
    """What is known of one subscription so far."""

    owner: Subscription
    targets: dict[str, Target] = field(default_factory=dict)
    unread: list[UnreadScope] = field(default_factory=list)

    def add(self, target: Target | None, row: dict[str, Json]) -> None:
        """Keep a VM, or say that one could not be read: none is dropped in silence."""
        if target is not None:
            self.targets[target.key] = target
            return
        name = as_text(row.get("id")) or as_text(row.get("name")) or "a VM without a name"
        self.fail(_UNREADABLE, f"{name}: its id or its operating system cannot be told")

    @property
    def is_closed(self) -> bool:
        """Say whether nothing at all could be read here."""
        return not self.targets and any(item.code != _UNREADABLE for item in self.unread)

    def fail(self, code: str, message: str) -> None:
        self.unread.append(UnreadScope(self.owner.id, self.owner.name, code, message))


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

    async def list_targets(self, subscriptions: Sequence[Subscription], kql: str | None) -> Listing:
        """Return the VMs of these subscriptions.

        A subscription that Resource Graph cannot answer for, or of which it knows no VM at all, is read from
        Compute, since the graph lags behind. One that cannot be read is named in ``unread``. Raises
        AzureUnusable when not one can be.
        """
        scopes = {sub.id.casefold(): _Scope(sub) for sub in subscriptions}
        doubtful: list[_Scope] = []
        for batch in _batches(list(scopes.values()), resource_graph.MAX_SUBSCRIPTIONS):
            doubtful += await self._ask_graph(batch, kql)
        await self._read_all(doubtful)
        failed = [scope for scope in scopes.values() if scope.is_closed]
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

    async def _ask_graph(self, batch: list[_Scope], kql: str | None) -> list[_Scope]:
        """Fill the scopes from Resource Graph and return those that it leaves in doubt."""
        known = {scope.owner.id.casefold(): scope for scope in batch}
        answer = await self._graph([scope.owner.id for scope in batch], kql)
        for row in answer.rows:
            scope = known.get(resource_graph.subscription_of(row))
            if scope is not None:
                scope.add(resource_graph.target(row, scope.owner), row)
        if not answer.complete:
            return batch
        if answer.narrowed:
            return []
        return [scope for scope in batch if not scope.targets and not scope.unread]

    async def _graph(self, subscriptions: list[str], kql: str | None) -> _Graph:
        narrowed = kql is not None and resource_graph.is_condition(kql)
        rows: list[dict[str, Json]] = []
        token, tokens, total = "", set[str](), -1
        for _ in range(MAX_PAGES):
            answer = await read(self._transport, resource_graph.question(subscriptions, kql, token), self._pause)
            if isinstance(answer, Unread):
                if answer.status == 401 or answer.code == "not_connected":
                    raise _unusable("Azure cannot be asked for VMs", answer)
                if answer.status == 400 and narrowed:
                    # The condition only spares rows; whoever asked selects again by the rows themselves.
                    return await self._graph(subscriptions, None)
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

    async def _read_all(self, scopes: list[_Scope]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for scope in scopes:
                    group.create_task(self._read_compute(scope, gate))
        except BaseExceptionGroup as errors:
            unusable, _ = errors.split(AzureUnusable)
            if unusable is None:
                raise
            raise _first(unusable) from None

    async def _read_compute(self, scope: _Scope, gate: asyncio.Semaphore) -> None:
        """Read a subscription's VMs from Compute, which is the truth; what the graph knew stays where this
        fails.
        """
        async with gate:
            found = await read_list(self._transport, compute.list_vms(scope.owner.id), self._pause)
            states = Rows()
            if found.rows:
                request = compute.list_vms(scope.owner.id, status_only=True)
                states = await read_list(self._transport, request, self._pause)
        powers = compute.powers(tuple(states.rows))
        if found.unread is None:
            scope.targets.clear()
            scope.unread.clear()
        for row in found.rows:
            power = powers.get(as_text(row.get("id")).casefold())
            scope.add(compute.target(row, scope.owner, power), row)
        if found.unread is not None:
            scope.fail(found.unread.code, found.unread.message)


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
