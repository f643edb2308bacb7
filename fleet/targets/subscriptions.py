"""Which subscriptions are asked: those that patterns of names and ids choose, and entries that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from fleet.errors import InvalidInput, Problem
from fleet.targets.glob import compile_glob, is_glob, same_case
from fleet.targets.model import SUBSCRIPTION_UNREADABLE, Subscription, UnreadScope, UnreadSubscription

_IN_IDS = re.compile(r"[0-9a-fA-F*?-]+", re.ASCII)
"""What a pattern that can fit an id consists of: ids of subscriptions are GUIDs (documented)."""


def chosen_subscriptions(
    patterns: Sequence[str], seen: Sequence[Subscription | UnreadSubscription]
) -> tuple[Subscription, ...]:
    """Return the subscriptions that the patterns ask for, each once, sorted by name.

    A pattern is an id, a name or a glob over both, or ``all``; a leading ``!`` excludes and wins. Without a
    pattern that includes, all are meant. Raises InvalidInput for a plain name or id that is not available, unless it may
    be an entry that cannot be read; a glob or an exclusion may fit nothing, as one playbook serves identities that see
    different subscriptions.
    """
    available = [one for one in seen if isinstance(one, Subscription)]
    unread = [one for one in seen if isinstance(one, UnreadSubscription)]
    included, excluded = _parted(patterns)
    tests = {text: _test(text) for text in included}
    problems = [
        _no_subscription(text, available)
        for text, test in tests.items()
        if same_case(text) != "all"
        and not is_glob(text)
        and not any(map(test, available))
        and not any(_fits(text, entry) is not False for entry in unread)
    ]
    if problems:
        raise InvalidInput(problems)
    kept_out = [_test(text) for text in excluded]
    chosen = {
        same_case(one.id): one
        for one in available
        if any(test(one) for test in tests.values()) and not any(test(one) for test in kept_out)
    }
    return tuple(sorted(chosen.values(), key=lambda one: (same_case(one.name), same_case(one.id))))


def unread_scopes(
    patterns: Sequence[str], seen: Sequence[Subscription | UnreadSubscription]
) -> tuple[UnreadScope, ...]:
    """Return the entries that the patterns may ask for, as what could not be read."""
    included, excluded = _parted(patterns)
    return tuple(
        UnreadScope(entry.id or "", entry.name or "", SUBSCRIPTION_UNREADABLE, entry.reason, entry.label)
        for entry in seen
        if isinstance(entry, UnreadSubscription)
        and any(_fits(text, entry) is not False for text in included)
        and not any(_fits(text, entry) is True for text in excluded)
    )


def _parted(patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the patterns that include, and without their sign those that exclude."""
    texts = [text.strip() for text in patterns]
    return [text for text in texts if not text.startswith("!")] or ["all"], [
        text[1:].strip() for text in texts if text.startswith("!")
    ]


def _fits(pattern: str, entry: UnreadSubscription) -> bool | None:
    """Say whether a pattern fits an entry that cannot be read: certainly, certainly not, or perhaps (None)."""
    if same_case(pattern) == "all":
        return True
    fits = compile_glob(pattern)
    if any(text is not None and fits(text) for text in (entry.id, entry.name)):
        return True
    may_be_id = entry.id is None and _IN_IDS.fullmatch(pattern) is not None
    return None if entry.name is None or may_be_id else False


def _test(pattern: str) -> Callable[[Subscription], bool]:
    pattern = pattern.strip()
    if same_case(pattern) == "all":
        return lambda subscription: True
    fits = compile_glob(pattern)
    return lambda subscription: fits(subscription.id) or fits(subscription.name)


def _no_subscription(text: str, available: Sequence[Subscription]) -> Problem:
    names = sorted({one.name for one in available})
    hint = did_you_mean(text, [*names, *(one.id for one in available)])
    return Problem(
        "unknown_subscription",
        f"no subscription {text!r} is visible to the signed-in identity",
        found=text,
        expected=", ".join(names[:5]) + (" ..." if len(names) > 5 else ""),
        hint=hint or "check the name, and that the identity may read the subscription",
    )


def did_you_mean(text: str, choices: Sequence[str]) -> str:
    """Return a hint that names the choice nearest to a text; empty if none is near."""
    by_case = {same_case(choice): choice for choice in choices}
    close = get_close_matches(same_case(text), by_case, n=1, cutoff=0.7)
    return f"did you mean {by_case[close[0]]}?" if close else ""
