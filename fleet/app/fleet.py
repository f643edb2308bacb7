"""The use cases over one set of settings and one cloud: what a program, a terminal or a service asks of Fleet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.app import plans, runs, search, steer
from fleet.app.connect import DEFAULT_LAB, Connection, connect
from fleet.app.parameters import hidden_apart, secrets_among
from fleet.app.runs import Stop, StopHook
from fleet.app.search import Narrowing
from fleet.clock import Clock, SystemClock
from fleet.config.load import Config, load
from fleet.plan.approval import Approval
from fleet.plan.build import Settings
from fleet.plan.model import Plan
from fleet.playbook.model import Playbook, Selection
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.run.events import Directive, Event
from fleet.run.kept import RunSummary
from fleet.run.model import Status
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
    Runs of one process share neither rates nor budgets. Use it as an asynchronous context: it opens the cloud, and closes it.

    ``lab`` is :data:`LAB`, a lab file, or the URL of a lab that is up; None is the real cloud. ``config`` is by default what
    files and environment say, as at the command line. Raises InvalidInput where the settings cannot be used.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        lab: str | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.config = config or load(flags={}, environ=environ, cwd=Path.cwd(), home=_home())[0]
        self.lab = lab
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
        loaded = playbook if isinstance(playbook, Playbook) else plans.load_playbook(Path(playbook))
        found = await search.find_for(self.connection, loaded, narrowing or Narrowing())
        known = plans.with_times(settings or plans.settings_of(self.config), self.config, loaded, self.connection)
        given, _ = hidden_apart(loaded, values or {})
        return plans.make_plan(self.connection, loaded, found, given, known, allow_empty=allow_empty)

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
        opened = runs.begin(self.config, plan, secret, self._clock, self._environ)
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
        kept = runs.saved(self.config, run)
        plans.check_cloud(kept.plan, self.config, self.lab)
        folded = runs.replay(kept)
        if folded.finished:
            return aggregate(folded.record())
        plans.check_gates(kept.plan, self._environ)
        secret = secrets_among(kept.plan.declared, secrets or {})
        opened = runs.take_over(self.config, kept.run_id, secret, self._clock)
        return await self._carry_out(opened, secret, observe, stop)

    async def _carry_out(
        self, opened: runs.OpenRun, secrets: Mapping[str, str], observe: Callable[[Event], None], stop: StopHook | None
    ) -> Report:
        record = await runs.carry_out(opened, self.connection, secrets, self._clock, observe, stop or Stop())
        return aggregate(record)

    def plan_again(self, run: str, statuses: Sequence[Status] = runs.RERUN) -> Plan:
        """Return the plan of a run that has ended, over its targets that ended with one of these statuses.

        Raises RunNotFound, StateError, Refused where the run has not ended or no target ended so.
        """
        return runs.plan_again(runs.saved(self.config, run), statuses)

    async def steer(self, run: str, directive: Directive) -> str:
        """Have a directive journalled by whoever carries the run out, or here where no process does.

        Return what became of it, as a sentence. Raises RunNotFound, StateError (``no_answer``).
        """
        return (await steer.direct(self.config, runs.saved(self.config, run).run_id, directive)).text

    # -- what is kept ------------------------------------------------------------------------------------------------

    def runs(self) -> Sequence[RunSummary]:
        """Return the runs that are kept, newest first."""
        return runs.summaries(self.config)

    def report(self, run: str) -> Report:
        """Return the report of a run (an id, a unique prefix, or ``last``), also of one that goes on.

        Raises RunNotFound, StateError.
        """
        return runs.report_of(runs.saved(self.config, run))
