"""Which kinds of machines a selection looks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import InvalidInput
from fleet.targets.expand import Rule, Wanted, expand, explain
from fleet.targets.kinds import EVERY, USUAL, wanted_kinds
from fleet.targets.model import Kind, Target, kind_of
from fleet.targets.selector import parse

from .strategies import expressions, make

GROUP = "/subscriptions/s/resourceGroups/g/providers"
IDS = {
    Kind.VM: f"{GROUP}/Microsoft.Compute/virtualMachines/n",
    Kind.SCALE_SET: f"{GROUP}/Microsoft.Compute/virtualMachineScaleSets/web/virtualMachines/0",
    Kind.ARC: f"{GROUP}/Microsoft.HybridCompute/machines/n",
}
kinds = st.sampled_from(Kind)


def one(kind: Kind, **more: object) -> Target:
    return make(id=IDS[kind], **more)


def looked_for(text: str, *given: Kind) -> frozenset[Kind]:
    return wanted_kinds(given, parse(text).expression)


@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_the_id_alone_tells_the_kind(change: object) -> None:
    """Whatever the case, as ARM compares ids without it."""
    assert callable(change)
    assert {kind: kind_of(change(text)) for kind, text in IDS.items()} == {kind: kind for kind in Kind}


@pytest.mark.parametrize("text", ["", 'tag.env == "prod"', 'not os == "windows"', 'name matches "*" or tag.x'])
def test_who_says_nothing_means_vms(text: str) -> None:
    """Neither scale sets nor Arc machines are looked for because somebody made some."""
    assert looked_for(text) == USUAL == {Kind.VM}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind == "arc"', {Kind.ARC}),
        ('kind != "arc"', {Kind.VM, Kind.SCALE_SET}),
        ('not (kind == "vm")', {Kind.SCALE_SET, Kind.ARC}),
        ('kind in ["vm", "arc"] and os == "linux"', {Kind.VM, Kind.ARC}),
        ('kind == "arc" or tag.env == "prod"', set(Kind)),
        ('kind == "arc" and kind == "vm"', set()),
        ('kind matches "s*"', {Kind.SCALE_SET}),
        ('scale_set == "web"', {Kind.VM, Kind.SCALE_SET}),
        ('scale_set == "web" and kind == "scale_set"', {Kind.SCALE_SET}),
    ],
)
def test_an_expression_about_kinds_speaks_for_itself(text: str, expected: set[Kind]) -> None:
    """What it cannot be true of is not looked for either."""
    assert looked_for(text) == expected


def test_kinds_that_are_given_are_the_widest_that_is_looked_for() -> None:
    """`targets.kinds` decides, and `where` narrows it."""
    assert looked_for("", *Kind) == EVERY
    assert looked_for('kind == "arc"', Kind.VM) == frozenset()
    assert looked_for('kind != "arc"', *Kind) == {Kind.VM, Kind.SCALE_SET}


@given(expressions, kinds, st.sampled_from(["", "web", "other"]))
def test_no_kind_that_can_match_is_left_out(text: str, kind: Kind, scale_set: str) -> None:
    """With every kind asked for, whatever the expression lets in is of a kind that is looked for."""
    if parse(text).matches(one(kind, scale_set=scale_set)):
        assert kind in looked_for(text, *Kind)


@given(expressions)
def test_only_a_clause_about_kinds_widens(text: str) -> None:
    """An expression without a clause about `kind` or `scale_set` never means anything but VMs."""
    if "kind" not in text and "scale_set" not in text:
        assert looked_for(text) <= USUAL


def test_a_machine_of_another_kind_is_out_and_says_so() -> None:
    """`--explain` names the kind as the reason."""
    rows = [one(kind) for kind in Kind]
    wanted = Wanted(kinds=USUAL)
    assert [target.kind for target in expand(rows, wanted).targets] == [Kind.VM]
    out = {item.target.kind: item for item in explain(rows, wanted) if not item.included}
    assert {kind: (item.rule, item.clause, item.reason) for kind, item in out.items()} == {
        kind: (Rule.KIND, "vm", f'kind is "{kind}", and what is looked for is vm')
        for kind in (Kind.SCALE_SET, Kind.ARC)
    }


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('kind == "ark"', "did you mean arc?"),
        ('kind == "scaleset"', "did you mean scale_set?"),
        ('vmss == "web"', "did you mean scale_set?"),
        ('type == "arc"', "did you mean kind?"),
        ('connection == "connected"', "did you mean power?"),
        ('power == "disconected"', "did you mean disconnected?"),
    ],
)
def test_a_mistyped_kind_is_a_mistake_with_a_suggestion(text: str, hint: str) -> None:
    """A value that no machine can have never selects nobody in silence."""
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert caught.value.problems[0].hint == hint
