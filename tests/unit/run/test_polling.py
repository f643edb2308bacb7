"""When to look again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.run.polling import LEARN_FROM, LONGEST, LONGEST_HINT, STEADY, Durations, next_look


@given(st.floats(0, 1e5), st.integers(0, 1000), st.floats(0, 600))
def test_looks_are_bounded_and_honour_the_service(age: float, looks: int, hint: float) -> None:
    """A pause is never below a reasonable hint of the service, is bounded, and is steady after a burst."""
    wait = next_look(age=age, looks=looks, hint=hint, durations=Durations())
    believed = min(hint, LONGEST_HINT)
    assert believed <= wait <= max(LONGEST, believed)
    if looks >= 20:
        assert wait >= STEADY


def test_the_first_look_is_learnt_from_jobs_that_ended() -> None:
    """Once enough jobs of a step took about 20 s, the next one is first looked at then."""
    durations = Durations()
    for _ in range(LEARN_FROM):
        durations.add(20.0)
    assert next_look(age=1.0, looks=0, hint=None, durations=durations) == 19.0
    assert next_look(age=21.0, looks=1, hint=None, durations=durations) < 19.0


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=500))
def test_quantiles_are_of_the_newest(seconds: list[float]) -> None:
    """The quantile is one of the newest 200 durations, and half of them do not exceed the middle one."""
    durations = Durations()
    for value in seconds:
        durations.add(value)
    middle = durations.quantile(0.5)
    newest = seconds[-200:]
    if len(newest) < LEARN_FROM:
        assert middle is None
    else:
        assert middle in newest
        assert sum(value <= middle for value in newest) * 2 >= len(newest)
