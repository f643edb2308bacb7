"""From a job to the command that is sent: names, nonces, the wrapped script."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fleet.errors import InvalidInput, Problem
from fleet.guest.delivery import Delivery, script_digest, secret_parameters
from fleet.guest.delivery import Shell as GuestShell
from fleet.guest.spool import Stream
from fleet.guest.wrapper import wrap
from fleet.plan import languages
from fleet.plan.model import Job, Plan, PlannedStep
from fleet.plan.transport import is_action
from fleet.playbook.model import Shell, Transport
from fleet.playbook.parameters import render, secret_reference
from fleet.playbook.template import references
from fleet.preflight.compatibility import ACTION_SCRIPT, encoded, too_long
from fleet.run.answers import Command
from fleet.targets.model import Os

SERVICE_MARGIN = 180.0
"""Seconds by which the service's own limit lies beyond the wrapper's, so that the wrapper can still report."""

_SURELY_FITS = 40_000
"""Characters of script and values that fit into any wrapper, each of them four bytes and those in base64."""

PATTERN_RUN = "00000000-000000-0000"
"""Stands for the id of a run that will not be: as long as a real one."""

PATTERN_NONCE = "0" * 32
"""Stands for a nonce that was not drawn: as long as a real one."""


def transport_of(plan: Plan, step: PlannedStep) -> Transport:
    """The Run Command that carries a step: managed unless the step or the plan asks for the action."""
    return Transport.ACTION if is_action(step, plan.transport) else Transport.MANAGED


def is_wrapped(plan: Plan, step: PlannedStep) -> bool:
    """Whether the step's script travels inside the wrapper (built-in commands and downloads cannot)."""
    return plan.receipts and step.script.is_text


def delivery_key(run_id: str, job: Job, retry: int = 0) -> str:
    """The key of a delivery in the guest: one per try of a job, different in every run."""
    return f"fleet-{run_id}-{job.id}" + (f"-r{retry}" if retry else "")


def command_name(run_id: str, job: Job, retry: int = 0) -> str:
    """The managed command's name: the standing one's that the step names, else one per try, different in every run."""
    return job.step.properties.command or delivery_key(run_id, job, retry)


def derived_nonce(run_id: str, job: Job, retry: int = 0) -> str:
    """The nonce of a try in a journal that names none: earlier versions derived it.

    Everything it is made of can be found in the VM, so a script that prints what others choose could be made to print a
    receipt. Since then a nonce is drawn at random for each try and kept in its first intent.
    """
    again = f"/{retry}" if retry else ""
    return hashlib.sha256(f"{run_id}/{job.id}/{job.target.key}{again}".encode()).hexdigest()[:32]


def build(
    plan: Plan,
    run_id: str,
    job: Job,
    secrets: Mapping[str, str],
    *,
    facts: Mapping[str, str] | None = None,
    retry: int = 0,
    nonce: str = PATTERN_NONCE,
) -> Command:
    """Build a job's command, byte for byte the same for each submission of one try.

    ``secrets`` holds the values of the secret parameters, ``facts`` what earlier steps found out about the target. Every
    submission of a try carries the same ``nonce``. It names the job's one delivery, not the request: whichever request
    arrives first runs the script, and a later one returns that answer, which must still match.
    """
    step, target, own = job.step, job.target, job.step.properties
    plain, protected = _environment(plan, job, secrets, facts)
    wrapped = is_wrapped(plan, step)
    script = step.script.text
    if wrapped:
        script = wrap(_delivery(plan, delivery_key(run_id, job, retry), nonce, job, plain, tuple(protected)))

    def filled(template: str) -> str:
        """Put values into a text that goes to the service alone, which may hold secrets."""
        return render(template, params={**plan.parameters, **secrets}, target=target)

    return Command(
        target=target,
        transport=transport_of(plan, step),
        name=command_name(run_id, job, retry),
        script=script,
        command_id=step.script.command_id,
        uri=filled(step.script.uri),
        timeout=step.timeout + SERVICE_MARGIN if wrapped else step.timeout,
        args=() if wrapped else _arguments(plan, job),
        parameters={} if wrapped else plain,
        protected=secret_parameters(protected) if wrapped else protected,
        run_as=step.run_as,
        run_as_password=filled(own.password) or None,
        gallery=step.script.gallery,
        identity=step.script.identity,
        powershell7=step.shell is Shell.PWSH7,
        asynchronous=own.asynchronous,
        fail_deployment=own.fail_deployment,
        tags=_tags(plan, job),
        no_parameters=own.no_parameters,
        stdout_blob=filled(own.stdout_blob),
        stderr_blob=filled(own.stderr_blob),
        stdout_identity=own.stdout_writer,
        stderr_identity=own.stderr_writer,
    )


def _tags(plan: Plan, job: Job) -> dict[str, str] | None:
    tags = job.step.properties.tags
    if tags is None:
        return None
    return {name: render(value, params=plan.parameters, target=job.target) for name, value in tags.items()}


