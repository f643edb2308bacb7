"""Gates on what was found: facts and health of a wave's VMs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ExitCode, InvalidInput
from fleet.plan.build import Settings, build
from fleet.plan.model import Gate, Limits, Plan
from fleet.playbook.load import load
from fleet.playbook.model import Amount, FactsCheck, HealthCheck, Playbook, Spread, Strategy, Turn, Webhook
from fleet.report.aggregate import aggregate
from fleet.report.model import GateKind, GateState
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Command
from fleet.run.facts import Known, is_certain
from fleet.run.gates.checks import judgement
from fleet.run.model import CauseCode, Status
from fleet.run.record import RunRecord
from fleet.run.state import Run
from fleet.targets.model import TargetSet
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.driven import OPERATION, due, ended, opened, sent
from tests.unit.run.factory import target
from tests.unit.run.stepped import found, place, step, stepped
from tests.virtual import run

ALL = Amount(100, percent=True)
GOOD, BAD = Behaviour(stdout="x=1\n"), Behaviour(stdout="x=0\n")
NO_FACT, FAILS = Behaviour(stdout="\n"), Behaviour(exit_code=1, stdout="x=1\n")
AWAY = Behaviour(fail=("VMAgentStatusCommunicationError", ""))
TELLS = step("work", collect=found("x"))
CHECK = step("check", Turn.GATE)


def facts(condition: str, share: Amount = ALL, wave: int = 1) -> Gate:
    """A gate on facts after the wave of this number."""
    return Gate(wave, facts=FactsCheck(condition, share))


def health(most: Amount = Amount(0), wave: int = 1, name: str = "check") -> Gate:  # noqa: B008  a frozen value
    """A gate on the health of the wave of this number."""
    return Gate(wave, health=HealthCheck(name, most))


def gated(*gates: Gate, vms: int = 4, first: int = 2, limits: Limits | None = None, health: bool = False) -> Plan:
    """A plan whose first wave has ``first`` VMs, and the others the second."""
    steps = (TELLS, CHECK) if health else (TELLS,)
    return replace(stepped(steps, vms=vms, waves=(Amount(first),), limits=limits), gates=gates)


def meeting(plan: Plan, meets: Mapping[tuple[int, str], Behaviour]) -> Trial:
    """A run in which the VM of this number meets this at this step, and everybody else does well."""

    def behave(command: Command, n: int) -> Behaviour:
        name, step, _ = place(plan, command)
        return meets.get((int(name.removeprefix("vm")), step), GOOD)

    return Trial(plan, ScriptedCloud(behave))


def statuses(record: RunRecord) -> list[str]:
    return [job.outcome.status.value if job.outcome else "" for job in record.jobs]


def judged(trial: Trial) -> list[e.GateJudged]:
    return [event for event in trial.runs.kept(RUN_ID) if isinstance(event, e.GateJudged)]


# -------------------------------------------------------------------------------------------------- facts


def test_the_next_wave_waits_for_the_facts_of_the_one_before() -> None:
    """Met on all VMs of the wave: the next one opens, and the report says what was found."""
    done = meeting(gated(facts('facts.x == "1"')), {})
    record = run(done.start())
    assert statuses(record) == ["succeeded"] * 4
    note = 'Gate after wave 1 passed: facts.x == "1" on 2 of 2 targets (100%), 100% needed'
    assert any(text.endswith(note) for text in aggregate(record).notes)


def test_it_can_be_asked_whether_a_wave_is_being_looked_at() -> None:
    """From the moment at which the health of an ended wave is asked for until the last of it has answered."""
    going = opened(replace(gated(health(), vms=2, first=1, health=True), receipts=False))
    assert not going.is_looked_at
    sent(going, 0, 1.0)
    ended(going, 0, 2.0)
    assert not going.is_looked_at
    going.apply(e.HealthBegun(3.0, 0))
    assert going.is_looked_at
    sent(going, 1, 4.0)
    ended(going, 1, 5.0)
    assert not going.is_looked_at


def test_facts_that_are_not_right_stop_the_run() -> None:
    """Exit code 5; the report names the gate, the share reached and the VMs on which it was not met."""
    record = run(meeting(gated(facts('facts.x == "1"')), {(1, "work"): BAD}).start())
    assert statuses(record) == ["succeeded", "succeeded", "not_started", "not_started"]
    report = aggregate(record)
    assert report.exit_code == ExitCode.STOPPED
    assert report.stopped is not None and report.stopped.cause is CauseCode.GATE_FACTS
    assert report.stopped.message == (
        'Gate after wave 1 not passed: facts.x == "1" on 1 of 2 targets (50%), 100% needed; not on vm0001'
    )


@pytest.mark.parametrize("meets", [NO_FACT, AWAY, Behaviour(exit_code=1, stdout=""), FAILS])
def test_every_target_counts_and_silence_is_no_yes(meets: Behaviour) -> None:
    """A VM that does not tell the fact, cannot be reached, or failed without telling it does not meet the condition; one
    that failed and told it does.
    """
    done = meeting(gated(facts('facts.x != "0"')), {(0, "work"): meets})
    run(done.start())
    assert [event.met for event in judged(done)] == [2 if meets is FAILS else 1]


def test_a_skipped_target_counts_unless_the_condition_says_so() -> None:
    """Where the step was skipped there is no fact; a condition may speak of that, and then it is met."""
    skipping = replace(TELLS, flow=replace(TELLS.flow, when='name != "vm0000"'))
    for condition, met in (('facts.x == "1"', 1), ('facts.x == "1" or steps.work.status == "skipped"', 2)):
        made = replace(gated(facts(condition)), steps=(skipping,))
        done = meeting(made, {})
        run(done.start())
        assert [event.met for event in judged(done)] == [met]


TARGET = target(1)
CLAUSES = [*(f'facts.{name} {sign} "1"' for name in "ab" for sign in ("==", "!=")), 'os == "linux"']
CLAUSES += ['steps.s.exit_code == "0"', 'facts.b in ["0", "1"]', 'facts.a not in ["0"]']
conditions = st.recursive(
    st.sampled_from(CLAUSES),
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=6,
)


@given(conditions, st.dictionaries(st.sampled_from("ab"), st.sampled_from("01")))
def test_what_is_certain_stays_so_whatever_the_missing_facts_are(text: str, told: dict[str, str]) -> None:
    """A condition that is met without some facts is met with every value that they could have."""
    if is_certain(text, TARGET, Known(told, {})):
        for a, b, code in product("01", "01", (0, 1)):
            assert is_certain(text, TARGET, Known({"a": a, "b": b, **told}, {"s": (Status.SUCCEEDED, code)}))


@given(st.integers(1, 40), st.floats(0.01, 100), st.data())
def test_the_share_is_exact_and_never_rounded_in_favour(wave: int, percent: float, data: st.DataObject) -> None:
    """The next wave opens if and only if at least the share of the wave's VMs meets the condition."""
    share = Amount(round(percent, 4) or 0.01, percent=True)
    met = data.draw(st.integers(0, wave))
    going = Run(gated(facts('steps.work.status == "succeeded"', share), vms=wave + 1, first=wave), RUN_ID)
    going.apply(e.RunOpened(0.0, 1))
    going.apply(e.WaveOpened(0.0, 0))
    for job in range(wave):
        sent(going, job, 1.0)
        ended_unproven(going, job, 2.0, good=job < met)
    effect = going.next(2.0)
    assert isinstance(effect, f.JudgeGate)
    assert effect.go == (Fraction(met, wave) >= Fraction(repr(share.value)) / 100)
    assert (effect.met, effect.of) == (met, wave) and len(effect.missed) == min(wave - met, 10)


