"""What Compute says of a VM's agent: in a list of run-time states, and in the view of one VM.

A list with ``statusOnly=true`` gives the "run time status of all Virtual Machines in the subscription" (REST spec). Its rows
are VMs whose ``properties.instanceView`` may hold ``vmAgent`` (REST spec, schema); which of it the service fills in is
neither documented nor recorded. So what a row does not say is not known, and only a plain "not ready" counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.azure.wire.compute import power_of
from fleet.azure.wire.http import Json, as_list, as_object, as_text, dig
from fleet.preflight.facts import Agent
from fleet.run.answers import EXTENSIONS_OFF, NO_AGENT, AgentReport, Refusal
from fleet.targets.glob import same_case
from fleet.targets.model import Power


@dataclass(frozen=True, slots=True)
class VmState:
    """Power and agent of one VM, as a row or a view gives them. ``detail`` is in Azure's words."""

    power: Power = Power.UNKNOWN
    agent: Agent = Agent.UNKNOWN
    detail: str = ""
    extensions_off: bool = False


def read_states(rows: Iterable[Json]) -> dict[str, VmState]:
    """Read the rows of a list with ``statusOnly``, by id in the case for comparing, as this list writes ids differently."""
    return {same_case(as_text(as_object(row).get("id"))): read_state(row) for row in rows}


def read_state(vm: Json) -> VmState:
    """Read a VM from a row of the list or from its own view. What is missing or odd there is unknown."""
    properties = as_object(as_object(vm).get("properties"))
    view = properties.get("instanceView")
    agent, detail = _read_agent(as_object(view)) if isinstance(view, dict) else (Agent.UNKNOWN, "")
    off = dig(properties, "osProfile", "allowExtensionOperations") is False
    return VmState(power_of(properties), agent, detail, off)


def _read_agent(view: dict[str, Json]) -> tuple[Agent, str]:
    """Read the agent's state: ``Ready``, or ``Not Ready`` with ``ProvisioningState/Unavailable`` (recorded).

    Anything else is unknown: a state that was never seen must not stop a run.
    """
    if view.get("vmAgent") is None:
        return Agent.ABSENT, "no agent has reported"
    statuses = [as_object(item) for item in as_list(dig(view, "vmAgent", "statuses"))]
    if any(_says(status, "ready") for status in statuses):
        return Agent.READY, ""
    for status in statuses:
        if _says(status, "not ready") or as_text(status.get("code")).casefold() == "provisioningstate/unavailable":
            parts = (as_text(status.get(key)) for key in ("displayStatus", "message"))
            return Agent.NOT_READY, ": ".join(part for part in parts if part)
    return Agent.UNKNOWN, ""


def _says(status: dict[str, Json], word: str) -> bool:
    return as_text(status.get("displayStatus")).casefold() == word


def is_doubtful(found: VmState, others: Iterable[VmState]) -> bool:
    """Say whether a VM's own view must be read before anything is sent to it, by the VM's row in the list.

    It must if the row calls the agent not ready, or has no agent where other rows of the same list have one.
    """
    if found.power is not Power.RUNNING:
        return False  # Azure refuses what is sent to a VM that is off, at once
    if found.agent is Agent.ABSENT:
        return any(other.agent in (Agent.READY, Agent.NOT_READY) for other in others)
    return found.agent is Agent.NOT_READY


def refusal_for(found: VmState) -> Refusal | None:
    """Say why nothing is to be sent to a VM, by its own view; None if it is to be.

    The service accepts a command for a VM whose agent is not ready, and says for up to 90 minutes that it runs (reported).
    """
    if found.power is not Power.RUNNING or found.agent is not Agent.NOT_READY:
        return None
    why = f"; {EXTENSIONS_OFF}" if found.extensions_off else ""
    return Refusal(0, NO_AGENT, f"not sent: Azure says of the VM's agent: {found.detail or 'Not Ready'}{why}")


def report_of(found: VmState) -> AgentReport | None:
    """Say whether the agent reports, by the VM's own view; None if the view does not say.

    The agent of a VM that is off does not report, whatever its last state was.
    """
    if found.power not in (Power.RUNNING, Power.STARTING, Power.UNKNOWN):
        return AgentReport(False, f"the VM is {found.power.value}")
    match found.agent:
        case Agent.READY:
            return AgentReport(True)
        case Agent.NOT_READY:
            return AgentReport(False, found.detail)
        case Agent.ABSENT if found.power is Power.RUNNING:
            return AgentReport(False, found.detail)
    return None
