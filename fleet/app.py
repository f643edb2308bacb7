"""The composition root: the only place where Fleet's parts are put together.

Each function is one move of the pipeline over an open cloud (``connecting``): find targets, plan, begin or take over a
run, carry it out, read it back. Nothing here decides; what a verb needs beyond these moves belongs to ``cli``.
"""

from __future__ import annotations

import os
import random
import secrets as randomness
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fleet.clock import Clock
from fleet.config import Config
from fleet.connecting import Connection, cloud_name
from fleet.engine.desk import Desk
from fleet.engine.leasing import LeasingCloud, idle
from fleet.engine.loop import Engine
from fleet.engine.ports import Cloud, Kept
from fleet.engine.room import RoomMakingCloud
from fleet.errors import FleetError, Refused, StateError
from fleet.files import MOST_READ, is_own_stream, read_bounded, read_text
from fleet.plan import doctor, patchers
from fleet.plan.build import MANAGED_SINCE, Settings, build
from fleet.plan.condition import Facts, Permissions
from fleet.plan.departure import departures, undecided
from fleet.plan.model import JobId, Plan, Scope
from fleet.playbook.load import load
from fleet.playbook.model import Lease, ParameterValue, Playbook, Selection, Transport, goes_by
from fleet.report.words import plural
from fleet.run import command
from fleet.run.answers import Command
from fleet.run.events import Event
from fleet.run.record import RunRecord
from fleet.run.state import Run
from fleet.signals import Stopping as Stopping
from fleet.steering import user
from fleet.store import journal as journals
from fleet.store.directives import Directives
from fleet.store.files import make_folder
from fleet.store.journal import Journal, SavedRun
from fleet.store.leases import FileLeases
from fleet.store.runs import RunsFolder, RunState, new_id
from fleet.targets import selector
from fleet.targets.expand import Wanted, expand, explain, require_some
from fleet.targets.folding import fold
from fleet.targets.kinds import EVERY, wanted_kinds
from fleet.targets.model import Target, TargetSet
from fleet.targets.partial import PartialTarget
from fleet.targets.subscriptions import chosen_subscriptions, unread_scopes
from fleet.targets.traits import DOMAINS, needed_for


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What flags ask for beside a playbook's own selection; exclusion always wins."""

    subscriptions: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pick: int | None = None
    seed: int = 0
    max_targets: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a selection found: every VM of its subscriptions, and those that it lets in."""

    rows: tuple[Target, ...]
    wanted: Wanted
    chosen: TargetSet
    scope: Scope
    partial: tuple[PartialTarget, ...] = ()
    """Machines of its subscriptions of which too little is known, or something that cannot be read."""


@dataclass(slots=True)
class OpenRun:
    """A run that this process owns."""

    run: Run
    journal: Journal
    epoch: int
    folder: Path
    state_dir: Path
    is_resumable: bool = True
    """Whether the run can be gone on with; false once its journal was lost."""


# -- reading ---------------------------------------------------------------------------------------------------------


def load_playbook(path: Path) -> Playbook:
    """Load a playbook and its script files. Raises InvalidInput with every problem."""
    return playbook_of(read_text(path, "the playbook"), path)


def playbook_of(text: str, path: Path) -> Playbook:
    """As :func:`load_playbook`, of what was read from there. A pipe's scripts are looked for in the current folder."""
    folder = Path() if is_own_stream(path) else path.parent
    return load(
        text,
        file=str(path),
        read_script=lambda name: read_bounded(folder / name, MOST_READ),
    )


# -- targets and plan ------------------------------------------------------------------------------------------------


