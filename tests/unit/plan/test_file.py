"""Plan files, and what differs between plans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import getitem

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import InvalidInput
from fleet.plan.compare import Change, differences, drift
from fleet.plan.file import MAX_BYTES, dump, load
from fleet.plan.model import Gate, Limits
from fleet.playbook.model import Amount, HealthCheck, Spread, Strategy, Transport
from fleet.targets.model import Power
from tests.unit.run.factory import plan, target


def test_a_plan_file_gives_the_plan_back() -> None:
    """What is read from a plan file equals what was written, digest included."""
    made = plan(7, steps=2, waves=("canary", Amount(50, percent=True)))
    assert load(dump(made), file="x.plan") == made


def test_counts_come_back_as_they_were_written() -> None:
    """A count in a spread or a gate is the same number in the file, so that the digest still fits."""
    gates = (Gate(1, health=HealthCheck("check", Amount(1))),)
    made = replace(plan(3, limits=Limits(spread=Spread("location", Amount(1)))), gates=gates)
    assert load(dump(made), file="x.plan").digest == made.digest


def test_an_edited_plan_file_is_refused() -> None:
    """Whoever changes a plan by hand is told so, and nothing of it is used."""
    document = json.loads(dump(plan(3)))
    document["plan"]["steps"][0]["script"]["text"] = "rm -rf /"
    with pytest.raises(InvalidInput, match="changed after it was written"):
        load(json.dumps(document), file="x.plan")


@given(st.one_of(st.text(max_size=200), st.recursive(st.none() | st.text(), st.lists).map(json.dumps)))
def test_other_text_is_refused_with_a_sentence(text: str) -> None:
    """Nothing that is not a plan file gives a plan or a traceback."""
    with pytest.raises(InvalidInput):
        load(text, file="x.plan")


@pytest.mark.parametrize("missing", ["targets", "steps", "waves", "playbook"])
def test_half_a_plan_is_refused(missing: str) -> None:
    """A plan without one of its parts is refused."""
    document = json.loads(dump(plan(3)))
    del document["plan"][missing]
    with pytest.raises(InvalidInput, match="whole plan"):
        load(json.dumps(document), file="x.plan")


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything in a JSON document, but the whole."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(item, (*path, key))


@pytest.mark.parametrize("wrong", [None, True, 7, 0.5, "x", [], {}, [[]], {"x": 1}], ids=json.dumps)
def test_a_plan_with_a_wrong_value_anywhere_is_refused(wrong: object) -> None:
    """Whatever stands in the place of any value, list or part of a plan: a sentence that names the file, no traceback."""
    made = plan(2, steps=2, waves=(Amount(1),), limits=Limits(max_failures=1, spread=Spread("location", Amount(1))))
    text = dump(replace(made, gates=(Gate(1, health=HealthCheck("check", Amount(1))),), parameters={"scope": "all"}))
    tried = 0
    for path in places(json.loads(text)["plan"], ("plan",)):
        document = json.loads(text)
        within = reduce(getitem, path[:-1], document)
        if type(within[path[-1]]) is type(wrong) and within[path[-1]] == wrong:
            continue
        within[path[-1]] = wrong
        with pytest.raises(InvalidInput, match=r"x\.plan"):
            load(json.dumps(document), file="x.plan")
        tried += 1
    assert tried > 50


def test_drift_names_who_came_went_and_changed() -> None:
    """A target that is gone, a new one, and one with another size or tag are named; power is no drift."""
    frozen = [target(1), target(2), target(3, tags={"env": "prod"}), target(4)]
    present = [
        target(1, power=Power.STOPPED),
        target(2, size="Standard_D4s_v5"),
        target(3, tags={"env": "dev"}),
        target(5),
    ]
    found = {(item.name, item.change) for item in drift(frozen, present)}
    assert found == {
        ("vm0002", Change.CHANGED),
        ("vm0003", Change.CHANGED),
        ("vm0004", Change.REMOVED),
        ("vm0005", Change.ADDED),
    }


def test_ids_in_another_case_are_the_same_target() -> None:
    """ARM answers ids in whatever case it likes."""
    there = target(1)
    assert drift([there], [replace(there, id=there.id.upper())]) == ()


def test_differences_between_plans() -> None:
    """Steps by digest, limits and parameters by value; equal plans differ in nothing."""
    old = plan(3, steps=2)
    assert differences(old, plan(3, steps=2)) == ()
    new = replace(
        plan(4, steps=2, limits=Limits(max_failures=3)),
        steps=(replace(old.steps[0], digest="other"), old.steps[1]),
        parameters={"scope": "all"},
    )
    told = {str(item) for item in differences(old, new)}
    assert told == {
        "target vm0003 added: it matches and is not in the plan",
        "step step0 changed: digest0 -> other",
        "parameter scope added: all",
        "limit max_failures changed: none -> 3",
    }


def test_other_settings_are_a_difference() -> None:
    """Each setting that changes what a run does is named with both its values."""
    old = plan(1)
    new = replace(old, transport=Transport.ACTION, receipts=False, cloud="china", strategy=Strategy.STEP)
    told = [str(item) for item in differences(old, new)]
    assert [text.split()[1] for text in told] == ["transport", "receipts", "cloud", "strategy"]
    assert "auto -> action" in told[0] and told[3].endswith("node -> step")


def test_another_order_of_waves_is_a_difference() -> None:
    """The same targets in other waves are a different rollout."""
    found = differences(plan(10), plan(10, waves=(Amount(1),)))
    assert [item.kind for item in found] == ["rollout"]


def test_a_plan_file_of_another_format_or_size_is_told() -> None:
    """A newer version's file names both formats; one that no plan can be is not even read."""
    document = json.loads(dump(plan(1)))
    with pytest.raises(InvalidInput, match=r"fleet/plan/v2.*this version reads 'fleet/plan/v1'"):
        load(json.dumps({**document, "format": "fleet/plan/v2"}), file="x.plan")
    with pytest.raises(InvalidInput, match="too large"):
        load(" " * (MAX_BYTES + 1), file="x.plan")
