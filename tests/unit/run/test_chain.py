"""The steps of a target in order: each row of the table in ``docs/playbook.md``, as whole runs in virtual time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.guest import envelope
from fleet.plan.model import Limits, PlannedStep
from fleet.plan.reboot import restarts
from fleet.playbook.model import Amount, Reboot, Script, Step, Strategy, Transport, Turn
from fleet.report.aggregate import aggregate
from fleet.run import events as e
from fleet.run.answers import Command, LostReason, Refusal
from fleet.run.model import Cause, CauseCode, Outcome, Status
from fleet.targets.model import Os
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.stepped import FAILS, OK, found, place, step, stepped, told, trial
from tests.virtual import run

OFF = Behaviour(refuse=Refusal(409, "OperationNotAllowed", "The operation requires the VM to be running"))
HUNG = Behaviour(fail=("VMExtensionProvisioningTimeout", "too long"))
BROKEN = Behaviour(fail=("InternalExecutionError", "no result"))
FORBIDDEN = Behaviour(refuse=Refusal(403, "AuthorizationFailed", "no"))
SIGNED_OUT = Behaviour(refuse=Refusal(401, "ExpiredAuthenticationToken", "no"))

FOUR = [
    step("work", notify=("restart",)),
    step("more"),
    step("restart", Turn.NOTIFIED),
    step("mend", Turn.RESCUE),
    step("after"),
    step("clean", Turn.ALWAYS),
]
SKIP = "skipped: earlier_step"
NO_NEED = "skipped: not_needed"


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(
    ("meets", "ends"),
    [
        pytest.param({}, ["succeeded", "succeeded", "succeeded", NO_NEED, "succeeded", "succeeded"], id="all-well"),
        pytest.param(
            {"more": [FAILS]}, ["succeeded", "failed", SKIP, "succeeded", "succeeded", "succeeded"], id="rescued"
        ),
        pytest.param(
            {"more": [FAILS], "mend": [FAILS]},
            ["succeeded", "failed", SKIP, "failed", SKIP, "succeeded"],
            id="rescue-fails",
        ),
        pytest.param({"more": [OFF]}, ["succeeded", "unreachable", SKIP, SKIP, SKIP, "succeeded"], id="not-delivered"),
        pytest.param({"work": [OFF]}, ["unreachable", SKIP, SKIP, SKIP, SKIP, SKIP], id="never-reached"),
        pytest.param({"more": [HUNG]}, ["succeeded", "timed_out", SKIP, SKIP, SKIP, SKIP], id="may-still-run"),
        pytest.param({"more": [BROKEN]}, ["succeeded", "unknown", SKIP, SKIP, SKIP, SKIP], id="nobody-knows"),
        pytest.param({"clean": [FAILS]}, ["succeeded"] * 3 + [NO_NEED, "succeeded", "failed"], id="always-fails"),
    ],
)
def test_turns_follow_the_table(strategy: Strategy, meets: dict[str, list[Behaviour]], ends: list[str]) -> None:
    """Which steps run after what, in both strategies, is what the table says."""
    record = run(trial(stepped(FOUR, vms=3, strategy=strategy), meets).start())
    assert list(told(record).values()) == ends


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(
    ("limits", "first", "cause"),
    [
        (Limits(max_failures=0), FAILS, "budget_failures"),
        (Limits(deadline=1.0), OK, "deadline"),
    ],
)
def test_what_was_begun_is_brought_to_its_end_after_a_stop(
    strategy: Strategy, limits: Limits, first: Behaviour, cause: str
) -> None:
    """After a budget or the deadline stopped the launching, begun targets are rescued and cleaned up, nobody else is."""
    steps = [step("work"), step("mend", Turn.RESCUE), step("more"), step("clean", Turn.ALWAYS)]
    made = stepped(steps, vms=4, waves=(Amount(1),), strategy=strategy, limits=limits)
    record = run(trial(made, {"work": [first]}).start())
    begun = told(record)
    assert begun["clean"] == "succeeded"
    assert begun["mend"] == ("succeeded" if first is FAILS else NO_NEED)
    assert begun["more"] == f"not_started: {cause}"
    others = [job.outcome for job in record.jobs[4:] if job.outcome]
    assert {outcome.status for outcome in others if outcome.cause.code is not CauseCode.NOT_NEEDED} == {
        Status.NOT_STARTED
    }


def test_nothing_is_cleaned_up_where_azure_cannot_be_used() -> None:
    """When Azure refuses the credential, rescue and always steps are not started either, and say why."""
    steps = [step("work"), step("more"), step("mend", Turn.RESCUE), step("clean", Turn.ALWAYS)]
    record = run(trial(stepped(steps), {"more": [SIGNED_OUT]}).start())
    assert told(record)["clean"] == "not_started: azure_unusable"


def test_a_rescue_turns_no_failure_green() -> None:
    """A rescued failure is marked, spends the budget, and the run ends with exit code 3."""
    steps = [step("work"), step("mend", Turn.RESCUE), step("after")]
    record = run(trial(stepped(steps, vms=9, limits=Limits(max_failures=1)), {"work": [FAILS]}).start())
    report = aggregate(record)
    assert (report.exit_code, record.stop_cause) == (5, CauseCode.BUDGET_FAILURES)
    assert [row.rescued for row in report.jobs[:3]] == [True, False, False]
    failed = [row for row in report.jobs if row.status is Status.FAILED]
    assert len(failed) == 2
    assert aggregate(run(trial(stepped(steps), {"work": [FAILS]}).start())).exit_code == 3


def test_a_failed_rescue_rescues_nothing() -> None:
    """Where the rescue failed as well, no row says rescued."""
    steps = [step("work"), step("mend", Turn.RESCUE), step("mend2", Turn.RESCUE)]
    record = run(trial(stepped(steps), {"work": [FAILS], "mend2": [FAILS]}).start())
    assert not any(job.rescued for job in record.jobs)


def test_a_failure_stays_rescued_whatever_fails_later() -> None:
    """A later failure whose rescue failed is its own."""
    mends = [step(f"mend{number}", Turn.RESCUE) for number in range(3)]
    steps = [step("one"), mends[0], step("two"), step("three"), *mends[1:]]
    record = run(trial(stepped(steps), {"one": [FAILS], "three": [FAILS], "mend2": [FAILS]}).start())
    assert [job.rescued for job in record.jobs] == [True] + [False] * 5


@pytest.mark.parametrize(
    ("between", "comes"),
    [
        (step("between"), False),
        (step("between", when='os == "windows"'), False),
        (step("between", Turn.ALWAYS), True),
        (step("between", Turn.ALWAYS, when='os == "windows"'), True),
        (step("between", Turn.RESCUE, when='os == "windows"'), True),
    ],
)
def test_a_rescue_goes_on_until_a_step_that_could_have_run(between: PlannedStep, comes: bool) -> None:
    """Behind an ordinary step, carried out or not, nothing is left to be rescued; others do not end a rescue."""
    steps = [step("work"), step("mend", Turn.RESCUE), between, step("more", Turn.RESCUE)]
    ends = told(run(trial(stepped(steps), {"work": [FAILS]}).start()))
    assert ends["more"] == ("succeeded" if comes else NO_NEED)


@pytest.mark.parametrize(
    ("turn", "ended"), [(Turn.ALWAYS, "succeeded"), (Turn.SUCCESS, SKIP), (Turn.RESCUE, "succeeded")]
)
def test_a_failure_is_not_undone_by_what_always_runs(turn: Turn, ended: str) -> None:
    """Behind a step that always runs a target is still broken: what waits for success does not come, a rescue does."""
    steps = [step("work"), step("clean", Turn.ALWAYS), step("last", turn)]
    assert told(run(trial(stepped(steps), {"work": [FAILS]}).start()))["last"] == ended


def test_a_failed_rescue_is_the_last_one() -> None:
    """Not even the failure of what always runs brings another."""
    steps = [step("work"), step("mend", Turn.RESCUE), step("clean", Turn.ALWAYS), step("more", Turn.RESCUE)]
    ends = told(run(trial(stepped(steps), {"work": [FAILS], "mend": [FAILS], "clean": [FAILS]}).start()))
    assert ends["more"] == SKIP


def test_a_notice_is_followed_once_a_target_is_mended() -> None:
    """What a step changed before another failed still wants its follow-up when a rescue step has succeeded."""
    steps = [step("work", notify=("restart",)), step("more"), step("mend", Turn.RESCUE), step("restart", Turn.NOTIFIED)]
    assert told(run(trial(stepped(steps), {"more": [FAILS]}).start()))["restart"] == "succeeded"


def test_why_a_step_was_passed_over_is_told() -> None:
    """A condition that somebody wrote is quoted; of a restart's own steps it is said what did not happen."""
    asked = Step("patch", Script(text="echo patch"), reboot=Reboot.IF_NEEDED)
    made = stepped([step("patch"), *restarts(asked, {Os.LINUX}), step("windows", when='os == "windows"')])
    record = run(trial(made, {}).start())
    messages = [job.outcome.cause.message for job in record.jobs if job.outcome is not None]
    assert messages[1:] == [
        "patch asked for no restart",
        "nothing was restarted",
        'when is false: os == "windows"',
    ]


