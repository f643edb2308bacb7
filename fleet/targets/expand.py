"""From the rows of the inventory to the sorted set of targets, and why each row is in or out.

The rules in their order: ``exclude`` (always wins), resource groups, kinds, ``where``, ``--limit``, ``--pick``,
the cap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.errors import Problem, Refused
from fleet.targets.entries import Entry, read_entries
from fleet.targets.glob import Test, compile_glob, same_case
from fleet.targets.model import VM_UNREADABLE, Kind, Target, TargetSet, UnreadScope
from fleet.targets.natural import natural_key
from fleet.targets.partial import PartialTarget
from fleet.targets.selector import EVERYTHING, Selector
from fleet.targets.subscriptions import chosen_subscriptions as chosen_subscriptions
from fleet.targets.subscriptions import did_you_mean


class Rule(StrEnum):
    """Which rule decided about a row."""

    EXCLUDE = "exclude"
    RESOURCE_GROUP = "resource_group"
    KIND = "kind"
    WHERE = "where"
    LIMIT = "limit"
    PICK = "pick"
    MAX = "max"
    UNREADABLE = "unreadable"
    """None: too little is known of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which targets the playbook and the flags ask for; the default is all of them.

    ``resource_groups`` are names or globs, a leading ``!`` excludes. ``exclude`` (playbook),
    ``extra_exclude`` (``--exclude``) and ``limit`` (``--limit``, one must fit) hold
    entries as ``fleet.targets.entries`` reads them. ``pick`` takes a sample of that many by ``seed``.
    ``max`` is the cap above which nothing runs. ``kinds`` None lets every kind in. ``needed`` are fields that must be
    known of a target besides what sending to it needs, ``tag:NAME`` among them.
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
    needed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a target is in or out: the rule, the text of the clause or entry that decided, and a sentence.

    ``label`` says what to call a machine whose name may not be known.
    """

    target: Target
    included: bool
    rule: Rule
    clause: str
    reason: str
    label: str = ""


def expand(
    rows: Iterable[Target],
    wanted: Wanted,
    *,
    unread: tuple[UnreadScope, ...] = (),
    partial: Iterable[PartialTarget] = (),
) -> TargetSet:
    """Return the wanted targets among the rows: each VM once, sorted by subscription, group and name.

    A machine that is known in part is a target where it is certainly wanted and enough is known to send to it. It changes
    nothing where it is certainly not wanted. Otherwise it is named as unread, or in a note while Azure is creating it.

    The order of the rows does not matter. Raises InvalidInput if an entry of ``wanted`` cannot be read, and
    Refused (``too_many_targets``) if more are wanted than ``wanted.max``.
    """
    rules = _read(wanted)
    doubts = _sorted_out(partial, rules, wanted.needed)
    chosen = _sampled(_filtered((*rows, *doubts.usable), rules), wanted)
    lost = tuple(doubt for doubt in doubts.lost if not _is_beyond_sample(doubt.partial, chosen, wanted))
    certain = sum(doubt.certain for doubt in lost) if wanted.pick is None else 0
    if wanted.max is not None and len(chosen) + certain > wanted.max:
        raise Refused(
            f"{_selected(len(chosen), certain)}, and at most {wanted.max:,} may be",
            hint="narrow it with --limit, take a sample with --pick N, or raise the cap with --max-targets N",
            code="too_many_targets",
        )
    notes = tuple(f"{one.label} is left out: {_CREATING}, and {one.reason}" for one in doubts.creating)
    return TargetSet(chosen, (*unread, *(doubt.partial.scope() for doubt in lost)), notes)


_CREATING = "Azure is still creating it"


def _selected(chosen: int, certain: int) -> str:
    return f"{chosen + certain:,} targets are selected" + (f" ({certain:,} of them cannot be read)" if certain else "")


def explain(rows: Iterable[Target], wanted: Wanted, partial: Iterable[PartialTarget] = ()) -> tuple[Decision, ...]:
    """Say of every VM among the rows, each once and sorted, whether it is in, and what decided.

    Agrees with ``expand``; where that would refuse, every VM is out. Machines that are known in part stand among them.
    Raises InvalidInput as ``expand`` does.
    """
    rules = _read(wanted)
    doubts = _sorted_out(partial, rules, wanted.needed)
    vms = _sorted((*rows, *doubts.usable))
    filtered = tuple(vm for vm in vms if rules.kept_out(vm) is None)
    chosen = _sampled(filtered, wanted)
    lost = tuple(doubt for doubt in doubts.lost if not _is_beyond_sample(doubt.partial, chosen, wanted))
    certain = sum(doubt.certain for doubt in lost) if wanted.pick is None else 0
    sample = frozenset(vm.key for vm in chosen)
    decisions = [_decision(vm, rules, wanted, sample, len(filtered), certain) for vm in vms]
    decisions += doubts.decisions(wanted)
    return tuple(sorted(decisions, key=lambda decision: _place(decision.target)))


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


def counted(unread: Iterable[UnreadScope]) -> str:
    """Count what could not be read, VMs as VMs and subscriptions as subscriptions: ``2 VMs and 1 subscription``."""
    found = tuple(unread)
    vms = sum(scope.code == VM_UNREADABLE for scope in found)
    entries = sum(bool(scope.subject) for scope in found) - vms
    names = {scope.subscription for scope in found if not scope.subject}
    counts = ((vms, "VM"), (len(names) + entries, "subscription"))
    return " and ".join(f"{count:,} {noun}" + ("" if count == 1 else "s") for count, noun in counts if count)


def require_some(target_set: TargetSet, allow_empty: bool) -> None:
    """Raise Refused (``no_targets``) if there is no target, unless an empty run is allowed."""
    if target_set.targets or allow_empty:
        return
    message = "no target is selected"
    if target_set.unread:
        names = ", ".join(
            f"{scope.subject or scope.name or scope.subscription} ({scope.code})" for scope in target_set.unread[:5]
        )
        more = ", ..." if len(target_set.unread) > 5 else ""
        message += f", and {counted(target_set.unread)} could not be read: {names}{more}"
    message += "".join(f"; {note}" for note in target_set.notes[:5])
    hint = "fleet targets ... --explain shows what keeps each VM out; --allow-empty lets an empty run pass"
    raise Refused(message, hint=hint, code="no_targets")


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

    def decides(self, partial: PartialTarget) -> tuple[bool | None, Rule, str]:
        """Say whether a machine that is known in part is wanted, and which rule keeps it out or leaves it in doubt."""
        doubt: tuple[Rule, str] | None = None
        for rule, text, out in self._answers(partial):
            if out:
                return False, rule, text
            if out is None:
                doubt = doubt or (rule, text)
        return (None, *doubt) if doubt else (True, Rule.WHERE, self.where.text or "everything")

    def _answers(self, partial: PartialTarget) -> Iterator[tuple[Rule, str, bool | None]]:
        """Yield for each rule whether it keeps the machine out: certainly, certainly not, or perhaps (None)."""
        target, unknown = partial.target, partial.unknown
        for entry in self.exclude:
            yield Rule.EXCLUDE, entry.text, entry.decides(partial)
        for text, test in self.excluded_groups:
            yield Rule.RESOURCE_GROUP, text, None if "resource_group" in unknown else test(target.resource_group)
        if self.groups:
            inside = any(test(target.resource_group) for _, test in self.groups)
            text = ", ".join(text for text, _ in self.groups)
            yield Rule.RESOURCE_GROUP, text, None if "resource_group" in unknown else not inside
        if self.kinds is not None:
            text = ", ".join(kind.value for kind in Kind if kind in self.kinds)
            yield Rule.KIND, text, None if "kind" in unknown else partial.kind not in self.kinds
        yield Rule.WHERE, self.where.text or "everything", _not(self.where.decides(partial))
        asked = [entry for entry in self.limit if not entry.negated]
        for entry in self.limit:
            if entry.negated:
                yield Rule.LIMIT, entry.text, entry.decides(partial)
        if asked:
            found = [entry.decides(partial) for entry in asked]
            text = ", ".join(entry.text for entry in asked)
            yield Rule.LIMIT, text, False if True in found else None if None in found else True

    def _beyond_limit(self, target: Target) -> tuple[Rule, str] | None:
        asked = [entry for entry in self.limit if not entry.negated]
        for entry in self.limit:
            if entry.negated and entry.covers(target):
                return Rule.LIMIT, entry.text
        if asked and not any(entry.covers(target) for entry in asked):
            return Rule.LIMIT, ", ".join(entry.text for entry in asked)
        return None


def _not(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A machine that is wanted, for certain or perhaps, and of which too little is known."""

    partial: PartialTarget
    certain: bool
    rule: Rule
    clause: str


