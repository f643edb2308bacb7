"""A plan as text, JSON or Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from fleet import codec
from fleet.cli.terminal import table
from fleet.plan import estimate as estimates
from fleet.plan.bottleneck import Bottleneck, Bound, bottleneck
from fleet.plan.estimate import Estimate
from fleet.plan.model import Gate, Limits, Plan, PlannedStep, Wave
from fleet.playbook.model import OnExisting, Strategy, Turn
from fleet.preflight.doctor import Finding
from fleet.report.words import KINDS, duration, plural, unread
from fleet.targets.folding import fold
from fleet.targets.model import Kind
from fleet.targets.traits import trait


def render_plan(plan: Plan, form: str, *, colour: bool = False, patchers: Sequence[Finding] = ()) -> str:
    """Render a plan as text, JSON or Markdown. ``patchers`` says who else patches its targets; text leaves that out."""
    cost = estimates.estimate(plan)
    if form == "json":
        document = {**_plan_document(plan, cost), "patchers": [finding_document(item) for item in patchers]}
        return json.dumps(document, indent=1, ensure_ascii=True) + "\n"
    return _plan_markdown(plan, cost, patchers) if form == "md" else _plan_text(plan, cost)


def finding_document(finding: Finding) -> dict[str, object]:
    """Render one finding of the doctor as JSON."""
    return {
        "check": finding.check.value,
        "level": finding.level.value,
        "what": finding.what,
        "next": finding.next,
        "subject": finding.subject,
        "targets": [target.id for target in finding.targets],
        "commands": list(finding.names),
    }


def _plan_document(plan: Plan, cost: Estimate) -> dict[str, Any]:
    """Return a plan for programs that read it: waves count from 1, as everywhere but in plan files and journals."""
    document: dict[str, Any] = codec.encode(plan)
    document["waves"] = [{**wave, "index": wave["index"] + 1} for wave in document["waves"]]
    if "gates" in document:
        document["gates"] = [{**gate, "wave": gate["wave"] + 1} for gate in document["gates"]]
    return {"schema": "urn:fleet:plan:v2", "digest": plan.digest, **document, "estimate": codec.encode(cost)}


def _plan_text(plan: Plan, cost: Estimate) -> str:
    lines = [
        f"{plan.playbook.name} {plan.playbook.version} on {plural(len(plan.targets), 'target')}: {_folded(plan)}",
        "",
        table(_wave_head(plan), [_wave_row(plan, wave) for wave in plan.waves]),
        table(STEP_HEAD, _step_rows(plan)),
    ]
    lines += [f"{'condition':<12}{text}" for text in _conditions(plan)]
    lines += [f"{label:<12}{text}" for label, text in _facts(plan, cost)]
    lines += [f"warning     {text}" for text in (*map(unread, plan.unread), *plan.notes)]
    lines += [f"not run     {plan.targets[left.target].name}: {left.why}" for left in plan.left]
    return "\n".join(lines) + "\n"


def _plan_markdown(plan: Plan, cost: Estimate, patchers: Sequence[Finding]) -> str:
    from fleet.report.safe import markdown

    def rows(head: Sequence[str], cells: Iterable[Sequence[str]]) -> Iterator[str]:
        yield "| " + " | ".join(head) + " |"
        yield "|---" * len(head) + "|"
        yield from ("| " + " | ".join(markdown(cell) for cell in row) + " |" for row in cells)

    lines = [f"### Plan: {markdown(plan.playbook.name)} {markdown(plan.playbook.version)}", ""]
    lines += [*rows(_wave_head(plan), (_wave_row(plan, wave) for wave in plan.waves)), ""]
    lines += [*rows(STEP_HEAD, _step_rows(plan)), ""]
    lines += [f"- **condition** {markdown(text)}" for text in _conditions(plan)]
    lines += [f"- **{label}** {markdown(text)}" for label, text in _facts(plan, cost)]
    lines += [f"- **warning** {markdown(text)}" for text in (*map(unread, plan.unread), *plan.notes)]
    lines += [f"- **warning** {markdown(f'{fold(vm.name for vm in item.targets)}: {item.what}')}" for item in patchers]
    return "\n".join(lines) + "\n"


STEP_HEAD = ("step", "title", "time limit", "digest")


def _step_rows(plan: Plan) -> list[tuple[str, ...]]:
    return [(step.id, step.title, duration(step.timeout), step.digest[:12]) for step in plan.steps]


def _has_wave_budgets(plan: Plan) -> bool:
    return any(wave.max_failures is not None or wave.max_unreachable is not None for wave in plan.waves)


def _wave_head(plan: Plan) -> tuple[str, ...]:
    budgets = ("failures allowed", "unreachable allowed") if _has_wave_budgets(plan) else ()
    return ("wave", "up to", "targets", "at once", *budgets, "names")


_TURNS = {
    Turn.RESCUE: "after a failure",
    Turn.ALWAYS: "always",
    Turn.NOTIFIED: "after a notice",
    Turn.GATE: "when a gate asks for it",
}


def _conditions(plan: Plan) -> Iterator[str]:
    """Say of every step what decides whether it runs, how its end is judged, and what follows from it."""
    if plan.strategy is Strategy.STEP:
        yield "every step waits until the one before has ended on all targets of the wave"
    for step in plan.steps:
        flow = step.flow
        parts = [
            _TURNS.get(flow.turn, ""),
            f"when {flow.when}" if flow.when else "",
            f"collects {', '.join(flow.collect)}" if flow.collect else "",
            f"failed without {flow.ok_stdout!r} in its output" if flow.ok_stdout else "",
            f"failed when {flow.failed_when}" if flow.failed_when else "",
            f"notifies {', '.join(flow.notify)}" if flow.notify else "",
            f"if {flow.changed_when}" if flow.changed_when else "",
            f"again up to {plural(flow.retries, 'time')}, {duration(flow.retry_delay)} apart" if flow.retries else "",
            _looks(step),
        ]
        if told := ", ".join(part for part in parts if part):
            yield f"{step.id}: {told}"


def _looks(step: PlannedStep) -> str:
    """How often and how long the step of a restart looks whether its target is back."""
    restart = step.restart
    if restart is None or not restart.looks:
        return ""
    return f"looks every {duration(step.flow.retry_delay)}, for up to {duration(restart.patience)}"


def _wave_row(plan: Plan, wave: Wave) -> tuple[str, ...]:
    names = fold(plan.targets[place].name for place in wave.targets)
    budgets = tuple("any" if n is None else f"{n:,}" for n in (wave.max_failures, wave.max_unreachable))
    return (
        str(wave.index + 1),
        wave.label,
        f"{len(wave.targets):,}",
        _widths(plan.limits, wave),
        *(budgets if _has_wave_budgets(plan) else ()),
        names if len(names) <= 60 else f"{names[:57]}...",
    )


def _widths(limits: Limits, wave: Wave) -> str:
    """How many targets go at once: 1, 2, 4, ... up to what concurrency and strict budgets let go."""
    most = min(estimates.width(limits, wave), len(wave.targets))
    if not limits.slow_start or most <= 1:
        return f"{most:,}"
    ramp = [str(step) for step in (1, 2, 4) if step < most]
    return ", ".join([*ramp, *(["..."] if most > 8 else []), f"{most:,}"])


def _folded(plan: Plan) -> str:
    names = fold(target.name for target in plan.targets)
    return names if len(names) <= 300 else f"{names[:297]}..."


def _kinds(plan: Plan) -> str:
    """Say how many machines of each kind there are."""
    counts = Counter(target.kind for target in plan.targets)
    return ", ".join(plural(counts[kind], KINDS[kind]) for kind in Kind if counts[kind])


def _facts(plan: Plan, cost: Estimate) -> list[tuple[str, str]]:
    subscriptions = len({target.subscription for target in plan.targets})
    kinds = [("kinds", _kinds(plan))] if any(target.kind is not Kind.VM for target in plan.targets) else []
    return [
        *kinds,
        ("jobs", f"{plural(cost.jobs, 'job')} in {plural(subscriptions, 'subscription')}, {_at_once(plan)}"),
        *([("pace", "; ".join(pace))] if (pace := list(_pace(plan, cost))) else []),
        *([("held back", held)] if (held := _held_back(plan)) else []),
        ("budget", _budget(plan)),
        *(("gate", line) for line in _gates(plan)),
        ("calls", f"{cost.submissions:,} submissions, about {cost.reads:,} reads, {cost.deletes:,} deletes"),
        ("time", f"about {duration(cost.seconds)} if each script takes {duration(cost.script_seconds)}"),
        *([("retries", _retries(cost))] if cost.most_submissions > cost.submissions else []),
        ("transport", f"{plan.transport.value}, receipts {'on' if plan.receipts else 'off'}, cloud {plan.cloud}"),
        *(("standing", _standing(plan, step)) for step in plan.steps if step.properties.command),
        ("digest", plan.digest),
    ]


def _retries(cost: Estimate) -> str:
    """Say what it comes to if every step fails, on every target, until its last try."""
    more = cost.most_submissions - cost.submissions
    return f"up to {more:,} submissions more, and then about {duration(cost.most_seconds)} in all"


def _at_once(plan: Plan) -> str:
    limits = plan.limits
    if limits.at_once >= len(plan.targets):
        return "all at once, as fast as Azure's limits allow"
    if limits.at_once == limits.concurrency:
        return f"{limits.concurrency:,} at a time"
    return f"{limits.at_once:,} at a time: a strict budget lets no more start than may fail, and one"


def no_budget(plan: Plan) -> str:
    """Say in one line that nothing stops a failing script, and what would; empty where a budget does."""
    total = len(plan.targets)
    if total < 2 or _has_wave_budgets(plan) or plan.limits.max_failures is not None:
        return ""
    return (
        f"No budget: a failing script reaches all {total:,} VMs (`--max-failures {max(total // 100, 1)}` stops early)"
    )


def _held_back(plan: Plan) -> str:
    """Say which limit costs most time, and what would change it; empty where it is the scripts themselves."""
    found = bottleneck(plan)
    if found.bound is Bound.SCRIPT:
        return ""
    if found.bound is Bound.WRITES:
        return "Azure takes 200 submissions at once and 10 a second for each subscription and principal"
    return f"{_HELD_BY[found.bound](plan, found)}, which costs about {duration(found.seconds)}"


def _by_budget(plan: Plan, found: Bottleneck) -> str:
    at_once = min(found.wider, max(20, 2 * found.at_once))
    needed = [
        f"{name} {at_once - 1:,}"
        for name, most in (("max_failures", plan.limits.max_failures), ("max_unreachable", plan.limits.max_unreachable))
        if most is not None and most + 1 < at_once
    ]
    would = f" ({at_once:,} at once would need {' and '.join(needed)})" if needed else ""
    return f"the budget: {found.at_once:,} at once{would}"


def _narrow_steps(plan: Plan) -> str:
    return ", ".join(f"step {step.id}: {step.concurrency:,} at once" for step in plan.steps if step.concurrency)


_HELD_BY: Mapping[Bound, Callable[[Plan, Bottleneck], str]] = {
    Bound.BUDGET: _by_budget,
    Bound.SLOW_START: lambda plan, found: "slow start (--no-slow-start leaves it out)",
    Bound.CONCURRENCY: lambda plan, found: f"the concurrency: {found.at_once:,} at once (-f {found.wider} allows all)",
    Bound.STEP: lambda plan, found: f"the concurrency of {_narrow_steps(plan)}",
    Bound.RATE: lambda plan, found: f"the rate: {plan.limits.rate}",
    Bound.SPREAD: lambda plan, found: f"the spread: at most {plan.limits.spread} at once",
}


def _pace(plan: Plan, cost: Estimate) -> Iterator[str]:
    limits = plan.limits
    if limits.slow_start:
        costs = f", which takes {duration(cost.slow_start)} of the time" if cost.slow_start else ""
        yield f"slow start: each wave begins with one target, then as many more as ended well{costs}"
    if limits.rate is not None:
        yield f"at most {limits.rate}"
    if limits.spread is not None:
        none = sum(not trait(target, limits.spread.per) for target in plan.targets)
        yield f"at most {limits.spread} at once" + (f" ({plural(none, 'target')} without one)" if none else "")
    if limits.soak:
        yield f"{duration(limits.soak)} between waves"
    if plan.timed_by:
        yield f"the longest first, as run {plan.timed_by} timed them"


def _gates(plan: Plan) -> Iterator[str]:
    for gate in plan.gates:
        if gate.check is not None:
            yield _looking_back(plan, gate)
            continue
        wave = f"wave {gate.wave + 1} ({plan.waves[gate.wave].label})"
        if (hook := gate.webhook) is not None:
            yield f"{wave} opens when {hook.url} lets it, asked for {duration(hook.timeout)} at most"
        else:
            yield f"{wave} must be approved by {' or '.join(gate.by) or 'anybody who may steer the run'}"


def _looking_back(plan: Plan, gate: Gate) -> str:
    """Say what a gate wants of the targets of the wave before, in absolute numbers."""
    last = plan.waves[gate.wave - 1]
    size = len(last.targets)
    after = f"after wave {gate.wave} ({last.label})"
    if gate.facts is not None:
        least = -(-Fraction(repr(gate.facts.min_share.value)) * size // 100)
        return f"{after} {gate.facts.condition} on at least {least:,} of {plural(size, 'target')}"
    assert gate.health is not None
    return f"{after} {gate.health.step} runs, and is not ok on at most {gate.health.max_failed.of(size):,} of {size:,}"


def _budget(plan: Plan) -> str:
    limits = plan.limits
    allowed = [
        f"{plural(maximum, kind)}{' allowed' if maximum else ' allowed: the first one stops the run'}"
        for maximum, kind in ((limits.max_failures, "failure"), (limits.max_unreachable, "unreachable target"))
        if maximum is not None
    ]
    if not allowed and not _has_wave_budgets(plan):
        return no_budget(plan) or "none: every target is tried, whatever fails"
    kind = "strict: work in flight counts" if limits.strict else "not strict: work in flight may overshoot it"
    return "; ".join([*(allowed or ["none for the whole run"]), kind])


_WHERE_THERE = {
    OnExisting.UPDATE: "changed where it is there",
    OnExisting.REPLACE: "set anew where it is there",
    OnExisting.FAIL: "left alone where it is there",
}


def _standing(plan: Plan, step: PlannedStep) -> str:
    """Say what becomes of a step's standing command, and whether an unchanged one runs again."""
    own = step.properties
    rule = (
        "it runs in every run"
        if plan.receipts and step.script.is_text
        else "unchanged, it is not run again: the row then shows its earlier result"
    )
    return f"{own.command} (step {step.id}) stays on each VM, {_WHERE_THERE[own.on_existing]}; {rule}"
