"""The verbs of whoever lets a wave go, or not: approve, reject."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.cli import options
from fleet.cli.approvals import approve_plan
from fleet.cli.execute import config_to_carry
from fleet.cli.options import Carry, Common
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import say
from fleet.cli.verbs.resume import go_on
from fleet.cli.verbs.run import FORMATS
from fleet.cli.verbs.runs import tell_damage
from fleet.cli.verbs.steer import Reason, steer, steering
from fleet.errors import ExitCode

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
def approve(carry: Carry, reason: Reason, *, run_id: str, record: bool, given: tuple[str, ...]) -> int:
    """Approve the wave that RUN waits to open, and go on with it where no process does; or approve PLANFILE.

    The approval of a wave is journalled with who and why. It is of this run and its frozen plan, and of one wave.

    The approval of a plan file is written beside it (PLANFILE.approval) with who, why, when and the plan's digest, and
    nothing is sent: `fleet apply PLANFILE --approved` asks for it. It is a record, not a signature: whoever may write
    the file could have written it.
    """
    from fleet.app import plans, runs
    from fleet.app.parameters import secrets_of
    from fleet.app.steer import asker, direct, new_directive, wave_to_decide
    from fleet.app.stores import open_store
    from fleet.cli.kept_runs import saved
    from fleet.run.events import WaveApproved

    carry = replace(carry, given=given)
    config = config_to_carry(carry)
    if os.path.isfile(run_id) or run_id.endswith(".plan"):  # noqa: PTH113  unlike Path's, it takes a name of any length
        approve_plan(Path(run_id), reason.name, reason.why, quiet=carry.quiet)
        return ExitCode.OK
    kept = saved(config, run_id)
    tell_damage(kept)
    run = runs.replay(kept)
    event = WaveApproved(0.0, wave_to_decide(run), asker(reason.name), reason.why, new_directive())
    if not (kept.live or record):
        plans.check_cloud(kept.plan, config, carry.lab)
        secrets_of(kept.plan.declared, carry.given, os.environ)
        plans.check_gates(kept.plan, os.environ)
    told = run_interruptible(direct(open_store(config), kept.run_id, event))
    say(f"run {kept.run_id}: {told.text}", quiet=carry.quiet)
    if told.live or record:
        return ExitCode.OK
    return go_on(config, saved(config, kept.run_id), carry)


@click.command(epilog="\b\nExamples:\n  fleet reject last --why 'two of the canaries are slow'\n")
@click.argument("run_id", metavar="RUN")
@steering
@options.keeping
def reject(common: Common, reason: Reason, *, run_id: str) -> int:
    """Reject the wave that RUN waits to open: what has not begun is `not_started`, and the exit code of the run is 5."""
    from fleet.app.steer import new_directive, wave_to_decide
    from fleet.run.events import WaveRejected

    def make(run: Run, who: str) -> Directive:
        return WaveRejected(0.0, wave_to_decide(run), who, reason.why, new_directive())

    return steer(run_id, common, reason, make)
