"""Output larger than the channel, from the command line: what fits packed, what is fetched, and what cannot be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.system.cli import LABS, Here, Machine, lab_up
from tests.system.test_streams import mode

pytestmark = pytest.mark.slow


LINES = (
    "awk 'BEGIN { for (i = 0; i < %d; i++) printf \"%%07d a line of a long log, with an é in it, on its way\\n\", i }'"
)


def playbook(machine: Machine, script: str) -> Path:
    """A playbook that runs this script everywhere."""
    path = machine.cwd / "play.yaml"
    lines = "".join(f"        {line}\n" for line in script.splitlines())
    path.write_text(
        'apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: long, version: 1.0.0}\ntargets: {where: power == "running"}\n'
        f"steps:\n  - id: long\n    run:\n      inline: |\n{lines}"
    )
    return path


@pytest.mark.sandbox
@pytest.mark.parametrize("transport", ["managed", "action"])
def test_a_megabyte_of_a_real_guest(here: Here, machine: Machine, transport: str) -> None:
    """20 KB come whole without a fetch; of 1 MB the end comes, and --full brings it byte for byte, once."""
    with lab_up(machine, LABS / "real.yaml") as lab:
        play = playbook(machine, f"case $(hostname) in web01) {LINES % 18_000};; *) {LINES % 350};; esac\necho end >&2")
        done = here("run", play, lab.flag, "-y", "-o", "json", "--transport", transport)
        first, second = done.report["jobs"]
        assert (first["truncated"], second["truncated"], second["verified"]) == (True, False, True)
        assert len(first["stdout"]) > 20_000
        assert len(second["stdout"].encode()) > 20_000
        assert second["stdout"].startswith("0000000 a line") and second["stderr"] == "end\n"
        assert any("--full" in note for note in done.report["notes"])
        sent = lab.requests()
        assert here("output", "last", "web02", "--full", lab.flag).code == 0
        assert lab.requests() == sent
        full = here("output", "last", "--full", lab.flag, "--outdir", "out")
        assert (full.code, "fetching web01 long stdout: " in full.err) == (0, True), full.err
    bare = subprocess.run(["bash", "-c", LINES % 18_000], capture_output=True, check=True).stdout
    assert len(bare) > 1_000_000
    assert (machine.cwd / "out/00001-web01-long.stdout").read_bytes() == bare
    assert (machine.cwd / "out/00001-web01-long.stderr").read_text() == "end\n"
    again = here("output", "last", "web01", "--full", "--stream", "stdout", "--raw")
    assert (again.code, again.out.encode()) == (0, bare)
    kept = next(machine.state.rglob("output/*.stdout"))
    assert mode(kept) == 0o600


LAB = """
apiVersion: fleet/v1
kind: Lab
speed: 500
rules: [{when: speaks, stdout: "SPEECH"}]
subscriptions:
  - name: prod
    groups:
      - name: rg
        vms:
          - {name: "lin{n:02}", count: 2, guest: scripted}
          - {name: win01, os: windows, guest: scripted}
"""


def test_what_cannot_be_fetched_is_said(here: Here, machine: Machine) -> None:
    """Played guests, Windows among them, give what they keep; a lab that forgot it costs a warning and exit code 4."""
    speech = "".join(f"{n * 7919 % 10007} words and {n * 104729 % 99991} more ünd\\n" for n in range(5000))
    file = machine.cwd / "lab.yaml"
    file.write_text(LAB.replace("SPEECH", speech), encoding="utf-8")
    plain = speech.replace("\\n", "\n")
    play = playbook(machine, "echo speaks")
    with lab_up(machine, file) as lab:
        done = here("run", play, lab.flag, "-y", "-o", "json")
        assert [row["truncated"] for row in done.report["jobs"]] == [True] * 3
        for name in ("lin01", "win01"):
            assert here("output", "last", name, "--full", "--raw", lab.flag).out == plain
        shown = here("output", "last", "lin02")
        assert "--full fetches all of it" in shown.err and plain.endswith(shown.out)
    with lab_up(machine, file) as lab:
        gone = here("output", "last", "--full", lab.flag)
        assert gone.code == 4
        assert "lin02 long stdout could not be fetched: the VM does not keep this output any more" in gone.err
        assert "seven days" in gone.err
        assert len(gone.out) > 2 * len(plain)


def test_without_a_receipt_nothing_is_kept(here: Here, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that went as it is kept nothing in its VM: the end is all there is, and that is said."""
    monkeypatch.setenv("FLEET_RUN_RECEIPTS", "false")
    file = machine.cwd / "lab.yaml"
    file.write_text(LAB.replace("SPEECH", "x" * 9000), encoding="utf-8")
    with lab_up(machine, file) as lab:
        here("run", playbook(machine, "echo speaks"), lab.flag, "-y", "-q")
        done = here("output", "last", "lin01", "--full", lab.flag)
    assert (done.code, done.out) == (4, "x" * 4096 + "\n")
    assert "without a receipt" in done.err
