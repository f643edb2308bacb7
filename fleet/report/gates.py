"""What became of a run's gates: one row each, whoever decides there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.plan.model import Gate
from fleet.report.model import GateKind, GateRow, GateState
from fleet.run import events as e
from fleet.run.directives import sentence
from fleet.run.gates.checks import judgement
from fleet.run.gates.webhooks import told
from fleet.run.record import RunRecord


def rows(record: RunRecord) -> Iterator[GateRow]:
    """Yield a row for each gate of the plan, in its order; one that the run did not come to is open."""
    answers = {answer.gate: answer for answer in record.gates}
    judged = {event.gate: event for event in record.judged}
    for number, gate in enumerate(record.plan.gates):
        if number in judged:
            yield _judged(gate, record, judged[number])
        elif number in answers:
            answer = answers[number]
            yield _row(gate, answer.go, answer.at, told(record.plan, answer))
        elif gate.is_approval and (decision := _decision(gate.wave, record.directives)) is not None:
            yield _row(gate, isinstance(decision, e.WaveApproved), decision.at, sentence(decision))
        else:
            yield _row(gate, None, None, "")


def _decision(wave: int, given: Iterable[e.Directive]) -> e.WaveApproved | e.WaveRejected | None:
    """What a person decided about a wave, the last time."""
    decisions = [event for event in given if isinstance(event, (e.WaveApproved, e.WaveRejected)) and event.wave == wave]
    return decisions[-1] if decisions else None


def _judged(gate: Gate, record: RunRecord, event: e.GateJudged) -> GateRow:
    row = _row(gate, event.go, event.at, judgement(record.plan, event))
    return GateRow(row.kind, row.wave, row.asks, row.state, row.at, row.why, event.met, event.of, event.missed)


def _row(gate: Gate, go: bool | None, at: float | None, why: str) -> GateRow:
    state = GateState.OPEN if go is None else GateState.PASSED if go else GateState.REFUSED
    wave = gate.wave if gate.check is None else gate.wave - 1
    return GateRow(_kind(gate), wave, str(gate), state, at, why)


def _kind(gate: Gate) -> GateKind:
    if gate.webhook is not None:
        return GateKind.WEBHOOK
    if gate.facts is not None:
        return GateKind.FACTS
    return GateKind.APPROVAL if gate.health is None else GateKind.HEALTH
