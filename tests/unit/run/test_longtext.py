"""Text that is long is small in memory, and nobody notices."""

from __future__ import annotations

import tracemalloc
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.report.aggregate import aggregate
from fleet.run.longtext import SHORT, Deflated, as_kept
from fleet.run.model import Cause, CauseCode, Outcome, Status
from tests.unit.report import factory as f

DONE = Outcome(Status.SUCCEEDED, Cause(CauseCode.COMPLETED))


@given(st.text(alphabet=st.characters(codec=None), max_size=20), st.sampled_from([1, SHORT // 10, SHORT]))
def test_text_comes_back_as_it_was(text: str, times: int) -> None:
    """Character for character, lone surrogates included, whether it is kept as it is or deflated."""
    outcome = replace(DONE, stdout=text * times)
    assert outcome.stdout == text * times
    assert isinstance(as_kept(outcome, "stdout"), Deflated) == (len(text * times) > SHORT)
    assert replace(outcome, exit_code=0).stdout == outcome.stdout


def test_it_is_a_field_like_any_other() -> None:
    """Empty by default, part of what makes two values equal, and not to be changed."""
    long = replace(DONE, stderr="x" * 2 * SHORT)
    assert (DONE.stdout, DONE.stderr) == ("", "")
    assert long == replace(DONE, stderr="x" * 2 * SHORT)
    assert long != DONE
    assert hash(long) == hash(replace(long))
    assert repr(long).count("x") > 2 * SHORT
    with pytest.raises(FrozenInstanceError):
        long.stderr = ""  # type: ignore[misc]


def test_a_report_of_long_rows_takes_a_tenth_of_their_text() -> None:
    """From the outcome over the row to its group, a long text is kept once, and deflated."""
    size, count = 64_000, 100
    tracemalloc.start()
    outcomes = [f.succeeded(f"line {number} of a long output\n" * (size // 27)) for number in range(count)]
    report = aggregate(f.record(f.plan(f.fleet(count)), outcomes))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(report.groups) == count
    assert held < size * count / 10
    assert as_kept(report.jobs[0], "stdout") is as_kept(report.groups[0], "stdout") is as_kept(outcomes[0], "stdout")
