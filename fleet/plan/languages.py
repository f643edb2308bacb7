"""Whether every script of a plan can run on the targets that it reaches, seen before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.errors import InvalidInput, Problem
from fleet.plan.model import Plan, PlannedStep
from fleet.playbook.language import wrong_line, wrong_system
from fleet.playbook.model import Places, Shell
from fleet.targets.expression import Clause, read_field, truth
from fleet.targets.folding import fold
from fleet.targets.model import Os, Target
from fleet.targets.selector import parse_condition

_NOWHERE = Places()


def check(plan: Plan, places: Mapping[str, Places] | None = None) -> None:
    """Refuse scripts that would be handed to an interpreter that they were not written for.

    ``places`` says where the playbook has the scripts, by step. Raises :class:`fleet.errors.InvalidInput`.
    """
    problems = [
        problem for step in plan.steps if step.script.is_text for problem in _problems(plan, step, places or {})
    ]
    if problems:
        raise InvalidInput(problems)


def _problems(plan: Plan, step: PlannedStep, places: Mapping[str, Places]) -> Iterator[Problem]:
    place = places.get(step.id, _NOWHERE)
    line, column = (1, 1) if step.script.file else place.script
    file = step.script.file or plan.playbook.file
    if (wrong := wrong_line(step.shell, step.script)) is not None:
        line = line and line + wrong.line - 1
        yield replace(wrong, message=f"step {step.id!r}: {wrong.message}", file=file, line=line, column=column)
        return
    for system in Os:
        text = wrong_system(step.shell, step.script, system, receipts=plan.receipts)
        reached = tuple(reach(plan.steps, step, system, plan.targets)) if text else ()
        if reached:
            message = f"step {step.id!r}: {text}; {len(reached):,} of {len(plan.targets):,} targets are: "
            message += fold(target.name for target in reached)
            hint = f'narrow targets.where, or give the step a when, such as when: os == "{_other(system)}"'
            if step.shell is Shell.AUTO:
                yield Problem("wrong_shell", message, file, line, column, hint=hint)
            else:
                yield Problem("wrong_shell", message, plan.playbook.file, *place.shell, hint=hint)


def _other(system: Os) -> Os:
    return Os.LINUX if system is Os.WINDOWS else Os.WINDOWS


def reach(steps: Sequence[PlannedStep], step: PlannedStep, system: Os, targets: Iterable[Target]) -> Iterator[Target]:
    """Yield the targets of an operating system that a step may run on: those where its ``when`` is not surely false."""
    above = steps[: steps.index(step)]
    return (target for target in targets if target.os is system and _may_run(above, step, target))


@dataclass(slots=True)
class _Skipped:
    """What is known of a target whose steps above are skipped for certain."""

    steps: set[str] = field(default_factory=set)
    facts: set[str] = field(default_factory=set)


def _may_run(above: Sequence[PlannedStep], step: PlannedStep, target: Target) -> bool:
    skipped, told = _Skipped(), set[str]()
    for other in above:
        if _is_false(other.flow.when, target, skipped):
            skipped.steps.add(other.id)
            skipped.facts.update(other.flow.collect)
        else:
            told.update(other.flow.collect)
    skipped.facts -= told
    return not _is_false(step.flow.when, target, skipped)


def _is_false(condition: str, target: Target, skipped: _Skipped) -> bool:
    def read(clause: Clause) -> tuple[str, ...] | None:
        match clause.field:
            case "fact":
                return () if clause.tag in skipped.facts else None
            case "status":
                return ("skipped",) if clause.tag in skipped.steps else None
            case "exit_code":
                return () if clause.tag in skipped.steps else None
            case _:
                return read_field(clause, target)

    return bool(condition) and truth(parse_condition(condition), read, unknown_is_present=None) is False
