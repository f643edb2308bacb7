"""Playbook x targets -> plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fleet import codec
from fleet.errors import InvalidInput, Problem
from fleet.plan import languages
from fleet.plan.launch_order import NO_TIMES, Times, arranged, ordered
from fleet.plan.model import Gate, Limits, Plan, PlannedStep, PlaybookRef, Wave
from fleet.plan.reboot import NEEDED, restarts
from fleet.plan.transport import is_action
from fleet.plan.waves import split
from fleet.playbook import model
from fleet.playbook.model import (
    Amount,
    Lease,
    ParameterValue,
    Playbook,
    Reboot,
    Rollout,
    Shell,
    Step,
    Strategy,
    Transport,
)
from fleet.playbook.parameters import secret_reference
from fleet.targets.folding import fold
from fleet.targets.model import Kind, TargetSet

MOST_AT_ONCE = 20_000
"""Jobs in flight where nothing else bounds them: about 12 KB of memory each (measured), 250 MB in all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What flags and config say beside the playbook. ``None`` leaves the playbook's own value, or no limit."""

    transport: Transport = Transport.AUTO
    receipts: bool = True
    concurrency: int | None = None
    """The config's, for playbooks that say nothing. None: as many as Azure's limits and memory allow."""
    concurrency_per_subscription: int | None = None
    deliver_timeout: float = 1800.0
    start_timeout: float = 600.0
    answer_grace: float = 600.0
    override_concurrency: Amount | None = None
    override_max_failures: Amount | None = None
    override_max_unreachable: Amount | None = None
    override_timeout: float | None = None
    override_lease: Lease | None = None
    without_managed: str = ""
    """The api-version of this cloud, where that has no managed commands; empty where it has."""
    override_slow_start: bool | None = None
    seed: int = 0
    """Decides the order where the playbook wants it drawn by lot."""
    times: Times = NO_TIMES
    """What is known of earlier runs."""


def build(playbook: Playbook, chosen: TargetSet, parameters: Mapping[str, ParameterValue], settings: Settings) -> Plan:
    """Freeze everything that will happen.

    ``parameters`` holds resolved values; the secret ones among them are left out of the plan. Raises
    :class:`fleet.errors.InvalidInput` where the steps cannot be carried by the transport asked for, or their scripts not
    be run by the targets.
    """
    settings, said = _transport_of_cloud(settings)
    limits = _limits(playbook, len(chosen.targets), settings)
    waves = _waves(playbook, chosen, limits, settings)
    timed = _arranged(waves, chosen, limits, settings.times)
    secret_names = {parameter.name for parameter in playbook.parameters if parameter.secret}
    _check_transport(playbook, chosen, settings)
    plan = Plan(
        playbook=PlaybookRef(
            playbook.name,
            playbook.version,
            playbook.digest,
            playbook.title,
            playbook.owner,
            playbook.file,
            playbook.labels.get("purpose", ""),
        ),
        targets=chosen.targets,
        steps=tuple(_steps(playbook, chosen, settings)),
        waves=timed,
        gates=gates(playbook, timed),
        limits=limits,
        transport=settings.transport,
        receipts=settings.receipts,
        declared=playbook.parameters,
        parameters={name: value for name, value in parameters.items() if name not in secret_names},
        unread=chosen.unread,
        notes=(*chosen.notes, *said),
        report=playbook.report,
        lease=settings.override_lease or playbook.rollout.lease,
        timed_by=settings.times.run if timed != waves else "",
        strategy=playbook.rollout.strategy,
    )
    languages.check(plan, playbook.places)
    return plan


def _waves(playbook: Playbook, chosen: TargetSet, limits: Limits, settings: Settings) -> tuple[Wave, ...]:
    rollout = playbook.rollout
    waves = split(chosen.targets, rollout.waves, ordered(chosen.targets, rollout.order, settings.seed))
    return tuple(
        replace(
            wave,
            max_failures=_maximum(rollout.wave_max_failures, len(wave.targets)),
            max_unreachable=_maximum(rollout.wave_max_unreachable, len(wave.targets)),
        )
        for wave in waves
    )


def _arranged(waves: tuple[Wave, ...], chosen: TargetSet, limits: Limits, times: Times) -> tuple[Wave, ...]:
    return tuple(replace(wave, targets=arranged(wave.targets, chosen.targets, times, limits)) for wave in waves)


