"""What is known of a target when one of its steps has its turn, and what the step's end adds to it.

Facts come from verified output only, and even that is whatever a machine printed: each is bounded, and none is ever part
of a script. What follows from an answer is a function of the journal, so a replay knows the same facts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fleet.plan.model import PlannedStep
from fleet.playbook import pattern
from fleet.playbook.model import Fact
from fleet.run.model import Cause, CauseCode, Outcome, Status
from fleet.targets.expression import Clause, holds, read_field, truth
from fleet.targets.model import Target
from fleet.targets.selector import parse_condition

LONGEST_FACT = 1024
"""Bytes of UTF-8; a longer value is no fact, since half of one could mean something else."""
READ = 1 << 16
"""Characters of the end of standard output in which facts are looked for."""


@dataclass(frozen=True, slots=True)
class Known:
    """The facts of a target, and how its steps so far ended: status and exit code by step id."""

    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    steps: Mapping[str, tuple[Status, int | None]] = field(default_factory=dict, hash=False)

    def and_step(self, step: str, outcome: Outcome, facts: Mapping[str, str]) -> Known:
        """Return what is known after one more step."""
        return Known({**self.facts, **facts}, {**self.steps, step: (outcome.status, outcome.exit_code)})


@dataclass(frozen=True, slots=True)
class Judged:
    """A step's end, judged by its own conditions too: the outcome, the facts, and whether anything changed."""

    outcome: Outcome
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    changed: bool = False


def judged(step: PlannedStep, outcome: Outcome, target: Target, known: Known) -> Judged:
    """Collect a step's facts and hold its outcome against ``ok.stdout``, ``failed_when`` and ``changed_when``."""
    flow = step.flow
    facts = collect(flow.collect, outcome.stdout) if outcome.verified else {}
    if outcome.status is not Status.SUCCEEDED:
        return Judged(outcome, facts)
    if flow.ok_stdout and pattern.find(flow.ok_stdout, outcome.stdout[-READ:]) is None:
        cause = Cause(CauseCode.WRONG_OUTPUT, "standard output does not hold what ok.stdout asks for")
        return Judged(replace(outcome, status=Status.FAILED, cause=cause), facts)
    after = known.and_step(step.id, outcome, facts)
    if flow.failed_when and is_true(flow.failed_when, target, after):
        cause = Cause(CauseCode.FAILED_WHEN, f"failed_when is true: {flow.failed_when}")
        return Judged(replace(outcome, status=Status.FAILED, cause=cause), facts)
    return Judged(outcome, facts, not flow.changed_when or is_true(flow.changed_when, target, after))


def collect(asked: Mapping[str, Fact], stdout: str) -> dict[str, str]:
    """Take facts from output. What is not found, too long, or cannot travel as environment is not there."""
    if not asked:
        return {}
    text = stdout[-READ:]
    found = {name: _find(fact, text) for name, fact in asked.items()}
    return {name: value for name, value in found.items() if value is not None and _is_carried(value)}


def is_true(condition: str, target: Target, known: Known) -> bool:
    """Say whether a condition holds. A fact that is not there equals nothing, like a tag that a VM does not have."""
    return holds(parse_condition(condition), lambda clause: _read(clause, target, known) or ())


def is_certain(condition: str, target: Target, known: Known) -> bool:
    """Say whether a condition holds whatever the facts, statuses and exit codes are that nobody knows."""
    return truth(parse_condition(condition), lambda clause: _read(clause, target, known)) is True


def _read(clause: Clause, target: Target, known: Known) -> tuple[str, ...] | None:
    """What a clause's field has; None for what was not found out."""
    match clause.field:
        case "fact":
            return (known.facts[clause.tag],) if clause.tag in known.facts else None
        case "status":
            return (known.steps[clause.tag][0].value,) if clause.tag in known.steps else None
        case "exit_code":
            code = known.steps[clause.tag][1] if clause.tag in known.steps else None
            return None if code is None else (str(code),)
        case _:
            return read_field(clause, target)


def _find(fact: Fact, text: str) -> str | None:
    if fact.regex:
        return pattern.find(fact.regex, text)
    return _behind_key(fact.key, text) if fact.key else _at_path(fact.path, text)


def _behind_key(key: str, text: str) -> str | None:
    """What stands behind the last ``KEY=``, up to a space or in quotes."""
    places = list(re.finditer(rf"(?:^|\s){re.escape(key)}=", text))
    if not places:
        return None
    rest = text[places[-1].end() :]
    if rest[:1] in ("'", '"') and (end := rest.find(rest[0], 1)) > 0:
        return rest[1:end]
    return re.split(r"\s", rest, maxsplit=1)[0]


def _at_path(path: str, text: str) -> str | None:
    """Follow a path into the output as JSON, else into its last line; text as it is, other values as JSON."""
    for candidate in _documents(text):
        try:
            node = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        for part in re.findall(r"[\w-]+", path):
            if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                return None
        if node is None or isinstance(node, str):
            return node
        return json.dumps(node, separators=(",", ":"), sort_keys=True)
    return None


def _documents(text: str) -> Iterable[str]:
    whole = text.strip()
    yield whole
    yield whole.rpartition("\n")[2]


def _is_carried(value: str) -> bool:
    """Whether a value can travel as environment: bounded, without NUL, and whole characters."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return False
    return len(value.encode("utf-8")) <= LONGEST_FACT
