"""Machines that are known in part: what is certain of them stays true whatever the rest turns out to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import Refused
from fleet.targets.expand import Rule, Wanted, counted, expand, explain, require_some
from fleet.targets.model import Kind, Os, Power, Subscription, Target, TargetSet, UnreadScope, UnreadSubscription
from fleet.targets.partial import PartialTarget
from fleet.targets.selector import parse
from fleet.targets.subscriptions import chosen_subscriptions, unread_scopes
from fleet.targets.traits import needed_for

from .strategies import expressions, make, targets
from .test_expand import entries

NOTHING = {
    "id": "",
    "name": "",
    "resource_group": "",
    "location": "",
    "size": "",
    "zone": "",
    "os": Os.LINUX,
    "power": Power.UNKNOWN,
    "tags": {},
}
fields = st.sets(st.sampled_from(list(NOTHING)), min_size=1).map(frozenset)
wishes = st.builds(
    Wanted,
    resource_groups=st.lists(st.sampled_from(["rg-*", "!rg-db", "LEGACY"]), max_size=2).map(tuple),
    where=expressions.map(parse),
    exclude=entries,
    limit=entries,
    extra_exclude=entries,
    kinds=st.sampled_from([None, frozenset({Kind.VM}), frozenset({Kind.ARC})]),
)


def hidden(target: Target, *unknown: str, **more: object) -> PartialTarget:
    """The same machine without some of its fields."""
    empty = {name: NOTHING[name] for name in unknown if name in NOTHING}
    known = replace(target, **empty)  # type: ignore[arg-type]
    return PartialTarget(known, frozenset(unknown), f"VM {target.name}", "it is odd", **more)  # type: ignore[arg-type]


def selected(wanted: Wanted, *partial: PartialTarget) -> TargetSet:
    return expand([], wanted, partial=partial)


@given(targets, fields, wishes)
def test_what_is_certain_is_true_of_the_machine(target: Target, unknown: frozenset[str], wanted: Wanted) -> None:
    """What is taken, or left out without a word, would be so if all were known; the rest is named as unread."""
    truly = bool(expand([target], wanted).targets)
    found = selected(wanted, hidden(target, *unknown))
    assert len(found.targets) + len(found.unread) <= 1
    if found.targets:
        assert truly
    elif not found.unread:
        assert not truly


@given(targets, wishes)
def test_with_nothing_unknown_it_is_decided_as_a_target_is(target: Target, wanted: Wanted) -> None:
    """One set of rules decides both."""
    whole = PartialTarget(target, frozenset({"zone"}), "VM x", "r")
    if "zone" not in wanted.where.text:
        assert selected(wanted, whole).targets == expand([target], wanted).targets


@given(st.lists(targets, max_size=4), targets, fields, wishes)
def test_explain_agrees_with_expand(found: list[Target], odd: Target, unknown: frozenset[str], wanted: Wanted) -> None:
    """Every machine has one decision, the odd one too; it is in exactly where it is a target."""
    one = hidden(odd, *unknown)
    chosen = expand(found, wanted, partial=[one])
    decisions = explain(found, wanted, [one])
    assert {decision.target.key for decision in decisions if decision.included} == {t.key for t in chosen.targets}
    assert all(decision.clause and decision.reason for decision in decisions)
    unreadable = [decision for decision in decisions if decision.rule is Rule.UNREADABLE]
    assert len(unreadable) == len(chosen.unread)


def test_what_is_needed_to_send_must_be_known() -> None:
    """A VM without a system or a location is no target, though it is selected; one without a size is."""
    for name in ("id", "name", "location", "os", "resource_group"):
        found = selected(Wanted(), hidden(make(), name))
        assert not found.targets and [scope.subject for scope in found.unread] == ["VM web-1"]
    assert len(selected(Wanted(), hidden(make(), "size", "power")).targets) == 1


def test_what_a_rollout_goes_by_must_be_known() -> None:
    """A VM whose cluster is not known might go together with its twin, so it does not go."""
    odd = hidden(make(), "tags")
    assert selected(Wanted(), odd).targets
    for needed in (needed_for({"tag:Cluster"}), needed_for({"zone"})):
        assert bool(selected(Wanted(needed=needed), odd).unread) == ("zone" not in needed)
    one = replace(odd, unknown=frozenset({"tag:cluster"}))
    assert selected(Wanted(needed=needed_for({"tag:Cluster"})), one).unread
    member = hidden(make(), "zone")
    assert selected(Wanted(needed=needed_for({"update_domain"})), member).targets
    lost = PartialTarget(make(), frozenset({"availability_set"}), "VM web-1", "it is odd")
    assert selected(Wanted(needed=needed_for({"update_domain"})), lost).unread


def test_one_tag_that_cannot_be_read_leaves_the_others() -> None:
    """A clause about another tag is decided; one about this tag is not, whatever its case."""
    odd = PartialTarget(make(tags={"env": "prod"}), frozenset({"tag:app"}), "VM web-1", "its tag app is null")
    assert selected(Wanted(where=parse('tag.env == "prod"')), odd).targets
    assert selected(Wanted(where=parse('tag.env == "dev" and tag.app == "x"')), odd) == TargetSet(())
    assert selected(Wanted(where=parse('tag.App == "x"')), odd).unread
    assert selected(Wanted(where=parse("tag.App")), odd).unread


def test_a_sample_that_is_full_without_it_is_not_in_doubt() -> None:
    """Its rank is known by its id: where enough others come before it, it would not have been picked."""
    fleet = [make(f"web-{number}") for number in range(40)]
    whole = expand(fleet, Wanted(pick=5)).targets
    for target in fleet:
        others = [other for other in fleet if other != target]
        found = expand(others, Wanted(pick=5), partial=[hidden(target, "os")])
        assert bool(found.unread) == (target in whole)
        assert len(expand(others, Wanted(pick=5), partial=[hidden(target, "id")]).unread) == 1


def test_the_cap_counts_what_is_certainly_selected() -> None:
    """A VM that is selected and cannot be read counts as one; one that may not be selected does not."""
    fleet = [make("a"), make("b")]
    odd = hidden(make("c"), "os")
    with pytest.raises(Refused, match=r"3 targets are selected \(1 of them cannot be read\), and at most 2 may be"):
        expand(fleet, Wanted(max=2), partial=[odd])
    assert [decision.included for decision in explain(fleet, Wanted(max=2), [odd])] == [False] * 3
    assert len(expand(fleet, Wanted(max=2, where=parse('os == "linux"')), partial=[odd]).unread) == 1


def test_a_machine_that_is_being_created_is_left_out_with_a_note() -> None:
    """Once enough is known of it, it is a target like any other."""
    new = hidden(make("new"), "os", creating=True)
    found = selected(Wanted(), new)
    assert (found.targets, found.unread) == ((), ())
    assert found.notes == ("VM new is left out: Azure is still creating it, and it is odd",)
    with pytest.raises(Refused, match="VM new is left out"):
        require_some(found, False)
    assert selected(Wanted(where=parse('name == "old"')), new) == TargetSet(())
    assert selected(Wanted(), hidden(make("new"), "size", creating=True)).targets


def test_counts_are_of_vms_and_of_subscriptions() -> None:
    """A subscription with two lists that failed is one; a VM is a VM."""
    whole = UnreadScope("s1", "one", "AuthorizationFailed", "no")
    vm = UnreadScope("s1", "one", "vm_unreadable", "odd", "VM a")
    entry = UnreadScope("", "", "subscription_unreadable", "null", "entry 2 of the list of subscriptions")
    assert counted([whole, replace(whole, message="scale sets: no")]) == "1 subscription"
    assert counted([vm, vm, whole, entry]) == "2 VMs and 2 subscriptions"


ENTRY = "entry 2 of the list of subscriptions"
SEEN = [Subscription("1" * 8, "prod"), UnreadSubscription(ENTRY, "odd", None, "dev")]


@pytest.mark.parametrize(
    ("patterns", "names", "unread"),
    [
        (["all"], ["prod"], True),
        ([], ["prod"], True),
        (["prod"], ["prod"], False),
        (["dev"], [], True),
        (["p*"], ["prod"], False),
        (["1*"], ["prod"], True),
        (["all", "!dev"], ["prod"], False),
        (["all", "!1*"], [], True),
    ],
)
def test_an_entry_of_the_list_of_subscriptions_counts_where_it_may_be_meant(
    patterns: list[str], names: list[str], unread: bool
) -> None:
    """By its name, or by an id that a pattern of hexadecimal digits may fit."""
    assert [one.name for one in chosen_subscriptions(patterns, SEEN)] == names
    assert bool(unread_scopes(patterns, SEEN)) is unread


def test_of_an_entry_of_which_nothing_is_known_everything_may_be_true() -> None:
    """It is unread for each selection, and a name that nobody has may be its name."""
    seen = [Subscription("1" * 8, "prod"), UnreadSubscription(ENTRY, "it is null, not an object")]
    assert chosen_subscriptions(["qa"], seen) == ()
    assert [scope.subject for scope in unread_scopes(["qa"], seen)] == [ENTRY]
