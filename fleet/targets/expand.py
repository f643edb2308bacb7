"""From the rows of the inventory to the sorted set of targets, and why each row is in or out.

The rules in their order: ``exclude`` (always wins), resource groups, kinds, ``where``, ``--limit``, ``--pick``,
the cap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum

from fleet.errors import InvalidInput, Problem, Refused
from fleet.targets.entries import Entry, read_entries
from fleet.targets.glob import Test, compile_glob, is_glob, same_case
from fleet.targets.model import Kind, Subscription, Target, TargetSet, UnreadScope
from fleet.targets.natural import natural_key
from fleet.targets.selector import EVERYTHING, Selector


class Rule(StrEnum):
    """Which rule decided about a row."""

    EXCLUDE = "exclude"
    RESOURCE_GROUP = "resource_group"
    KIND = "kind"
    WHERE = "where"
    LIMIT = "limit"
    PICK = "pick"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which targets the playbook and the flags ask for; the default is all of them.

    ``resource_groups`` are names or globs, a leading ``!`` excludes. ``exclude`` (playbook),
    ``extra_exclude`` (``--exclude``) and ``limit`` (``--limit``, one must fit) hold
    entries as ``fleet.targets.entries`` reads them. ``pick`` takes a sample of that many by ``seed``.
    ``max`` is the cap above which nothing runs. ``kinds`` None lets every kind in.
    """

    resource_groups: tuple[str, ...] = ()
    where: Selector = EVERYTHING
    exclude: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    extra_exclude: tuple[str, ...] = ()
    pick: int | None = None
    seed: int = 0
    max: int | None = None
    kinds: frozenset[Kind] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a target is in or out: the rule, the text of the clause or entry that decided, and a sentence."""

    target: Target
    included: bool
    rule: Rule
    clause: str
    reason: str


def expand(rows: Iterable[Target], wanted: Wanted, *, unread: tuple[UnreadScope, ...] = ()) -> TargetSet:
    """Return the wanted targets among the rows: each VM once, sorted by subscription, group and name.

    The order of the rows does not matter. Raises InvalidInput if an entry of ``wanted`` cannot be read, and
    Refused (``too_many_targets``) if more are left than ``wanted.max``.
    """
    chosen = _sampled(_filtered(rows, _read(wanted)), wanted)
    if wanted.max is not None and len(chosen) > wanted.max:
        raise Refused(
            f"{len(chosen):,} targets are selected, and at most {wanted.max:,} may be",
            hint="narrow it with --limit, take a sample with --pick N, or raise the cap with --max-targets N",
            code="too_many_targets",
        )
    return TargetSet(chosen, unread)


def explain(rows: Iterable[Target], wanted: Wanted) -> tuple[Decision, ...]:
    """Say of every VM among the rows, each once and sorted, whether it is in, and what decided.

    Agrees with ``expand``; where that would refuse, every VM is out. Raises InvalidInput as ``expand``
    does.
    """
    vms = _sorted(rows)
    rules = _read(wanted)
    filtered = tuple(vm for vm in vms if rules.kept_out(vm) is None)
    sample = frozenset(vm.key for vm in _sampled(filtered, wanted))
    return tuple(_decision(vm, rules, wanted, sample, len(filtered)) for vm in vms)


def unmatched(rows: Iterable[Target], wanted: Wanted) -> tuple[Problem, ...]:
    """Return the entries of ``wanted`` that fit no row, to be shown as warnings.

    A mistyped name in ``exclude`` would otherwise leave out nobody, and nobody would know.
    """
    vms = tuple(rows)
    rules = _read(wanted)
    names = {same_case(vm.name): vm.name for vm in vms}
    groups = {same_case(vm.resource_group): vm.resource_group for vm in vms}
    problems = [
        _fits_nothing("resource_groups", text, groups)
        for text, test in (*rules.groups, *rules.excluded_groups)
        if not any(map(test, groups))
    ]
    for place, entries in (("exclude", rules.exclude), ("limit", rules.limit)):
        for entry in entries:
            problems += (_fits_nothing(place, name, names) for name in sorted(entry.names - names.keys()))
            if entry.tests and not any(test(vm) for test in entry.tests for vm in vms):
                problems.append(_fits_nothing(place, entry.text, {}))
    return tuple(problems)


def pick(targets: TargetSet, n: int, seed: int) -> TargetSet:
    """Return a sample of ``n`` targets in their order, the same for the same seed.

    Each VM has a rank of its own, so when the fleet grows a VM leaves the sample only for a new one.
    """
    ranked = sorted(targets.targets, key=lambda target: _rank(target, seed))
    taken = frozenset(target.key for target in ranked[: max(n, 0)])
    return replace(targets, targets=tuple(target for target in targets.targets if target.key in taken))


def require_some(target_set: TargetSet, allow_empty: bool) -> None:
    """Raise Refused (``no_targets``) if there is no target, unless an empty run is allowed."""
    if target_set.targets or allow_empty:
        return
    message = "no target is selected"
    if target_set.unread:
        names = ", ".join(f"{scope.name or scope.subscription} ({scope.code})" for scope in target_set.unread[:5])
        message += f", and {len(target_set.unread)} of the subscriptions could not be read: {names}"
    hint = "fleet targets ... --explain shows what keeps each VM out; --allow-empty lets an empty run pass"
    raise Refused(message, hint=hint, code="no_targets")


def chosen_subscriptions(patterns: Sequence[str], available: Sequence[Subscription]) -> tuple[Subscription, ...]:
    """Return the subscriptions that the patterns ask for, each once, sorted by name.

    A pattern is an id, a name or a glob over both, or ``all``; a leading ``!`` excludes and wins. Without a
    pattern that includes, all are meant. Raises InvalidInput for a plain name or id that is not available;
    a glob or an exclusion may fit nothing, as one playbook serves identities that see different
    subscriptions.
    """
    excluded = [_subscription_test(text.strip()[1:]) for text in patterns if text.strip().startswith("!")]
    included = [text.strip() for text in patterns if not text.strip().startswith("!")] or ["all"]
    tests = {text: _subscription_test(text) for text in included}
    problems = [
        _no_subscription(text, available)
        for text, test in tests.items()
        if same_case(text) != "all" and not is_glob(text) and not any(map(test, available))
    ]
    if problems:
        raise InvalidInput(problems)
    chosen = {
        same_case(one.id): one
        for one in available
        if any(test(one) for test in tests.values()) and not any(test(one) for test in excluded)
    }
    return tuple(sorted(chosen.values(), key=lambda one: (same_case(one.name), same_case(one.id))))


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is wanted, read and ready to be compared."""

    exclude: tuple[Entry, ...]
    groups: tuple[tuple[str, Test], ...]
    excluded_groups: tuple[tuple[str, Test], ...]
    where: Selector
    limit: tuple[Entry, ...]
    kinds: frozenset[Kind] | None

    def kept_out(self, target: Target) -> tuple[Rule, str] | None:
        """Return the first rule that keeps a target out, and its text."""
        for entry in self.exclude:
            if entry.covers(target):
                return Rule.EXCLUDE, entry.text
        for text, test in self.excluded_groups:
            if test(target.resource_group):
                return Rule.RESOURCE_GROUP, text
        if self.groups and not any(test(target.resource_group) for _, test in self.groups):
            return Rule.RESOURCE_GROUP, ", ".join(text for text, _ in self.groups)
        if self.kinds is not None and target.kind not in self.kinds:
            return Rule.KIND, ", ".join(kind.value for kind in Kind if kind in self.kinds)
        if not self.where.matches(target):
            return Rule.WHERE, self.where.text
        return self._beyond_limit(target)

    def _beyond_limit(self, target: Target) -> tuple[Rule, str] | None:
        asked = [entry for entry in self.limit if not entry.negated]
        for entry in self.limit:
            if entry.negated and entry.covers(target):
                return Rule.LIMIT, entry.text
        if asked and not any(entry.covers(target) for entry in asked):
            return Rule.LIMIT, ", ".join(entry.text for entry in asked)
        return None


