"""The verb that carries out a plan file: apply."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.cli import options
from fleet.cli.approvals import BESIDE, check_approval
from fleet.cli.execute import (
    Ended,
    carry_out,
    conduct,
    config_to_carry,
    confirm,
    tell_notes,
)
from fleet.cli.option_types import AmountType
from fleet.cli.options import Carry
from fleet.cli.signals import Stopping
from fleet.cli.terminal import say
from fleet.cli.verbs.doctor import warn_of_patchers
from fleet.cli.verbs.run import FORMATS, read_plan_file
from fleet.errors import Refused
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.plan.compare import Difference
    from fleet.plan.model import Plan
    from fleet.playbook.model import Amount


@click.command(
    epilog="""\b
Examples:
  fleet apply patch.plan
  fleet apply patch.plan --tolerance 2% -y
  fleet apply patch.plan --approved --by-other
"""
)
@click.argument("plan_file", metavar="PLANFILE", type=click.Path(path_type=Path))
@options.values
@click.option("--tolerance", type=AmountType(), help="Differences of targets that are still fine (default 0).")
@click.option(
    "--approved",
    is_flag=False,
    flag_value=BESIDE,
    metavar="[=FILE]",
    help="Refuse a plan that nobody approved with `fleet approve`; FILE if it is not PLANFILE.approval.",
)
@click.option("--by-other", is_flag=True, help="Refuse a plan that no other user than you approved.")
@options.confirming
@options.carrying_out(*FORMATS)
def apply(
    carry: Carry,
    *,
    plan_file: Path,
    given: tuple[str, ...],
    tolerance: Amount | None,
    approved: str | None,
    by_other: bool,
    yes: bool,
) -> int:
    """Carry out exactly what PLANFILE froze: its targets, scripts, parameters and waves.

    Before anything is sent, the targets are selected again. If more of them came, went or changed than the tolerance
    allows, the plan is refused with the list of differences. Within the tolerance a VM that is no longer selected is not
    run, and its rows are `skipped` (`left_selection`); one that is new is not run either.
    """
    from fleet.app import connect, plans, search
    from fleet.app.parameters import secrets_of
    from fleet.plan.compare import drift

    carry = replace(carry, given=given)
    config = config_to_carry(carry)
    frozen = read_plan_file(plan_file)
    check_approval(frozen, plan_file, config, approved=approved, by_other=by_other)
    plans.check_cloud(frozen, config, carry.lab)
    secrets = secrets_of(frozen.declared, carry.given, os.environ)

    async def go(stopping: Stopping) -> Ended:
        async with connect.connect(config, carry.lab, os.environ) as connection:
            tell_notes(connection, carry.quiet)
            present = await search.find_again(connection, frozen)
            _check_drift(frozen, drift(frozen.targets, present.chosen.targets), tolerance)
            plan = search.without_left(frozen, present)
            await warn_of_patchers(connection, plan)
            confirm(plan, yes=yes)
            return await carry_out(config, connection, plan, secrets, carry, stopping)

    return conduct(go).code


def _check_drift(frozen: Plan, found: tuple[Difference, ...], tolerance: Amount | None) -> None:
    """Tell the differences, and refuse the plan when there are more than the tolerance allows."""
    from fleet.playbook.model import Amount

    allowed = (tolerance or Amount(0)).of(len(frozen.targets))
    for item in found:
        say(str(item))
    if len(found) > allowed:
        message = f"the targets differ from the plan in {plural(len(found), 'place')}; {allowed} would be fine"
        raise Refused(message, hint="make a new plan, or allow more with --tolerance", code="plan_drift")
