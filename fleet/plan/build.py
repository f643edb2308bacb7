"""Playbook x targets -> plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet import codec
from fleet.errors import InvalidInput, Problem
from fleet.plan.model import Limits, Plan, PlannedStep, PlaybookRef
from fleet.plan.waves import split
from fleet.playbook.model import Amount, Lease, ParameterValue, Playbook, Step, Transport
from fleet.playbook.parameters import secret_reference
from fleet.targets.model import TargetSet


@dataclass(frozen=True, slots=True)
class Settings:
    """What flags and config say beside the playbook. ``None`` leaves the playbook's own value, or no limit."""

    transport: Transport = Transport.AUTO
    receipts: bool = True
    concurrency: int = 500
    """The config's, for playbooks that say nothing."""
    concurrency_per_subscription: int | None = None
    deliver_timeout: float = 1800.0
    answer_grace: float = 600.0
    override_concurrency: Amount | None = None
    override_max_failures: Amount | None = None
    override_max_unreachable: Amount | None = None
    override_timeout: float | None = None
    override_lease: Lease | None = None


def build(playbook: Playbook, chosen: TargetSet, parameters: Mapping[str, ParameterValue], settings: Settings) -> Plan:
    """Freeze everything that will happen.

    ``parameters`` holds resolved values; the secret ones among them are left out of the plan. Raises
    :class:`fleet.errors.InvalidInput` where the steps cannot be carried by the transport asked for.
    """
    secret_names = {parameter.name for parameter in playbook.parameters if parameter.secret}
    _check_transport(playbook, settings)
    return Plan(
        playbook=PlaybookRef(
            playbook.name, playbook.version, playbook.digest, playbook.title, playbook.owner, playbook.file
        ),
        targets=chosen.targets,
        steps=tuple(_planned(step, settings) for step in playbook.steps),
        waves=split(chosen.targets, playbook.rollout.waves),
        limits=_limits(playbook, len(chosen.targets), settings),
        transport=settings.transport,
        receipts=settings.receipts,
        declared=playbook.parameters,
        parameters={name: value for name, value in parameters.items() if name not in secret_names},
        unread=chosen.unread,
        report=playbook.report,
        lease=settings.override_lease or playbook.rollout.lease,
    )


def _planned(step: Step, settings: Settings) -> PlannedStep:
    timeout = settings.override_timeout or step.timeout
    return PlannedStep(
        id=step.id,
        script=step.script,
        digest=codec.digest(replace(step, timeout=timeout)),
        title=step.title,
        shell=step.shell,
        env=step.env,
        args=step.args,
        timeout=timeout,
        ok_exit=step.ok_exit,
        run_as=step.run_as,
    )


def _limits(playbook: Playbook, total: int, settings: Settings) -> Limits:
    rollout = playbook.rollout
    concurrency = settings.override_concurrency or rollout.concurrency or Amount(settings.concurrency)
    return Limits(
        concurrency=max(concurrency.of(total), 1),
        concurrency_per_subscription=settings.concurrency_per_subscription,
        max_failures=_maximum(settings.override_max_failures or rollout.max_failures, total),
        max_unreachable=_maximum(settings.override_max_unreachable or rollout.max_unreachable, total),
        strict=rollout.strict,
        soak=rollout.soak,
        deadline=rollout.deadline,
        deliver_timeout=settings.deliver_timeout,
        answer_grace=settings.answer_grace,
    )


def _maximum(amount: Amount | None, total: int) -> int | None:
    return None if amount is None else amount.of(total)


def _check_transport(playbook: Playbook, settings: Settings) -> None:
    problems = [
        problem for step in playbook.steps for problem in _transport_problems(playbook, step, settings.transport)
    ]
    if problems:
        raise InvalidInput(problems)


def _transport_problems(playbook: Playbook, step: Step, transport: Transport) -> list[Problem]:
    where = f"step {step.id!r}"
    problems: list[Problem] = []
    action = transport is Transport.ACTION or bool(step.script.command_id)
    if action and any(secret_reference(value, playbook.parameters) for value in step.env.values()):
        hint = "the action has no protected parameters; use --transport managed"
        problems.append(
            Problem("secret_over_action", f"{where} would send a secret in the clear", playbook.file, hint=hint)
        )
    if action and step.run_as:
        problems.append(Problem("run_as_over_action", f"{where}: run_as needs a managed command", playbook.file))
    if action and step.script.uri:
        problems.append(Problem("uri_over_action", f"{where}: run.uri needs a managed command", playbook.file))
    if step.script.command_id and transport is Transport.MANAGED:
        hint = "use --transport auto or action"
        problems.append(
            Problem(
                "built_in_over_managed", f"{where}: built-in commands travel by the action", playbook.file, hint=hint
            )
        )
    return problems
