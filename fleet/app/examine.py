"""Finds out what stands in a plan's way, before it is carried out."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.app.connect import Connection
from fleet.plan.model import Plan
from fleet.preflight import doctor, patchers
from fleet.preflight.facts import Facts, Permissions
from fleet.run import command


async def examine(connection: Connection, plan: Plan, secrets: Mapping[str, str]) -> tuple[doctor.Finding, ...]:
    """Find out what stands in the plan's way, and send nothing to any VM.

    Raises InvalidInput if a script cannot be carried, AzureUnusable.
    """
    sizes = command.sizes(plan, secrets)
    preflight = connection.preflight
    principals = await preflight.principals()
    permissions: tuple[Permissions, ...] = ()
    while asked := doctor.to_ask(plan, principals, permissions):
        permissions += await preflight.permissions(asked)
    conditions = await preflight.conditions(plan.targets, commands=doctor.uses_managed(plan))
    locks = await preflight.locks(plan.targets)
    patching = await preflight.patching(plan.targets)
    return doctor.examine(plan, Facts(principals, permissions, conditions, sizes, locks, patching))


async def other_patchers(connection: Connection, plan: Plan) -> tuple[doctor.Finding, ...]:
    """Return who else patches the targets of a plan that patches; nothing is asked for another. Raises AzureUnusable."""
    if not patchers.is_patching(plan) or not plan.targets:
        return ()
    return patchers.warnings(plan, await connection.preflight.patching(plan.targets))
