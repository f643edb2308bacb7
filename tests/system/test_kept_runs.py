"""What can be done with runs that are kept, and the verbs that send nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tests.patience import stretched
from tests.system.cli import PLAYBOOKS, ROOT, Here, LabUp, Machine
from tests.system.test_streams import mode

EVERYTHING = PLAYBOOKS / "everything.yaml"


def test_rerun_takes_those_that_did_not_end_well(kept: Here, lab: LabUp) -> None:
    """Without statuses, everything but succeeded and skipped; it is a run of its own with the same plan otherwise."""
    done = kept("rerun", "last", lab.flag, "-y", "-o", "json")
    assert [row["name"] for row in done.report["jobs"]] == ["off01", "off02"]
    assert len(json.loads(kept("runs", "-o", "json").out)) == 2


def test_rerun_by_status(kept: Here, lab: LabUp) -> None:
    """RUN:STATUS names the targets; a status that nobody had is refused, and one that does not exist is a mistake."""
    done = kept("rerun", "last:succeeded", lab.flag, "-y", "-o", "json")
    assert [row["name"] for row in done.report["jobs"]] == [f"dev0{n}" for n in range(1, 5)] + [
        f"web0{n}" for n in range(1, 9)
    ]
    nobody = kept("rerun", "last:failed,timed-out", lab.flag, "-y")
    assert nobody.code == 6
    assert "no target" in nobody.err and "failed, timed_out" in nobody.err
    for text in ("last:faild", "last:", "last:,"):
        wrong = kept("rerun", text, lab.flag, "-y")
        assert wrong.code == 2
        assert "statuses are: succeeded, failed" in wrong.err


def test_resuming_an_ended_run_is_harmless(kept: Here, lab: LabUp) -> None:
    """It prints the run's report with its exit code, and asks nothing of Azure."""
    before = lab.requests()
    done = kept("resume", "last", lab.flag, "-o", "json")
    assert done.code == 4
    assert "has ended" in done.err
    assert len(done.report["jobs"]) == 14
    assert lab.requests() == before


@pytest.mark.parametrize("verb", ["resume", "rerun"])
def test_a_run_of_a_lab_stays_with_labs(kept: Here, verb: str) -> None:
    """Without --lab the run would go to the real cloud: refused."""
    done = kept(verb, "last", *(["-y"] if verb == "rerun" else []))
    assert done.code == 6
    assert "belongs to a lab" in done.err and "--lab" in done.err


def test_a_run_whose_folder_is_lost_is_no_run(kept: Here, machine: Machine, lab: LabUp) -> None:
    """Nothing is guessed: there is no such run, whatever is asked of it, and nothing is sent."""
    (folder,) = machine.state.glob("runs/*")
    shutil.rmtree(folder)
    before = lab.requests()
    for words in (("resume", folder.name, lab.flag), ("rerun", folder.name, lab.flag, "-y"), ("show", folder.name)):
        done = kept(*words)
        assert (done.code, "there are no runs" in done.err) == (2, True)
    assert lab.requests() == before


def test_a_run_is_named_by_id_prefix_or_last(kept: Here, lab: LabUp) -> None:
    """An id, a unique prefix and `last` all mean the run; a prefix of two and a stranger are told."""
    first = json.loads(kept("runs", "-o", "json").out)[0]["id"]
    kept("run", EVERYTHING, lab.flag, "-y", "-q", "-l", "off01")
    second = json.loads(kept("runs", "-o", "json").out)[0]["id"]
    assert kept("show", "last", "-o", "json").report["run"] == second
    for text in (first, first[:-1]):
        assert kept("show", text, "-o", "json").report["run"] == first
    both = kept("show", first[:4])  # the year: one run may have begun before midnight
    assert both.code == 2 and "fits 2 runs" in both.err and first in both.err
    assert kept("show", "2020").code == 2


def test_runs_lists_the_newest_first(here: Here, kept: Here) -> None:
    """The list says what each run is and how it stands; without runs it says how to begin one."""
    table = kept("runs").out
    assert "everything" in table and "ended" in table and " 14 " in table