def _read(wanted: Wanted) -> _Rules:
    groups = [text.strip() for text in wanted.resource_groups]
    return _Rules(
        exclude=read_entries((*wanted.exclude, *wanted.extra_exclude), place="exclude", negatable=False),
        groups=tuple((text, compile_glob(text)) for text in groups if not text.startswith("!")),
        excluded_groups=tuple((text, compile_glob(text[1:].strip())) for text in groups if text.startswith("!")),
        where=wanted.where,
        limit=read_entries(wanted.limit, place="limit", negatable=True),
        kinds=wanted.kinds,
    )


def _filtered(rows: Iterable[Target], rules: _Rules) -> tuple[Target, ...]:
    return tuple(vm for vm in _sorted(rows) if rules.kept_out(vm) is None)


def _sampled(targets: tuple[Target, ...], wanted: Wanted) -> tuple[Target, ...]:
    return targets if wanted.pick is None else pick(TargetSet(targets), wanted.pick, wanted.seed).targets


def _sorted(rows: Iterable[Target]) -> list[Target]:
    """Each VM once, in order. Of rows that differ about one VM the same one is taken every time."""
    vms: dict[str, Target] = {}
    for row in rows:
        known = vms.setdefault(row.key, row)
        if known is not row and _content(row) < _content(known):
            vms[row.key] = row
    return sorted(vms.values(), key=_place)