async def find(
    conn: Connection,
    selection: Selection,
    narrowing: Narrowing,
    *,
    every_kind: bool = False,
    needed: frozenset[str] = frozenset(),
) -> Found:
    """List the machines of the selected subscriptions at once and let in those that selection and flags want.

    Only the kinds that are looked for are listed; ``every_kind`` lists the others as well, to explain why they are out.
    ``needed`` are traits that must be known of a target.

    Raises InvalidInput for a selector that cannot be understood, Refused for too many targets, AzureUnusable.
    """
    where = selector.parse(selection.where) if selection.where else selector.EVERYTHING
    patterns = narrowing.subscriptions or selection.subscriptions
    seen = await conn.inventory.subscriptions()
    subscriptions = chosen_subscriptions(patterns, seen)
    # All of them are listed, whatever the selector says: if Azure filtered them, a subscription without a match could not be
    # told from one that cannot be read, nor an entry of exclude that fits no VM from one whose VMs were filtered out.
    kinds = wanted_kinds(selection.kinds, where.expression)
    listing = await conn.inventory.list_targets(subscriptions, EVERY if every_kind else kinds)
    wanted = Wanted(
        resource_groups=selection.resource_groups,
        where=where,
        exclude=selection.exclude,
        limit=narrowing.limit,
        extra_exclude=narrowing.exclude,
        pick=narrowing.pick,
        seed=narrowing.seed,
        max=_smaller(selection.max, narrowing.max_targets),
        kinds=kinds,
        needed=needed,
    )
    scope = Scope(
        selection, narrowing.subscriptions, narrowing.limit, narrowing.exclude, narrowing.pick, narrowing.seed
    )
    unread = (*unread_scopes(patterns, seen), *listing.unread)
    chosen = expand(listing.targets, wanted, unread=unread, partial=listing.partial)
    return Found(listing.targets, wanted, chosen, scope, listing.partial)


async def find_for(conn: Connection, playbook: Playbook, narrowing: Narrowing) -> Found:
    """As :func:`find`, for a playbook; what its rollout goes by is asked of Azure where the list does not tell it."""
    traits = goes_by(playbook.rollout)
    found = await find(conn, playbook.selection, narrowing, needed=needed_for(traits))
    if not traits & frozenset(DOMAINS):
        return found
    placed = await conn.inventory.with_domains(found.chosen.targets)
    return replace(found, chosen=replace(found.chosen, targets=placed))


async def find_again(connection: Connection, plan: Plan) -> Found:
    """Find which targets the plan's own selection lets in now."""
    scope = plan.scope
    narrowing = Narrowing(scope.subscriptions, scope.limit, scope.exclude, scope.pick, scope.seed)
    return await find(connection, replace(scope.selection, max=None), narrowing)


def without_left(plan: Plan, found: Found) -> Plan:
    """Return the plan with the targets named that are not to be run, as its selection does not let them in any more.

    Raises Refused (``plan_drift``) where that cannot be known of one, and (``no_targets``) where none remains.
    """
    present = {target.key: target for target in found.chosen.targets}
    decisions = explain(found.rows, found.wanted, found.partial)
    reasons = {decision.target.key: decision.reason for decision in decisions if not decision.included}
    absent = [target for target in plan.targets if target.key not in present]
    if doubtful := undecided(absent, reasons, found.chosen.unread, found.partial):
        message = f"whether {plural(len(doubtful), 'target')} of the plan would be selected is not known"
        names = ", ".join(sorted({target.subscription_name or target.subscription for target in doubtful}))
        hint = f"no tolerance covers that; see what cannot be read in {names}: fleet targets, or try again"
        raise Refused(f"{message}: {fold(target.name for target in doubtful)}", hint=hint, code="plan_drift")
    left = tuple(departures(plan.targets, present, reasons))
    if plan.targets and len(left) == len(plan.targets):
        hint = "make a new plan: fleet plan PLAYBOOK --out FILE"
        raise Refused("no target of the plan is selected any more", hint=hint, code="no_targets")
    return replace(plan, left=left)


def _smaller(one: int | None, other: int | None) -> int | None:
    given = [value for value in (one, other) if value is not None]
    return min(given, default=None)


def make_plan(
    connection: Connection,
    playbook: Playbook,
    found: Found,
    parameters: Mapping[str, ParameterValue],
    settings: Settings,
    *,
    allow_empty: bool = False,
) -> Plan:
    """Freeze the plan. Raises Refused where no target was found, unless that is allowed; InvalidInput."""
    require_some(found.chosen, allow_empty)
    settings = replace(settings, seed=found.scope.seed)
    plan = replace(build(playbook, found.chosen, parameters, settings), cloud=connection.name, scope=found.scope)
    command.check_sizes(plan)
    return plan


def settings_of(config: Config) -> Settings:
    """What the config says about runs; a command's flags go on top."""
    run = config.run
    return Settings(
        transport=Transport(run.transport),
        without_managed=_without_managed(config),
        receipts=run.receipts,
        concurrency=run.concurrency,
        concurrency_per_subscription=run.concurrency_per_subscription,
        deliver_timeout=run.deliver_timeout,
        start_timeout=run.start_timeout,
        answer_grace=run.answer_grace,
    )