def ended_unproven(run: Run, job: int, at: float, *, good: bool) -> None:
    """An end whose receipt is missing, or that the service failed: what matters is the status."""
    if good:
        run.jobs[job].wrapped = False
        ended(run, job, at)
    else:
        run.apply(e.ResultFailed(at, run.jobs[job].job.id, "Failed", "no"))


# ------------------------------------------------------------------------------------------------- health


def test_the_health_step_runs_on_the_waves_targets_when_it_has_settled() -> None:
    """After the wave's end and the soak, on its VMs only; then the next wave opens at once."""
    done = meeting(gated(health(), limits=Limits(soak=100.0), health=True), {})
    record = run(done.start())
    rows = {(job.job.target.name, job.job.step.id): job for job in record.jobs}
    closed = max(rows[f"vm000{n}", "work"].ended or 0 for n in (0, 1))
    looked = [rows[f"vm000{n}", "check"].started or 0 for n in (0, 1)]
    assert min(looked) >= closed + 100.0
    over = max(rows[f"vm000{n}", "check"].ended or 0 for n in (0, 1))
    assert over <= (rows["vm0002", "work"].started or 0) < over + 5.0
    unasked = rows["vm0002", "check"].outcome
    assert unasked is not None and (unasked.status, unasked.cause.code) == (Status.SKIPPED, CauseCode.NOT_NEEDED)
    assert aggregate(record).exit_code == 0


