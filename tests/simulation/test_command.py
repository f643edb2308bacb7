"""``fleet sim``: rehearsals that send nothing, and seeds that anyone can run again."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.cli.main import invoke
from fleet.cli.trials import judged
from fleet.errors import InvalidInput
from fleet.lab.making import build
from fleet.playbook.model import Selection
from fleet.simulation import seeds
from fleet.simulation.agreement import walk
from fleet.simulation.pretend import from_selection
from fleet.simulation.revision import revision
from fleet.simulation.scenario import draw, pretend_targets
from fleet.targets import selector
from fleet.targets.model import Power
from tests.system.cli import PLAYBOOKS, SHIPPED, Here, Machine
from tests.system.conftest import here, machine

__all__ = ["here", "machine"]

CORPUS = Path(__file__).parent / "corpus.txt"


def test_every_seed_that_ever_failed_holds_now() -> None:
    """The corpus re-runs whole."""
    known = seeds.read_corpus(CORPUS)
    assert len(known) >= 6
    assert [verdict.breaches for verdict in map(seeds.judge, known)] == [()] * len(known)


def test_engine_and_model_agree() -> None:
    """Side by side through thousands of events, the engine never does what the table of promises forbids."""
    assert sum(walk(seed, 500) for seed in range(60)) > 500


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
    assert (
        here("plan", PLAYBOOKS / "hello.yaml", "--lab", "-l", 'os == "linux"', "--pick", 7, "--out", frozen).code == 0
    )
    done = here("sim", frozen, "-o", "json")
    assert done.code == 0, done.err
    assert done.report["counts"]["targets"] == 7


def test_a_lab_file_is_a_pretend_fleet(here: Here) -> None:
    """Its VMs, rules and troubles are rehearsed as they stand."""
    lab = PLAYBOOKS.parent / "labs" / "forty.yaml"
    assert here("sim", PLAYBOOKS / "hello.yaml", f"--lab={lab}", "-o", "json").report["counts"]["targets"] == 40


def test_seeds_take_fleets_of_a_wanted_size(here: Here, tmp_path: Path) -> None:
    """``--vms`` bounds the fleets of seeds, and the command that replays one names it."""
    empty = tmp_path / "corpus.txt"
    empty.touch()
    told = here("sim", "--seeds", 2, "--vms", "5..6", "--jobs", 1, "--corpus", empty).out
    assert re.search(r"^[\d,]+ requests met by 5xx-after$", told, re.MULTILINE)
    assert int(re.search(r"(\d+) targets", told)[1]) in range(10, 13)  # type: ignore[index]
    replayed = here("sim", "--seed", 1, "--vms", "5..6").out
    assert len(re.findall(r"^job \d+: ", replayed, re.MULTILINE)) >= 5


def test_an_interrupted_trial_says_how_far_it_came(machine: Machine) -> None:
    """Ctrl-C ends many seeds with the sums of those that were tried."""
    trial = machine.start("sim", "--seeds", 100_000, "--jobs", 1)
    with trial:
        assert trial.stdout is not None and trial.stderr is not None
        assert trial.stderr.readline() == "trying 100,000 seeds\n"
        trial.send_signal(signal.SIGINT)
        told, said = trial.stdout.read(), trial.stderr.read()
    assert re.match(r"\d+ seeds, 0 failed\n", told) and said.strip() == "interrupted"
    assert trial.returncode == 130


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
        (("--vms", "9..1"), "not a number of VMs"),
        (("--vms", "0"), "not a number of VMs"),
        (("--vms", "5..50"), "of one fleet"),
        (("--seeds", "3"), "take no playbook"),
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


def test_seeds_are_counted_and_a_failing_one_names_its_command(here: Here, tmp_path: Path) -> None:
    """Good seeds end with 0; the corpus is read first, and a line that is no seed is told."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("3 # once\n")
    done = here("sim", "--seeds", 3, "--jobs", 1, "--corpus", corpus)
    assert done.code == 0, done.err
    assert done.out.startswith("4 seeds, 0 failed")
    corpus.write_text("three\n")
    assert here("sim", "--seeds", 3, "--corpus", corpus).code == 2


def test_a_failing_seed_is_kept(tmp_path: Path) -> None:
    """It goes into the corpus once, with what it breached."""
    corpus = tmp_path / "corpus.txt"
    for _ in range(2):
        seeds.keep(corpus, [seeds.Verdict(77, ("nothing runs twice: job 1 ran 2 times",))])
    assert corpus.read_text() == "77  # nothing runs twice: job 1 ran 2 times\n"
    corpus.write_text("x")
    with pytest.raises(InvalidInput):
        seeds.read_corpus(corpus)


