"""``fleet sim``: rehearsals that send nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.lab.world.build import build
from fleet.playbook.model import Selection
from fleet.rehearsal.pretend_fleet import from_selection
from fleet.targets import selector
from fleet.targets.model import Power
from tests.system.cli import PLAYBOOKS, SHIPPED, Here
from tests.verification.scenario import pretend_targets


def test_a_rehearsal_asks_nobody(here: Here, tmp_path: Path) -> None:
    """Gates let every wave go: no person is awaited, and no webhook hears of it."""
    play = tmp_path / "gated.yaml"
    play.write_text("""
apiVersion: fleet/v1
kind: Playbook
metadata: {name: gated, version: 1.0.0}
targets: {}
rollout:
  waves: [1, 2]
  gates: [{before_wave: each, approve: true, webhook: {url: "http://127.0.0.1:9/", token_env: GATE_TOKEN}}]
steps:
  - {id: say, run: {inline: "true"}}
""")
    done = here("sim", play, "-o", "json")
    assert done.code == 0 and {row["status"] for row in done.report["jobs"]} == {"succeeded"}


def test_a_rehearsal_reports_and_draws_its_time_line(here: Here) -> None:
    """The report, the waves in time, calls and answers are printed; everything is marked as a rehearsal."""
    done = here("sim", SHIPPED / "linux-health.yaml", "--vms", 40, "-o", "table")
    assert done.code == 0, done.err
    for word in ("40 targets: 40 succeeded", "A rehearsal", "time line", "in flight", "would take", "submissions"):
        assert word in done.out
    assert "nothing is sent anywhere" in done.err


def test_equal_seeds_rehearse_alike(here: Here) -> None:
    """Chance comes from the seed alone. A VM whose agent is down is not reached, whether or not the read that tells so is
    refused: that decides only if its command is kept back, or accepted and given up.
    """
    words = (
        "sim",
        PLAYBOOKS / "hello.yaml",
        "--vms",
        30,
        "--fault",
        "429=20%,failing=10%,agent-down=10%",
        "-o",
        "json",
    )
    one, again, other = here(*words).report, here(*words).report, here(*words, "--seed", 5).report
    failed = [Counter(row["name"] for row in it["jobs"] if row["status"] == "failed") for it in (one, again, other)]
    assert failed[0] == failed[1] != failed[2]
    assert sum(failed[0].values()) == 3
    for report in (one, again):
        assert sum(row["cause"]["code"] == "agent_not_ready" for row in report["jobs"]) == 3
        assert (report["counts"]["succeeded"], report["counts"]["failed"]) == (24, 3)


def test_a_budget_stops_a_rehearsal_as_it_would_the_run(here: Here, tmp_path: Path) -> None:
    """The exit code, the cause and the HTML report are those of the run."""
    page = tmp_path / "r.html"
    done = here(
        "sim", PLAYBOOKS / "hello.yaml", "--fault", "failing=100%", "--max-failures", 2, "--report", f"html={page}",
        "-o", "table",
    )  # fmt: skip
    assert done.code == 5
    assert "budget_failures" in done.out
    assert "A rehearsal" in page.read_text()


def test_a_plan_file_is_rehearsed_on_its_own_targets(here: Here, tmp_path: Path) -> None:
    """The frozen targets are the pretend fleet."""
    frozen = tmp_path / "frozen.plan"
    linux = ("-l", 'os == "linux"')
    assert here("plan", PLAYBOOKS / "hello.yaml", "--lab", *linux, "--pick", 7, "--out", frozen).code == 0
    done = here("sim", frozen, "-o", "json")
    assert done.code == 0, done.err
    assert done.report["counts"]["targets"] == 7


def test_a_lab_file_is_a_pretend_fleet(here: Here) -> None:
    """Its VMs, rules and troubles are rehearsed as they stand."""
    lab = PLAYBOOKS.parent / "labs" / "forty.yaml"
    assert here("sim", PLAYBOOKS / "hello.yaml", f"--lab={lab}", "-o", "json").report["counts"]["targets"] == 40


def test_a_rehearsal_leaves_nothing_behind(here: Here) -> None:
    """No run is kept."""
    assert here("sim", PLAYBOOKS / "hello.yaml", "--vms", 2, "-q").code == 0
    assert here("runs").out.strip() in ("", "no runs") or "hello" not in here("runs").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fault", "429"), "KIND=PERCENT"),
        (("--fault", "gremlins=5%"), "agent-down"),
        (("--duration", "9s..1s"), "ends before it begins"),
        (("--vms", "5..50"), "not a valid integer"),
        (("--vms", "0"), "not in the range"),
        (("--seeds", "3"), "No such option '--seeds'"),
        (("--lab=http://127.0.0.1:1",), "name a lab file"),
    ],
)
def test_what_makes_no_sense_is_refused(here: Here, words: tuple[str, ...], said: str) -> None:
    """A sentence, and exit code 2."""
    done = here("sim", PLAYBOOKS / "hello.yaml", *words)
    assert done.code == 2
    assert said in done.err


def test_a_selection_that_no_fleet_fits_is_told(here: Here, tmp_path: Path) -> None:
    """Nobody rehearses on a fleet that the playbook would not select."""
    playbook = tmp_path / "odd.yaml"
    playbook.write_text(
        (PLAYBOOKS / "hello.yaml").read_text().replace('power == "running"', 'name == "a" and name == "b"')
    )
    done = here("sim", playbook)
    assert done.code == 2
    assert "no pretend fleet" in done.err


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(("prod-*", "!prod-legacy"), ("rg-web-*",), 'tag.env == "prod" and os == "linux" and not tag.freeze'),
        Selection(where='os != "linux" or name == "x"'),
        Selection(where='name matches "web-*" and location in ["eastus", "westus"] and size matches "Standard_E*"'),
        Selection(where='power == "deallocated" and subscription == "one" and resource_group == "rg"'),
    ],
)
def test_a_fleet_is_derived_that_the_selection_lets_in(selection: Selection) -> None:
    """Of the pretend VMs every one fits the expression."""
    spec = from_selection(selection, 12, 1)
    where = selector.parse(selection.where)
    machines = list(build(spec, sandboxed=False).machines())
    assert len(machines) == 12
    for target, vm in zip(pretend_targets(spec), machines, strict=True):
        assert where.matches(replace(target, tags=vm.tags, power=Power(vm.power.value)))


def test_a_lab_file_has_its_own_size(here: Here) -> None:
    """``--vms`` beside a lab file is refused: two sizes cannot both hold."""
    lab = PLAYBOOKS.parent / "labs" / "forty.yaml"
    done = here("sim", PLAYBOOKS / "hello.yaml", f"--lab={lab}", "--vms", 3)
    assert (done.code, "the lab file says how many VMs it has" in done.err) == (2, True)


def test_a_rehearsal_needs_a_playbook(here: Here) -> None:
    """Exit code 2 where none is named."""
    done = here("sim")
    assert (done.code, "Missing argument 'PLAYBOOK|PLANFILE'" in done.err) == (2, True), done.err