def test_no_runs_is_no_mistake(here: Here) -> None:
    """An empty state folder gives an empty list, and does not even make the folder."""
    done = here("runs")
    assert (done.code, done.out) == (0, "")
    assert "fleet run PLAYBOOK" in done.err
    assert here("runs", "-o", "json").out == "[]\n"


def test_output_prints_what_scripts_printed(kept: Here) -> None:
    """By name or glob, stream and step; the data alone is on stdout."""
    assert kept("output", "last", "dev01").out == "hello from dev01\n"
    assert kept("output", "last", "DEV0[12]", "--stream", "stdout").out == "hello from dev01\nhello from dev02\n"
    assert kept("output", "last", "dev01", "--step", "hello").code == 0
    for args in (["nobody"], ["dev01", "--step", "absent"]):
        wrong = kept("output", "last", *args)
        assert wrong.code == 2
        assert args[-1] in wrong.err and "hint" in wrong.err


def test_output_into_a_folder(kept: Here, machine: Machine) -> None:
    """One private file per row and stream, named by number, VM and step."""
    done = kept("output", "last", "dev*", "--outdir", "out", "--stream", "stdout")
    assert done.code == 0
    names = sorted(path.name for path in (machine.cwd / "out").iterdir())
    assert names == [f"0000{n}-dev0{n}-hello.stdout" for n in range(1, 5)]
    assert (machine.cwd / "out" / names[0]).read_text() == "hello from dev01\n"
    assert {mode(path) for path in (machine.cwd / "out").iterdir()} == {0o600}
    (machine.cwd / "file").write_text("")
    taken = kept("output", "last", "--outdir", "file")
    assert taken.code == 1
    assert "file" in taken.err and "hint" in taken.err


def test_show_and_report_agree(kept: Here) -> None:
    """`show` ends with the run's exit code; `report` with 0, since rendering went well."""
    shown, report = kept("show", "last", "-o", "json"), kept("report", "last", "-o", "json")
    assert (shown.code, report.code) == (4, 0)
    assert shown.out == report.out


def test_reports_that_a_playbook_asks_for_lie_with_the_run(here: Here, machine: Machine, lab: LabUp) -> None:
    """`report: [csv]` is written into the run's folder when the run ends; a later step of a failed one is skipped."""
    done = here("run", PLAYBOOKS / "two-steps.yaml", lab.flag, "-y", "-l", "dev01", "-o", "json")
    assert done.code == 3
    assert [row["status"] for row in done.report["jobs"]] == ["failed", "skipped"]
    (folder,) = (machine.state / "runs").iterdir()
    assert "report.csv" in {path.name for path in folder.iterdir()}
    assert f"wrote {folder / 'report.csv'}" in done.err


def test_targets_explains(here: Here, lab: LabUp) -> None:
    """--explain has a line for every VM that can be seen, and says what let it in or kept it out."""
    done = here("targets", 'tag.env == "dev"', lab.flag, "-x", "dev02", "--explain", "-o", "json")
    decisions = {item["name"]: item for item in json.loads(done.out)}
    assert len(decisions) == 14
    assert decisions["dev01"]["included"]
    assert "excluded by dev02" in decisions["dev02"]["reason"]
    assert 'tag env is "prod"' in decisions["web01"]["reason"]
    assert "excluded by dev02" in here("targets", 'tag.env == "dev"', lab.flag, "-x", "dev02", "--explain").out


@pytest.mark.parametrize(
    ("args", "out"),
    [
        (["all", "-o", "names"], "dev[01-04],off[01-02],web[01-08]\n"),
        (['name matches "web*"', "-o", "names"], "web[01-08]\n"),
        ([PLAYBOOKS / "hello.yaml", "-o", "names"], "dev[01-04],web[01-08]\n"),
        (["all", "--subscription", "dev", "-o", "names"], "dev[01-04]\n"),
        (["all", "-l", "name < 3", "-o", "names"], None),
    ],
)
def test_targets_by_expression_and_playbook(here: Here, lab: LabUp, args: list[object], out: str | None) -> None:
    """An expression, a playbook or `all`; what cannot be understood is a mistake, never everything."""
    done = here("targets", *args, lab.flag)
    assert (done.code, done.out) == ((2, "") if out is None else (0, out))


