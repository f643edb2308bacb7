"""Facts: found in hostile output, bounded, and compared as conditions say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.playbook.model import Fact
from fleet.run.facts import LONGEST_FACT, Known, collect, is_true
from fleet.run.model import Status
from fleet.targets.expression import CLOSED
from tests.unit.run.factory import target


@pytest.mark.parametrize(
    ("fact", "stdout", "value"),
    [
        (Fact(regex=r"Linux (\S+)"), "x\nLinux 6.1.0 y", "6.1.0"),
        (Fact(regex="ok|fine"), "all fine", "fine"),
        (Fact(regex="(a)|b"), "b", None),
        (Fact(key="state"), "FLEET-RESULT code=0 state=first\nstate=second more", "second"),
        (Fact(key="note"), 'note="two words" x', "two words"),
        (Fact(key="note"), "a note= b", ""),
        (Fact(key="te"), "state=1", None),
        (Fact(path="os.release"), '{"os": {"release": "12"}}', "12"),
        (Fact(path="disks[1].free"), '{"disks": [{}, {"free": 3.5}]}', "3.5"),
        (Fact(path="a"), 'noise\n{"a": true}\n', "true"),
        (Fact(path="a"), '{"a": {"b": [1]}}', '{"b":[1]}'),
        (Fact(path="a"), '{"a": null}', None),
        (Fact(path="a.b"), '{"a": 1}', None),
        (Fact(path="a"), "[" * 100_000, None),
        (Fact(key="k"), "k=" + "x" * (LONGEST_FACT + 1), None),
        (Fact(key="k"), "k=a\0b", None),
        (Fact(path="a"), '{"a": "\\ud800"}', None),
    ],
)
def test_facts_are_found_or_are_not_there(fact: Fact, stdout: str, value: str | None) -> None:
    """Each way of finding a fact gives its value as text; what is absent, too long or no text is no fact."""
    assert collect({"x": fact}, stdout) == ({} if value is None else {"x": value})


@given(st.text(), st.sampled_from([Fact(regex="(a+)+$"), Fact(key="a"), Fact(path="a[0].b")]))
def test_no_output_breaks_the_search(stdout: str, fact: Fact) -> None:
    """Whatever a machine prints, looking for facts ends with bounded text or nothing."""
    assert all(len(value.encode()) <= LONGEST_FACT for value in collect({"x": fact}, stdout).values())


def test_a_pattern_is_not_kept_busy() -> None:
    """Output made to keep a backtracking matcher busy for ever is searched at once."""
    assert collect({"x": Fact(regex="(a+)+$")}, "a" * 60_000 + "!") == {}


KNOWN = Known({"state": "ok", "n": "0"}, {"work": (Status.SUCCEEDED, 80), "off": (Status.SKIPPED, None)})


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ('facts.state == "ok"', True),
        ('facts.state == "OK"', False),
        ("facts.state", True),
        ("not facts.other", True),
        ('facts.other == ""', False),
        ('facts.other != "x"', True),
        ('facts.state matches "o*" and os == "linux"', True),
        ('steps.work.exit_code in ["0", "80"]', True),
        ('steps.work.status == "succeeded" and steps.off.status == "skipped"', True),
        ('steps.off.exit_code == "0"', False),
        ('steps.off.exit_code not in ["0"]', True),
        ('facts.n == "0" or name == "nobody"', True),
    ],
)
def test_conditions_read_facts_steps_and_the_target(condition: str, truth: bool) -> None:
    """A condition is true as the language says; what is not known equals nothing."""
    assert is_true(condition, target(1), KNOWN) is truth


def test_the_language_knows_every_status() -> None:
    """The statuses that a condition may name are those that a job can end with."""
    assert set(CLOSED["status"]) == {status.value for status in Status}