def gates(playbook: Playbook, waves: Sequence[Wave]) -> tuple[Gate, ...]:
    """Find the waves that the playbook's gates stand before. Raises InvalidInput for a label that no wave has."""
    found = [
        Gate(index + gate.looks_back, gate.by, gate.webhook, gate.facts, gate.health)
        for gate in playbook.rollout.gates
        for index in _meant(gate, waves, playbook.file)
    ]
    return tuple(sorted(found, key=lambda gate: gate.wave))


def _meant(gate: model.Gate, waves: Sequence[Wave], file: str) -> Sequence[int]:
    """The indexes of the waves that a gate stands before, or after."""
    if gate.wave == "each":
        return [wave.index for wave in waves[0 if gate.looks_back else 1 :]]
    if isinstance(gate.wave, int):
        return [gate.wave - 1] if gate.wave <= len(waves) else []
    label = gate.wave.casefold()
    named = [wave.index for wave in waves if wave.label.casefold() == label]
    named = named or [wave.index for wave in waves if wave.label.casefold().startswith(f"{label}, ")]
    if not named:
        side = "after" if gate.looks_back else "before"
        hint = f"waves are: {'; '.join(wave.label for wave in waves)}"
        message = f"a gate stands {side} the wave {gate.wave!r}, which there is not"
        raise InvalidInput([Problem("no_such_wave", message, file, hint=hint)])
    return named[-1:] if gate.looks_back else named[:1]


def _steps(playbook: Playbook, chosen: TargetSet, settings: Settings) -> Iterator[PlannedStep]:
    """Yield the planned steps, each followed by those that restart its targets."""
    systems = {target.os for target in chosen.targets}
    for step in playbook.steps:
        yield _planned(step, settings, len(chosen.targets))
        yield from restarts(step, systems)


def _planned(step: Step, settings: Settings, total: int) -> PlannedStep:
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
        ok_exit=(*step.ok_exit, *(NEEDED if step.reboot is Reboot.IF_NEEDED else ())),
        concurrency=None if step.concurrency is None else max(step.concurrency.of(total), 1),
        run_as=step.run_as,
        properties=step.properties,
        flow=step.flow,
    )


def _limits(playbook: Playbook, total: int, settings: Settings) -> Limits:
    rollout = playbook.rollout
    concurrency = settings.override_concurrency or rollout.concurrency
    configured = MOST_AT_ONCE if settings.concurrency is None else settings.concurrency
    limits = Limits(
        concurrency=max(configured if concurrency is None else concurrency.of(total), 1),
        concurrency_per_subscription=settings.concurrency_per_subscription,
        max_failures=_maximum(settings.override_max_failures or rollout.max_failures, total),
        max_unreachable=_maximum(settings.override_max_unreachable or rollout.max_unreachable, total),
        strict=rollout.strict,
        rate=rollout.rate,
        spread=rollout.spread,
        soak=rollout.soak,
        deadline=rollout.deadline,
        deliver_timeout=settings.deliver_timeout,
        start_timeout=settings.start_timeout,
        answer_grace=settings.answer_grace,
    )
    return replace(limits, slow_start=_starts_slowly(rollout, limits, total, settings.override_slow_start))


def _starts_slowly(rollout: Rollout, limits: Limits, total: int, override: bool | None) -> bool:
    """Whether each wave starts with one target. Step by step all targets go together, so none does."""
    wanted = rollout.slow_start if override is None else override
    if wanted is None:
        per_wave = rollout.wave_max_failures is not None or rollout.wave_max_unreachable is not None
        wanted = per_wave or any(
            most is not None and most < total for most in (limits.max_failures, limits.max_unreachable)
        )
    return wanted and rollout.strategy is Strategy.NODE


def _maximum(amount: Amount | None, total: int) -> int | None:
    return None if amount is None else amount.of(total)


MANAGED_SINCE = "2021-07-01"
"""Compute's first api-version with managed run commands."""


