"""Keep what this version writes, for all later ones to read: ``python -m tests.releases.make``.

Called once at each release. It makes ``tests/releases/VERSION/`` and refuses if that is there already. The journal is
of two runs: a real one over a lab (``run``), with failures and faults, and one that holds an event of every kind
(``kinds``), so that no kind of row is left without an example.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hypothesis import find
from hypothesis import strategies as st

from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.store.sqlite import journal
from fleet.store.sqlite.records import KINDS, to_row
from tests.system.cli import LABS, PLAYBOOKS, Machine, lab_up

HERE = Path(__file__).parent
FAULTS: tuple[dict[str, object], ...] = (
    {"request": "submit", "kind": "lost_answer", "chance": 0.3},
    {"request": "submit", "kind": 429, "chance": 0.2, "retry_after": 1},
)


def main() -> int:
    folder = HERE / version("azfleet")
    if folder.exists():
        print(f"{folder} is there already: what a release wrote is never written anew", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        machine = Machine(Path(scratch))
        expected = _real_run(machine, folder)
        plan = journal.read(folder / "run").plan
        asyncio.run(_every_kind(Path(scratch) / "kinds", plan))
        _keep(Path(scratch) / "kinds", folder / "kinds")
    (folder / "report.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    print(f"kept {folder}")
    return 0


def _real_run(machine: Machine, folder: Path) -> Any:
    """Run a playbook of two steps over a small lab that fails in places; keep its journal, plan file and report."""
    with lab_up(machine, LABS / "small.yaml") as lab:
        playbook = PLAYBOOKS / "two-steps.yaml"
        planned = machine.run("plan", playbook, lab.flag, "--out", machine.cwd / "plan.json", "-q")
        assert planned.code == 0, planned.err
        lab.fault(*FAULTS)
        done = machine.run("run", playbook, lab.flag, "-y", "-q", "-o", "json")
        assert done.code in (3, 5), done.err
    (run,) = (machine.state / "runs").iterdir()
    _keep(run, folder / "run")
    shutil.copy(machine.cwd / "plan.json", folder / "plan.json")
    return done.report


def _keep(run: Path, folder: Path) -> None:
    """Copy a journal that was closed: all of it is in the one file."""
    folder.mkdir(parents=True)
    shutil.copyfile(run / journal.DATABASE, folder / journal.DATABASE)


async def _every_kind(folder: Path, plan: Plan) -> None:
    """Keep one event of each kind, with no field left at its default, so that every field is written."""
    kept = journal.create(folder, run_id="kinds", plan=plan, owner="a release", now=1.0)
    for kind in KINDS.values():
        await kept.append([find(st.from_type(kind), _writes_every_field)])
    await kept.close()


def _writes_every_field(event: Event) -> bool:
    return set(json.loads(to_row(event).body)) == {field.name for field in fields(event)}


if __name__ == "__main__":
    sys.exit(main())
