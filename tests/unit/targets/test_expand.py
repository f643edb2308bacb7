"""Expansion: which rows become targets, in which order, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.errors import InvalidInput, Refused
from fleet.targets.expand import (
    Rule,
    Wanted,
    chosen_subscriptions,
    expand,
    explain,
    pick,
    require_some,
    unmatched,
)
from fleet.targets.model import Subscription, Target, TargetSet, UnreadScope
from fleet.targets.selector import parse

from .strategies import expressions, make, targets

FLEET = [make(f"web-{n}", tags={"env": "prod" if n < 5 else "dev"}) for n in range(1, 13)] + [
    make("vm-jump-01", resource_group="rg-core"),
    make("db-1", resource_group="rg-db", subscription="2" * 8, subscription_name="Data"),
]

rows = st.lists(targets, max_size=12)
entries = st.lists(
    st.sampled_from(
        [
            "web-1",
            "WEB-*",
            "db-[1-2],k?",
            'tag.env == "prod"',
            "/subscriptions/*/resourceGroups/rg-web",
            "not tag.freeze",
        ]
    ),
    max_size=2,
).map(tuple)
wishes = st.builds(
    Wanted,
    resource_groups=st.lists(st.sampled_from(["rg-*", "!rg-db", "LEGACY"]), max_size=2).map(tuple),
    where=expressions.map(parse),
    exclude=entries,
    limit=entries,
    extra_exclude=entries,
    pick=st.sampled_from([None, None, 0, 2]),
    seed=st.integers(0, 3),
    max=st.sampled_from([None, None, 1]),
)


def _names(**wanted: Any) -> list[str]:
    return [target.name for target in expand(FLEET, Wanted(**wanted)).targets]


def test_everything_is_sorted_for_people() -> None:
    """Without wishes every VM is a target: by subscription, group, and name with numbers by value."""
    assert _names() == ["db-1", "vm-jump-01", *(f"web-{n}" for n in range(1, 13))]


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ("WEB-1", 13),
        ("web-*", 2),
        ("web-[1-3,10],vm-*", 9),
        ("web-1, web-2", 12),
        ("/SUBSCRIPTIONS/22222222/resourceGroups/rg-db", 13),
        ("/subscriptions/22222222", 13),
        ("/subscriptions/22222222/resourceGroups/rg-d", 14),
        ("/subscriptions/*/resourceGroups/rg-web/*/web-?", 5),
        (FLEET[0].id.upper(), 13),
        (f"{FLEET[0].id},{FLEET[1].id}", 12),
        ('tag.env == "dev"', 6),
        ("not tag.env", 12),
    ],
)
def test_entries_point_at_vms(entry: str, left: int) -> None:
    """An entry is a name, a glob, folded names, an id and what lies beneath it, or an expression."""
    assert len(_names(exclude=(entry,))) == left
    assert len(_names(extra_exclude=(entry,))) == left
    assert len(_names(limit=(entry,))) == len(FLEET) - left
    assert len(_names(limit=(f"!{entry}",))) == left


def test_names_that_look_like_words_are_names() -> None:
    """A VM called like a keyword can be excluded by its name."""
    assert not expand([make("or"), make("in-1")], Wanted(exclude=("or", "in-1"))).targets


def test_groups_take_globs_and_exclusions() -> None:
    """Groups compare without regard to case; an exclusion alone means all the others."""
    assert _names(resource_groups=("RG-DB", "rg-co*")) == ["db-1", "vm-jump-01"]
    assert _names(resource_groups=("!rg-web", "!RG-D*")) == ["vm-jump-01"]
    assert _names(resource_groups=("rg-*", "!rg-web")) == ["db-1", "vm-jump-01"]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("", "empty_entry"),
        ("!", "empty_entry"),
        ("web[", "bad_names"),
        ('nam == "x"', "unknown_field"),
        ("a=b", "unknown_field"),
    ],
)
def test_entries_that_cannot_be_read_are_refused(entry: str, code: str) -> None:
    """An entry nobody can read is told, with the entry in the message, before anything is selected."""
    with pytest.raises(InvalidInput) as caught:
        _names(limit=(entry,), where=parse("tag.env"))
    assert caught.value.problems[0].code == code
    assert repr(entry) in caught.value.problems[0].message


def test_an_exclude_cannot_be_negated() -> None:
    """An exclude that begins with ! is a mistake: it would be read both ways."""
    with pytest.raises(InvalidInput, match="leaves out already"):
        _names(exclude=("!web-1",))


def test_too_many_targets_are_refused() -> None:
    """Above the cap nothing is selected, and the message has both numbers and what to do."""
    with pytest.raises(Refused, match=r"14 targets.*at most 13") as caught:
        _names(max=13)
    assert caught.value.code == "too_many_targets"
    assert "--limit" in caught.value.hint
    assert len(_names(max=14)) == 14
    assert len(_names(max=3, pick=3)) == 3


def test_an_empty_selection_is_refused() -> None:
    """No target is an error that says how to see why, how to allow it, and what could not be read."""
    unread = (UnreadScope("s", "prod-x", "AuthorizationFailed", "no"),)
    with pytest.raises(Refused, match=r"prod-x \(AuthorizationFailed\)") as caught:
        require_some(TargetSet((), unread), False)
    assert caught.value.code == "no_targets"
    assert "--explain" in caught.value.hint
    assert "--allow-empty" in caught.value.hint
    require_some(TargetSet(()), True)
    require_some(TargetSet((FLEET[0],)), False)


def test_unread_scopes_travel_along() -> None:
    """What could not be read stays with the target set, through a sample too."""
    unread = (UnreadScope("s", "n", "c", "m"),)
    chosen = expand(FLEET, Wanted(), unread=unread)
    assert pick(chosen, 2, 1).unread == chosen.unread == unread


@pytest.mark.parametrize(
    ("wanted", "rule", "clause", "reason"),
    [
        (Wanted(), Rule.WHERE, "everything", "everything is true"),
        (Wanted(exclude=("web-*",)), Rule.EXCLUDE, "web-*", "excluded by web-*"),
        (
            Wanted(resource_groups=("rg-db", "x")),
            Rule.RESOURCE_GROUP,
            "rg-db, x",
            "resource group rg-web is not among rg-db, x",
        ),
        (
            Wanted(resource_groups=("!rg-w*",)),
            Rule.RESOURCE_GROUP,
            "!rg-w*",
            "resource group rg-web is excluded by !rg-w*",
        ),
        (
            Wanted(where=parse('os == "linux" and tag.env == "dev"')),
            Rule.WHERE,
            'os == "linux" and tag.env == "dev"',
            'tag.env == "dev" is false (tag env is "prod")',
        ),
        (Wanted(limit=("db-1", "x")), Rule.LIMIT, "db-1, x", "not within --limit db-1, x"),
        (Wanted(limit=("!web-1",)), Rule.LIMIT, "!web-1", "left out by --limit !web-1"),
        (Wanted(pick=0), Rule.PICK, "0", "not among the 0 picked of 14"),
        (Wanted(max=2), Rule.MAX, "2", "14 targets are more than the 2 allowed, so none is taken"),
    ],
)
def test_says_what_decided(wanted: Wanted, rule: Rule, clause: str, reason: str) -> None:
    """Each row comes with the rule, the clause and the sentence that decided about it."""
    (decision,) = (one for one in explain(FLEET, wanted) if one.target.name == "web-1")
    assert (decision.rule, decision.clause, decision.reason) == (rule, clause, reason)
    assert decision.included == (wanted == Wanted())


@given(rows, wishes)
def test_explain_agrees_with_expand(found: list[Target], wanted: Wanted) -> None:
    """The included decisions are the targets, and every VM has exactly one decision."""
    decisions = explain(found, wanted)
    included = tuple(decision.target for decision in decisions if decision.included)
    try:
        assert expand(found, wanted).targets == included
    except Refused:
        assert not included
    assert sorted(decision.target.key for decision in decisions) == sorted({row.key for row in found})
    assert all(decision.clause and decision.reason for decision in decisions)


def _expanded(found: list[Target] | tuple[Target, ...], wanted: Wanted) -> tuple[Target, ...]:
    try:
        return expand(found, wanted).targets
    except Refused:
        assume(False)
        raise


@given(rows, wishes, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(found: list[Target], wanted: Wanted, random: Any) -> None:
    """Shuffled and repeated rows give the same targets in the same order."""
    shuffled = [*found, *found[:3]]
    random.shuffle(shuffled)
    assert _expanded(found, wanted) == _expanded(shuffled, wanted)


def test_rows_that_differ_about_one_vm_are_one_target() -> None:
    """Of rows that tell different things of one VM, the same one is taken whichever comes first."""
    found = [make("web", tags={"env": "prod"}), make("WEB", tags={"env": "dev"}), make("web", size="A1")]
    (target,) = expand(found, Wanted()).targets
    assert expand(found[::-1], Wanted()).targets == expand(found[1:] + found[:1], Wanted()).targets == (target,)


def test_no_vm_is_swallowed_by_another() -> None:
    """Ids that only Unicode's case folding holds for equal are two VMs, and both are targets."""
    found = [make("web", resource_group=group) for group in ("Straße", "STRASSE", "\u212a1", "k1")]
    assert len(expand([*found, make("WEB", resource_group="strasse")], Wanted()).targets) == 4