def _without_managed(config: Config) -> str:
    """Return Compute's api-version where that has no managed commands; versions begin with their date."""
    version = (config.azure.api_versions or {}).get("compute", MANAGED_SINCE)
    return version if version[:10] < MANAGED_SINCE else ""


async def examine(connection: Connection, plan: Plan, secrets: Mapping[str, str]) -> tuple[doctor.Finding, ...]:
    """Find out what stands in the plan's way, and send nothing to any VM.

    Raises InvalidInput if a script cannot be carried, AzureUnusable.
    """
    sizes = command.sizes(plan, secrets)
    preflight = connection.preflight
    principals = await preflight.principals()
    permissions: tuple[Permissions, ...] = ()
    while asked := doctor.to_ask(plan, principals, permissions):
        permissions += await preflight.permissions(asked)
    conditions = await preflight.conditions(plan.targets, commands=doctor.uses_managed(plan))
    locks = await preflight.locks(plan.targets)
    patching = await preflight.patching(plan.targets)
    return doctor.examine(plan, Facts(principals, permissions, conditions, sizes, locks, patching))


async def other_patchers(connection: Connection, plan: Plan) -> tuple[doctor.Finding, ...]:
    """Return who else patches the targets of a plan that patches; nothing is asked for another. Raises AzureUnusable."""
    if not patchers.is_patching(plan) or not plan.targets:
        return ()
    return patchers.warnings(plan, await connection.preflight.patching(plan.targets))


# -- runs ------------------------------------------------------------------------------------------------------------


def begin(config: Config, plan: Plan, secrets: Mapping[str, str], clock: Clock) -> OpenRun:
    """Make a new run on disk and own it. Raises StateError, and InvalidInput if a script cannot be carried or a gate's
    token is missing.
    """
    check_gates(plan, os.environ)
    runs = RunsFolder(config.state_dir)
    runs.prepare()
    run_id = new_id(clock.now(), random.SystemRandom())
    command.check(plan, run_id, secrets)
    folder = runs.folder(run_id)
    journal = journals.create(folder, run_id=run_id, plan=plan, owner=owner(), now=clock.now())
    return OpenRun(Run(plan, run_id), journal, 1, folder, config.state_dir)


def take_over(config: Config, run_id: str, secrets: Mapping[str, str], clock: Clock) -> OpenRun:
    """Own a run that an earlier process left unfinished. Raises StateError, InvalidInput (a secret is missing)."""
    folder = RunsFolder(config.state_dir).folder(run_id)
    opened = journals.open_for_writing(folder, owner=owner(), now=clock.now())
    return OpenRun(_folded(opened.plan, run_id, opened.events), opened.journal, opened.epoch, folder, config.state_dir)


def check_gates(plan: Plan, environ: Mapping[str, str]) -> None:
    """See that this process could ask the plan's webhooks. Raises InvalidInput."""
    if any(gate.webhook for gate in plan.gates):
        from fleet.webhooks import check_tokens

        check_tokens(plan, environ)


def saved(config: Config, text: str) -> SavedRun:
    """Read a kept run by id, unique prefix or ``last``. Raises RunNotFound, StateError."""
    runs = RunsFolder(config.state_dir)
    return journals.read(runs.folder(runs.find(text)))


def replay(kept: SavedRun) -> Run:
    """Fold a kept run's events."""
    return _folded(kept.plan, kept.run_id, kept.events)


def _folded(plan: Plan, run_id: str, events: Iterable[Event]) -> Run:
    run = Run(plan, run_id)
    for event in events:
        run.apply(event)
    return run


def new_nonce() -> str:
    """Draw the nonce of a receipt."""
    return randomness.token_hex(16)


def owner() -> str:
    """Who holds a run: user, machine and process."""
    return f"{user()}@{socket.gethostname()}/{os.getpid()}"


