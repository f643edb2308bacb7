"""Webhooks that waves wait for: who is asked next, from when and until when, and what they said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.plan.model import Plan
from fleet.playbook.model import Webhook
from fleet.run import events as e
from fleet.run.answers import Question
from fleet.run.effects import AskGate, StopLaunching
from fleet.run.model import CauseCode, Outcome, Status
from fleet.run.retry import backoff

LONGEST_ASK = 30.0
"""Seconds that one ask may take: whoever interrupts the run waits for its end."""

LONGEST_PAUSE = 30.0
"""Seconds between two asks: a person who lets the wave go at last should see it go."""

SCHEMA = "fleet/gate/v1"


@dataclass(slots=True)
class WebhookState:
    """One gate's webhook, and how far the asking has come."""

    gate: int
    webhook: Webhook
    tries: int = 0
    since: float | None = None
    """When the owner of now began to ask."""
    due: float = 0.0
    calling: bool = False
    silence: str = ""
    """Why the last ask gave no answer."""
    answer: e.GateAnswered | None = None

    def next(self, now: float) -> AskGate | StopLaunching:
        """Ask once more, or stop the run because the time is over."""
        left = self.webhook.timeout if self.since is None else self.since + self.webhook.timeout - now
        if left > 0:
            return AskGate(self.gate, self.tries + 1, min(left, LONGEST_ASK))
        last = f"; last: {self.silence}" if self.silence else ""
        return StopLaunching(CauseCode.GATE_UNANSWERED, f"{self.webhook.url} gave no answer{last}")


class WebhookGates:
    """Every webhook of a plan."""

    def __init__(self, plan: Plan, run_id: str) -> None:
        self._run_id = run_id
        self._all = {
            number: WebhookState(number, gate.webhook)
            for number, gate in enumerate(plan.gates)
            if gate.webhook is not None
        }
        self._of_wave: dict[int, list[WebhookState]] = {}
        for number, asked in self._all.items():
            self._of_wave.setdefault(plan.gates[number].wave, []).append(asked)

    @property
    def calls(self) -> bool:
        """Whether somebody is being asked right now."""
        return any(asked.calling for asked in self._all.values())

    @property
    def answers(self) -> tuple[e.GateAnswered, ...]:
        return tuple(asked.answer for asked in self._all.values() if asked.answer is not None)

    def before(self, wave: int) -> WebhookState | None:
        """Who has to be asked next before this wave opens."""
        return next((asked for asked in self._of_wave.get(wave, ()) if asked.answer is None), None)

    def take_over(self) -> None:
        """Begin anew for a new owner: an ask of the last one is lost, and so is the time in which nobody asked."""
        for asked in self._all.values():
            asked.since, asked.due, asked.calling = None, 0.0, False

    def take(self, event: e.GateAsked | e.GateAnswered | e.GateSilent) -> None:
        """Take over what became of an ask. The only place where any of this changes."""
        asked = self._all[event.gate]
        asked.calling = isinstance(event, e.GateAsked)
        match event:
            case e.GateAsked():
                asked.tries = event.ask
                asked.since = event.at if asked.since is None else asked.since
            case e.GateSilent():
                asked.silence = event.detail
                until = (asked.since or event.at) + asked.webhook.timeout
                asked.due = min(event.at + backoff(asked.tries, self._salt(asked), LONGEST_PAUSE), until)
            case e.GateAnswered():
                asked.answer = event

    def _salt(self, asked: WebhookState) -> str:
        return f"{self._run_id}/gate/{asked.gate}"


def question(plan: Plan, run_id: str, gate: int, outcomes: Iterable[Outcome | None]) -> Question:
    """What a webhook is told: which run, which wave, how many jobs ended how. Nothing a VM printed, and no secret."""
    hook, wave = plan.gates[gate].webhook, plan.waves[plan.gates[gate].wave]
    assert hook is not None, "only webhooks are asked"
    ended = Counter(outcome.status for outcome in outcomes if outcome is not None)
    counts: Mapping[str, object] = {status.value: ended[status] for status in Status}
    return Question(
        hook,
        {
            "schema": SCHEMA,
            "run": run_id,
            "plan": plan.digest,
            "playbook": {"name": plan.playbook.name, "version": plan.playbook.version, "digest": plan.playbook.digest},
            "wave": {
                "number": wave.index + 1,
                "of": len(plan.waves),
                "label": wave.label,
                "targets": len(wave.targets),
            },
            "targets": len(plan.targets),
            "jobs": len(plan),
            "counts": counts,
        },
    )


def told(plan: Plan, event: e.GateAnswered) -> str:
    """Say in one line what a webhook said."""
    gate = plan.gates[event.gate]
    assert gate.webhook is not None, "only webhooks answer"
    why = f": {event.why}" if event.why else ""
    said = "let wave {} go" if event.go else "did not let wave {} go"
    return f"{gate.webhook.url} {said.format(gate.wave + 1)}{why}"