def test_sick_targets_stop_the_run() -> None:
    """More than allowed: exit code 5, the gate named, and a row for every target and step."""
    done = meeting(gated(health(), health=True), {(1, "check"): FAILS})
    record = run(done.start())
    assert statuses(record) == ["succeeded", "succeeded", "succeeded", "failed", *["not_started"] * 4]
    report = aggregate(record)
    assert report.exit_code == ExitCode.STOPPED and report.stopped is not None
    assert report.stopped.cause is CauseCode.GATE_HEALTH
    assert report.stopped.message == (
        "Gate after wave 1 not passed: check not ok on 1 of 2 targets, 0 allowed; not on vm0001"
    )


def test_as_many_may_be_sick_as_the_gate_allows() -> None:
    """A count or a percent of the wave's VMs, rounded down; the row stays failed, and so says the exit code."""
    for most, go in ((Amount(1), True), (Amount(50, percent=True), True), (Amount(49, percent=True), False)):
        record = run(meeting(gated(health(most), health=True), {(1, "check"): FAILS}).start())
        assert (statuses(record)[4] == "succeeded") is go
        assert aggregate(record).exit_code == (ExitCode.SCRIPT_FAILED if go else ExitCode.STOPPED)


def test_who_cannot_be_looked_at_is_not_healthy() -> None:
    """A VM that was not reached is not asked again, and counts; one whose script may still be running is let alone; one
    that failed is looked at, and healthy if it is.
    """
    lost = Behaviour(fail=("VMExtensionProvisioningTimeout", "too long"))
    for meets, row, met in ((AWAY, "skipped", 1), (lost, "skipped", 1), (FAILS, "succeeded", 2)):
        done = meeting(gated(health(Amount(1)), health=True), {(0, "work"): meets})
        record = run(done.start())
        assert statuses(record)[1] == row
        assert [event.met for event in judged(done)] == [met]


def test_a_health_step_may_leave_targets_out() -> None:
    """Where its own ``when`` is false the playbook says that there is nothing to look at: that is no sickness."""
    made = gated(health(), health=True)
    sparing = replace(CHECK, flow=replace(CHECK.flow, when='name != "vm0001"'))
    done = meeting(replace(made, steps=(TELLS, sparing)), {(1, "check"): FAILS})
    record = run(done.start())
    assert statuses(record)[3] == "skipped" and statuses(record)[4] == "succeeded"


def test_a_health_step_knows_facts_and_tells_some() -> None:
    """It is a step like others: conditions on facts of those above, and a gate on facts may look at what it found."""
    looking = step("check", Turn.GATE, when='facts.x == "1"', collect=found("y"))
    made = replace(gated(health(), facts('facts.y == "2"')), steps=(TELLS, looking))
    told = {(n, "check"): Behaviour(stdout="y=2\n") for n in range(4)}
    record = run(meeting(made, told).start())
    assert statuses(record)[4] == "succeeded" and aggregate(record).exit_code == 0


def test_a_health_step_spends_no_budget_and_waits_for_none() -> None:
    """The gate says how many may be sick: neither strict budgets nor slow start nor spread hold the looks back."""
    limits = Limits(max_failures=0, slow_start=True, spread=Spread("location", Amount(1)))
    made = gated(health(Amount(3)), vms=8, first=4, limits=limits, health=True)
    done = meeting(made, {(n, "check"): FAILS for n in range(3)})
    record = run(done.start())
    looks = [job.started or 0 for job in record.jobs[:8] if job.job.step.id == "check"]
    assert max(looks) - min(looks) < 1.0, "all at once"
    assert record.stop_cause is None and statuses(record)[8] == "succeeded"


