"""``python -m tests.verification``: trials that can be replayed by anyone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import InvalidInput
from tests.bench.cores import ROOT
from tests.system.cli import Done
from tests.verification import seeds, trials
from tests.verification.agreement import walk
from tests.verification.command import NAME, invoke, verification
from tests.verification.revision import revision
from tests.verification.scenario import draw
from tests.verification.trials import CORPUS

Trial = Callable[..., Done]


@pytest.fixture
def trial(capfd: pytest.CaptureFixture[str]) -> Trial:
    """The command line, in this process."""

    def run(*words: object) -> Done:
        code = invoke([*map(str, words)])
        return Done(code, *capfd.readouterr())

    return run


def test_every_seed_that_ever_failed_holds_now() -> None:
    """The corpus re-runs whole."""
    known = seeds.read_corpus(CORPUS)
    assert len(known) >= 6
    assert [verdict.breaches for verdict in map(seeds.judge, known)] == [()] * len(known)


def test_engine_and_model_agree() -> None:
    """Side by side through thousands of events, the engine never does what the table of promises forbids."""
    assert sum(walk(seed, 500) for seed in range(60)) > 500


def test_seeds_take_fleets_of_a_wanted_size(trial: Trial, tmp_path: Path) -> None:
    """``--vms`` bounds the fleets of seeds, and the command that replays one names it."""
    empty = tmp_path / "corpus.txt"
    empty.touch()
    told = trial("seeds", 2, "--vms", "5..6", "--jobs", 1, "--corpus", empty).out
    assert re.search(r"^[\d,]+ requests met by 5xx-after$", told, re.MULTILINE)
    assert int(re.search(r"(\d+) targets", told)[1]) in range(10, 13)  # type: ignore[index]
    replayed = trial("replay", 1, "--vms", "5..6").out
    assert len(re.findall(r"^job \d+: ", replayed, re.MULTILINE)) >= 5


def test_an_interrupted_trial_says_how_far_it_came(tmp_path: Path) -> None:
    """Ctrl-C ends many seeds with the sums of those that were tried."""
    empty = tmp_path / "corpus.txt"
    empty.touch()
    words = [sys.executable, "-m", "tests.verification", "seeds", "100000", "--jobs", "1", "--corpus", str(empty)]
    started = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    with started:
        assert started.stdout is not None and started.stderr is not None
        assert started.stderr.readline() == "trying 100,000 seeds\n"
        started.send_signal(signal.SIGINT)
        told, said = started.stdout.read(), started.stderr.read()
    assert re.match(r"\d+ seeds, 0 failed\n", told) and said.strip() == "interrupted"
    assert started.returncode == 130


def test_seeds_are_counted_and_a_failing_one_names_its_command(trial: Trial, tmp_path: Path) -> None:
    """Good seeds end with 0; the corpus is read first, and a line that is no seed is told."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("3 # once\n")
    done = trial("seeds", 3, "--jobs", 1, "--corpus", corpus)
    assert done.code == 0, done.err
    assert done.out.startswith("4 seeds, 0 failed")
    corpus.write_text("three\n")
    assert trial("seeds", 3, "--corpus", corpus).code == 2


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

    with pytest.raises(KeyboardInterrupt):
        trials.report(interrupted(), trials.Trial(), 3, corpus)
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


def test_one_seed_is_told_event_by_event(trial: Trial) -> None:
    """Disk, wire and guests tell the story, and it ends with a row for each job."""
    done = trial("replay", 1, "-v")
    assert done.code == 0
    assert "disk 1" in done.out and "wire 1" in done.out
    assert done.out.count("job ") >= len(draw(1).plan)


def test_the_reference_model_is_walked_for_as_many_events(trial: Trial) -> None:
    """``model N`` compares engine and model for N events, and says over how many runs."""
    told = trial("model", 300)
    assert told.code == 0
    assert re.fullmatch(r"300 events in \d+ runs: engine and reference model agree\n", told.out)


def test_seeds_are_judged_alike_in_processes_of_their_own(trial: Trial, tmp_path: Path) -> None:
    """With more than one process each seed is judged once, and the sums are the same."""
    empty = tmp_path / "corpus.txt"
    empty.touch()
    words = "seeds", 5, "--first", 1, "--vms", "2..4", "--corpus", empty
    assert trial(*words, "--jobs", 2).out == trial(*words, "--jobs", 1).out


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
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, what happened, the command that replays it; the corpus has it, and so it is tried first next time."""
    corpus = tmp_path / "corpus.txt"
    first = next(seed for seed in range(5000) if draw(seed).sqlite)
    words = "seeds", 1, "--first", first, "--jobs", 1, "--corpus", corpus
    with monkeypatch.context() as without:
        without.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
        done = trial(*words)
    assert done.code == 1 and done.out.startswith("1 seed, 1 failed\n")
    assert f"seed {first} failed:" in done.err and "the simulation broke down" in done.err
    assert f"python -m tests.verification replay {first} -v  # in {revision()}\n" in done.err
    assert seeds.read_corpus(corpus) == (first,)
    again = trial(*words)
    assert (again.code, again.out.splitlines()[0]) == (0, "2 seeds, 0 failed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sedes", "5"), "Did you mean 'seeds'?"),
        (("seeds", "5", "--fisrt", "3"), "Did you mean '--first'?"),
        (("seeds",), "Missing argument 'N'"),
        (("seeds", "5", "--fault", "agent-down=5%"), "faults of requests"),
        (("seeds", "5", "--fault", "429=101%"), "KIND=PERCENT"),
        (("seeds", "5", "--vms", "9..1"), "not a number of VMs"),
        (("seeds", "5", "--vms", "0"), "not a number of VMs"),
        (("kills", "--fault", "stopped=5%"), "faults of requests"),
        (("kills", "--vms", "5"), "need --real"),
        (("kills", "--real", "5", "--jobs", "2"), "without --real"),
        (("model", "0"), "not in the range"),
        (("faults", "--fault", "fire"), "is not one of 'disk full'"),
    ],
)
def test_a_wrong_command_line_is_refused(trial: Trial, words: tuple[str, ...], said: str) -> None:
    """A sentence that says what to change, and exit code 2; nothing is tried."""
    done = trial(*words)
    assert (done.code, said in done.err, done.out) == (2, True, ""), done.err


@pytest.mark.parametrize("verb", verification.commands)
def test_each_verb_has_help_with_examples(trial: Trial, verb: str) -> None:
    """The help of a verb ends with lines that can be typed as they are."""
    done = trial(verb, "--help")
    assert done.code == 0
    assert re.search(rf"Examples:\n +{re.escape(NAME)} {verb}", done.out)
