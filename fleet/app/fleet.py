"""The use cases over one set of settings and one cloud: what a program, a terminal or a service asks of Fleet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.app import inspect, plans, runs, search, steer
from fleet.app.connect import DEFAULT_LAB, Connection, Opening, connect
from fleet.app.follow import Followed, Screen, follow, row_to_follow
from fleet.app.inspect import Freed
from fleet.app.output import FetchNotes, NoNotes, StepOutput, fetch_missing
from fleet.app.parameters import hidden_apart, secrets_among
from fleet.app.playbooks import load_playbook
from fleet.app.release import delete_and_record
from fleet.app.runs import Stop, StopHook
from fleet.app.search import Narrowing
from fleet.app.stores import durations_of, open_store
from fleet.app.threads import in_thread
from fleet.clock import Clock, SystemClock
from fleet.commands.bulk import Ended
from fleet.commands.model import ManagedCommand
from fleet.config.load import Config, load
from fleet.engine.ports import CommandsOf
from fleet.engine.run_store import ALL, RunFilter, RunStore
from fleet.errors import RunNotFound
from fleet.guest.probe import Findings
from fleet.guest.spool import Stream
from fleet.plan.approval import Approval
from fleet.plan.build import Settings
from fleet.plan.model import Plan
from fleet.playbook.model import Playbook, Selection
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.run.events import Directive, Event, WaveApproved, WaveRejected
from fleet.run.kept import RunSummary, SavedRun
from fleet.run.model import Cause, Status
from fleet.run.state import Run
from fleet.targets.model import TargetSet

if TYPE_CHECKING:
    from types import TracebackType

LAB = DEFAULT_LAB
"""The lab that ships with Fleet, served for as long as the :class:`Fleet` is open."""


def _home() -> Path | None:
    """The user's home; None where there is none, as in containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _nothing(event: Event) -> None:
    pass


