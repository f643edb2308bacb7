"""Which row of a VM is followed, and what is said where none can be."""

from __future__ import annotations

import pytest

from fleet.app.follow import row_to_follow
from fleet.errors import Refused, RunNotFound
from tests.unit.run.driven import ended, opened, sent
from tests.unit.run.factory import plan


def test_of_a_vms_steps_the_one_under_way_is_followed() -> None:
    """While none is, the last that ended, since its output is still in the VM."""
    run = opened(plan(1, steps=2, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    assert row_to_follow(run, [0, 1], live=True) == 0
    followed = opened(plan(1, steps=2))
    sent(followed, 0, 1.0)
    assert row_to_follow(followed, [0, 1], live=True) == 0


@pytest.mark.parametrize(("live", "hint"), [(True, "wait for its turn"), (False, "fleet resume goes on")])
def test_a_job_that_has_not_begun_has_nothing_to_show(live: bool, hint: str) -> None:
    """Said with what to do, which depends on whether a process carries the run out."""
    with pytest.raises(Refused, match="the job has not begun") as refused:
        row_to_follow(opened(plan(2)), [1], live)
    assert (refused.value.code, hint in refused.value.hint) == ("not_begun", True)


def test_a_bare_script_cannot_be_followed_while_it_runs() -> None:
    """Without the wrapper nothing in the VM keeps what it prints before it has ended."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    with pytest.raises(Refused, match="without a receipt") as refused:
        row_to_follow(run, [0], live=True)
    assert refused.value.code == "not_followed"


def test_one_vm_at_a_time() -> None:
    """Several are refused with the words that name one."""
    with pytest.raises(RunNotFound, match="one VM"):
        row_to_follow(opened(plan(2)), [0, 1], live=True)
