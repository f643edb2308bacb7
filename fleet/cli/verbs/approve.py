"""The verbs of whoever lets a wave go, or not: approve, reject."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleet.cli import options
from fleet.cli.approvals import approve_plan
from fleet.cli.execute import config_to_carry
from fleet.cli.options import CarryOptions
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import say
from fleet.cli.verbs.run import FORMATS, go_on
from fleet.cli.verbs.runs import keeping, tell_damage
from fleet.cli.verbs.steer import steer, steering
from fleet.errors import ExitCode, Refused

if TYPE_CHECKING:
    from fleet.run.events import Directive
    from fleet.run.state import Run


@click.command(
    epilog="""\b
Examples:
  fleet approve last --why 'the canary looks fine'
  fleet approve 20260301-0203 --record
  fleet approve last --lab=http://127.0.0.1:8080
  fleet approve patch.plan --why 'reviewed with the database team'
"""
)
@click.argument("run_id", metavar="RUN|PLANFILE")
@steering
@click.option("--record", is_flag=True, help="Only record it; `fleet resume` goes on later.")
@options.values
@options.carrying_out(*FORMATS)
def approve(run_id: str, record: bool, carry: CarryOptions, **flags: Any) -> int:
    """Approve the wave that RUN waits to open, and go on with it where no process does; or approve PLANFILE.

    The approval of a wave is journalled with who and why. It is of this run and its frozen plan, and of one wave.

    The approval of a plan file is written beside it (PLANFILE.approval) with who, why, when and the plan's digest, and
    nothing is sent: `fleet apply PLANFILE --approved` asks for it. It is a record, not a signature: whoever may write
    the file could have written it.
    """
    from fleet.app import plans, runs
    from fleet.app.parameters import secrets_of
    from fleet.app.steer import asker, direct, new_directive
    from fleet.run.events import WaveApproved

    config = config_to_carry(carry)
    if os.path.isfile(run_id) or run_id.endswith(".plan"):  # noqa: PTH113  unlike Path's, it takes a name of any length
        approve_plan(Path(run_id), flags)
        return ExitCode.OK
    kept = runs.saved(config, run_id)
    tell_damage(kept)
    run = runs.replay(kept)
    event = WaveApproved(0.0, _wave(run), asker(flags["name"]), flags["why"], new_directive())
    if not (kept.live or record):
        plans.check_cloud(kept.plan, config, carry.lab)
        secrets_of(kept.plan.declared, carry.given, os.environ)
        plans.check_gates(kept.plan, os.environ)
    told = run_interruptible(direct(config, kept.run_id, event))
    say(f"run {kept.run_id}: {told.text}", quiet=carry.quiet)
    if told.live or record:
        return ExitCode.OK
    return go_on(config, runs.saved(config, kept.run_id), carry)


@click.command(epilog="\b\nExamples:\n  fleet reject last --why 'two of the canaries are slow'\n")
@click.argument("run_id", metavar="RUN")
@steering
@keeping
def reject(run_id: str, **flags: Any) -> int:
    """Reject the wave that RUN waits to open: what has not begun is `not_started`, and the exit code of the run is 5."""
    from fleet.app.steer import new_directive
    from fleet.run.events import WaveRejected

    def make(run: Run, who: str) -> Directive:
        return WaveRejected(0.0, _wave(run), who, flags["why"], new_directive())

    return steer(run_id, flags, make)


def _wave(run: Run) -> int:
    """The wave that this user may decide about."""
    from fleet.app.steer import user

    if run.awaiting is None:
        hint = f"fleet show {run.run_id} shows how it stands"
        raise Refused(f"run {run.run_id} does not wait for approval", hint=hint, code="no_approval_awaited")
    allowed = [name for gate in run.plan.gates if gate.wave == run.awaiting and gate.is_approval for name in gate.by]
    if allowed and user() not in allowed:
        message = f"{user()} may not decide about wave {run.awaiting + 1} of run {run.run_id}"
        raise Refused(message, hint=f"ask {' or '.join(allowed)}", code="not_an_approver")
    return run.awaiting
