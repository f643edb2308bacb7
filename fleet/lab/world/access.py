"""Rights, locks and policies on subscriptions, groups and machines: as the lab file has them and as ARM lists them. Pure.

Rights add up from the subscription down, as role assignments do; locks hold for all that is below them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from fleet.documents import read
from fleet.lab.wire import Json

Level = Literal["CanNotDelete", "ReadOnly"]


class RightsSpec(read.Keys):
    """What a role assignment allows."""

    actions: list[str] = Field(default=["*"], description="Actions that are allowed; * stands for any text.")
    not_actions: list[str] = Field(default=[], description="Actions that are taken out of those again.")


class AccessSpec(read.Keys):
    """What subscriptions, groups and classes of machines have in common."""

    rights: RightsSpec | None = Field(
        default=None,
        description="What each principal may do here and below, added to what it may do above. If no place has rights, "
        "everything is allowed.",
    )
    lock: Level | None = Field(
        default=None, description="A lock: CanNotDelete refuses every DELETE here and below, ReadOnly every change."
    )
    policy: str = Field(
        default="",
        pattern=r"^[\w-]{0,64}$",
        description="Name of a policy that denies managed commands here and below: their PUT and PATCH are refused.",
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """A subscription, a group or a machine, and what holds there."""

    id: str
    access: AccessSpec


Chain = Sequence[Scope]
"""A scope and all above it, the subscription first."""

_OPEN = ({"actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": []},)


def permissions(chain: Chain, *, limited: bool) -> tuple[Json, ...]:
    """Return what may be done at the end of a chain, as the permissions API lists it."""
    if not limited:
        return _OPEN
    given = (scope.access.rights for scope in chain)
    return tuple(
        {"actions": each.actions, "notActions": each.not_actions, "dataActions": [], "notDataActions": []}
        for each in given
        if each is not None
    )


def may(chain: Chain, action: str) -> bool:
    """Say whether some assignment of a chain allows an action."""
    given = (scope.access.rights for scope in chain)
    return any(_named(each.actions, action) and not _named(each.not_actions, action) for each in given if each)


def _named(patterns: Sequence[str], action: str) -> bool:
    return any(re.fullmatch(re.escape(each).replace(r"\*", ".*"), action, re.IGNORECASE) for each in patterns)


def locks(scopes: Sequence[Scope]) -> Iterator[Json]:
    """Yield the locks on these scopes (shape: REST specification)."""
    for scope in scopes:
        if scope.access.lock is not None:
            name = f"{scope.access.lock}-lock"
            id = f"{scope.id}/providers/Microsoft.Authorization/locks/{name}"
            level = {"level": scope.access.lock, "notes": "Set by the lab file."}
            yield {"properties": level, "id": id, "type": "Microsoft.Authorization/locks", "name": name}