@pytest.mark.parametrize(
    ("meets", "message"),
    [
        (FAILS, "step 'two' did not succeed"),
        (OFF, "step 'two' did not succeed"),
        (HUNG, "step 'two' may still be running"),
    ],
)
def test_the_step_that_keeps_another_from_running_is_named(meets: Behaviour, message: str) -> None:
    """The first that did not end well, and whether it may be running still."""
    steps = [step("one"), step("two"), step("clean", Turn.ALWAYS), step("three")]
    record = run(trial(stepped(steps), {"two": [meets]}).start())
    three = record.jobs[3].outcome
    assert three is not None and (three.status, three.cause.message) == (Status.SKIPPED, message)


def test_fine_skips_leave_exit_code_zero() -> None:
    """Steps that were not needed, or whose condition is false, are no failure."""
    steps = [step("work"), step("windows", when='os == "windows"'), step("mend", Turn.RESCUE), step("after")]
    record = run(trial(stepped(steps, vms=2), {}).start())
    assert told(record)["windows"] == "skipped: when_false"
    assert aggregate(record).exit_code == 0


def test_a_budget_counts_a_target_once() -> None:
    """A target on which several steps fail, or which fails and then cannot be reached, spends its part once."""
    steps = [step("work"), step("mend", Turn.RESCUE), step("clean", Turn.ALWAYS)]
    limits = Limits(max_failures=3, max_unreachable=0)
    record = run(
        trial(stepped(steps, vms=3, limits=limits), {"work": [FAILS], "mend": [FAILS], "clean": [OFF]}).start()
    )
    assert record.stop_cause is None