@dataclass(frozen=True, slots=True)
class _Doubts:
    """Machines that are known in part, by what becomes of them."""

    usable: tuple[Target, ...]
    lost: tuple[_Doubt, ...]
    creating: tuple[PartialTarget, ...]
    out: tuple[tuple[PartialTarget, Rule, str], ...]

    def decisions(self, wanted: Wanted) -> Iterator[Decision]:
        """Yield why each of them is out; those that are usable are explained as targets are."""
        for doubt in self.lost:
            one = doubt.partial
            reason = one.reason if doubt.certain else f"{one.reason}, so {doubt.rule.value} cannot be decided"
            yield Decision(one.target, False, Rule.UNREADABLE, doubt.clause, reason, one.label)
        for one in self.creating:
            reason = f"{_CREATING}, and {one.reason}"
            yield Decision(one.target, False, Rule.UNREADABLE, wanted.where.text or "everything", reason, one.label)
        for one, rule, clause in self.out:
            if rule in (Rule.WHERE, Rule.KIND):
                because = f"{rule.value} {clause} cannot be true of it"
            else:
                because = _REASONS[rule](one.target, clause, wanted)
            reason = f"{because}; {one.reason}"
            yield Decision(one.target, False, rule, clause, reason, one.label)


def _sorted_out(partial: Iterable[PartialTarget], rules: _Rules, needed: frozenset[str]) -> _Doubts:
    usable, lost, creating, out = [], [], [], []
    for one in partial:
        truth, rule, clause = rules.decides(one)
        if truth is False:
            out.append((one, rule, clause))
        elif truth and one.is_usable(needed):
            usable.append(one.target)
        elif one.creating:
            creating.append(one)
        else:
            lost.append(_Doubt(one, truth is True, rule, clause))
    return _Doubts(tuple(usable), tuple(lost), tuple(creating), tuple(out))