def test_a_gate_may_stand_after_the_last_wave() -> None:
    """There is nothing left to stop, and the exit code still says that it was not met."""
    done = meeting(gated(health(wave=2), facts('facts.x == "1"', wave=2), health=True), {(3, "check"): FAILS})
    record = run(done.start())
    assert statuses(record) == ["succeeded", "skipped"] * 2 + ["succeeded", "succeeded", "succeeded", "failed"]
    assert aggregate(record).exit_code == ExitCode.STOPPED
    assert [event.go for event in judged(done)] == [False], "the first no decides"
    alone = meeting(gated(facts('facts.x == "1"', wave=2)), {(3, "work"): BAD})
    record = run(alone.start())
    assert statuses(record) == ["succeeded"] * 4 and aggregate(record).exit_code == ExitCode.STOPPED


def test_step_by_step_waves_are_looked_at_too() -> None:
    """Thresholds and gates hold in every strategy, and two gates may ask for two steps."""
    made = gated(health(), health(name="other"))
    made = replace(made, steps=(TELLS, step("more"), CHECK, step("other", Turn.GATE)), strategy=Strategy.STEP)
    record = run(meeting(made, {(0, "other"): FAILS}).start())
    assert statuses(record)[:4] == ["succeeded", "succeeded", "succeeded", "failed"]
    assert statuses(record)[8:] == ["not_started"] * 8
    assert record.stop_cause is CauseCode.GATE_HEALTH


# ---------------------------------------------------------------------------------------- one thing and another


def between(*gates: Gate, **limits: float) -> Run:
    """A run whose first wave, of one VM, has just ended."""
    going = opened(gated(*gates, vms=2, first=1, limits=Limits(**limits), health=True))  # type: ignore[arg-type]
    for state in going.jobs:
        state.wrapped = False
    sent(going, 0, 1.0)
    ended(going, 0, 2.0)
    going.apply(e.RemovalBegun(2.0, going.jobs[0].job.id))
    going.apply(e.CommandRemoved(2.0, going.jobs[0].job.id))
    return going


def test_a_decision_is_kept_and_made_once() -> None:
    """Whoever takes the run over finds it decided, whatever he would have found himself."""
    going = between(facts('facts.x == "1"'), health())
    assert due(going, 3.0)[0] == f.BeginHealth(0)
    going.apply(e.SubmissionAccepted(3.0, going.jobs[1].job.id, OPERATION))
    ended(going, 1, 4.0)
    going.apply(e.GateJudged(4.0, 0, True, 1, 1))
    going.apply(e.GateJudged(4.0, 1, True, 1, 1))
    going.apply(e.RunOpened(9.0, 2))
    assert f.OpenWave(1) in due(going, 9.0)


def test_health_that_was_begun_goes_on_with_the_next_owner() -> None:
    """The soak is not awaited again, and what was sent is looked up and not sent anew."""
    going = between(health(), soak=50.0)
    assert isinstance(wait := going.next(3.0), f.WaitUntil) and wait.at == 52.0
    assert due(going, 52.0)[0] == f.BeginHealth(0)
    going.apply(e.SubmissionAccepted(52.0, going.jobs[1].job.id, OPERATION))
    going.apply(e.RunOpened(60.0, 2))
    assert [type(effect) for effect in due(going, 61.0)] == [f.Look]


def test_a_pause_holds_the_health_steps_back() -> None:
    """They are jobs like others; a decision that needs nothing more to be sent is made all the same."""
    going = between(health(), facts("not facts.y"))
    going.apply(e.RunPaused(3.0))
    assert isinstance(going.next(4.0), f.WaitUntil)
    going.apply(e.RunUnpaused(5.0))
    assert due(going, 5.0)[0] == f.BeginHealth(0)


