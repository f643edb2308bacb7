"""Fleet as a library: what a program does without a terminal."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fleet
from fleet import LAB, Fleet, Plan, Report, Stop
from fleet.app.search import Narrowing
from fleet.config.load import load
from fleet.errors import InvalidInput, Refused, RunNotFound
from fleet.guest.probe import Findings
from fleet.plan.approval import Approval
from fleet.plan.file import dump
from fleet.run.events import ApprovalAwaited, Event, SubmissionAccepted
from fleet.run.kept import RunState
from fleet.testing import MemoryRuns
from tests.system.cli import PLAYBOOKS, ROOT, Machine

pytestmark = pytest.mark.slow

SLOW, HELLO = PLAYBOOKS / "slow.yaml", PLAYBOOKS / "hello.yaml"
FEW = Narrowing(limit=('tag.env == "dev"',), pick=4)


def opened(folder: Path) -> Fleet:
    """A Fleet on the default lab whose runs are kept in this folder."""
    config = load(flags={}, environ={"FLEET_STATE_DIR": str(folder)}, cwd=folder, home=folder)[0]
    return Fleet(config, lab=LAB)


def test_importing_fleet_loads_nothing_else() -> None:
    """The names of the face are there, and only their use loads what they need; an unknown one is an AttributeError."""
    code = "import fleet, sys; print(sorted(n for n in sys.modules if n.startswith('fleet')), dir(fleet.Fleet)[:0])"
    done = subprocess.run(
        [sys.executable, "-c", code.replace("dir(fleet.Fleet)[:0]", "''")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "['fleet']"
    assert all(getattr(fleet, name) for name in fleet.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Flete'"):
        _ = fleet.Flete


def test_the_programs_of_the_readme_run(machine: Machine) -> None:
    """Each Python block of the README ends without an error, and prints what a report says."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        environment = machine.environment(PYTHONPATH=str(ROOT))
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("0 ")


def test_two_runs_in_one_loop_are_stopped_each_by_itself(tmp_path: Path) -> None:
    """The one that is stopped leaves VMs that it did not start on; the other ends whole. The stopped one is resumed."""

    async def go() -> tuple[Report, Report, Report]:
        async with opened(tmp_path) as fleet:
            plan = await fleet.plan(HELLO, narrowing=FEW, settings=None)
            one_by_one = await fleet.plan(SLOW, narrowing=FEW)
            stop = Stop()

            def after_the_first(event: Event) -> None:
                if isinstance(event, SubmissionAccepted):
                    stop.ask()

            stopped, whole = await asyncio.gather(
                fleet.run(_narrow(one_by_one), observe=after_the_first, stop=stop), fleet.run(plan)
            )
            return stopped, whole, await fleet.resume(stopped.run)

    stopped, whole, resumed = asyncio.run(go())
    assert whole.exit_code == 0 and len(whole.jobs) == 4
    assert {row.status.value for row in stopped.jobs} == {"succeeded", "not_started"}
    assert resumed.run == stopped.run and {row.status.value for row in resumed.jobs} == {"succeeded"}


def _narrow(plan: Plan) -> Plan:
    """The same plan with one job in flight at a time."""
    from dataclasses import replace

    return replace(plan, limits=replace(plan.limits, concurrency=1))


def test_a_run_needs_no_main_thread(tmp_path: Path) -> None:
    """Planned, carried out and read back in a thread of its own."""
    found: list[Report] = []

    async def go() -> None:
        async with opened(tmp_path) as fleet:
            report = await fleet.run(await fleet.plan(HELLO, narrowing=FEW))
            assert await fleet.report("last") == report
            assert [run.id for run in await fleet.runs()] == [report.run]
            found.append(report)

    thread = threading.Thread(target=lambda: asyncio.run(go()))
    thread.start()
    thread.join(60)
    assert [report.exit_code for report in found] == [0]


def test_a_store_of_ones_own_keeps_the_runs(tmp_path: Path) -> None:
    """Handed in, it holds everything, and the settings' folder is not even made; what it kept is read back and resumed."""
    config = load(flags={}, environ={"FLEET_STATE_DIR": str(tmp_path / "state")}, cwd=tmp_path, home=tmp_path)[0]

    async def go() -> tuple[Report, Report]:
        store = MemoryRuns()
        async with Fleet(config, lab=LAB, store=store) as fleet:
            report = await fleet.run(await fleet.plan(HELLO, narrowing=FEW))
            assert [run.state for run in await store.list()] == [RunState.ENDED]
            assert await fleet.report(report.run[:-1]) == report
            return report, await fleet.resume("last")

    report, again = asyncio.run(go())
    assert report == again and report.exit_code == 0
    assert not (tmp_path / "state").exists()


class Seen:
    """Keeps what a followed script prints."""

    def __init__(self) -> None:
        self.streams: dict[str, bytes] = {}
        self.notes: list[str] = []

    def show(self, stream: str, data: bytes, left_out: int) -> None:
        self.streams[stream] = self.streams.get(stream, b"") + data

    def say(self, text: str) -> None:
        self.notes.append(text)

    warn = say