def test_a_sample_is_the_same_for_its_seed(here: Here, lab: LabUp) -> None:
    """--pick N takes N, and the same N for the same seed."""
    picked = {seed: here("targets", "all", lab.flag, "--pick", 3, "--seed", seed, "-o", "ids").out for seed in (1, 2)}
    assert len(picked[1].splitlines()) == 3
    assert here("targets", "all", lab.flag, "--pick", 3, "--seed", 1, "-o", "ids").out == picked[1]
    assert picked[1] != picked[2]


def test_plan_sends_nothing(here: Here, lab: LabUp) -> None:
    """`fleet plan` and `run --dry-run` tell targets, waves, calls and digest alike, and no VM hears of it."""
    before = lab.executions()
    text = here("plan", PLAYBOOKS / "hello.yaml", lab.flag)
    assert text.code == 0
    assert "dev[01-04],web[01-08]" in text.out and "12 jobs in 2 subscriptions" in text.out
    document = json.loads(here("plan", PLAYBOOKS / "hello.yaml", lab.flag, "-o", "json").out)
    assert len(document["targets"]) == 12
    assert document["digest"] in text.out
    assert "| wave |" in here("plan", PLAYBOOKS / "hello.yaml", lab.flag, "-o", "md").out
    assert here("run", PLAYBOOKS / "hello.yaml", lab.flag, "--dry-run").out == text.out
    assert lab.executions(before) == {}