@pytest.mark.parametrize(
    "stop",
    [
        e.RunCancelled(9.0, e.StopKind.SOFT, "jo"),
        e.LaunchStopped(9.0, CauseCode.DEADLINE, "late"),
        e.LaunchStopped(9.0, CauseCode.BUDGET_FAILURES, "many"),
    ],
)
def test_a_stop_before_the_health_step_leaves_its_rows_not_started(stop: e.Event) -> None:
    """No row is missing, nothing is decided any more, and the run ends."""
    going = between(health(), soak=50.0)
    going.apply(stop)
    record = going.record()
    assert [job.outcome.status.value for job in record.jobs if job.outcome] == ["succeeded"] + ["not_started"] * 3
    assert going.next(9.0) == f.Finish()
    assert not record.judged


def test_an_interrupted_run_is_looked_at_when_it_goes_on() -> None:
    """A person who interrupts the run between a wave and its health step leaves it there."""
    going = between(health(), soak=50.0)
    going.apply(e.StopRequested(3.0, e.StopKind.SOFT))
    assert going.next(3.0) == f.Halt()
    going.apply(e.RunOpened(100.0, 2))
    assert due(going, 100.0)[0] == f.BeginHealth(0)


def test_a_person_comes_after_what_was_found() -> None:
    """Health, then facts, then the person, who can read what was found."""
    going = between(health(), facts("not facts.y"), Gate(1))
    assert due(going, 3.0)[0] == f.BeginHealth(0)
    going.apply(e.SubmissionAccepted(3.0, going.jobs[1].job.id, OPERATION))
    ended(going, 1, 4.0)
    assert [type(effect) for effect in due(going, 4.0)] == [f.JudgeGate, f.JudgeGate, f.AwaitApproval, f.Remove]


def test_the_report_has_a_row_for_each_gate() -> None:
    """Who decides there, what was asked for, and what came of it; one that the run did not come to is open."""
    going = between(Gate(1), Gate(1, webhook=Webhook("https://gate.example.org")), facts("not facts.y"), health())
    assert [row.state for row in aggregate(going.record()).gates] == [GateState.OPEN] * 4
    due(going, 3.0)
    going.apply(e.SubmissionAccepted(3.0, going.jobs[1].job.id, OPERATION))
    ended(going, 1, 4.0)
    due(going, 4.0)
    going.apply(e.WaveApproved(5.0, 1, "jo"))
    going.apply(e.GateAnswered(6.0, 1, False, "an incident"))
    rows = aggregate(going.record()).gates
    assert [(row.kind, row.wave, row.state, row.at) for row in rows] == [
        (GateKind.APPROVAL, 1, GateState.PASSED, 5.0),
        (GateKind.WEBHOOK, 1, GateState.REFUSED, 6.0),
        (GateKind.FACTS, 0, GateState.PASSED, 4.0),
        (GateKind.HEALTH, 0, GateState.PASSED, 4.0),
    ]
    assert [(row.met, row.of) for row in rows] == [(None, None), (None, None), (1, 1), (1, 1)]
    assert rows[0].why == "Wave 2 approved by jo" and rows[1].why.endswith("an incident")


def test_a_judgement_names_the_first_ten() -> None:
    """And says how many more there are."""
    plan = gated(health(), vms=30, first=25, health=True)
    event = e.GateJudged(1.0, 0, False, 3, 25, tuple(f"vm{n}" for n in range(10)))
    assert judgement(plan, event).endswith("vm8, vm9 and 12 more")


# ------------------------------------------------------------------------------------------------ as it is written


def loaded(gates: Sequence[object], **keys: object) -> Playbook:
    text = {
        "apiVersion": "fleet/v1",
        "kind": "Playbook",
        "metadata": {"name": "p", "version": "1.0.0"},
        "rollout": {"waves": [1, 2, 3], "gates": gates},
        "steps": [
            {"id": "work", "run": {"inline": "true"}, "collect": {"broken": {"key": "broken"}}},
            {"id": "check", "turn": "gate", "run": {"inline": "true"}, **keys},
        ],
    }
    return load(json.dumps(text), file="p.yaml", read_script=lambda name: "")


ASKED = {"after_wave": "each", "health": "check"}