def _content(target: Target) -> tuple[str, ...]:
    fields = (
        target.id,
        target.name,
        target.resource_group,
        target.subscription_name,
        target.location,
        target.os,
    )
    more = (target.size, target.image, target.zone, target.power, target.scale_set, repr(sorted(target.tags.items())))
    return (*fields, target.subscription, *more)


def _place(target: Target) -> tuple[object, ...]:
    subscription = (same_case(target.subscription_name), same_case(target.subscription))
    return (*subscription, same_case(target.resource_group), natural_key(same_case(target.name)), target.key)


def _rank(target: Target, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{target.key}".encode("utf-8", "surrogatepass")).digest()


def _decision(target: Target, rules: _Rules, wanted: Wanted, sample: frozenset[str], found: int) -> Decision:
    out = rules.kept_out(target)
    if out is not None:
        rule, clause = out
        return Decision(target, False, rule, clause, _REASONS[rule](target, clause, wanted))
    if target.key not in sample:
        reason = f"not among the {wanted.pick} picked of {found:,}"
        return Decision(target, False, Rule.PICK, str(wanted.pick), reason)
    if wanted.max is not None and len(sample) > wanted.max:
        reason = f"{len(sample):,} targets are more than the {wanted.max:,} allowed, so none is taken"
        return Decision(target, False, Rule.MAX, str(wanted.max), reason)
    return Decision(target, True, Rule.WHERE, wanted.where.text or "everything", _because(target, wanted.where))


def _because(target: Target, where: Selector) -> str:
    return "; ".join(map(str, where.explain(target).deciding()))


_REASONS: dict[Rule, Callable[[Target, str, Wanted], str]] = {
    Rule.EXCLUDE: lambda target, clause, wanted: f"excluded by {clause}",
    Rule.RESOURCE_GROUP: lambda target, clause, wanted: (
        f"resource group {target.resource_group} is excluded by {clause}"
        if clause.startswith("!")
        else f"resource group {target.resource_group} is not among {clause}"
    ),
    Rule.KIND: lambda target, clause, wanted: f'kind is "{target.kind}", and what is looked for is {clause}',
    Rule.WHERE: lambda target, clause, wanted: _because(target, wanted.where),
    Rule.LIMIT: lambda target, clause, wanted: (
        f"left out by --limit {clause}" if clause.startswith("!") else f"not within --limit {clause}"
    ),
}


def _subscription_test(pattern: str) -> Callable[[Subscription], bool]:
    pattern = pattern.strip()
    if same_case(pattern) == "all":
        return lambda subscription: True
    fits = compile_glob(pattern)
    return lambda subscription: fits(subscription.id) or fits(subscription.name)


def _no_subscription(text: str, available: Sequence[Subscription]) -> Problem:
    names = sorted({one.name for one in available})
    hint = _did_you_mean(text, [*names, *(one.id for one in available)])
    return Problem(
        "unknown_subscription",
        f"no subscription {text!r} is visible to the signed-in identity",
        found=text,
        expected=", ".join(names[:5]) + (" ..." if len(names) > 5 else ""),
        hint=hint or "check the name, and that the identity may read the subscription",
    )


def _fits_nothing(place: str, text: str, known: dict[str, str]) -> Problem:
    hint = _did_you_mean(text.removeprefix("!"), list(known.values()))
    return Problem("fits_nothing", f"{place} {text!r} fits no VM", found=text, hint=hint)


def _did_you_mean(text: str, choices: Sequence[str]) -> str:
    by_case = {same_case(choice): choice for choice in choices}
    close = get_close_matches(same_case(text), by_case, n=1, cutoff=0.7)
    return f"did you mean {by_case[close[0]]}?" if close else ""
