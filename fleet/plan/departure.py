"""Which targets of a frozen plan its own selection does not let in any more, and of which that is not known. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from fleet.plan.model import Left
from fleet.targets.glob import same_case
from fleet.targets.model import VM_UNREADABLE, Target, UnreadScope
from fleet.targets.partial import PartialTarget


def departures(frozen: Sequence[Target], present: Mapping[str, Target], reasons: Mapping[str, str]) -> Iterator[Left]:
    """Yield the frozen targets that are not among those selected now, and why. Both mappings are by the targets' keys.

    Scripts are wrapped for the OS, so one of another OS under the same id is another machine.
    """
    for index, target in enumerate(frozen):
        found = present.get(target.key)
        if found is not None and found.os is not target.os:
            yield Left(index, f"its OS changed from {target.os.value} to {found.os.value}")
        elif found is None and target.key in reasons:
            yield Left(index, f"no longer selected: {reasons[target.key]}")
        elif found is None:
            yield Left(index, "not found: it no longer exists under this id, or its subscription is no longer listed")


def undecided(
    absent: Sequence[Target],
    seen: Collection[str],
    unread: Sequence[UnreadScope],
    partial: Sequence[PartialTarget],
) -> tuple[Target, ...]:
    """Return the absent targets of which nobody can say that they left, as something could not be read.

    ``seen`` are the keys of machines that were read and are certainly not selected.
    """
    lost = [one for one in partial if one.scope() in unread]
    named = {one.target.key for one in lost if "id" not in one.unknown}
    nameless = [one for one in lost if "id" in one.unknown]
    scopes = [scope for scope in unread if scope.code != VM_UNREADABLE]

    def is_undecided(target: Target) -> bool:
        if target.key in named or target.key in seen:
            return target.key in named
        return any(_may_hold(scope, target) for scope in scopes) or any(_may_be(one, target) for one in nameless)

    return tuple(filter(is_undecided, absent))


def _may_hold(scope: UnreadScope, target: Target) -> bool:
    """Whether what could not be read is the target's subscription; an entry without an id may be any."""
    return not scope.subscription or same_case(scope.subscription) == same_case(target.subscription)


def _may_be(one: PartialTarget, target: Target) -> bool:
    """Whether a machine whose id cannot be read may be the target, by all that is known of it."""
    return one.kind is target.kind and all(
        field in one.unknown or same_case(getattr(one.target, field)) == same_case(getattr(target, field))
        for field in ("subscription", "resource_group", "name")
    )