async def carry_out(
    opened: OpenRun,
    connection: Connection,
    secrets: Mapping[str, str],
    clock: Clock,
    observe: Callable[[Event], None],
    stopping: Stopping,
    *,
    waits: bool = True,
) -> RunRecord:
    """Drive the run to its end, or to where a person stopped it, and return how it stands.

    The first interrupt stops launching, the second cancels what can be cancelled and leaves. Raises StateError and
    AzureUnusable; after either ``opened.run`` is what is on disk, and the run can be resumed. If its files were removed or
    replaced, ``opened.run`` is what they held and ``opened.is_resumable`` is false.
    """
    run = opened.run
    failure: FleetError | None = None

    def command_of(job: JobId) -> Command:
        return run.command(job, secrets)

    try:
        async with _leasing(opened, connection, clock) as (cloud, observers, leases):
            desk = Desk(Directives(opened.folder), run)
            seen = _each(observe, desk.observe, *observers)
            kept: tuple[Kept, ...] = (opened.journal, *leases)
            engine = Engine(
                run,
                cloud,
                opened.journal,
                clock,
                command_of,
                seen,
                connection.gatekeeper,
                nonces=new_nonce,
                kept=kept,
            )
            with stopping.steering(engine, owner()), desk.open(engine):
                await engine.drive(opened.epoch, owner(), connection.principals, waits=waits)
    except FleetError as error:
        failure = error
        if isinstance(error, StateError):
            opened.run = _on_disk(opened)
    finally:
        await opened.journal.close()
    if (loss := opened.journal.loss) is not None:
        opened.is_resumable = False
        opened.run = _as_known(opened, run)
        failure = loss
    if failure is not None:
        raise failure
    return run.record()


def _as_known(opened: OpenRun, run: Run) -> Run:
    """The run of a lost journal, as it was known here; a submission that was only intended was not sent."""
    saved = opened.journal.saved
    return run if saved is None else _folded(run.plan, run.run_id, saved)


def _on_disk(opened: OpenRun) -> Run:
    """The run as its journal has it: what could not be written did not happen, and is never reported."""
    try:
        return replay(journals.read(opened.folder))
    except StateError:
        return opened.run  # the disk can be neither written nor read; the error says so


@asynccontextmanager
async def _leasing(
    opened: OpenRun, connection: Connection, clock: Clock
) -> AsyncIterator[tuple[Cloud, tuple[Callable[[Event], None], ...], tuple[FileLeases, ...]]]:
    """Put the VMs' leases before the cloud, where the plan heeds them and others can reach the same VMs."""
    roomy = RoomMakingCloud(connection.cloud, connection.managed, partial(_have_ended, opened.state_dir), clock)
    if connection.leases is None or opened.run.plan.lease is Lease.NONE:
        yield roomy, (), ()
        return
    leases = FileLeases(opened.state_dir, connection.leases)
    cloud = LeasingCloud(roomy, leases, opened.run, clock)
    try:
        yield cloud, (cloud.observe,), (leases,)
    finally:
        at_work = cloud.at_work()
        cloud.release_idle()
        await leases.close()
        if leases.loss is not None and at_work:
            with suppress(StateError):  # where nothing can be written, no other run can be kept out
                await _lease_again(opened.state_dir, connection.leases, cloud, at_work)


async def _lease_again(state_dir: Path, name: str, cloud: LeasingCloud, at_work: Sequence[Target]) -> None:
    """Keep other runs out of the VMs on which this one may be at work, in the folder that they would use now."""
    make_folder(state_dir)
    anew = FileLeases(state_dir, name)
    try:
        await cloud.hold_again(at_work, anew)
    finally:
        await anew.close()


async def release_freed(config: Config, connection: Connection, run_id: str, targets: Iterable[Target]) -> None:
    """Release the leases of VMs on which nothing of a run is at work that no process carries out."""
    if connection.leases is None:
        return
    run = replay(saved(config, run_id))
    leases = FileLeases(config.state_dir, connection.leases)
    try:
        for target in idle(run, targets):
            leases.release(target, run.run_id)
    finally:
        await leases.close()


def _have_ended(state_dir: Path, run_ids: Sequence[str]) -> dict[str, bool]:
    """Say of those of these runs that are kept here whether they have ended."""
    kept = RunsFolder(state_dir).list()
    return {run.id: run.state is RunState.ENDED for run in kept if run.id in run_ids}


def _each(*observers: Callable[[Event], None]) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        for observer in observers:
            observer(event)

    return observe


def check_cloud(plan: Plan, config: Config, lab: str | None) -> None:
    """Refuse to carry a run of one cloud over to another, or to a lab: the same id may be another VM there."""
    code = "other_cloud"
    if plan.cloud == "lab" and lab is None:
        raise Refused("this run belongs to a lab", hint="name the lab with --lab, --lab=FILE or --lab=URL", code=code)
    if plan.cloud != "lab" and lab is not None:
        raise Refused("this run belongs to a real cloud, not to a lab", hint="leave out --lab", code=code)
    if lab is None and plan.cloud != (named := cloud_name(config)):
        message = f"this run belongs to the cloud {plan.cloud}, and the settings name {named}"
        raise Refused(message, hint="set azure.cloud as it was when the run began", code=code)
