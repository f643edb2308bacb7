"""Rollouts at the command line: what the plan tells of waves, pace and budgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.cli import Here, Machine, lab_up

pytestmark = pytest.mark.slow

LAB = """
apiVersion: fleet/v1
kind: Lab
speed: 100
rules: [{stdout: "done\\n", duration: [5, 5]}]
subscriptions:
  - name: one
    groups:
      - name: rg
        vms:
          - {name: "dev{n:02}", count: 4, guest: scripted, tags: {ring: dev, app: a}}
          - {name: "prod{n:02}", count: 20, guest: scripted, tags: {ring: prod, app: b}}
          - {name: "lone{n:02}", count: 1, guest: scripted}
"""

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: ringed, version: 1.0.0}
rollout:
  waves: {by: tag:ring, order: [dev], each: [1, 100%]}
  spread: {per: tag:app, max: 10}
  max_failures: 20%
  per_wave: {max_failures: 1, max_unreachable: 10%}
steps:
  - id: say
    run: {inline: "echo hello"}
"""


@pytest.fixture
def play(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    file = tmp_path / "play.yaml"
    file.write_text(PLAY)
    return file


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_plan_tells_waves_pace_and_budgets_in_absolute_numbers(here: Here, play: Path) -> None:
    """Who goes in which wave, how many at once, how many may fail: as text and for a pull request, and a run keeps to it."""
    lab = f"--lab={play.parent / 'lab.yaml'}"
    told = lines(here("plan", play, lab).out)
    assert "wave up to targets at once failures allowed unreachable allowed names" in told
    assert "2 ring dev, 100% 3 1 1 0 dev[02-04]" in told
    assert "4 ring prod, 100% 19 1, 2 1 1 prod[02-20]" in told
    assert "5 no ring, 1 1 1 1 0 lone01" in told
    assert "budget 5 failures allowed; strict: work in flight counts" in told
    assert any("at most 10 per tag:app at once (1 target without one)" in line for line in told)
    page = here("plan", play, lab, "-o", "md").out
    assert "| 4 | ring prod, 100&#37; | 19 | 1, 2 | 1 | 1 |" in page.replace("%", "&#37;")
    assert "5 failures allowed" in page
    ended = here("run", play, lab, "-y", "-o", "json")
    assert ended.code == 0
    assert [(wave["label"], wave["targets"]) for wave in ended.report["waves"]] == [
        ("ring dev, 1", 1),
        ("ring dev, 100%", 3),
        ("ring prod, 1", 1),
        ("ring prod, 100%", 19),
        ("no ring, 1", 1),
    ]


SETS = """
apiVersion: fleet/v1
kind: Lab
speed: 100
subscriptions:
  - name: one
    groups:
      - name: rg
        vms:
          - {name: "db{n:02}", count: 5, guest: scripted, availability_set: db-set, update_domains: 3}
          - {name: "web{n:02}", count: 2, guest: scripted, availability_set: web-set}
          - {name: "lone{n:02}", count: 1, guest: scripted}
        scale_sets: [{name: pool, count: 2, guest: scripted}]
"""


def test_waves_go_by_update_domain(machine: Machine, here: Here, play: Path) -> None:
    """Domain after domain over all sets, VMs without one last; nobody is asked where the rollout does not go by them."""
    lab_file, by = play.parent / "sets.yaml", play.parent / "by.yaml"
    lab_file.write_text(SETS)
    by.write_text(
        PLAY[: PLAY.index("rollout:")].replace("metadata", "targets: {kinds: [vm, scale_set]}\nmetadata")
        + "rollout: {waves: {by: update_domain}, spread: {per: fault_domain, max: 3}}\n"
        + PLAY[PLAY.index("steps:") :]
    )
    with lab_up(machine, lab_file) as lab:
        before = lab.requests()
        here("plan", play, lab.flag)
        plain = lab.requests() - before
        planned = here("plan", by, lab.flag)
        assert planned.code == 0, planned.err
        assert lab.requests() - before - plain == plain + 7 + 2, (
            "each VM of a set, and the list of scale sets and instances"
        )
        told = lines(planned.out)
        assert "1 update_domain 0 4 4 db[01,04],pool_0,web01" in told
        assert "2 update_domain 1 4 4 db[02,05],pool_1,web02" in told
        assert "3 update_domain 2 1 1 db03" in told
        assert "4 no update_domain 1 1 lone01" in told
        frozen = here("plan", by, lab.flag, "--out", play.parent / "x.plan")
        assert frozen.code == 0
        done = here("apply", play.parent / "x.plan", lab.flag, "-y", "-o", "json")
        assert done.code == 0, "the domains of a frozen plan are no drift"
        assert [wave["targets"] for wave in done.report["waves"]] == [4, 4, 1, 1]


def test_the_budget_of_a_wave_stops_the_run(machine: Machine, here: Here, play: Path) -> None:
    """Two failures in the second wave stop a run whose own budget would allow them, and the report says where."""
    (play.parent / "lab.yaml").write_text(LAB.replace("app: a}", "app: a}, rules: [{exit: 1}]"))
    with lab_up(machine, play.parent / "lab.yaml") as lab:
        ended = here("run", play, lab.flag, "-y", "-o", "json")
        assert ended.code == 5
        assert ended.report["stopped"]["message"] == "2 targets failed in wave 2; the budget allows 1"
        assert sum(lab.executions().values()) == 3


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("waves: {by: ring}", "rollout.waves.by is nothing that VMs are grouped by"),
        ("waves: {order: [a]}", "the key 'by' is missing in rollout.waves"),
        ("waves: {by: zone, each: [50%, 5]}", "the count 5 cannot follow the percent 50%"),
        ("waves: {by: zone, order: ['1', '1']}", "rollout.waves.order has '1' twice"),
        ("waves: {by: zone, bye: 1}", "unknown key 'bye' in rollout.waves"),
        ("spread: {max: 2}", "the key 'per' is missing in rollout.spread"),
        ("spread: {per: zone, max: 0}", "rollout.spread.max is zero"),
        ("strategy: step\n  spread: {per: zone, max: 1}", "spread cannot be kept step by step"),
        ("concurrency: 010", "rollout.concurrency is neither"),
        ("slow_start: off", "rollout.slow_start is off without quotes, which YAML readers do not agree on"),
        ("order: oldest", "rollout.order is 'oldest', which is none of: name, random"),
    ],
)
def test_what_is_wrong_with_a_rollout_is_said(here: Here, tmp_path: Path, written: str, said: str) -> None:
    """Each mistake is one sentence with its place."""
    file = tmp_path / "wrong.yaml"
    head = "apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: wrong}\n"
    file.write_text(f"{head}rollout:\n  {written}\nsteps: [{{id: a, run: {{inline: uptime}}}}]\n")
    ended = here("validate", file)
    assert ended.code == 2
    assert said in ended.err
    assert "1 problem found" in ended.err