def test_a_running_script_is_followed_probed_and_ended(tmp_path: Path) -> None:
    """While a run goes on in the same loop, its script is followed, looked at and ended; the row says who asked."""

    async def go() -> None:
        async with opened(tmp_path) as fleet:
            plan = await fleet.plan(tmp_path / "play.yaml", narrowing=Narrowing(limit=('tag.env == "dev"',), pick=1))
            vm = plan.targets[0].name
            started = asyncio.Event()

            def observe(event: Event) -> None:
                if isinstance(event, SubmissionAccepted):
                    started.set()

            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(fleet.run(plan, observe=observe))
                await started.wait()
                seen = Seen()
                following = tasks.create_task(fleet.follow("last", vm, seen))
                while "hung" not in str(seen.streams):  # noqa: ASYNC110  the script prints it, no event says so
                    await asyncio.sleep(0.1)
                found = await fleet.probe("last", vm)
                assert isinstance(found[vm], Findings)
                (freed,) = await fleet.unstick("last", vm, in_guest=True, why="it hangs")
                assert freed.done
            (row,) = running.result().jobs
            assert row.status.value == "cancelled" and "it hangs" in row.cause.message
            assert following.result().code == running.result().exit_code
            (output,) = await fleet.output("last", vm)
            assert output.stdout == seen.streams["stdout"] == b"hung\n" and output.whole
            with pytest.raises(RunNotFound):
                await fleet.output("last", "no-such-vm")
            (read,) = await fleet.commands("all", Narrowing(limit=(f"name == '{vm}'",)))
            assert read.target.name == vm and not read.why
            assert len(await fleet.delete_commands(read.commands)) == len(read.commands)

    (tmp_path / "play.yaml").write_text(HANGING)
    asyncio.run(go())


HANGING = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: hanging}
targets: {where: tag.env == "dev"}
steps: [{id: hang, run: {inline: 'echo hung; sleep 600'}, timeout: 10m}]
"""

APPROVED = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: approved}
targets: {where: tag.env == "dev"}
rollout: {waves: [1, 100%], gates: [{before_wave: 2, approve: true}]}
steps: [{id: hello, run: {inline: 'echo hello'}}]
"""


def test_a_wave_is_approved_from_the_same_loop(tmp_path: Path) -> None:
    """A run waits for its second wave, which another task approves; nothing can be approved before or after."""
    (tmp_path / "play.yaml").write_text(APPROVED)

    async def go() -> Report:
        async with opened(tmp_path) as fleet:
            plan = await fleet.plan(tmp_path / "play.yaml", narrowing=FEW)
            waiting = asyncio.Event()

            def observe(event: Event) -> None:
                if isinstance(event, ApprovalAwaited):
                    waiting.set()

            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(fleet.run(plan, observe=observe))
                await waiting.wait()
                said = await fleet.decide("last", approve=True, why="fine")
                assert "approved" in said
            with pytest.raises(Refused, match="does not wait"):
                await fleet.decide("last", approve=True)
            return running.result()

    report = asyncio.run(go())
    assert report.exit_code == 0 and len(report.jobs) == 4


def test_targets_that_failed_are_planned_again(tmp_path: Path) -> None:
    """The plan of those that ended so, run as another run; none that did is refused in words."""

    async def go() -> tuple[Report, Report]:
        async with opened(tmp_path) as fleet:
            chosen = await fleet.targets('tag.env == "dev"', FEW)
            first = await fleet.run(await fleet.plan(HELLO, narrowing=FEW))
            assert {row.target for row in first.jobs} == {target.id for target in chosen.targets}
            with pytest.raises(Exception, match="no target of run"):
                await fleet.plan_again("last")
            return first, await fleet.run(await fleet.plan_again("last", [row.status for row in first.jobs]))

    first, again = asyncio.run(go())
    assert again.run != first.run and again.exit_code == 0
    assert {row.target for row in again.jobs} == {row.target for row in first.jobs}


SECRET = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: secretive}
parameters: {token: {type: string, secret: true}}
targets: {where: tag.env == "dev"}
steps: [{id: use, run: {inline: 'test "${#TOKEN}" = 9'}, env: {TOKEN: "{{ params.token }}"}}]
"""


def test_a_secret_is_in_no_plan_and_is_given_again(tmp_path: Path) -> None:
    """It is needed to plan and to run, reaches the script, and is nowhere in the plan; without it nothing is sent."""
    (tmp_path / "play.yaml").write_text(SECRET)

    async def go() -> Report:
        async with opened(tmp_path) as fleet:
            plan = await fleet.plan(tmp_path / "play.yaml", {"token": "hush-hush"}, narrowing=FEW)
            assert "hush-hush" not in dump(plan)
            with pytest.raises(InvalidInput, match="token"):
                await fleet.run(plan)
            assert not await fleet.runs()
            return await fleet.run(plan, {"token": "hush-hush"})

    assert asyncio.run(go()).exit_code == 0


def test_where_plans_must_be_approved_the_library_asks_for_that(tmp_path: Path) -> None:
    """`run.require_approval` holds here too: no approval, or another plan's, is refused, and the right one is taken."""
    environ = {"FLEET_STATE_DIR": str(tmp_path), "FLEET_RUN_REQUIRE_APPROVAL": "true"}
    config = load(flags={}, environ=environ, cwd=tmp_path, home=tmp_path)[0]

    async def go() -> Report:
        async with Fleet(config, lab=LAB) as fleet:
            plan = await fleet.plan(HELLO, narrowing=FEW)
            for wrong in (None, Approval("0" * 64, "jo", "Jo", "2026-01-01T00:00:00Z")):
                with pytest.raises(Refused, match="require_approval"):
                    await fleet.run(plan, approval=wrong)
            return await fleet.run(plan, approval=Approval(plan.digest, "jo", "Jo", "2026-01-01T00:00:00Z"))

    assert asyncio.run(go()).exit_code == 0