def test_gates_stand_after_the_waves_they_name() -> None:
    """``each`` means every wave, the last one too; health comes before facts; a number beyond the last says nothing."""
    both = {"after_wave": 2, "facts": 'facts.broken == "0"', "min_share": "95%", "health": "check", "max_failed": 1}
    book = loaded([both, ASKED, {"after_wave": 9, "health": "check"}])
    made = build(book, TargetSet(tuple(target(n) for n in range(3))), {}, Settings())
    each = HealthCheck("check", Amount(0))
    assert made.gates == (
        Gate(1, health=each),
        Gate(2, health=HealthCheck("check", Amount(1))),
        Gate(2, facts=FactsCheck('facts.broken == "0"', Amount(95, percent=True))),
        Gate(2, health=each),
        Gate(3, health=each),
    )
    assert made.body == 1


@pytest.mark.parametrize(
    ("gate", "code", "says"),
    [
        ({"after_wave": 1, "health": "chek"}, "unknown_step", "did you mean 'check'?"),
        ({"after_wave": 1, "health": "work"}, "contradiction", "'work' does not wait for a gate"),
        ({"after_wave": 1, "facts": 'facts.brokn == "0"'}, "unknown_fact", "did you mean broken?"),
        ({"after_wave": 1, "facts": 'steps.wrk.status == "failed"'}, "unknown_step", "did you mean work?"),
        ({"after_wave": 1, "facts": "facts.broken == 0"}, "not_quoted", 'write "0"'),
        ({"after_wave": 1, "facts": "os ="}, "selector_syntax", "expected"),
        ({"after_wave": 1, "facts": "facts.broken", "min_share": 3}, "amount", "write 95%"),
        ({"after_wave": 1, "facts": "facts.broken", "min_share": "0%"}, "amount", "no share"),
        ({"after_wave": 1, "facts": "facts.broken", "max_failed": 3}, "contradiction", "max_failed without health"),
        ({"after_wave": 1, "health": "check", "min_share": "5%"}, "contradiction", "min_share without facts"),
        ({"after_wave": 1, "approve": True}, "contradiction", "write before_wave"),
        ({"before_wave": 2, "health": "check"}, "contradiction", "write after_wave"),
        ({"before_wave": 2, "after_wave": 1, "health": "check"}, "contradiction", "before a wave or after one"),
        ({"after_wave": 1}, "missing_key", "add health or facts"),
        ({"health": "check"}, "missing_key", "does not say where it stands"),
        ({"after_wave": 0, "health": "check"}, "", ""),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(gate: dict[str, object], code: str, says: str) -> None:
    """At its place, with what to write instead."""
    with pytest.raises(InvalidInput) as caught:
        loaded([ASKED, gate])
    told = [
        f"{problem.message} {problem.hint}" for problem in caught.value.problems if problem.code == code or not code
    ]
    assert any(says in text for text in told), caught.value.problems


@pytest.mark.parametrize(
    ("keys", "says"),
    [({"reboot": "always"}, "restarts none"), ({"turn": "success"}, "does not wait for a gate")],
)
def test_a_step_of_a_gate_only_looks(keys: dict[str, object], says: str) -> None:
    """It restarts nothing, and waits for its gate."""
    with pytest.raises(InvalidInput, match=says):
        loaded([ASKED], **keys)


def test_a_step_that_no_gate_asks_for_is_a_mistake() -> None:
    """It would never run; nor would a step below it have its turn before it."""
    with pytest.raises(InvalidInput, match="no gate asks for 'check'"):
        loaded([])
    steps = [{"id": name, "turn": turn, "run": {"inline": "x"}} for name, turn in (("a", "gate"), ("b", "success"))]
    text = {"apiVersion": "fleet/v1", "kind": "Playbook", "metadata": {"name": "p"}, "steps": steps,
            "rollout": {"gates": [{"after_wave": 1, "health": "a"}]}}  # fmt: skip
    with pytest.raises(InvalidInput, match="a step below it does not"):
        load(json.dumps(text), file="p.yaml", read_script=lambda name: "")
    with pytest.raises(InvalidInput, match="no wave would do anything"):
        load(json.dumps({**text, "steps": steps[:1]}), file="p.yaml", read_script=lambda name: "")
