"""Which requests the lab knows, and what each counts as. Pure.

ARM compares path segments without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from fleet.lab.file import FaultOn
from fleet.lab.throttle import Policy, Verb


class Call(StrEnum):
    """Everything that can be asked."""

    SUBSCRIPTIONS = "subscriptions"
    SUBSCRIPTION = "subscription"
    TENANTS = "tenants"
    GROUPS = "groups"
    GROUP = "group"
    VMS = "vms"
    VMS_OF_GROUP = "vms_of_group"
    VM = "vm"
    VM_VIEW = "vm_view"
    ACT = "act"
    COMMANDS = "commands"
    COMMAND = "command"
    COMMAND_PUT = "command_put"
    COMMAND_PATCH = "command_patch"
    COMMAND_DELETE = "command_delete"
    OPERATION = "operation"
    BUILTINS = "builtins"
    BUILTIN = "builtin"
    QUERY = "query"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request: how it is recognised, what it costs, and which faults hit it."""

    call: Call
    method: str
    pattern: re.Pattern[str]
    policy: Policy | None = None
    fault: FaultOn | None = None

    @property
    def verb(self) -> Verb:
        """ARM's class of the request."""
        by_method = {"GET": Verb.READS, "HEAD": Verb.READS, "DELETE": Verb.DELETES}
        return by_method.get(self.method, Verb.WRITES)


_SUB = r"/subscriptions/(?P<sub>[^/]+)"
_GROUP = rf"{_SUB}/resourceGroups/(?P<group>[^/]+)"
_COMPUTE = "/providers/Microsoft.Compute"
_VM = rf"{_GROUP}{_COMPUTE}/virtualMachines/(?P<vm>[^/]+)"
_PLACE = rf"{_SUB}{_COMPUTE}/locations/(?P<location>[^/]+)"


def _route(call: Call, method: str, path: str, policy: Policy | None = None, fault: FaultOn | None = None) -> Route:
    return Route(call, method, re.compile(f"{path}/?", re.IGNORECASE), policy, fault)


_UPDATE, _LOW, _HIGH = Policy.UPDATE_VM, Policy.LOW_COST_GET, Policy.HIGH_COST_GET
ROUTES = (
    _route(
        Call.OPERATION,
        "GET",
        rf"{_PLACE}/operations/(?P<operation>[^/]+)",
        Policy.GET_OPERATION,
        FaultOn.POLL,
    ),
    _route(Call.COMMAND, "GET", rf"{_VM}/runCommands/(?P<command>[^/]+)", _LOW, FaultOn.READ),
    _route(Call.COMMAND_PUT, "PUT", rf"{_VM}/runCommands/(?P<command>[^/]+)", _UPDATE, FaultOn.SUBMIT),
    _route(Call.COMMAND_PATCH, "PATCH", rf"{_VM}/runCommands/(?P<command>[^/]+)", _UPDATE, FaultOn.SUBMIT),
    _route(Call.COMMAND_DELETE, "DELETE", rf"{_VM}/runCommands/(?P<command>[^/]+)", _UPDATE, FaultOn.DELETE),
    _route(Call.ACT, "POST", rf"{_VM}/runCommand", _UPDATE, FaultOn.SUBMIT),
    _route(Call.COMMANDS, "GET", rf"{_VM}/runCommands", _LOW, FaultOn.READ),
    _route(Call.VM_VIEW, "GET", rf"{_VM}/instanceView", _LOW, FaultOn.READ),
    _route(Call.VM, "GET", _VM, _LOW, FaultOn.READ),
    _route(Call.VMS_OF_GROUP, "GET", rf"{_GROUP}{_COMPUTE}/virtualMachines", _HIGH, FaultOn.LIST),
    _route(Call.VMS, "GET", rf"{_PLACE}/virtualMachines", _HIGH, FaultOn.LIST),
    _route(Call.VMS, "GET", rf"{_SUB}{_COMPUTE}/virtualMachines", _HIGH, FaultOn.LIST),
    _route(Call.BUILTIN, "GET", rf"{_PLACE}/runCommands/(?P<command>[^/]+)", Policy.SUBSCRIPTION_INFO),
    _route(Call.BUILTINS, "GET", rf"{_PLACE}/runCommands", Policy.SUBSCRIPTION_INFO),
    _route(Call.QUERY, "POST", "/providers/Microsoft.ResourceGraph/resources", None, FaultOn.QUERY),
    _route(Call.GROUPS, "GET", rf"{_SUB}/resourceGroups", None, FaultOn.LIST),
    _route(Call.GROUP, "GET", _GROUP, None, FaultOn.READ),
    _route(Call.GROUP, "HEAD", _GROUP, None, FaultOn.READ),
    _route(Call.SUBSCRIPTIONS, "GET", "/subscriptions", None, FaultOn.LIST),
    _route(Call.SUBSCRIPTION, "GET", _SUB, None, FaultOn.READ),
    _route(Call.TENANTS, "GET", "/tenants"),
)


def match(method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
    """Recognise a request."""
    for route in ROUTES:
        if route.method == method and (found := route.pattern.fullmatch(path)):
            return route, {name: unquote(value) for name, value in found.groupdict().items()}
    return None


def known_path(path: str) -> bool:
    """Say whether the path is known with some other method."""
    return any(route.pattern.fullmatch(path) for route in ROUTES)
