"""Finds the targets of a playbook or of a plan: the list of a cloud's machines, and which of them are let in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleet.errors import Refused
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.plan.model import Plan, Scope
    from fleet.playbook.model import Playbook, Selection
    from fleet.targets.expand import Wanted
    from fleet.targets.model import Target, TargetSet
    from fleet.targets.partial import PartialTarget


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What flags ask for beside a playbook's own selection; exclusion always wins."""

    subscriptions: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pick: int | None = None
    seed: int = 0
    max_targets: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a selection found: every VM of its subscriptions, and those that it lets in."""

    rows: tuple[Target, ...]
    wanted: Wanted
    chosen: TargetSet
    scope: Scope
    partial: tuple[PartialTarget, ...] = ()
    """Machines of its subscriptions of which too little is known, or something that cannot be read."""


async def find(
    conn: Connection,
    selection: Selection,
    narrowing: Narrowing,
    *,
    every_kind: bool = False,
    needed: frozenset[str] = frozenset(),
) -> Found:
    """List the machines of the selected subscriptions at once and let in those that selection and flags want.

    Only the kinds that are looked for are listed; ``every_kind`` lists the others as well, to explain why they are out.
    ``needed`` are traits that must be known of a target.

    Raises InvalidInput for a selector that cannot be understood, Refused for too many targets, AzureUnusable.
    """
    from fleet.targets import selector

    where = selector.parse(selection.where) if selection.where else selector.EVERYTHING
    patterns = narrowing.subscriptions or selection.subscriptions
    seen = await conn.inventory.subscriptions()
    # What the first request does not need is loaded after it.
    from fleet.plan.model import Scope
    from fleet.targets.expand import Wanted, expand
    from fleet.targets.kinds import EVERY, wanted_kinds
    from fleet.targets.subscriptions import chosen_subscriptions, unread_scopes

    subscriptions = chosen_subscriptions(patterns, seen)
    # All of them are listed, whatever the selector says: if Azure filtered them, a subscription without a match could not be
    # told from one that cannot be read, nor an entry of exclude that fits no VM from one whose VMs were filtered out.
    kinds = wanted_kinds(selection.kinds, where.expression)
    listing = await conn.inventory.list_targets(subscriptions, EVERY if every_kind else kinds)
    wanted = Wanted(
        resource_groups=selection.resource_groups,
        where=where,
        exclude=selection.exclude,
        limit=narrowing.limit,
        extra_exclude=narrowing.exclude,
        pick=narrowing.pick,
        seed=narrowing.seed,
        max=_smaller(selection.max, narrowing.max_targets),
        kinds=kinds,
        needed=needed,
    )
    scope = Scope(
        selection, narrowing.subscriptions, narrowing.limit, narrowing.exclude, narrowing.pick, narrowing.seed
    )
    unread = (*unread_scopes(patterns, seen), *listing.unread)
    chosen = expand(listing.targets, wanted, unread=unread, partial=listing.partial)
    return Found(listing.targets, wanted, chosen, scope, listing.partial)


async def find_for(conn: Connection, playbook: Playbook, narrowing: Narrowing) -> Found:
    """As :func:`find`, for a playbook; what its rollout goes by is asked of Azure where the list does not tell it."""
    from fleet.playbook.model import goes_by
    from fleet.targets.traits import DOMAINS, needed_for

    traits = goes_by(playbook.rollout)
    found = await find(conn, playbook.selection, narrowing, needed=needed_for(traits))
    if not traits & frozenset(DOMAINS):
        return found
    placed = await conn.inventory.with_domains(found.chosen.targets)
    return replace(found, chosen=replace(found.chosen, targets=placed))


async def find_again(connection: Connection, plan: Plan) -> Found:
    """Find which targets the plan's own selection lets in now."""
    scope = plan.scope
    narrowing = Narrowing(scope.subscriptions, scope.limit, scope.exclude, scope.pick, scope.seed)
    return await find(connection, replace(scope.selection, max=None), narrowing)


def without_left(plan: Plan, found: Found) -> Plan:
    """Return the plan with the targets named that are not to be run, as its selection does not let them in any more.

    Raises Refused (``plan_drift``) where that cannot be known of one, and (``no_targets``) where none remains.
    """
    from fleet.plan.departure import departures, undecided
    from fleet.targets.expand import explain
    from fleet.targets.folding import fold

    present = {target.key: target for target in found.chosen.targets}
    decisions = explain(found.rows, found.wanted, found.partial)
    reasons = {decision.target.key: decision.reason for decision in decisions if not decision.included}
    absent = [target for target in plan.targets if target.key not in present]
    if doubtful := undecided(absent, reasons, found.chosen.unread, found.partial):
        message = f"whether {plural(len(doubtful), 'target')} of the plan would be selected is not known"
        names = ", ".join(sorted({target.subscription_name or target.subscription for target in doubtful}))
        hint = f"no tolerance covers that; see what cannot be read in {names}: fleet targets, or try again"
        raise Refused(f"{message}: {fold(target.name for target in doubtful)}", hint=hint, code="plan_drift")
    left = tuple(departures(plan.targets, present, reasons))
    if plan.targets and len(left) == len(plan.targets):
        hint = "make a new plan: fleet plan PLAYBOOK --out FILE"
        raise Refused("no target of the plan is selected any more", hint=hint, code="no_targets")
    return replace(plan, left=left)


def _smaller(one: int | None, other: int | None) -> int | None:
    given = [value for value in (one, other) if value is not None]
    return min(given, default=None)
