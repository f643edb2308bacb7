"""Finding subscriptions and machines: Resource Graph first, the providers' own lists wherever it leaves a doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fleet.azure.advice import AGAIN, code_for, hint_for
from fleet.azure.reading import MAX_PAGES, Rows, Unread, gathered, paced, read, read_list, sentence, words
from fleet.azure.transport import Transport
from fleet.azure.wire import compute, hybrid, machines, resource_graph, subscriptions
from fleet.azure.wire.http import Json, as_text, dig
from fleet.azure.wire.machines import Entry
from fleet.engine.gather import gather
from fleet.engine.ports import Listing
from fleet.engine.turns import Pause, SharedRates
from fleet.errors import AzureUnusable
from fleet.targets.kinds import USUAL
from fleet.targets.model import Kind, Power, Subscription, Target, UnreadScope, UnreadSubscription
from fleet.targets.partial import PartialTarget

AT_ONCE = 16
"""Subscriptions read side by side; the lists have a budget per subscription, so this spares sockets only."""

_PLACES = {Kind.VM: "", Kind.SCALE_SET: "scale sets: ", Kind.ARC: "Arc machines: "}


@dataclass(slots=True)
class _Scope:
    """What is known of one subscription so far. ``failed`` are lists that broke off, or parts of them."""

    owner: Subscription
    targets: dict[str, Target] = field(default_factory=dict)
    partial: list[PartialTarget] = field(default_factory=list)
    failed: list[tuple[Kind, UnreadScope, Unread]] = field(default_factory=list)

    @property
    def unread(self) -> list[UnreadScope]:
        """What could not be read."""
        return [scope for _, scope, _ in self.failed]

    def add(self, found: tuple[list[Target], list[PartialTarget]]) -> None:
        """Keep what a list says; of a machine that it names, it says more than what was known before."""
        targets, partial = found
        named = {one.target.key for one in partial if one.target.id}
        self.targets = {key: target for key, target in self.targets.items() if key not in named}
        self.targets |= {target.key: target for target in targets}
        self.partial = [one for one in self.partial if one.target.key not in self.targets.keys() | named]
        self.partial += partial

    def fail(self, unread: Unread, kind: Kind, name: str = "") -> None:
        """Note that a list could not be read, or not wholly."""
        message = _PLACES[kind] + (f"{name}: " if name else "") + words(unread)
        self.failed.append((kind, UnreadScope(self.owner.id, self.owner.name, unread.code, message), unread))

    def forget(self, kind: Kind) -> None:
        """Drop what is known of a kind: better is to come. A row of no known kind is made good by each list."""
        self.targets = {key: target for key, target in self.targets.items() if target.kind is not kind}
        self.partial = [one for one in self.partial if one.kind is not kind and "kind" not in one.unknown]

    def is_closed(self, kinds: frozenset[Kind]) -> bool:
        """Say whether nothing at all could be read here."""
        return not self.targets and not self.partial and kinds <= {kind for kind, *_ in self.failed}


@dataclass(frozen=True, slots=True)
class _Graph:
    """What Resource Graph said for a batch; ``complete`` if it is certain that no row is missing."""

    rows: tuple[Json, ...]
    complete: bool


class AzureInventory:
    """The port ``Inventory`` over Azure Resource Manager. ``pause`` waits between attempts of a read."""

    def __init__(
        self, transport: Transport, *, pause: Pause = asyncio.sleep, shared: SharedRates | None = None
    ) -> None:
        self._transport = transport
        self._pause = pause
        self._reader = paced(transport, shared, pause)

    async def subscriptions(self) -> tuple[Subscription | UnreadSubscription, ...]:
        """Return every subscription the credential can see, by name, and the entries that cannot be read.

        Raises AzureUnusable if the list cannot be read, or no entry of it.
        """
        found = await read_list(self._reader, compute.list_subscriptions(), self._pause)
        known, unread = subscriptions.read_all(found.rows)
        if found.unread is not None:
            if not known or found.unread.status == 401:
                raise _unusable("the subscriptions cannot be listed", found.unread)
            unread += (UnreadSubscription("the rest of the list of subscriptions", sentence(found.unread)),)
        if not known and unread:
            reasons = "; ".join(f"{entry.label}: {entry.reason}" for entry in unread[:3])
            raise AzureUnusable(f"no entry of the list of subscriptions can be read: {reasons}", hint=AGAIN)
        if not known:
            raise AzureUnusable(
                "the credential sees no subscription",
                hint="give the principal a role on one (fleet rbac PLAYBOOK prints it), or sign in to another --tenant",
                code="no_rights",
            )
        self._transport.principals.know(known)
        return (*sorted(known, key=lambda sub: (sub.name.casefold(), sub.id)), *unread)

    async def list_targets(self, subscriptions: Sequence[Subscription], kinds: frozenset[Kind] = USUAL) -> Listing:
        """Return the machines of these kinds in these subscriptions.

        A subscription that Resource Graph cannot answer for, or in which it knows no machine of a kind at all, is read
        from that kind's own provider, since the graph lags behind, and so is one of which a row cannot be read; instances
        of scale sets always are, as the graph has none. What cannot be read is named: a list in ``unread``, a machine in
        ``partial``. Raises AzureUnusable when no subscription can be.
        """
        scopes = {sub.id.casefold(): _Scope(sub) for sub in subscriptions}
        doubtful = [(scope, Kind.SCALE_SET) for scope in scopes.values() if Kind.SCALE_SET in kinds]
        known = kinds & resource_graph.TABLES.keys()
        for batch in _batches(list(scopes.values()), resource_graph.MAX_SUBSCRIPTIONS) if known else ():
            doubtful += await self._ask_graph(batch, known)
        await self._read_all(doubtful)
        failed = [scope for scope in scopes.values() if scope.is_closed(kinds)]
        if scopes and len(failed) == len(scopes):
            raise _all_closed(failed)
        return _listing(list(scopes.values()))

    async def with_domains(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Return the targets with their update and fault domains, in the same order.

        Only instance views tell them. Those of scale sets came with their list; of the VMs, those in availability sets
        are asked, one read each, and no other has any (documented). Raises AzureUnusable where one cannot be read: a VM
        taken for one without a domain might be restarted together with its twin.
        """

        async def asked(target: Target) -> Target:
            if not target.availability_set or target.update_domain:
                return target
            answer = await read(self._reader, compute.vm_view(target), self._pause)
            if isinstance(answer, Unread):
                if answer.is_gone:
                    return target  # gone since it was listed; the run will say so
                raise _unusable(f"the update domain of {target.name} cannot be read", answer)
            if wrong := compute.wrong_view(target, answer.json()):
                message = f"the update domain of {target.name} cannot be read: {wrong}"
                raise AzureUnusable(message, hint=AGAIN)
            return compute.placed(target, answer.json())

        return await gathered(targets, asked)

    async def _ask_graph(self, batch: list[_Scope], kinds: frozenset[Kind]) -> list[tuple[_Scope, Kind]]:
        """Fill the scopes from Resource Graph and return those that it leaves in doubt, and about which kind."""
        known = {scope.owner.id.casefold(): scope for scope in batch}
        answer = await self._graph([scope.owner.id for scope in batch], kinds)
        rows: dict[str, list[Entry]] = {name: [] for name in known}
        certain = answer.complete
        for position, row in enumerate(answer.rows, start=1):
            named = resource_graph.subscriptions_of(row)
            owners = [known[name] for name in named if name in known]
            if len(owners) == len(named) == 1:
                rows[owners[0].owner.id.casefold()].append(resource_graph.target(row, owners[0].owner, position))
            else:
                certain = False  # whose machine it is cannot be told, so it may be anybody's
        doubtful = []
        for name, scope in known.items():
            targets, partial = machines.settle(rows[name])
            scope.add((targets, partial))
            odd = any("kind" in one.unknown for one in partial)
            told = {target.kind for target in targets}
            unsure = {one.kind for one in partial}
            for kind in (kind for kind in Kind if kind in kinds):
                silent = kind not in told
                if not certain or odd or silent or kind in unsure:
                    doubtful.append((scope, kind))
        return doubtful

    async def _graph(self, subscriptions: list[str], kinds: frozenset[Kind]) -> _Graph:
        rows: list[Json] = []
        token, tokens, total = "", set[str](), -1
        for _ in range(MAX_PAGES):
            question = resource_graph.question(subscriptions, token, kinds)
            answer = await read(self._reader, question, self._pause)
            if isinstance(answer, Unread):
                if answer.status == 401 or answer.code == "not_connected":
                    raise _unusable("Azure cannot be asked for VMs", answer)
                return _Graph(tuple(rows), complete=False)
            page = resource_graph.read_page(answer.json())
            if page is None or page.truncated:
                return _Graph(tuple(rows) + (page.rows if page else ()), complete=False)
            rows.extend(page.rows)
            total = max(total, page.total)
            token = page.skip_token
            if not token:
                # A row that came twice stands for another that did not come.
                different = {as_text(dig(row, "id")).casefold() for row in rows}
                return _Graph(tuple(rows), complete=len(different) == len(rows) == total)
            if token in tokens:
                break
            tokens.add(token)
        return _Graph(tuple(rows), complete=False)

    async def _read_all(self, doubtful: list[tuple[_Scope, Kind]]) -> None:
        readers = {Kind.VM: self._read_vms, Kind.SCALE_SET: self._read_scale_sets, Kind.ARC: self._read_arc}
        await gather(doubtful, lambda doubt: readers[doubt[1]](doubt[0]), at_once=AT_ONCE)

    async def _read_vms(self, scope: _Scope) -> None:
        """Read a subscription's VMs from Compute, which is the truth; what the graph knew stays where this fails."""
        found = await read_list(self._reader, compute.list_vms(scope.owner.id), self._pause)
        states = Rows()
        if found.rows:
            request = compute.list_vms(scope.owner.id, status_only=True)
            states = await read_list(self._reader, request, self._pause)
        sound = [row for row in states.rows if machines.is_state(row)]
        powers = compute.powers(sound)
        unsure = "" if states.unread is None and len(sound) == len(states.rows) else machines.NO_STATE

        def power_of(identity: str) -> Power | None:
            return powers.get(identity.casefold())

        if found.unread is None:
            scope.forget(Kind.VM)
        scope.add(machines.read_all(found.rows, scope.owner, Kind.VM, power_of, unsure=unsure))
        if found.unread is not None:
            scope.fail(found.unread, Kind.VM)
        else:
            scope.add(([], machines.only_in_states(states.rows, found.rows, scope.owner)))

    async def _read_scale_sets(self, scope: _Scope) -> None:
        """Read the instances of a subscription's uniform scale sets, set by set; flexible ones have VMs instead."""
        sets = await read_list(self._reader, compute.list_scale_sets(scope.owner.id), self._pause)
        if sets.unread is not None:
            scope.fail(sets.unread, Kind.SCALE_SET)
        uniform = []
        for position, row in enumerate(sets.rows, start=1):
            if wrong := machines.wrong_scale_set(row, scope.owner):
                place = f"entry {position} of the list of scale sets"
                scope.fail(Unread(0, "scale_set_unreadable", f"{place}: {wrong}"), Kind.SCALE_SET)
            elif not compute.is_flexible(row):
                uniform.append(as_text(dig(row, "id")))
        await gather(uniform, lambda scale_set: self._read_instances(scope, scale_set), at_once=AT_ONCE)

    async def _read_instances(self, scope: _Scope, scale_set: str) -> None:
        found = await read_list(self._reader, compute.list_instances(scale_set), self._pause)
        scope.add(machines.read_all(found.rows, scope.owner, Kind.SCALE_SET, below=scale_set))
        if found.unread is not None and not found.unread.is_gone:  # deleted since the sets were listed
            scope.fail(found.unread, Kind.SCALE_SET, scale_set.rpartition("/")[2])

    async def _read_arc(self, scope: _Scope) -> None:
        """Read a subscription's Arc machines from their own provider; one that is not registered there has none."""
        found = await read_list(self._reader, hybrid.list_machines(scope.owner.id), self._pause)
        if found.unread is None:
            scope.forget(Kind.ARC)
        scope.add(machines.read_all(found.rows, scope.owner, Kind.ARC))
        if found.unread is not None and not hybrid.is_unused(found.unread.code):
            scope.fail(found.unread, Kind.ARC)


