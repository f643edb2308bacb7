"""Which requests the lab knows, and what each counts as. Pure.

ARM compares path segments without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from fleet.lab.arm.throttle import Policy, Verb
from fleet.lab.world.spec import FaultOn


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
    SETS = "sets"
    SET = "set"
    INSTANCES = "instances"
    ARC_MACHINES = "arc_machines"
    BUILTINS = "builtins"
    BUILTIN = "builtin"
    QUERY = "query"
    OPEN = "open"
    PERMISSIONS = "permissions"
    LOCKS = "locks"
    POWER = "power"
    EXTENSIONS = "extensions"
    INTERFACE = "interface"
    INTERFACES = "interfaces"
    ADDRESSES = "addresses"
    RESOURCES = "resources"
    TAG_NAMES = "tag_names"


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
        if self.policy is Policy.ARC_WRITE:
            return Verb.RESOURCE_REQUESTS
        by_method = {"GET": Verb.READS, "HEAD": Verb.READS, "DELETE": Verb.DELETES}
        return by_method.get(self.method, Verb.WRITES)


_SUB = r"/subscriptions/(?P<sub>[^/]+)"
_GROUP = rf"{_SUB}/resourceGroups/(?P<group>[^/]+)"
_COMPUTE = "/providers/Microsoft.Compute"
_VM = rf"{_GROUP}{_COMPUTE}/virtualMachines/(?P<vm>[^/]+)"
_SETS = rf"{_GROUP}{_COMPUTE}/virtualMachineScaleSets"
_INSTANCES = rf"{_SETS}/(?P<set>[^/]+)/virtualMachines"
_INSTANCE = rf"{_INSTANCES}/(?P<instance>[^/]+)"
_HYBRID = "/providers/Microsoft.HybridCompute"
_ARC = rf"{_GROUP}{_HYBRID}/machines/(?P<arc>[^/]+)"
_PLACE = rf"{_SUB}{_COMPUTE}/locations/(?P<location>[^/]+)"


def _route(call: Call, method: str, path: str, policy: Policy | None = None, fault: FaultOn | None = None) -> Route:
    return Route(call, method, re.compile(f"{path}/?", re.IGNORECASE), policy, fault)


_UPDATE, _LOW, _HIGH = Policy.UPDATE_VM, Policy.LOW_COST_GET, Policy.HIGH_COST_GET


def _commands(machine: str, write: Policy, delete: Policy | None, read: Policy | None) -> tuple[Route, ...]:
    one = rf"{machine}/runCommands/(?P<command>[^/]+)"
    return (
        _route(Call.COMMAND, "GET", one, read, FaultOn.READ),
        _route(Call.COMMAND_PUT, "PUT", one, write, FaultOn.SUBMIT),
        _route(Call.COMMAND_PATCH, "PATCH", one, write, FaultOn.SUBMIT),
        _route(Call.COMMAND_DELETE, "DELETE", one, delete, FaultOn.DELETE),
        _route(Call.COMMANDS, "GET", rf"{machine}/runCommands", read, FaultOn.READ),
    )


def _machines(machine: str, write: Policy, delete: Policy, read: Policy) -> tuple[Route, ...]:
    return (
        *_commands(machine, write, delete, read),
        _route(Call.ACT, "POST", rf"{machine}/runCommand", write, FaultOn.SUBMIT),
        _route(Call.VM_VIEW, "GET", rf"{machine}/instanceView", read, FaultOn.READ),
        _route(Call.VM, "GET", machine, read, FaultOn.READ),
    )


_PLACES = (_SUB, _GROUP)
_NETWORK = "/providers/Microsoft.Network"
_SCOPES = (_SUB, _GROUP, _VM, _INSTANCE, _ARC)
_AUTHORIZATION = "/providers/Microsoft.Authorization"
_ARC_PLACE = rf"{_SUB}{_HYBRID}/locations/(?P<location>[^/]+)"
_OPERATION = r"(?P<operation>[^/]+)"
ROUTES = (
    _route(Call.OPERATION, "GET", rf"{_PLACE}/operations/{_OPERATION}", Policy.GET_OPERATION, FaultOn.POLL),
    _route(Call.OPERATION, "GET", rf"{_ARC_PLACE}/operation(status|results)/{_OPERATION}", None, FaultOn.POLL),
    *_machines(_VM, _UPDATE, _UPDATE, _LOW),
    *_machines(_INSTANCE, Policy.SET_ACTIONS, Policy.SET_DELETE, Policy.SET_GET),
    *_commands(_ARC, Policy.ARC_WRITE, None, None),
    _route(Call.VM, "GET", _ARC, None, FaultOn.READ),
    _route(Call.INSTANCES, "GET", _INSTANCES, Policy.SET_LIST, FaultOn.LIST),
    _route(Call.SET, "GET", rf"{_SETS}/(?P<set>[^/]+)", Policy.SET_GET, FaultOn.READ),
    _route(Call.SETS, "GET", _SETS, Policy.SET_LIST, FaultOn.LIST),
    _route(Call.SETS, "GET", rf"{_SUB}{_COMPUTE}/virtualMachineScaleSets", Policy.SET_LIST, FaultOn.LIST),
    _route(Call.ARC_MACHINES, "GET", rf"{_GROUP}{_HYBRID}/machines", None, FaultOn.LIST),
    _route(Call.ARC_MACHINES, "GET", rf"{_SUB}{_HYBRID}/machines", None, FaultOn.LIST),
    _route(Call.VMS_OF_GROUP, "GET", rf"{_GROUP}{_COMPUTE}/virtualMachines", _HIGH, FaultOn.LIST),
    _route(Call.VMS, "GET", rf"{_PLACE}/virtualMachines", _HIGH, FaultOn.LIST),
    _route(Call.VMS, "GET", rf"{_SUB}{_COMPUTE}/virtualMachines", _HIGH, FaultOn.LIST),
    _route(Call.BUILTIN, "GET", rf"{_PLACE}/runCommands/(?P<command>[^/]+)", Policy.SUBSCRIPTION_INFO),
    _route(Call.BUILTINS, "GET", rf"{_PLACE}/runCommands", Policy.SUBSCRIPTION_INFO),
    _route(Call.QUERY, "POST", "/providers/Microsoft.ResourceGraph/resources", None, FaultOn.QUERY),
    _route(Call.POWER, "POST", rf"{_VM}/(?P<verb>start|powerOff|deallocate|restart)", Policy.UPDATE_VM, FaultOn.SUBMIT),
    _route(Call.EXTENSIONS, "GET", rf"{_VM}/extensions", Policy.LOW_COST_GET, FaultOn.READ),
    _route(Call.INTERFACE, "GET", rf"{_GROUP}{_NETWORK}/networkInterfaces/(?P<nic>[^/]+)", None, FaultOn.READ),
    *(_route(Call.INTERFACES, "GET", f"{place}{_NETWORK}/networkInterfaces", None, FaultOn.LIST) for place in _PLACES),
    *(_route(Call.ADDRESSES, "GET", f"{place}{_NETWORK}/publicIPAddresses", None, FaultOn.LIST) for place in _PLACES),
    *(_route(Call.RESOURCES, "GET", f"{place}/resources", None, FaultOn.LIST) for place in _PLACES),
    _route(Call.TAG_NAMES, "GET", rf"{_SUB}/tagNames", None, FaultOn.LIST),
    *(_route(Call.PERMISSIONS, "GET", f"{scope}{_AUTHORIZATION}/permissions") for scope in _SCOPES),
    *(_route(Call.LOCKS, "GET", f"{scope}{_AUTHORIZATION}/locks") for scope in _SCOPES),
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
