"""What steps mean to each other: what can never come true is a mistake, at its place, with a suggestion."""

from __future__ import annotations

import pytest

from fleet.errors import InvalidInput
from fleet.playbook.load import load
from fleet.playbook.model import Fact, Flow, Playbook, Strategy, Turn

HEAD = "apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: demo}\n"
GOOD = """\
rollout: {strategy: step}
steps:
  - id: look
    run: {inline: uname -a}
    collect: {kernel: {regex: 'Linux (\\S+)'}, state: {key: state}, free: {path: 'disks[0].free'}}
    failed_when: facts.state == "bad" or steps.look.exit_code == "7"
    changed_when: facts.state != "same"
    notify: [restart]
    idempotent: true
    retries: 2
    retry_delay: 1m
    ok: {exit: [0, 7], stdout: Linux}
  - id: use
    run: {inline: x}
    when: facts.kernel matches "6.*" and steps.look.status == "succeeded" and tag.env == "prod"
    env: {KERNEL: "{{ facts.kernel }}"}
  - {id: mend, turn: rescue, run: {inline: x}}
  - {id: restart, turn: notified, run: {inline: x}}
  - {id: clean, turn: always, run: {inline: x}}
"""


def loaded(steps: str) -> Playbook:
    return load(HEAD + steps, file="f.yaml", read_script=lambda name: "x")


def test_a_playbook_with_every_key_of_flow_loads() -> None:
    """All keys arrive in the model."""
    playbook = loaded(GOOD)
    assert playbook.rollout.strategy is Strategy.STEP
    assert playbook.steps[0].flow == Flow(
        collect={"kernel": Fact(regex=r"Linux (\S+)"), "state": Fact(key="state"), "free": Fact(path="disks[0].free")},
        ok_stdout="Linux",
        failed_when='facts.state == "bad" or steps.look.exit_code == "7"',
        changed_when='facts.state != "same"',
        notify=("restart",),
        retries=2,
        retry_delay=60.0,
    )
    assert [step.flow.turn for step in playbook.steps[2:]] == [Turn.RESCUE, Turn.NOTIFIED, Turn.ALWAYS]


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("facts.kernel matches", "facts.kernle matches", "unknown_fact", "did you mean kernel?"),
        ("steps.look.status", "steps.lok.status", "unknown_step", "did you mean look?"),
        ("steps.look.status ==", "steps.use.status ==", "unknown_step", ""),
        ("steps.look.status ==", "steps.look.state ==", "unknown_field", ""),
        ('"succeeded"', '"suceeded"', "unknown_value", "did you mean succeeded?"),
        ('tag.env == "prod"', "tag.env == prod", "not_quoted", ""),
        ('"{{ facts.kernel }}"', '"{{ facts.kernl }}"', "unknown_fact", "did you mean 'kernel'?"),
        ('env: {KERNEL: "{{ facts.kernel }}"}', 'args: ["{{ facts.kernel }}"]', "fact_in_args", "env"),
        ("notify: [restart]", "notify: [clean]", "contradiction", "turn: notified"),
        ("notify: [restart]", "notify: [restrat]", "unknown_step", "did you mean 'restart'?"),
        ("    notify: [restart]\n", "", "turn", "notify: [restart]"),
        ("idempotent: true", "idempotent: false", "not_idempotent", "idempotent: true"),
        ("    retries: 2\n", "", "contradiction", "add retries"),
        ("(\\S+)", "(\\S+", "pattern", ""),
        ("stdout: Linux", "stdout: '(?=x)'", "pattern", "look-around"),
        ("{key: state}", "{key: state, path: a}", "fact_source", ""),
        ("{key: state}", "{}", "fact_source", ""),
        ("path: 'disks[0].free'", "path: 'disks[].free'", "pattern", ""),
        ("run: {inline: uname -a}", "run: {command_id: ifconfig}", "not_carried", "run.inline"),
        ("run: {inline: uname -a}", "run: {inline: 'echo {{ facts.kernel }}'}", "expression_in_script", "env"),
        ("retries: 2", "retries: 2\n    command: nightly", "not_carried", "remove command"),
        ("retries: 2", "retries: -1", "out_of_range", ""),
        ("turn: rescue", "turn: recue", "not_allowed", ""),
    ],
)
def test_what_cannot_come_true_is_refused(old: str, new: str, code: str, says: str) -> None:
    """Each mistake is found when the playbook is loaded, with its code and a way on."""
    assert GOOD.count(old) == 1
    with pytest.raises(InvalidInput) as caught:
        loaded(GOOD.replace(old, new))
    found = {problem.code: problem for problem in caught.value.problems}
    assert code in found
    assert says in f"{found[code].hint} {found[code].message}"
    assert found[code].line > 4


def test_a_rescue_needs_something_to_rescue() -> None:
    """A rescue step without a step above it could never run."""
    with pytest.raises(InvalidInput) as caught:
        loaded("steps: [{id: mend, turn: rescue, run: {inline: x}}]")
    assert [problem.code for problem in caught.value.problems] == ["turn"]
