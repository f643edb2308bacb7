"""Gates in simulated runs: which there are, who answers at them, and what a reader of the report would decide.

What a gate on facts or health decides is worked out here a second time, from the rows alone and by other code than the
run's own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.lab.world.machine_spec import RuleSpec
from fleet.plan.model import Gate, Plan, PlannedStep
from fleet.playbook.model import Amount, Fact, FactsCheck, Flow, HealthCheck, Script, Turn, Webhook
from fleet.report.model import JobRow
from fleet.run.answers import GateAnswer, Question, Said, Silent
from fleet.run.model import CauseCode, Status

CONDITIONS = (
    'steps.step-0.status == "succeeded"',
    'steps.step-0.status != "failed"',
    'facts.done == "step-0"',
    'facts.done != "step-9"',
)
"""What gates on facts ask for; whoever adds one teaches :func:`_holds` to read it."""

_URL = "https://gate.example.org/"


@dataclass(slots=True)
class Keepers:
    """The people and services that gates ask. Each answers after ``pause`` seconds; ``no`` has the gates they close."""

    pause: float = 1.0
    no: frozenset[int] = frozenset()
    silent: int = 0
    """How many questions go unheard before a service answers."""

    async def ask(self, question: Question, within: float) -> GateAnswer:
        """Answer as a webhook does; the one who asks has waited."""
        if self.silent:
            self.silent -= 1
            return Silent("HTTP 503")
        return Said(int(question.webhook.url.removeprefix(_URL)) not in self.no, "as drawn")

    def approve(self, plan: Plan, wave: int) -> bool:
        """Say whether the person whom this wave waits for approves it."""
        asked = {number for number, gate in enumerate(plan.gates) if gate.wave == wave and gate.is_approval}
        return not asked & self.no


def draw(rng: random.Random, plan: Plan, script: str) -> tuple[Plan, tuple[RuleSpec, ...], Keepers]:
    """Add gates of every kind to a plan, and for those on health a step with this script; what its guests then answer."""
    step, rules = _health_step(rng, plan, script)
    facts = Flow(collect={"done": Fact(regex=r"(step-\d+)")})
    steps = [replace(each, flow=replace(each.flow, collect=facts.collect)) for each in plan.steps]
    gates = [_gate(rng, plan, step.id) for _ in range(rng.choice((1, 1, 2, 3, 5)))]
    asked = any(gate.health is not None for gate in gates)
    gates.sort(key=lambda gate: gate.wave)
    gates = [_named(gate, number) for number, gate in enumerate(gates)]
    keepers = Keepers(
        rng.choice((0.0, 1.0, 60.0)),
        frozenset(number for number in range(len(gates)) if rng.random() < 0.15),
        rng.choice((0, 0, 1, 3)),
    )
    return replace(plan, steps=(*steps, *((step,) if asked else ())), gates=tuple(gates)), rules, keepers


def of_each_kind(plan: Plan, script: str) -> Plan:
    """Put a gate of each kind into a plan of three waves or more, none of which closes, and their step below its own."""
    step = PlannedStep(f"step-{len(plan.steps)}", Script(text=script), "look", flow=Flow(turn=Turn.GATE))
    health, facts = HealthCheck(step.id, Amount(0)), FactsCheck(CONDITIONS[0], Amount(100.0, percent=True))
    gates = (Gate(1, health=health), Gate(1), Gate(2, facts=facts), Gate(2, webhook=Webhook(f"{_URL}3")))
    return replace(plan, steps=(*plan.steps, step), gates=(*gates, Gate(len(plan.waves), facts=facts)))


def _health_step(rng: random.Random, plan: Plan, script: str) -> tuple[PlannedStep, tuple[RuleSpec, ...]]:
    number = len(plan.steps)
    flow = Flow(
        turn=Turn.GATE,
        when=rng.choice(("", "", "", 'os == "linux"')),
        retries=rng.choice((0, 0, 1)),
        retry_delay=rng.choice((0.0, 5.0)),
    )
    step = PlannedStep(f"step-{number}", Script(text=script), f"digest{number}", timeout=120.0, flow=flow)
    well = RuleSpec(when=f"echo step-{number}$", stdout=f"{{name}} step-{number}\n", duration=[1.0, 5.0])
    sick = well.model_copy(update={"share": rng.choice((0.1, 0.5)), "exit": 1})
    return step, ((sick, well) if rng.random() < 0.3 else (well,))


def _gate(rng: random.Random, plan: Plan, step: str) -> Gate:
    waves = len(plan.waves)
    match rng.choice(("person", "webhook", "facts", "facts", "health", "health")):
        case "person":
            return Gate(rng.randrange(waves))
        case "webhook":
            return Gate(rng.randrange(waves), webhook=Webhook(_URL, timeout=rng.choice((10.0, 300.0))))
        case "facts":
            share = Amount(rng.choice((1.0, 50.0, 90.0, 100.0)), percent=True)
            return Gate(rng.randint(1, waves), facts=FactsCheck(rng.choice(CONDITIONS), share))
        case _:
            most = rng.choice((Amount(0), Amount(1), Amount(50, percent=True)))
            return Gate(rng.randint(1, waves), health=HealthCheck(step, most))


def _named(gate: Gate, number: int) -> Gate:
    """Tell a webhook's gate from others by its address."""
    return gate if gate.webhook is None else replace(gate, webhook=replace(gate.webhook, url=f"{_URL}{number}"))


def decided(plan: Plan, number: int, rows: Sequence[JobRow]) -> tuple[int, bool]:
    """On how many targets of its wave a gate finds what it wants, by the report's rows, and whether that is enough."""
    gate, steps = plan.gates[number], len(plan.steps)
    wave = plan.waves[gate.wave - 1].targets
    by_target = [rows[target * steps : (target + 1) * steps] for target in wave]
    if gate.facts is not None:
        met = sum(_holds(gate.facts.condition, own) for own in by_target)
        return met, met / len(wave) * 100 >= gate.facts.min_share.value - 1e-9
    assert gate.health is not None
    looks = [row for own in by_target for row in own if row.step == gate.health.step]
    well = sum(row.status is Status.SUCCEEDED or row.cause.code is CauseCode.WHEN_FALSE for row in looks)
    most = gate.health.max_failed
    return well, len(wave) - well <= (len(wave) * most.value // 100 if most.percent else most.value)


def _holds(condition: str, rows: Sequence[JobRow]) -> bool:
    """Whether a target's rows show that a condition of :data:`CONDITIONS` is met; what they do not show is not."""
    match = re.fullmatch(r'(?:facts\.(\w+)|steps\.([\w-]+)\.status) (==|!=) "([^"]+)"', condition)
    assert match is not None, condition
    fact, step, sign, wanted = match.groups()
    shown: list[str] = [row.status.value for row in rows if row.step == step]
    shown = [row.facts[fact] for row in rows if fact in row.facts] if fact else shown
    return bool(shown) and (shown[-1] == wanted) is (sign == "==")
