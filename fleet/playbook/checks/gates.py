"""What the gates of a rollout mean to its waves and steps.

A gate that could never be met, or a step that no gate asks for, is a mistake here, not a run that stops or a check that
nobody makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleet.documents.places import Path, closest, problem, shown
from fleet.documents.read import Document
from fleet.errors import Problem
from fleet.playbook.checks.steps import expression_problems
from fleet.targets.expression import Words

_BEFORE, _AFTER = ("approve", "webhook"), ("health", "facts")
_NEEDS = {"max_failed": "health", "min_share": "facts"}


def check(document: Document) -> Iterator[Problem]:
    """Yield every problem that lies between gates and steps."""
    steps = _mappings(document.at(("steps",)))
    asked: set[str] = set()
    for index, gate in _mappings(document.at(("rollout", "gates"))).items():
        path: Path = ("rollout", "gates", index)
        yield from _place(document, path, gate)
        if isinstance(name := gate.get("health"), str):
            asked.add(name)
            yield from _health(document, (*path, "health"), name, steps)
        if isinstance(text := gate.get("facts"), str) and text:
            yield from expression_problems(document, (*path, "facts"), text, _words(steps))
    for index, step in steps.items():
        if step.get("turn") == "gate":
            yield from _step(document, ("steps", index), step, steps, asked)


def _mappings(written: object) -> dict[int, Mapping[Any, Any]]:
    """The items of a list that are mappings, by their place."""
    items = written if isinstance(written, list) else ()
    return {index: item for index, item in enumerate(items) if isinstance(item, dict)}


def _words(steps: Mapping[int, Mapping[Any, Any]]) -> Words:
    """What a gate may speak of: every fact and every step."""
    collected = [step.get("collect") for step in steps.values()]
    facts = [name for names in collected if isinstance(names, dict) for name in names if isinstance(name, str)]
    return Words(tuple(facts), tuple(_ids(steps)))


def _ids(steps: Mapping[int, Mapping[Any, Any]]) -> Iterator[str]:
    return (step["id"] for step in steps.values() if isinstance(step.get("id"), str))


def _place(document: Document, path: Path, gate: Mapping[Any, Any]) -> Iterator[Problem]:
    """A gate stands before a wave or after one, and asks there what can be known there."""
    given = frozenset(key for key, value in gate.items() if value is not None)
    if {"before_wave", "after_wave"} <= given:
        message, hint = "a gate stands before a wave or after one", "make two gates of it"
        yield problem(document, (*path, "after_wave"), "contradiction", message, hint=hint, key=True)
        return
    if not given & {"before_wave", "after_wave"}:
        message, hint = "the gate does not say where it stands", "add before_wave or after_wave"
        yield problem(document, path, "missing_key", message, hint=hint)
        return
    wrong, right = (_AFTER, "after_wave") if "before_wave" in given else (_BEFORE, "before_wave")
    for key in (*wrong, *(("max_failed", "min_share") if right == "after_wave" else ())):
        if key in given:
            message = f"{key} belongs to a gate that stands {right.partition('_')[0]} a wave"
            yield problem(document, (*path, key), "contradiction", message, hint=f"write {right}", key=True)
    if right == "before_wave" and not given & {*_AFTER, *_BEFORE}:
        message, hint = "the gate looks at nothing", "add health or facts"
        yield problem(document, path, "missing_key", message, hint=hint)
    for key, needed in _NEEDS.items():
        if right == "before_wave" and key in given and needed not in given:
            message = f"{key} without {needed} changes nothing"
            yield problem(document, (*path, key), "contradiction", message, hint=f"add {needed}", key=True)


def _health(document: Document, path: Path, name: str, steps: Mapping[int, Mapping[Any, Any]]) -> Iterator[Problem]:
    named = next((step for step in steps.values() if step.get("id") == name), None)
    if named is None:
        able = [step["id"] for step in steps.values() if step.get("turn") == "gate" and isinstance(step.get("id"), str)]
        hint = closest(name, able) or "name a step with turn: gate"
        yield problem(document, path, "unknown_step", f"there is no step '{shown(name)}'", hint=hint)
    elif named.get("turn") != "gate":
        message = f"'{shown(name)}' does not wait for a gate"
        hint = f"give '{shown(name)}' turn: gate, and put it below the other steps"
        yield problem(document, path, "contradiction", message, hint=hint)


def _step(
    document: Document, path: Path, step: Mapping[Any, Any], steps: Mapping[int, Mapping[Any, Any]], asked: set[str]
) -> Iterator[Problem]:
    name, turn = shown(str(step.get("id", ""))), (*path, "turn")
    if step.get("id") not in asked:
        message, hint = f"no gate asks for '{name}', so it would never run", f"add a gate with health: {name}"
        yield problem(document, turn, "turn", message, hint=hint)
    place = int(path[-1])
    if any(other.get("turn") != "gate" for index, other in steps.items() if index > place):
        message = f"'{name}' runs when its wave has ended, and a step below it does not"
        yield problem(document, turn, "turn", message, hint="put the steps of gates below all others")
    if all(other.get("turn") == "gate" for other in steps.values()):
        yield problem(document, turn, "turn", "every step waits for a gate, so no wave would do anything")
    if step.get("reboot") not in (None, "never"):
        message = "a step that a gate asks for looks at a VM, and restarts none"
        yield problem(document, (*path, "reboot"), "contradiction", message, hint="remove reboot", key=True)