def test_the_plan_tells_what_each_wave_waits_for_and_what_stays(here: Here, play: Path) -> None:
    """The pause between waves, whom or what each gate asks, and the command that stays on each VM and when it runs."""
    play.write_text(
        PLAY[: PLAY.index("rollout:")]
        + "rollout:\n  waves: [1, 2]\n  soak: 90s\n  gates:\n"
        + "    - {before_wave: 2, webhook: {url: 'https://gate.example.org/fleet', timeout: 5m}}\n"
        + "    - {before_wave: 3, approve: true}\n"
        + "steps:\n  - {id: say, run: {inline: 'echo hello'}, command: nightly, on_existing: EXISTING}\n"
    )
    lab, text = f"--lab={play.parent / 'lab.yaml'}", play.read_text()
    words = {"update": "changed where it is there", "replace": "set anew where it", "fail": "left alone where it"}
    for existing, said in words.items():
        play.write_text(text.replace("EXISTING", existing))
        told = here("plan", play, lab).out
        assert "1m 30s between waves" in told
        assert "wave 2 (2) opens when https://gate.example.org/fleet lets it, asked for 5m 00s at most" in told
        assert "wave 3 (100%) must be approved by anybody who may steer the run" in told
        assert f"nightly (step say) stays on each VM, {said}" in told and "it runs in every run" in told
    (play.parent / "config.yaml").write_text("run: {receipts: false}\n")
    told = here("plan", play, lab, "--config", play.parent / "config.yaml").out
    assert "unchanged, it is not run again" in told
