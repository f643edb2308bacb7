"""Holds the leases of VMs while a run is at work on them, and releases them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from fleet.app.connect import Connection
from fleet.clock import Clock
from fleet.engine.leasing import LeasingCloud, idle
from fleet.engine.ports import Cloud
from fleet.engine.reclaim import SlotReclaimingCloud
from fleet.engine.run_store import RunFilter, RunLeases, RunStore
from fleet.errors import StateError
from fleet.playbook.model import Lease
from fleet.run.events import Event
from fleet.run.kept import RunState
from fleet.run.state import Run
from fleet.targets.model import Target


@asynccontextmanager
async def leasing(
    connection: Connection, clock: Clock, run: Run, store: RunStore
) -> AsyncIterator[tuple[Cloud, tuple[Callable[[Event], None], ...], tuple[RunLeases, ...]]]:
    """Put the VMs' leases before the cloud, where the plan heeds them and others can reach the same VMs."""
    roomy = SlotReclaimingCloud(connection.cloud, connection.managed, partial(have_ended, store), clock)
    if connection.leases is None or run.plan.lease is Lease.NONE:
        yield roomy, (), ()
        return
    leases = await store.leases(connection.leases)
    cloud = LeasingCloud(roomy, leases, run, clock)
    try:
        yield cloud, (cloud.observe,), (leases,)
    finally:
        at_work = cloud.at_work()
        cloud.release_idle()
        await leases.close()
        if leases.loss is not None and at_work:
            with suppress(StateError):  # where nothing can be written, no other run can be kept out
                await _lease_again(store, connection.leases, cloud, at_work)


async def _lease_again(store: RunStore, name: str, cloud: LeasingCloud, at_work: Sequence[Target]) -> None:
    """Keep other runs out of the VMs on which this one may be at work, in the place that they would use now."""
    anew = await store.leases(name)
    try:
        await cloud.hold_again(at_work, anew)
    finally:
        await anew.close()


async def release_freed(store: RunStore, connection: Connection, run: Run, targets: Iterable[Target]) -> None:
    """Release the leases of VMs on which nothing of a run is at work that no process carries out."""
    if connection.leases is None:
        return
    leases = await store.leases(connection.leases)
    try:
        for target in idle(run, targets):
            leases.release(target, run.run_id)
    finally:
        await leases.close()


async def have_ended(store: RunStore, run_ids: Sequence[str]) -> Mapping[str, bool]:
    """Say of those of these runs that are kept here whether they have ended."""
    kept = await store.list(RunFilter(ids=frozenset(run_ids)))
    return {run.id: run.state is RunState.ENDED for run in kept}