def _transport_of_cloud(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Take the action where the cloud has no managed commands and the transport is left to Fleet; say so."""
    if not settings.without_managed or settings.transport is not Transport.AUTO:
        return settings, ()
    note = f"scripts travel by the action: Compute's api-version {settings.without_managed} has no managed commands"
    return replace(settings, transport=Transport.ACTION), (note,)


def _check_managed(playbook: Playbook, settings: Settings) -> Iterator[Problem]:
    """Refuse managed commands where the cloud has none."""
    if not settings.without_managed:
        return
    version = f"Compute's api-version {settings.without_managed} (azure.api_versions.compute) has no managed commands"
    since = f"they exist since {MANAGED_SINCE}"
    if settings.transport is Transport.MANAGED:
        hint = f"use --transport auto or action; {since}"
        yield Problem("no_managed_commands", f"transport managed cannot be used: {version}", playbook.file, hint=hint)
        return
    for step in playbook.steps:
        if step.properties.transport is Transport.MANAGED:
            message = f"step {step.id!r} asks for transport: managed: {version}"
            hint = f"leave transport out of the step; {since}"
            yield Problem("no_managed_commands", message, playbook.file, hint=hint)


def _check_transport(playbook: Playbook, chosen: TargetSet, settings: Settings) -> None:
    problems = [
        problem for step in playbook.steps for problem in _transport_problems(playbook, step, settings.transport)
    ]
    if settings.without_managed:
        only = f"Compute's api-version {settings.without_managed} has no managed commands, and the action cannot carry this"
        problems = [replace(problem, hint=only) for problem in problems]
    problems += _check_managed(playbook, settings)
    problems += _action_on_arc(playbook, chosen, settings.transport)
    if not settings.receipts:
        problems += _restarts_without_receipts(playbook)
    if problems:
        raise InvalidInput(problems)


def _restarts_without_receipts(playbook: Playbook) -> Iterator[Problem]:
    """Without the boot that a receipt tells, a request that arrives twice would restart twice."""
    for step in playbook.steps:
        if step.reboot is not Reboot.NEVER:
            message = f"step {step.id!r} restarts VMs, which needs receipts"
            yield Problem("reboot_needs_receipts", message, playbook.file, hint="leave receipts on")


def _action_on_arc(playbook: Playbook, chosen: TargetSet, transport: Transport) -> list[Problem]:
    """Arc machines have managed commands only (REST spec): refuse what would have to travel by the action."""
    machines = [target for target in chosen.targets if target.kind is Kind.ARC]
    if not machines:
        return []
    names = fold(target.name for target in machines)
    count = f"{len(machines):,} of {len(chosen.targets):,} targets"
    problems = []
    for step in (step for step in playbook.steps if is_action(step, transport)):
        why = f"built-in command {step.script.command_id}" if step.script.command_id else "transport action"
        message = f"step {step.id!r} needs the action ({why}), which no Arc machine has; {count} are: {names}"
        way = "" if step.script.command_id else "use the managed transport, or "
        hint = f'{way}leave them out: where: ... and kind != "arc"'
        problems.append(Problem("action_on_arc", message, playbook.file, hint=hint))
    return problems


def _transport_problems(playbook: Playbook, step: Step, transport: Transport) -> Iterator[Problem]:
    """Refuse what the action that would carry a step has no place for (REST spec of ``RunCommandInput``)."""
    where, own = f"step {step.id!r}", step.properties
    if step.script.command_id and transport is Transport.MANAGED and own.transport is Transport.AUTO:
        hint = "use --transport auto or action, or write transport: managed into the step"
        message = f"{where}: built-in commands travel by the action"
        yield Problem("built_in_over_managed", message, playbook.file, hint=hint)
    if not is_action(step, transport):
        return
    values = (*step.env.values(), *own.parameters.values())
    if any(secret_reference(value, playbook.parameters) for value in values):
        hint = "the action has no protected parameters; use --transport managed"
        yield Problem("secret_over_action", f"{where} would send a secret in the clear", playbook.file, hint=hint)
    hint = "use --transport managed, or write transport: managed into the step"
    if step.run_as:
        yield Problem("run_as_over_action", f"{where}: run_as needs a managed command", playbook.file, hint=hint)
    if step.script.uri:
        yield Problem("uri_over_action", f"{where}: run.uri needs a managed command", playbook.file, hint=hint)
    for key in _managed_keys(step):
        yield Problem("managed_only", f"{where}: {key} needs a managed command", playbook.file, hint=hint)


def _managed_keys(step: Step) -> Iterator[str]:
    """Name the keys of a step, beside ``run_as`` and ``run.uri``, that only a managed command has a place for."""
    own = step.properties
    asked = {
        "run.gallery": step.script.gallery,
        "shell: pwsh7": step.shell is Shell.PWSH7,
        "async": own.asynchronous,
        "fail_deployment": own.fail_deployment,
        "tags": own.tags,
        "command": own.command,
        "output": own.stdout_blob or own.stderr_blob,
    }
    return (key for key, value in asked.items() if value)