def _all_closed(failed: list[_Scope]) -> AzureUnusable:
    """Say why no subscription could be read: by one that may be readable later, if there is one, else by the first."""
    reasons = [(scope, unread) for closed in failed for _, scope, unread in closed.failed]
    passing = (found for found in reasons if found[1].is_throttled or found[1].is_unavailable)
    scope, unread = next(passing, reasons[0])
    hint, said = hint_for(unread), scope.message
    if code_for(unread) == "no_rights":
        hint = "give the principal the Reader role on the subscriptions, or choose others"
    said = said.replace(f"; {hint}", "")
    message = f"no subscription can be read; {scope.name}: {scope.code}: {said}"
    return AzureUnusable(message, hint=hint, code=code_for(unread))


def _listing(found: list[_Scope]) -> Listing:
    targets = [target for scope in found for target in scope.targets.values()]
    unread = tuple(item for scope in found for item in scope.unread)
    partial = tuple(item for scope in found for item in scope.partial)
    return Listing(tuple(sorted(targets, key=lambda target: target.key)), unread, partial)


def _batches(scopes: list[_Scope], size: int) -> Iterator[list[_Scope]]:
    for start in range(0, len(scopes), size):
        yield scopes[start : start + size]


def _unusable(what: str, unread: Unread) -> AzureUnusable:
    hint = hint_for(unread)
    said = sentence(unread).replace(f"; {hint}", "")
    return AzureUnusable(f"{what}: {said}", hint=hint, code=code_for(unread))