def test_a_notice_follows_a_change_only() -> None:
    """A notified step runs where a step above changed something; ``changed_when`` says what a change is."""
    steps = [
        step("work", collect=found("changed"), changed_when='facts.changed == "yes"', notify=("restart",)),
        step("restart", Turn.NOTIFIED),
    ]
    yes, no = Behaviour(stdout="changed=yes\n"), Behaviour(stdout="changed=no\n")
    assert told(run(trial(stepped(steps), {"work": [yes]}).start()))["restart"] == "succeeded"
    assert told(run(trial(stepped(steps), {"work": [no]}).start()))["restart"] == NO_NEED


def test_facts_decide_and_travel() -> None:
    """A fact of one step decides about the next, stands in its row, and reaches later scripts as environment."""
    seen: dict[str, dict[str, str]] = {}
    steps = [
        step("look", collect=found("kernel")),
        replace(step("use", when='facts.kernel == "6.1"'), env={"KERNEL": "{{ facts.kernel }}!"}),
        step("other", when='facts.kernel != "6.1"'),
    ]
    made = stepped(steps)

    def behave(command: Command, n: int) -> Behaviour:
        opened = envelope.open(command.script, {})
        assert opened is not None
        seen[place(made, command)[1]] = dict(opened.env)
        return Behaviour(stdout="kernel=6.1\n")

    record = run(Trial(made, ScriptedCloud(behave)).start())
    assert told(record) == {"look": "succeeded", "use": "succeeded", "other": "skipped: when_false"}
    assert record.jobs[0].facts == {"kernel": "6.1"}
    assert seen["use"] == {"KERNEL": "6.1!"}
    assert aggregate(record).jobs[0].facts == {"kernel": "6.1"}


@pytest.mark.parametrize(
    ("flow", "cause"),
    [
        ({"ok_stdout": "healthy"}, CauseCode.WRONG_OUTPUT),
        ({"collect": found("state"), "failed_when": 'facts.state == "broken"'}, CauseCode.FAILED_WHEN),
        ({"failed_when": 'steps.work.exit_code == "0"'}, CauseCode.FAILED_WHEN),
    ],
)
def test_a_right_exit_code_may_still_be_a_failure(flow: dict[str, object], cause: CauseCode) -> None:
    """``ok.stdout`` and ``failed_when`` fail a script that exited well, with a cause of their own."""
    record = run(trial(stepped([step("work", **flow)]), {"work": [Behaviour(stdout="state=broken\n")]}).start())
    outcome = record.jobs[0].outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause.code, outcome.exit_code) == (Status.FAILED, cause, 0)


