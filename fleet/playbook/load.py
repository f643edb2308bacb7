"""From text to a playbook, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from fleet import codec
from fleet.documents import read
from fleet.documents.places import Path, dotted, in_order, problem
from fleet.documents.read import Document
from fleet.errors import MOST_LOOKED_FOR, InvalidInput, Problem
from fleet.playbook.checks import gates, transport, values
from fleet.playbook.keys import playbook
from fleet.playbook.keys.rollout import GateKeys, RolloutKeys, WavesByKeys
from fleet.playbook.keys.step import StepKeys
from fleet.playbook.language import wrong_line
from fleet.playbook.model import (
    Amount,
    Fact,
    FactsCheck,
    Flow,
    Gate,
    HealthCheck,
    Lease,
    OnExisting,
    Order,
    Places,
    Playbook,
    Properties,
    Reboot,
    Rollout,
    Script,
    Selection,
    Shell,
    Spread,
    Step,
    Strategy,
    Transport,
    Turn,
    WavesBy,
    Webhook,
)
from fleet.targets.model import Kind

MAX_SCRIPT = 256 * 1024
"""Bytes. The Linux handler refuses longer scripts (handler source: 262,144)."""

ReadScript = Callable[[str], str]


def load(text: str, *, file: str, read_script: ReadScript) -> Playbook:
    """Read a playbook and the scripts it names.

    ``read_script`` is given a path relative to the playbook, as written, and returns the file's text; it may
    raise OSError or UnicodeError. Raises InvalidInput with every problem: of form, of keys, and between them.
    """
    document = read.examine(text, file=file)
    written, problems = read.checked(document, playbook.PlaybookKeys)
    found = list(problems)
    for check in (values.check, transport.check, gates.check):
        found.extend(islice(check(document), MOST_LOOKED_FOR))
    scripts: dict[str, str] = {}
    for path, name in _script_files(document):
        found.extend(_read(document, path, name, read_script, scripts))
    found.extend(_wrong_lines(document, scripts))
    if written is None or found:
        raise InvalidInput(in_order(found))
    places = {step.id: _places(document, index) for index, step in enumerate(written.steps)}
    return replace(_playbook(written, text, file, scripts), places=places)


def _script_files(document: Document) -> Iterator[tuple[Path, str]]:
    steps = document.at(("steps",))
    for index in range(len(steps) if isinstance(steps, list) else 0):
        path = ("steps", index, "run", "file")
        name = document.at(path)
        if isinstance(name, str) and name:
            yield path, name


def _read(
    document: Document, path: Path, name: str, read_script: ReadScript, scripts: dict[str, str]
) -> Iterator[Problem]:
    """Read one script into ``scripts``, or say why not."""
    if name in scripts:
        return
    if _leaves_folder(name):
        message = f"{dotted(path)} leaves the playbook's folder"
        hint = "name a file below the playbook, such as scripts/check.sh"
        yield problem(document, path, "script_path", message, expected="a relative path without ..", hint=hint)
        return
    try:
        text = read_script(name)
    except OSError as error:
        message = f"the script {name} cannot be read: {error.strerror or error}"
        yield problem(document, path, "script_unreadable", message, hint="paths are relative to the playbook")
        return
    except UnicodeError:
        message = f"the script {name} is not UTF-8"
        yield problem(document, path, "script_unreadable", message, hint="save the file as UTF-8")
        return
    scripts[name] = text
    size = len(text.encode("utf-8", "surrogatepass"))
    if not text.strip():
        yield problem(document, path, "script_empty", f"the script {name} is empty")
    if size > MAX_SCRIPT:
        message = f"the script {name} has {size} bytes; Run Command takes {MAX_SCRIPT}"
        yield problem(document, path, "script_too_large", message, hint="let the script download what it needs")
    for offset, found in values.pasted(text):
        line = text.count("\n", 0, offset) + 1
        column = offset - text.rfind("\n", 0, offset)
        yield values.pasted_problem(name, line, column, found)


def _wrong_lines(document: Document, scripts: Mapping[str, str]) -> Iterator[Problem]:
    """Hold what each script names in its first line against the shell of its step."""
    steps = document.at(("steps",))
    for index in range(len(steps) if isinstance(steps, list) else 0):
        path = ("steps", index)
        name, inline = document.at((*path, "run", "file")), document.at((*path, "run", "inline"))
        shell = document.at((*path, "shell")) or Shell.AUTO.value
        text = scripts.get(name) if isinstance(name, str) else inline
        if not isinstance(text, str) or not isinstance(shell, str) or shell not in tuple(Shell):
            continue
        file = name if isinstance(name, str) else ""
        wrong = wrong_line(Shell(shell), Script(text, file))
        if wrong is None:
            continue
        line, column = wrong.line, 1
        if not file:
            offset = len(text) - len(text.lstrip()) if wrong.line > 1 else 0
            line, column = document.within((*path, "run", "inline"), text, offset)
        yield replace(wrong, file=file or document.file, line=line, column=column)


def _places(document: Document, index: int) -> Places:
    path = ("steps", index)
    inline = document.at((*path, "run", "inline"))
    script = document.within((*path, "run", "inline"), inline, 0) if isinstance(inline, str) else (0, 0)
    shell = document.mark((*path, "shell"))
    return Places(script, (shell.line, shell.column))


def _leaves_folder(name: str) -> bool:
    """Say whether a path is absolute, names a drive, or goes up, by the rules of any system."""
    return bool(re.match(r"[/\\]|[A-Za-z]:", name)) or ".." in re.split(r"[/\\]", name) or "\0" in name


def _playbook(written: playbook.PlaybookKeys, text: str, file: str, scripts: Mapping[str, str]) -> Playbook:
    rollout, targets, metadata = written.rollout, written.targets, written.metadata
    return Playbook(
        name=metadata.name,
        version=metadata.version,
        title=metadata.title,
        owner=metadata.owner,
        description=metadata.description,
        labels=dict(metadata.labels),
        digest=codec.digest({"playbook": text, "scripts": dict(scripts)}),
        file=file,
        parameters=tuple(values.parameter(name, keys) for name, keys in written.parameters.items()),
        selection=Selection(
            subscriptions=tuple(targets.subscriptions),
            resource_groups=tuple(targets.resource_groups),
            where=targets.where,
            exclude=tuple(targets.exclude),
            max=targets.max,
            kinds=tuple(dict.fromkeys(map(Kind, targets.kinds or ()))),
        ),
        rollout=_rollout(rollout),
        steps=tuple(_step(step, scripts) for step in written.steps),
        report=tuple(dict.fromkeys(written.report)),
    )


def _rollout(written: RolloutKeys) -> Rollout:
    spread = written.spread
    return Rollout(
        waves=_waves(written.waves),
        order=Order(written.order),
        slow_start=written.slow_start,
        rate=written.rate,
        spread=Spread(spread.per, spread.max) if spread else None,
        gates=tuple(gate for keys in written.gates for gate in _gates(keys)),
        concurrency=written.concurrency,
        max_failures=written.max_failures,
        max_unreachable=written.max_unreachable,
        wave_max_failures=written.per_wave.max_failures,
        wave_max_unreachable=written.per_wave.max_unreachable,
        strict=written.strict,
        soak=written.soak,
        deadline=written.deadline,
        lease=Lease(written.lease),
        strategy=Strategy(written.strategy),
    )


def _gates(written: GateKeys) -> Iterator[Gate]:
    """Facts after health, whose step may tell some; a webhook after a person, since its answer is of the moment."""
    if (after := written.after_wave) is not None:
        if written.health is not None:
            yield Gate(after, health=HealthCheck(written.health, written.max_failed or Amount(0)))
        if written.facts is not None:
            share = written.min_share or Amount(100, percent=True)
            yield Gate(after, facts=FactsCheck(written.facts.strip(), share))
    if (before := written.before_wave) is not None:
        if written.approve is not None or written.webhook is None:
            yield Gate(before, tuple(written.approve) if isinstance(written.approve, list) else ())
        if (hook := written.webhook) is not None:
            yield Gate(before, webhook=Webhook(hook.url, hook.token_env or "", hook.timeout))


def _waves(written: list[Amount | str] | WavesByKeys) -> tuple[Amount | str, ...] | WavesBy:
    if isinstance(written, WavesByKeys):
        return WavesBy(written.by, tuple(written.order), tuple(written.each), written.canary)
    return tuple(written)


def _step(step: StepKeys, scripts: Mapping[str, str]) -> Step:
    run = step.run
    script = Script(
        text=scripts[run.file] if run.file else run.inline or "",
        file=run.file or "",
        command_id=run.command_id or "",
        uri=run.uri or "",
        gallery=run.gallery or "",
        identity=run.identity,
    )
    return Step(
        id=step.id,
        title=step.title,
        script=script,
        shell=Shell(step.shell),
        env=dict(step.env),
        args=tuple(step.args),
        timeout=step.timeout,
        ok_exit=tuple(step.ok.exit),
        concurrency=step.concurrency,
        run_as=step.run_as.user if step.run_as else None,
        properties=_properties(step),
        flow=_flow(step),
        reboot=Reboot(step.reboot),
        reboot_when=step.reboot_when.strip(),
        reboot_timeout=step.reboot_timeout,
    )


def _properties(step: StepKeys) -> Properties:
    return Properties(
        transport=Transport(step.transport),
        parameters=dict(step.parameters),
        password=step.run_as.password if step.run_as else "",
        asynchronous=step.async_,
        fail_deployment=step.fail_deployment,
        tags=dict(step.tags) if "tags" in step.model_fields_set else None,
        no_parameters=_names_no_parameters(step),
        command=step.command or "",
        on_existing=OnExisting(step.on_existing),
        stdout_blob=step.output.stdout_blob or "",
        stderr_blob=step.output.stderr_blob or "",
        blob_identity=step.output.identity,
        stdout_identity=step.output.stdout_identity,
        stderr_identity=step.output.stderr_identity,
    )


def _names_no_parameters(step: StepKeys) -> bool:
    """Whether a step names what it passes to its script, and passes nothing."""
    named = step.model_fields_set & {"parameters", "env", "args"}
    return bool(named) and not (step.parameters or step.env or step.args)


def _flow(step: StepKeys) -> Flow:
    return Flow(
        turn=Turn(step.turn),
        when=step.when.strip(),
        collect={
            name: Fact(regex=fact.regex or "", key=fact.key or "", path=fact.path or "")
            for name, fact in step.collect.items()
        },
        ok_stdout=step.ok.stdout or "",
        failed_when=step.failed_when.strip(),
        changed_when=step.changed_when.strip(),
        notify=tuple(dict.fromkeys(step.notify)),
        retries=step.retries,
        retry_delay=step.retry_delay if step.retries else 0.0,
    )