class Fleet:
    """Plans, runs and reads back, over the cloud that the settings name.

    ::

        async with Fleet(lab=LAB) as fleet:
            plan = await fleet.plan("playbooks/linux-health.yaml")
            report = await fleet.run(plan)

    One object serves several runs at once in one event loop, each stopped by its own ``stop``; it works off the main thread.
    Runs of one process that sign in alike share Azure's rates, those of other open objects included; budgets are each run's
    own. Use it as an asynchronous context: it opens the cloud, and closes it.

    ``lab`` is :data:`LAB`, a lab file, or the URL of a lab that is up; None is the real cloud. ``config`` is by default what
    files and environment say, as at the command line. ``store`` keeps the runs; by default it is the folder that the
    settings name. Raises InvalidInput where the settings cannot be used.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        lab: str | None = None,
        store: RunStore | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.config = config or load(flags={}, environ=environ, cwd=Path.cwd(), home=_home())[0]
        self.lab = lab
        self.store = store or open_store(self.config)
        self._durations = durations_of(self.store, self.config if store is None else None)
        self._clock = clock or SystemClock()
        self._environ = environ
        self._open = AsyncExitStack()
        self._connection: Connection | None = None

    async def __aenter__(self) -> Fleet:
        self._connection = await self._open.enter_async_context(connect(self.config, self.lab, self._environ))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection = None
        await self._open.aclose()

    @property
    def connection(self) -> Connection:
        """The open cloud. Raises RuntimeError outside the context."""
        if self._connection is None:
            raise RuntimeError("the cloud is not open: use it as a context, async with Fleet() as fleet")
        return self._connection

    # -- before a run ------------------------------------------------------------------------------------------------

    async def targets(self, chosen: Playbook | str, narrowing: Narrowing | None = None) -> TargetSet:
        """Return the targets that a playbook or an expression selects now.

        Raises InvalidInput for an expression that cannot be understood, Refused for too many targets, AzureUnusable.
        """
        narrowing = narrowing or Narrowing()
        if isinstance(chosen, Playbook):
            return (await search.find_for(self.connection, chosen, narrowing)).chosen
        selection = Selection(where="" if chosen == "all" else chosen)
        return (await search.find(self.connection, selection, narrowing)).chosen

    async def plan(
        self,
        playbook: Playbook | Path | str,
        values: Mapping[str, object] | None = None,
        *,
        narrowing: Narrowing | None = None,
        settings: Settings | None = None,
        allow_empty: bool = False,
    ) -> Plan:
        """Freeze what a run of the playbook, or of the playbook in this file, would do. Nothing is sent to any VM.

        ``values`` are those of its parameters; a secret one is given here and again to :meth:`run`, since a plan never
        holds it. Raises InvalidInput, Refused (no target, too many), AzureUnusable.
        """
        loaded = playbook if isinstance(playbook, Playbook) else await in_thread(load_playbook, Path(playbook))
        found = await search.find_for(self.connection, loaded, narrowing or Narrowing())
        settings = settings or plans.settings_of(self.config)
        known = await plans.with_times(settings, self._durations, loaded, self.connection)
        given, _ = hidden_apart(loaded, values or {})
        plan = plans.make_plan(self.connection, loaded, found, given, known, allow_empty=allow_empty)
        return await plans.with_usual(plan, self._durations)

    # -- runs --------------------------------------------------------------------------------------------------------

    async def run(
        self,
        plan: Plan,
        secrets: Mapping[str, str] | None = None,
        *,
        approval: Approval | None = None,
        observe: Callable[[Event], None] = _nothing,
        stop: StopHook | None = None,
    ) -> Report:
        """Carry a plan out to its end, or until it is stopped, and return the report.

        ``secrets`` are the values of its secret parameters. ``observe`` is called with each event once it is journalled.
        ``approval`` is needed where the setting ``run.require_approval`` is on. Raises InvalidInput (a secret is missing, a
        script is too large), Refused (another cloud's plan, ``not_approved``), StateError, AzureUnusable; after the last
        two the run is kept and can be resumed.
        """
        plans.check_cloud(plan, self.config, self.lab)
        plans.check_approved(plan, self.config, approval)
        secret = secrets_among(plan.declared, secrets or {})
        opened = await runs.begin(self.store, plan, secret, self._clock, self._environ, self._durations)
        return await self._carry_out(opened, secret, observe, stop)

    async def resume(
        self,
        run: str,
        secrets: Mapping[str, str] | None = None,
        *,
        observe: Callable[[Event], None] = _nothing,
        stop: StopHook | None = None,
    ) -> Report:
        """Continue a run (an id, a unique prefix, or ``last``) where it was left. One that has ended gives its report.

        Raises as :meth:`run`, and RunNotFound.
        """
        kept = await runs.saved(self.store, run)
        plans.check_cloud(kept.plan, self.config, self.lab)
        folded = runs.replay(kept)
        if folded.finished:
            return aggregate(folded.record())
        plans.check_gates(kept.plan, self._environ)
        secret = secrets_among(kept.plan.declared, secrets or {})
        opened = await runs.take_over(self.store, kept.run_id, self._clock, self._durations)
        return await self._carry_out(opened, secret, observe, stop)

    async def _carry_out(
        self, opened: runs.OpenRun, secrets: Mapping[str, str], observe: Callable[[Event], None], stop: StopHook | None
    ) -> Report:
        record = await runs.carry_out(opened, self.connection, secrets, self._clock, observe, stop or Stop())
        return aggregate(record)

    async def plan_again(self, run: str, statuses: Sequence[Status] = runs.RERUN) -> Plan:
        """Return the plan of a run that has ended, over its targets that ended with one of these statuses.

        Raises RunNotFound, StateError, Refused where the run has not ended or no target ended so.
        """
        return runs.plan_again(await runs.saved(self.store, run), statuses)

    async def steer(self, run: str, directive: Directive) -> str:
        """Have a directive journalled by whoever carries the run out, or here where no process does.

        Return what became of it, as a sentence. Raises RunNotFound, StateError (``no_answer``).
        """
        return (await steer.direct(self.store, await self.store.find(run), directive)).text

    async def decide(self, run: str, *, approve: bool, why: str = "", name: str | None = None) -> str:
        """Approve or reject the wave that a run waits to open, as this machine's user. Nothing is carried out here.

        Return what became of it, as a sentence. Raises RunNotFound, Refused (``no_approval_awaited``,
        ``not_an_approver``), StateError.
        """
        kept = await runs.saved(self.store, run)
        wave, who = steer.wave_to_decide(runs.replay(kept)), steer.asker(name)
        kind = WaveApproved if approve else WaveRejected
        event = kind(0.0, wave, who, why, steer.new_directive())
        return (await steer.direct(self.store, kept.run_id, event)).text

    # -- what runs in VMs --------------------------------------------------------------------------------------------

    async def output(
        self, run: str, vm: str, *, step: str | None = None, notes: FetchNotes | None = None
    ) -> Sequence[StepOutput]:
        """Return all that the scripts of a run printed on a VM: fetched from it where the report holds only the end.

        ``notes`` receives what cannot be fetched, and the progress. Raises RunNotFound, Refused, AzureUnusable, StateError.
        """
        kept, folded, chosen = await self._rows(run, vm, step)
        fetched, _ = await fetch_missing(
            self.config,
            self.store,
            kept,
            folded,
            chosen,
            tuple(Stream),
            notes or NoNotes(),
            opening=self._opening(kept),
            given=(),
            environ=self._environ,
        )
        rows = aggregate(folded.record()).jobs
        return [StepOutput.of(rows[place], fetched.get(place, {})) for place in chosen]

    async def follow(self, run: str, vm: str, screen: Screen, *, step: str | None = None) -> Followed:
        """Pass what a VM's script prints to ``screen`` until it has ended; of several steps, the one that is running.

        Raises RunNotFound, Refused (``not_begun``, ``not_followed``), QueryFailed, AzureUnusable, StateError.
        """
        kept, folded, chosen = await self._rows(run, vm, step)
        row = row_to_follow(folded, chosen, kept.live)
        return await follow(
            self.config,
            self.store,
            kept,
            folded,
            row,
            tuple(Stream),
            screen,
            self._clock,
            opening=self._opening(kept),
            given=(),
            environ=self._environ,
        )

    def _opening(self, kept: SavedRun) -> Opening:
        """Return what gives the open cloud to a run of it."""

        def opened() -> AbstractAsyncContextManager[Connection]:
            plans.check_cloud(kept.plan, self.config, self.lab)
            return nullcontext(self.connection)

        return opened

    async def _rows(self, run: str, vm: str, step: str | None) -> tuple[SavedRun, Run, list[int]]:
        kept = await runs.saved(self.store, run)
        folded = runs.replay(kept)
        places = [
            place
            for place, job in enumerate(folded.jobs)
            if job.job.target.name == vm and step in (None, job.job.step.id)
        ]
        if not places:
            raise RunNotFound(f"no row of run {kept.run_id} is about {vm}", code="no_rows")
        return kept, folded, places

    async def probe(self, run: str, *vms: str, step: str | None = None) -> Mapping[str, Findings | Cause]:
        """Look into VMs while scripts of a run are running there; by VM name, what was found or why nothing could be seen.

        ``vms`` are names or globs; none stands for the run's stragglers, else for all that runs. Raises RunNotFound,
        AzureUnusable, StateError.
        """
        kept = await runs.saved(self.store, run)
        jobs = inspect.jobs_to_probe(runs.replay(kept), vms, step, self._clock.now())
        found = await inspect.probe(self.connection, kept.run_id, jobs, lambda: None)
        return {job.job.target.name: found[job.job.id] for job in jobs}

    async def unstick(
        self, run: str, *vms: str, step: str | None = None, in_guest: bool = False, why: str = ""
    ) -> Sequence[Freed]:
        """End the scripts of a run that hang in these VMs, and journal who asked and why. Raises as :meth:`probe`."""
        kept = await runs.saved(self.store, run)
        jobs = inspect.running_jobs(runs.replay(kept), vms, step)
        return await inspect.unstick(
            self.store,
            self.connection,
            kept.run_id,
            jobs,
            lambda: None,
            in_guest=in_guest,
            who=steer.asker(),
            why=why,
        )

    async def commands(self, chosen: str, narrowing: Narrowing | None = None) -> Sequence[CommandsOf]:
        """Return the managed commands that lie on the VMs that an expression selects. Raises as :meth:`targets`."""
        found = await self.targets(chosen, narrowing)
        return await self.connection.managed.commands(found.targets, lambda: None)

    async def delete_commands(self, commands: Sequence[ManagedCommand]) -> Sequence[Ended]:
        """Delete managed commands, which ends their scripts, and record it in the runs that they belong to.

        Return how each ended, in their order. Raises AzureUnusable, StateError.
        """
        return await delete_and_record(self.store, self.connection, commands, lambda: None)

    # -- what is kept ------------------------------------------------------------------------------------------------

    async def runs(self, wanted: RunFilter = ALL) -> Sequence[RunSummary]:
        """Return the runs that are kept, newest first."""
        return await self.store.list(wanted)

    async def report(self, run: str) -> Report:
        """Return the report of a run (an id, a unique prefix, or ``last``), also of one that goes on.

        Raises RunNotFound, StateError.
        """
        return runs.report_of(await runs.saved(self.store, run))
