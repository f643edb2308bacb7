"""What targets can have in common: the classes that a canary covers, and what waves and spread go by."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleet.targets.glob import same_case
from fleet.targets.model import Target

DOMAINS = ("update_domain", "fault_domain")
"""Traits that only a machine's instance view tells: they are asked for where somebody goes by them."""

TRAITS = ("zone", "location", "subscription", "resource_group", "kind", "os", "size", "image", *DOMAINS)
"""What ``by`` and ``per`` may name, beside ``tag:NAME``."""

_TAG = re.compile(r"tag:(\S.{0,510}\S|\S)")


def is_trait(text: str) -> bool:
    """Say whether ``by`` or ``per`` may be this."""
    return text in TRAITS or _TAG.fullmatch(text) is not None


def trait(target: Target, by: str) -> str:
    """Return the target's value, empty if it has none. Tag names are compared without regard to case, as Azure does."""
    if by.startswith("tag:"):
        wanted = by.removeprefix("tag:").casefold()
        return next((value for name, value in target.tags.items() if name.casefold() == wanted), "")
    if by == "subscription":
        return target.subscription_name or target.subscription
    return str(getattr(target, by))


def needed_for(traits: Iterable[str]) -> frozenset[str]:
    """Return the fields that must be known of a target for these traits to be told of it, ``tag:NAME`` among them."""
    fields = {f"tag:{same_case(one.removeprefix('tag:'))}" if one.startswith("tag:") else one for one in traits}
    return frozenset(fields | ({"availability_set"} if fields & set(DOMAINS) else set()))


def alike(value: str) -> str:
    """The form in which two values are the same group: Azure's names do not differ by case."""
    return value.casefold()


def classes(target: Target) -> Iterable[tuple[str, str]]:
    """Yield the classes that a canary must cover."""
    for name in ("kind", "os", "image", "size", "location"):
        yield name, alike(trait(target, name))