def _is_beyond_sample(partial: PartialTarget, chosen: tuple[Target, ...], wanted: Wanted) -> bool:
    """Say whether a sample leaves a machine out whatever else is known of it: enough others come before it."""
    if wanted.pick is None or "id" in partial.unknown or len(chosen) < wanted.pick:
        return False
    last = max((_rank(target, wanted.seed) for target in chosen), default=b"")
    return _rank(partial.target, wanted.seed) > last


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


def _decision(
    target: Target, rules: _Rules, wanted: Wanted, sample: frozenset[str], found: int, certain: int
) -> Decision:
    out = rules.kept_out(target)
    if out is not None:
        rule, clause = out
        return Decision(target, False, rule, clause, _REASONS[rule](target, clause, wanted))
    if target.key not in sample:
        reason = f"not among the {wanted.pick} picked of {found:,}"
        return Decision(target, False, Rule.PICK, str(wanted.pick), reason)
    if wanted.max is not None and len(sample) + certain > wanted.max:
        reason = f"{len(sample) + certain:,} targets are more than the {wanted.max:,} allowed, so none is taken"
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


def _fits_nothing(place: str, text: str, known: dict[str, str]) -> Problem:
    hint = did_you_mean(text.removeprefix("!"), list(known.values()))
    return Problem("fits_nothing", f"{place} {text!r} fits no VM", found=text, hint=hint)