def test_an_interrupt_keeps_what_had_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A seed that failed before Ctrl-C is in the corpus, and the sums are told once."""
    corpus = tmp_path / "corpus.txt"

    def interrupted() -> Iterator[seeds.Verdict]:
        yield seeds.Verdict(77, ("nothing runs twice: job 1 ran 2 times",))
        raise KeyboardInterrupt

    flags = {"kills": False, "quiet": False, "faults": {}, "vms": None}
    with pytest.raises(KeyboardInterrupt):
        judged(interrupted(), 3, flags, corpus)
    assert seeds.read_corpus(corpus) == (77,)
    assert capsys.readouterr().out.count("1 seed, 1 failed\n") == 1


def test_a_failure_names_the_commit_that_it_was_seen_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version, commit and whether it was changed; the version only where git is absent or the package is not its own."""

    def git(*words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    package, stranger = tmp_path / "here", tmp_path / "installed"
    for folder in (package, stranger):
        folder.mkdir()
        (folder / "__init__.py").touch()
    git("add", "here")
    git("commit", "-qm", "one")
    assert re.fullmatch(r"fleet \d+\.\d+\.\d+, commit [0-9a-f]{7,}", revision(package))
    assert re.fullmatch(r"fleet \d+\.\d+\.\d+", revision(stranger))
    (package / "__init__.py").write_text("changed = True\n")
    revision.cache_clear()
    assert revision(package).endswith(", changed since")
    revision.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(package) == revision(stranger)


def test_one_seed_is_told_event_by_event(here: Here) -> None:
    """Disk, wire and guests tell the story, and it ends with a row for each job."""
    done = here("sim", "--seed", 1, "-v")
    assert done.code == 0
    assert "disk 1" in done.out and "wire 1" in done.out
    assert done.out.count("job ") >= len(draw(1).plan)


def test_the_reference_model_is_walked_for_as_many_events(here: Here) -> None:
    """``--model N`` compares engine and model for N events, and says over how many runs."""
    told = here("sim", "--model", 300)
    assert told.code == 0
    assert re.fullmatch(r"300 events in \d+ runs: engine and reference model agree\n", told.out)


def test_seeds_are_judged_alike_in_processes_of_their_own(here: Here, tmp_path: Path) -> None:
    """With more than one process each seed is judged once, and the sums are the same."""
    empty = tmp_path / "corpus.txt"
    empty.touch()
    words = "sim", "--seeds", 5, "--first", 1, "--vms", "2..4", "--corpus", empty
    assert here(*words, "--jobs", 2).out == here(*words, "--jobs", 1).out


def test_a_small_run_is_killed_at_every_write() -> None:
    """Each write is one kill before it, three in its midst and one after it; what was kept goes on from all of them."""
    verdicts = list(
        seeds.judge_kills(replace(draw(2, sizes=(2, 4)), rates={}, happenings=(), sqlite=False), processes=1)
    )
    assert [verdict.breaches for verdict in verdicts] == [()] * len(verdicts)
    killed = Counter(verdict.seed for verdict in verdicts if verdict.counts["owners"] > 1)
    assert len(killed) > 3
    assert killed == dict.fromkeys(range(1, len(killed) + 1), 5)


def test_a_seed_that_breaks_down_is_told_kept_and_tried_again(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, what happened, the command that replays it; the corpus has it, and so it is tried first next time."""
    corpus = tmp_path / "corpus.txt"
    first = next(seed for seed in range(5000) if draw(seed).sqlite)
    words = "sim", "--first", first, "--seeds", 1, "--jobs", 1, "--corpus", corpus
    with monkeypatch.context() as without:
        without.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
        assert invoke([*map(str, words)]) == 1
    out, err = capfd.readouterr()
    assert out.startswith("1 seed, 1 failed\n")
    assert f"seed {first} failed:" in err and "the simulation broke down" in err
    assert f"fleet sim --seed {first} -v  # in {revision()}\n" in err
    assert seeds.read_corpus(corpus) == (first,)
    again = here(*words)
    assert (again.code, again.out.splitlines()[0]) == (0, "2 seeds, 0 failed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a playbook to rehearse"),
        (("--model", "5", "--seeds", "5"), "name a playbook to rehearse"),
        (("--seeds", "5", "--fault", "agent-down=5%"), "faults of requests"),
        (("--seeds", "5", "--fault", "429=101%"), "KIND=PERCENT"),
    ],
)
def test_modes_are_told_apart(here: Here, words: tuple[str, ...], said: str) -> None:
    """Fleet itself is tried in one way at a time, with faults that seeds have."""
    done = here("sim", *words)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_lab_file_has_its_own_size(here: Here) -> None:
    """``--vms`` beside a lab file is refused: two sizes cannot both hold."""
    lab = PLAYBOOKS.parent / "labs" / "forty.yaml"
    done = here("sim", PLAYBOOKS / "hello.yaml", f"--lab={lab}", "--vms", 3)
    assert (done.code, "the lab file says how many VMs it has" in done.err) == (2, True)
