"""From a playbook and its targets to a frozen plan, and what is checked before it is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from fleet.app.connect import Connection, Opening, cloud_name, connect
from fleet.app.search import Found
from fleet.config.load import Config
from fleet.engine.run_store import Durations
from fleet.errors import Refused
from fleet.plan.approval import Approval
from fleet.plan.build import MANAGED_SINCE, Settings, build
from fleet.plan.model import Plan
from fleet.playbook.model import ParameterValue, Playbook, Transport
from fleet.run import command
from fleet.run.polling import deciles
from fleet.run.times import script_key
from fleet.targets.expand import require_some

Values = Mapping[str, ParameterValue]
"""Values of a playbook's parameters, by name."""


def make_plan(
    connection: Connection,
    playbook: Playbook,
    found: Found,
    parameters: Values,
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
        concurrency=None if run.concurrency == "auto" else run.concurrency,
        concurrency_per_subscription=run.concurrency_per_subscription,
        deliver_timeout=run.deliver_timeout,
        start_timeout=run.start_timeout,
        answer_grace=run.answer_grace,
    )


async def with_times(settings: Settings, durations: Durations, playbook: Playbook, connection: Connection) -> Settings:
    """Add how long targets took in the newest kept run of the playbook, so that the longest start first."""
    return replace(settings, times=await durations.newest(playbook.name, connection.name))


async def with_usual(plan: Plan, durations: Durations) -> Plan:
    """Add how long the plan's scripts took in earlier runs, so that results are looked for when they are there."""
    usual = await durations.usual([script_key(plan, step) for step in plan.steps])
    steps = (replace(step, usual=deciles(usual.get(script_key(plan, step), ()))) for step in plan.steps)
    return replace(plan, steps=tuple(steps)) if usual else plan


def _without_managed(config: Config) -> str:
    """Return Compute's api-version where that has no managed commands; versions begin with their date."""
    version = (config.azure.api_versions or {}).get("compute", MANAGED_SINCE)
    return version if version[:10] < MANAGED_SINCE else ""


def check_gates(plan: Plan, environ: Mapping[str, str]) -> None:
    """See that this process could ask the plan's webhooks. Raises InvalidInput."""
    if any(gate.webhook for gate in plan.gates):
        from fleet.azure.webhooks import check_tokens

        check_tokens(plan, environ)


def check_approved(plan: Plan, config: Config, approval: Approval | None) -> None:
    """Refuse a plan that has no approval of its own, where the config asks for one. Raises Refused ``not_approved``."""
    if config.run.require_approval and (approval is None or approval.plan != plan.digest):
        hint = "have this plan approved, and hand in the approval: fleet approve PLANFILE makes one"
        raise Refused("run.require_approval is set, and the plan is not approved", hint=hint, code="not_approved")


def opening(plan: Plan, config: Config, lab: str | None, environ: Mapping[str, str]) -> Opening:
    """Return what opens the cloud that a kept run belongs to, and refuses another as :func:`check_cloud` does."""

    def opened() -> AbstractAsyncContextManager[Connection]:
        check_cloud(plan, config, lab)
        return connect(config, lab, environ)

    return opened


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
