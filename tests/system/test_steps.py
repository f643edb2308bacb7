"""Steps with conditions, facts, rescue and retries, carried out by real scripts in the lab's guests."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.system.cli import PLAYBOOKS, Here

pytestmark = pytest.mark.slow


@pytest.mark.sandbox
def test_steps_find_out_fail_are_mended_and_run_again(here: Here) -> None:
    """Real scripts: facts decide and travel, a flaky step runs twice, half the VMs fail and are mended, all are cleaned."""
    words = ["run", PLAYBOOKS / "steps.yaml", "--lab", "-y", "-o", "json", "--pick", "8"]
    done = here(*words)
    assert done.code == 3, done.err
    rows = {(row["name"], row["step"]): row for row in done.report["jobs"]}
    names = {name for name, _ in rows}
    assert len(names) == 8
    for name in names:
        odd = rows[name, "look"]["facts"]["odd"] == "1"
        assert rows[name, "look"]["facts"]["host"] == name
        assert (rows[name, "flaky"]["status"], rows[name, "flaky"]["retries"]) == ("succeeded", 1)
        assert (rows[name, "odd-ones"]["status"], rows[name, "odd-ones"]["rescued"]) == (
            ("failed", True) if odd else ("skipped", False)
        )
        assert rows[name, "mend"]["stdout"] == (f"mended {name}\n" if odd else "")
        assert rows[name, "greet"]["stdout"] == f"hello {name}\n"
        assert rows[name, "clean"]["status"] == "succeeded"


def test_the_plan_shows_the_conditions(here: Here) -> None:
    """Before anything is sent, the plan says what decides about each step."""
    done = here("plan", PLAYBOOKS / "steps.yaml", "--lab", "--pick", "2")
    assert done.code == 0, done.err
    told = Counter(line.split()[0] for line in done.out.splitlines() if line.strip())
    assert told["condition"] == 7
    assert 'mend: after a failure, when steps.odd-ones.exit_code == "5"' in done.out
    assert "flaky: again up to 3 times, 1.0s apart" in done.out
