"""Holds the leases of VMs while a run is at work on them, and releases them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from fleet.app.connect import Connection
from fleet.clock import Clock
from fleet.engine.leasing import LeasingCloud, idle
from fleet.engine.ports import Cloud
from fleet.engine.reclaim import SlotReclaimingCloud
from fleet.errors import StateError
from fleet.playbook.model import Lease
from fleet.run.events import Event
from fleet.run.kept import RunState
from fleet.run.state import Run
from fleet.store.sqlite.files import make_folder
from fleet.store.sqlite.leases import FileLeases
from fleet.store.sqlite.runs import RunsFolder
from fleet.targets.model import Target


@asynccontextmanager
async def leasing(
    connection: Connection, clock: Clock, run: Run, state_dir: Path
) -> AsyncIterator[tuple[Cloud, tuple[Callable[[Event], None], ...], tuple[FileLeases, ...]]]:
    """Put the VMs' leases before the cloud, where the plan heeds them and others can reach the same VMs."""
    roomy = SlotReclaimingCloud(connection.cloud, connection.managed, partial(_have_ended, state_dir), clock)
    if connection.leases is None or run.plan.lease is Lease.NONE:
        yield roomy, (), ()
        return
    leases = FileLeases(state_dir, connection.leases)
    cloud = LeasingCloud(roomy, leases, run, clock)
    try:
        yield cloud, (cloud.observe,), (leases,)
    finally:
        at_work = cloud.at_work()
        cloud.release_idle()
        await leases.close()
        if leases.loss is not None and at_work:
            with suppress(StateError):  # where nothing can be written, no other run can be kept out
                await _lease_again(state_dir, connection.leases, cloud, at_work)


async def _lease_again(state_dir: Path, name: str, cloud: LeasingCloud, at_work: Sequence[Target]) -> None:
    """Keep other runs out of the VMs on which this one may be at work, in the folder that they would use now."""
    make_folder(state_dir)
    anew = FileLeases(state_dir, name)
    try:
        await cloud.hold_again(at_work, anew)
    finally:
        await anew.close()


async def release_freed(state_dir: Path, connection: Connection, run: Run, targets: Iterable[Target]) -> None:
    """Release the leases of VMs on which nothing of a run is at work that no process carries out."""
    if connection.leases is None:
        return
    leases = FileLeases(state_dir, connection.leases)
    try:
        for target in idle(run, targets):
            leases.release(target, run.run_id)
    finally:
        await leases.close()


def _have_ended(state_dir: Path, run_ids: Sequence[str]) -> dict[str, bool]:
    """Say of those of these runs that are kept here whether they have ended."""
    kept = RunsFolder(state_dir).list()
    return {run.id: run.state is RunState.ENDED for run in kept if run.id in run_ids}