@pytest.mark.parametrize("transport", ["managed", "action"])
def test_retries_run_the_script_again_until_it_works(transport: str) -> None:
    """Each try is a delivery of its own, so the guest runs it; the row tells the last one and how many there were."""
    steps = [step("work", retries=3, retry_delay=20.0)]
    made = replace(stepped(steps, limits=Limits(max_failures=0)), transport=Transport(transport))
    attempt = trial(made, {"work": [FAILS, FAILS, OK]})
    record = run(attempt.start())
    row = aggregate(record).jobs[0]
    assert (row.status, row.retries, row.attempts) == (Status.SUCCEEDED, 2, 3)
    assert set(attempt.cloud.executions.values()) == {3}
    intents = [event for event in attempt.runs.kept(RUN_ID) if type(event) is e.SubmissionIntended]
    assert [event.retry for event in intents] == [0, 1, 2]
    assert intents[1].at - intents[0].at >= 20.0
    assert attempt.cloud.calls["remove"] == (3 if transport == "managed" else 0), "each try's command is deleted"


@pytest.mark.parametrize(
    ("behaviour", "runs"),
    [
        (FAILS, 3),
        (HUNG, 1),
        (BROKEN, 1),
        (Behaviour(lose=LostReason.TIMEOUT), 3),
        (OFF, 0),
    ],
)
def test_only_what_has_ended_is_run_again(behaviour: Behaviour, runs: int) -> None:
    """A failure is tried again; what may still run, or was not delivered, is not."""
    behaviour = behaviour if behaviour.lose is None else Behaviour(exit_code=1, lose=behaviour.lose)
    attempt = trial(stepped([step("work", retries=2)]), {"work": [behaviour]})
    run(attempt.start())
    assert sum(attempt.cloud.executions.values()) == runs


@pytest.mark.parametrize("second", [OFF, FORBIDDEN])
def test_a_try_that_cannot_be_delivered_takes_nothing_away(second: Behaviour) -> None:
    """When the second try does not reach the target, the row still says that the first one failed."""
    record = run(trial(stepped([step("work", retries=1)]), {"work": [FAILS, second]}).start())
    outcome = record.jobs[0].outcome
    assert outcome is not None
    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 1)


def test_a_stop_between_two_tries_leaves_the_failure() -> None:
    """A deadline between two tries ends the job as the first one ended, in the record of an open run too."""
    attempt = trial(
        stepped([step("work", retries=1, retry_delay=500.0)], limits=Limits(deadline=60.0)), {"work": [FAILS]}
    )
    record = run(attempt.start())
    assert told(record) == {"work": "failed"}
    assert sum(attempt.cloud.executions.values()) == 1


def test_step_by_step_all_wait_for_each_other() -> None:
    """With ``strategy: step`` no target begins a step before the last one of its wave has ended the step before."""
    steps = [step("first"), step("second"), step("third", Turn.ALWAYS)]
    made = stepped(steps, vms=12, waves=(Amount(4),), strategy=Strategy.STEP, limits=Limits(concurrency=3))
    record = run(trial(made, {"first": [FAILS]}).start())
    for wave in (0, 1):
        ends = [job.ended or 0.0 for job in record.jobs if job.job.wave == wave and job.job.step.id == "first"]
        starts = [job.started or 0.0 for job in record.jobs if job.job.wave == wave and job.job.step.id == "third"]
        assert len(starts) == len(ends) and min(starts) >= max(ends)


def test_what_may_still_run_is_told_by_the_outcome() -> None:
    """Only a receipt, an exit code or a deleted command shows that a script has ended."""
    cause = Cause(CauseCode.EXIT_CODE)
    assert Outcome(Status.FAILED, cause).may_still_run
    assert not Outcome(Status.FAILED, cause, exit_code=3).may_still_run
    assert Outcome(Status.TIMED_OUT, cause, verified=True).may_still_run
    assert not Outcome(Status.TIMED_OUT, cause, verified=True, boot_id="b").may_still_run
    assert not Outcome(Status.CANCELLED, cause).may_still_run


def test_the_page_has_the_table() -> None:
    """docs/playbook.md has one row for each course that a target can be on."""
    page = (Path(__file__).parents[3] / "docs" / "playbook.md").read_text()
    table = page.split("| what happened above")[1].split("\n\n")[0]
    assert len(table.splitlines()) == 2 + 8