def blobs(plan: Plan, job: Job, secrets: Mapping[str, str]) -> dict[Stream, str]:
    """The addresses of the blobs that can be read while a job runs, by stream; they may hold secrets.

    None where the wrapper prints at the end only; a stream has none where a managed identity writes its blob, or where
    a secret is missing.
    """
    own = job.step.properties
    if job.target.os is not Os.LINUX or not is_wrapped(plan, job.step):
        return {}
    named = {
        Stream.STDOUT: "" if own.stdout_writer else own.stdout_blob,
        Stream.STDERR: "" if own.stderr_writer else own.stderr_blob,
    }
    values = {**plan.parameters, **secrets}
    return {
        stream: render(template, params=values, target=job.target)
        for stream, template in named.items()
        if template and all(part.name in values for part in references(template) if part.scope == "params")
    }


def check(plan: Plan, run_id: str, secrets: Mapping[str, str]) -> None:
    """Find out before anything is sent whether every job's script, environment and arguments can be carried, and run.

    Raises :class:`fleet.errors.InvalidInput` with the problems of the first job that cannot.
    """
    languages.check(plan)
    _check_values(plan, run_id, secrets)
    check_sizes(plan)


def _check_values(plan: Plan, run_id: str, secrets: Mapping[str, str]) -> None:
    for job in plan.jobs():
        plain, protected = _environment(plan, job, secrets)
        if is_wrapped(plan, job.step):
            _delivery(plan, delivery_key(run_id, job), PATTERN_NONCE, job, plain, tuple(protected))
            secret_parameters(protected)


def check_sizes(plan: Plan) -> None:
    """Refuse scripts that the action's Linux handler would refuse in the VM, after the wait for it (handler source).

    They are measured as they would be sent, values included. Raises :class:`fleet.errors.InvalidInput` with one problem
    for each step.
    """
    longest: dict[str, int] = {}
    for job in plan.jobs():
        if job.target.os is Os.LINUX and job.step.script.is_text and is_action(job.step, plan.transport):
            longest[job.step.id] = max(longest.get(job.step.id, 0), _encoded(plan, job))
    hint = "let a short script fetch the rest, or use --transport managed"
    problems = [
        Problem("script_too_large", f"step {step!r}: {too_long(size)}", plan.playbook.file, hint=hint)
        for step, size in longest.items()
        if size > ACTION_SCRIPT
    ]
    if problems:
        raise InvalidInput(problems)


def _encoded(plan: Plan, job: Job) -> int:
    """How long a job's script is as the handler counts it; 0 where it is short beyond doubt."""
    plain, _ = _environment(plan, job, {})
    least = sum(len(text) for text in (job.step.script.text, *plain.values(), *_arguments(plan, job)))
    if least < _SURELY_FITS:
        return 0
    return encoded(len(build(plan, PATTERN_RUN, job, {}).script.encode("utf-8", "surrogatepass")))


def sizes(plan: Plan, secrets: Mapping[str, str]) -> dict[tuple[str, Os], int]:
    """Measure the scripts as they would be sent: the longest for each step and system, in bytes.

    Raises :class:`fleet.errors.InvalidInput` as :func:`check` does.
    """
    _check_values(plan, PATTERN_RUN, secrets)
    found: dict[tuple[str, Os], int] = {}
    for job in plan.jobs():
        size = len(build(plan, PATTERN_RUN, job, secrets).script.encode("utf-8"))
        key = job.step.id, job.target.os
        found[key] = max(found.get(key, 0), size)
    return found


def guest_digest(step: PlannedStep, os: Os) -> str:
    """The digest that a receipt must name for this step: of the script bytes as the wrapper writes them."""
    shell = guest_shell(step.shell, os)
    return script_digest(Delivery(step.script.text, shell, key="digest", nonce=PATTERN_NONCE, timeout=1.0))


def guest_shell(shell: Shell, os: Os) -> GuestShell:
    """Resolve ``auto`` by the target's operating system."""
    if shell is Shell.AUTO:
        return GuestShell.PWSH if os is Os.WINDOWS else GuestShell.BASH
    if shell is Shell.PWSH7:
        return GuestShell.PWSH
    return GuestShell(shell.value)


def _delivery(
    plan: Plan, key: str, nonce: str, job: Job, env: Mapping[str, str], secret_names: tuple[str, ...]
) -> Delivery:
    step = job.step
    return Delivery(
        script=step.script.text,
        shell=guest_shell(step.shell, job.target.os),
        key=key,
        nonce=nonce,
        timeout=step.timeout,
        env=env,
        args=_arguments(plan, job),
        secret_names=secret_names,
        live=bool(step.properties.stdout_blob or step.properties.stderr_blob) and job.target.os is Os.LINUX,
    )


def _arguments(plan: Plan, job: Job) -> tuple[str, ...]:
    return tuple(render(value, params=plan.parameters, target=job.target) for value in job.step.args)


def _environment(
    plan: Plan, job: Job, secrets: Mapping[str, str], facts: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Split the step's environment into plain values and secret ones."""
    plain: dict[str, str] = {}
    protected: dict[str, str] = {}
    for name, template in {**job.step.env, **job.step.properties.parameters}.items():
        secret = secret_reference(template, plan.declared)
        if secret is not None:
            protected[name] = secrets.get(secret, "")  # an optional one that was not given is empty, as plain ones are
        else:
            plain[name] = render(template, params=plan.parameters, target=job.target, facts=facts)
    return plain, protected
