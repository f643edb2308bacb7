"""What the steps of a playbook mean to each other: turns, conditions, facts, notices, retries.

A step knows what stands above it, because the steps of a target are asked in their order. What can never come true is
a mistake here, not a step that is silently skipped there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.documents.places import Path, closest, dotted, problem, shown
from fleet.documents.read import Document
from fleet.errors import Problem
from fleet.playbook import pattern
from fleet.playbook.template import references
from fleet.targets.expression import Words
from fleet.targets.grammar import read_expression


@dataclass(frozen=True, slots=True)
class _Step:
    """One step as it is written, as far as it can be understood."""

    path: Path
    id: str
    turn: str
    facts: tuple[str, ...]
    notify: tuple[str, ...]


def check(document: Document) -> Iterator[Problem]:
    """Yield every problem that lies between steps."""
    yield from _strategy(document)
    steps = tuple(_steps(document))
    above = Words()
    for index, step in enumerate(steps):
        own = Words((*above.facts, *step.facts), (*above.steps, step.id))
        yield from _turn(document, step, steps[:index])
        yield from _condition(document, (*step.path, "when"), above)
        for key in ("failed_when", "changed_when", "reboot_when"):
            yield from _condition(document, (*step.path, key), own)
        yield from _facts_in_env(document, step, above)
        yield from _patterns(document, step)
        yield from _notices(document, step, steps[index + 1 :])
        yield from _retries(document, step)
        yield from _reboots(document, step, steps)
        above = own


def expression_problems(document: Document, path: Path, text: str, words: Words | None) -> Iterator[Problem]:
    """Yield what is wrong with a selector or condition, at its place in the document."""
    for mistake in read_expression(text, words)[1]:
        line, column = document.within(path, text, min(mistake.start, len(text)))
        what, found, hint = mistake.message, mistake.found, mistake.hint
        yield Problem(mistake.code, what, document.file, line, column, found, mistake.expected, hint)


def _steps(document: Document) -> Iterator[_Step]:
    steps = document.at(("steps",))
    for index, written in enumerate(steps if isinstance(steps, list) else ()):
        if isinstance(written, dict):
            name, turn, notify = written.get("id"), written.get("turn", "success"), written.get("notify")
            yield _Step(
                path=("steps", index),
                id=name if isinstance(name, str) else "",
                turn=turn if isinstance(turn, str) else "success",
                facts=tuple(_names(written.get("collect"))),
                notify=tuple(_names(notify)),
            )


def _names(written: object) -> Iterator[str]:
    yield from (item for item in written if isinstance(item, str)) if isinstance(written, (list, dict)) else ()


def _strategy(document: Document) -> Iterator[Problem]:
    """Step by step, every target of a wave is under way at once, so no spread could be kept."""
    if document.at(("rollout", "strategy")) == "step" and document.at(("rollout", "spread")) is not None:
        message = "spread cannot be kept step by step: all VMs of a wave are under way at once"
        path = ("rollout", "strategy")
        yield problem(document, path, "contradiction", message, hint="use strategy: node, or remove spread")


def _turn(document: Document, step: _Step, above: tuple[_Step, ...]) -> Iterator[Problem]:
    path = (*step.path, "turn")
    if step.turn == "rescue" and not any(other.turn != "rescue" for other in above):
        hint = "put it below the steps that may fail"
        yield problem(
            document, path, "turn", f"nothing stands above '{shown(step.id)}' that it could rescue", hint=hint
        )
    if step.turn == "notified" and not any(step.id in other.notify for other in above):
        message = f"no step above notifies '{shown(step.id)}', so it would never run"
        yield problem(document, path, "turn", message, hint=f"add notify: [{shown(step.id)}] to a step above")


def _condition(document: Document, path: Path, words: Words) -> Iterator[Problem]:
    if isinstance(text := document.at(path), str):
        yield from expression_problems(document, path, text, words)


def _facts_in_env(document: Document, step: _Step, above: Words) -> Iterator[Problem]:
    for key in ("env", "args"):
        written = document.at((*step.path, key))
        items = (
            written.items() if isinstance(written, dict) else enumerate(written) if isinstance(written, list) else ()
        )
        for name, text in items:
            for reference in references(text) if isinstance(text, str) else ():
                if reference.scope == "facts":
                    yield from _fact_reference(document, (*step.path, key, name), text, reference.name, above)


def _fact_reference(document: Document, path: Path, text: str, name: str, above: Words) -> Iterator[Problem]:
    if "args" in path:
        message = "a fact cannot be an argument: it is whatever a machine printed"
        yield problem(document, path, "fact_in_args", message, hint="give it to the script as an env entry")
    elif name not in above.facts:
        hint = closest(name, above.facts) or "add it to collect of a step above"
        yield problem(document, path, "unknown_fact", f"no step above collects the fact '{shown(name)}'", hint=hint)


def _patterns(document: Document, step: _Step) -> Iterator[Problem]:
    places: list[Path] = [(*step.path, "collect", name, "regex") for name in step.facts]
    for path in (*places, (*step.path, "ok", "stdout")):
        text = document.at(path)
        if isinstance(text, str) and (wrong := pattern.mistake(text)):
            hint = "RE2 has no look-around and no back-references" if "perl" in wrong or "escape" in wrong else ""
            message = f"{dotted(path)} is no regular expression: {wrong}"
            yield problem(document, path, "pattern", message, expected="RE2 syntax", hint=hint)
    for path in _facts_without_source(document, step):
        expected = "exactly one of regex, key, path"
        yield problem(document, path, "fact_source", f"{dotted(path)} must say one way to find it", expected=expected)
    if isinstance(document.at((*step.path, "run", "command_id")), str):
        for key in ("collect", "failed_when", "changed_when", "retries"):
            if document.at((*step.path, key)):
                message = f"a built-in command proves nothing of how it ended, so it has no {key}"
                yield problem(document, (*step.path, key), "not_carried", message, hint="use run.inline", key=True)


def _facts_without_source(document: Document, step: _Step) -> Iterator[Path]:
    for name in step.facts:
        path: Path = (*step.path, "collect", name)
        written = document.at(path)
        if isinstance(written, dict) and sum(written.get(key) is not None for key in ("regex", "key", "path")) != 1:
            yield path


def _notices(document: Document, step: _Step, below: tuple[_Step, ...]) -> Iterator[Problem]:
    for index, name in enumerate(step.notify):
        path = (*step.path, "notify", index)
        named = next((other for other in below if other.id == name), None)
        if named is None:
            hint = closest(name, [other.id for other in below if other.turn == "notified"])
            message = f"no step below has the id '{shown(name)}'"
            yield problem(document, path, "unknown_step", message, hint=hint or "steps notify steps below them")
        elif named.turn != "notified":
            message = f"'{shown(name)}' does not wait for a notice"
            yield problem(document, path, "contradiction", message, hint=f"give '{shown(name)}' turn: notified")
    if document.at((*step.path, "changed_when")) and not step.notify:
        message = "changed_when without notify changes nothing"
        yield problem(document, (*step.path, "changed_when"), "contradiction", message, hint="add notify", key=True)


def _retries(document: Document, step: _Step) -> Iterator[Problem]:
    written = document.at((*step.path, "retries"))
    if isinstance(written, int) and written and document.at((*step.path, "idempotent")) is not True:
        message = f"'{shown(step.id)}' would run again, and nothing says that it may"
        hint = "add idempotent: true if running twice does no harm, or remove retries"
        yield problem(document, (*step.path, "retries"), "not_idempotent", message, hint=hint, key=True)
    if isinstance(written, int) and written and document.at((*step.path, "command")) is not None:
        message = "a standing command keeps its name, so one try could not be told from another"
        yield problem(document, (*step.path, "retries"), "not_carried", message, hint="remove command or retries")
    if document.at((*step.path, "retry_delay")) is not None and not written:
        message = "retry_delay without retries changes nothing"
        yield problem(document, (*step.path, "retry_delay"), "contradiction", message, hint="add retries", key=True)


def _reboots(document: Document, step: _Step, steps: tuple[_Step, ...]) -> Iterator[Problem]:
    asked = document.at((*step.path, "reboot"))
    path = (*step.path, "reboot")
    restarts = asked in ("if_needed", "always")
    if restarts and any(document.at((*step.path, "run", key)) for key in ("command_id", "uri", "gallery")):
        message = "a restart is asked for only once because a receipt told the boot before, and this step has none"
        yield problem(document, path, "not_carried", message, hint="use run.inline or run.file", key=True)
    for key, needed in (("reboot_when", asked == "if_needed"), ("reboot_timeout", restarts)):
        if document.at((*step.path, key)) is not None and not needed:
            message = f"{key} changes nothing here"
            yield problem(document, (*step.path, key), "contradiction", message, hint="add reboot: if_needed", key=True)
    for other in steps if restarts else ():
        if other.id in reserved(step.id):
            message = f"'{shown(other.id)}' is a step that Fleet adds to restart after '{shown(step.id)}'"
            yield problem(document, (*other.path, "id"), "contradiction", message, hint="choose another id")


def reserved(step: str) -> tuple[str, ...]:
    """Return the ids of the steps that may be added to restart targets after a step: ask and look, by system."""
    return tuple(f"{step}-{what}{system}" for system in ("", "-windows") for what in ("reboot", "back"))