def test_config_show_tells_origins(here: Here, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting has its value and the place that set it: file and line, variable, default."""
    (machine.cwd / "config.yaml").write_text("run:\n  concurrency: 7\n")
    monkeypatch.setenv("FLEET_RUN_RECEIPTS", "false")
    found = json.loads(here("config", "show", "--origin", "-o", "json").out)
    assert found["run.concurrency"]["value"] == 7
    assert found["run.concurrency"]["origin"].endswith("config.yaml:2")
    assert found["run.receipts"] == {"value": False, "origin": "FLEET_RUN_RECEIPTS"}
    assert found["run.transport"] == {"value": "auto", "origin": "default"}
    assert re.search(r"^run\.concurrency +7 +\S+config\.yaml:2$", here("config", "show", "--origin").out, re.MULTILINE)


def test_validate_tells_every_mistake_of_every_file(here: Here) -> None:
    """Good files are named as valid, and all problems of the bad ones come at once."""
    good, bad = PLAYBOOKS / "hello.yaml", PLAYBOOKS / "ten-mistakes.yaml"
    assert here("validate", good).code == 0
    done = here("validate", good, bad, "absent.yaml")
    assert done.code == 2
    assert "hello.yaml: hello 1.0.0, 1 step: valid" in done.err
    assert "11 problems found" in done.err


@pytest.mark.parametrize("kind", ["playbook", "report", "config", "lab"])
def test_schemas_are_schemas(here: Here, kind: str) -> None:
    """Each is a JSON Schema 2020-12 that says so itself."""
    document = json.loads(here("schema", kind).out)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_lab_check(here: Here) -> None:
    """A lab file is checked for every mistake at once, with places."""
    assert here("lab", "check", ROOT / "tests/system/labs/small.yaml").code == 0
    Path("lab.yaml").write_text("kind: Lab\nspeed: -1\nsubscriptions: []\n")
    done = here("lab", "check", "lab.yaml")
    assert done.code == 2
    assert "lab.yaml:2:" in done.err and "lab.yaml:3:" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(here: Here, shell: str) -> None:
    """Each shell gets a script that asks fleet for words."""
    assert "_FLEET_COMPLETE" in here("completion", shell).out


def test_completion_completes(machine: Machine) -> None:
    """What the script asks is answered: verbs by their beginning."""
    env = machine.environment(_FLEET_COMPLETE="bash_complete", COMP_WORDS="fleet re", COMP_CWORD="1")
    words = [*machine.start_words()]
    done = subprocess.run(words, cwd=machine.cwd, env=env, capture_output=True, text=True, timeout=stretched(30))
    assert [line.rpartition(",")[2] for line in done.stdout.split()] == ["resume", "rerun", "reject", "report"]


def test_a_report_takes_the_width_of_the_terminal(machine: Machine, here: Here, lab: LabUp) -> None:
    """`show` and `report` fold their lines where the terminal ends, which COLUMNS names where there is none."""
    here("run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-q")
    for verb in ("show", "report"):
        narrow, wide = (
            machine.run(verb, "last", "-o", "table", env={"COLUMNS": columns}).out for columns in ("60", "200")
        )
        assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, wide.splitlines()))


def test_a_bare_lab_takes_no_playbook_for_its_file(here: Here) -> None:
    """`--lab PLAYBOOK` means the default lab, and a value without an equals sign is told."""
    assert here("targets", "--lab", 'name == "web001"', "-o", "names").out == "web001\n"
    done = here("targets", "all", "--lab", "lab.yaml")
    assert done.code == 2
    assert "--lab=FILE" in done.err


def test_version(here: Here) -> None:
    """One line with the version that is installed."""
    assert re.fullmatch(r"fleet \d+\.\d+\.\d+\n", here("version").out)
    assert here("--version").out == here("version").out


def test_show_all_leaves_nothing_out(kept: Here, lab: LabUp, tmp_path: Path) -> None:
    """What the short form cuts, --all shows: every line of every group."""
    script = tmp_path / "long.sh"
    script.write_text("echo this ends badly\n")
    kept("exec", 'tag.env == "prod"', lab.flag, "-y", "-q", "--", f"@{script}")
    whole = kept("show", "last", "--all", "-o", "table").out
    assert all(f"web0{n} tried" in whole for n in range(1, 9))
    assert "more: fleet show" not in whole


def test_verify_names_damage(kept: Here, machine: Machine) -> None:
    """A whole journal is said to be unbroken; one in which a byte was changed is named, with exit code 1."""
    whole = kept("verify", "last")
    assert whole.code == 0
    assert re.search(r"\d+ events, unbroken; plan [0-9a-f]{64}", whole.out)
    journal = next(machine.state.glob("runs/*/journal.db"))
    data = bytearray(journal.read_bytes())
    at = data.rindex(b"hello from web01")
    data[at] ^= 1
    journal.write_bytes(data)
    broken = kept("verify", "last")
    assert broken.code == 1
    assert "[journal_damaged]" in broken.err
    assert broken.out == ""


GATED = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: gated, version: 1.0.0}
targets: {where: 'name in ["web01", "web02"]'}
rollout: {waves: [1], gates: [{before_wave: 2, approve: true}]}
steps:
  - {id: say, run: {inline: "echo hello"}}
"""


@pytest.mark.parametrize("words", ["resume last", "approve last", "rerun last:not_started -y"])
def test_a_run_of_a_cloud_stays_with_that_cloud(here: Here, machine: Machine, lab: LabUp, words: str) -> None:
    """Neither a lab nor another cloud takes over a run: the same id may be another VM there. Its own cloud does."""
    own, other, play = (machine.cwd / name for name in ("own.yaml", "other.yaml", "play.yaml"))
    for file, address in ((own, lab.url), (other, lab.url.replace("127.0.0.1", "localhost"))):
        cloud = f"{{resource_manager: '{address}', authority: '{address}'}}"
        file.write_text(f"azure:\n  cloud: {cloud}\n  credential: {{token_env: HOME}}\n")
    play.write_text(GATED)
    assert here("run", play, "-y", "-q", "--config", own).code == 5
    if words.startswith("rerun"):
        assert (here("reject", "last").code, here("resume", "last", "--config", own).code) == (0, 5)
    before = lab.requests()
    lent = here(*words.split(), lab.flag)
    assert (lent.code, "belongs to a real cloud" in lent.err, "leave out --lab" in lent.err) == (6, True, True)
    moved = here(*words.split(), "--config", other)
    assert (moved.code, "belongs to the cloud" in moved.err) == (6, True), moved.err
    assert lab.requests() == before
    done = here(*words.split(), "--config", own)
    assert (done.code, "belongs to" in done.err) == (0 if words.startswith("approve") else 5, False), done.err