@given(rows, wishes)
def test_expanding_twice_changes_nothing(found: list[Target], wanted: Wanted) -> None:
    """Expanding the targets of an expansion gives the same targets."""
    once = _expanded(found, wanted)
    assert _expanded(once, wanted) == once


@given(rows, wishes, targets)
def test_exclude_always_wins(found: list[Target], wanted: Wanted, vm: Target) -> None:
    """A VM named in an exclude, by name or id, is never a target, whatever else asks for it."""
    assume(wanted.max is None)
    shouted = "".join(char.upper() if char.isascii() else char for char in vm.id)
    for entry in (shouted, f'name == "{vm.name}"'):
        left = expand([*found, vm], Wanted(exclude=(entry,), limit=(vm.name,)))
        assert vm.key not in {target.key for target in left.targets}
        left = expand([*found, vm], Wanted(where=wanted.where, extra_exclude=(*wanted.exclude, entry)))
        assert vm.key not in {target.key for target in left.targets}


@given(rows, st.integers(0, 5), st.integers())
def test_a_sample_is_stable_while_the_fleet_grows(found: list[Target], n: int, seed: int) -> None:
    """A sample has its size, its targets' order, and loses VMs to new ones only."""
    whole = expand(found, Wanted())
    smaller = expand(found[: len(found) // 2], Wanted())
    sample = pick(whole, n, seed).targets
    assert len(sample) == min(n, len(whole.targets))
    assert list(sample) == [target for target in whole.targets if target in sample]
    known = {target.key for target in smaller.targets}
    before = {target.key for target in pick(smaller, n, seed).targets}
    assert {target.key for target in sample} & known <= before


def test_seeds_give_different_samples() -> None:
    """Another seed is another sample."""
    whole = expand(FLEET, Wanted())
    assert len({pick(whole, 3, seed).targets for seed in range(20)}) > 5


def test_names_that_fit_nothing_are_told() -> None:
    """A mistyped exclude, limit or group is found, down to the one name in a list; what fits is not."""
    wanted = Wanted(
        exclude=("vm-jmp-01", "web-*", "zz*"),
        limit=("web-1,web-99", 'tag.env == "prod"', 'tag.env == "none"'),
        resource_groups=("rg-wbe", "rg-*"),
    )
    found = {(problem.found, problem.hint) for problem in unmatched(FLEET, wanted)}
    assert {text for text, _ in found} == {"vm-jmp-01", "zz*", "web-99", 'tag.env == "none"', "rg-wbe"}
    assert ("vm-jmp-01", "did you mean vm-jump-01?") in found
    assert ("rg-wbe", "did you mean rg-web?") in found


SEEN = [
    Subscription("aaaaaaaa-0000-4000-8000-000000000001", "prod-web"),
    Subscription("bbbbbbbb-0000-4000-8000-000000000002", "Prod-DB"),
    Subscription("cccccccc-0000-4000-8000-000000000003", "prod-legacy"),
    Subscription("dddddddd-0000-4000-8000-000000000004", "dev"),
]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["all"], ["dev", "Prod-DB", "prod-legacy", "prod-web"]),
        ([], ["dev", "Prod-DB", "prod-legacy", "prod-web"]),
        (["prod-*", "!PROD-legacy"], ["Prod-DB", "prod-web"]),
        (["!prod-*"], ["dev"]),
        (["DDDDDDDD-0000-4000-8000-000000000004", "dev"], ["dev"]),
        (["staging-*", "!gone"], []),
        (["all", "!all"], []),
    ],
)
def test_chooses_subscriptions(patterns: list[str], names: list[str]) -> None:
    """Subscriptions go by name, id or glob without regard to case; ! wins; each comes once."""
    assert [one.name for one in chosen_subscriptions(patterns, SEEN)] == names
    assert chosen_subscriptions(patterns, SEEN[::-1]) == chosen_subscriptions(patterns, SEEN)


def test_a_subscription_that_is_not_there_is_told() -> None:
    """Every plain name that fits nothing is a problem with a suggestion."""
    with pytest.raises(InvalidInput) as caught:
        chosen_subscriptions(["prod-wbe", "zzz", "dev"], SEEN)
    first, second = caught.value.problems
    assert (first.found, first.hint) == ("prod-wbe", "did you mean prod-web?")
    assert second.found == "zzz"
