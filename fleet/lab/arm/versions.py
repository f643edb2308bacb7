"""Which api-versions the lab knows, by resource type, and how a request with another one is refused. Pure.

A version that is in no list is refused as ARM does it: its own types by ``InvalidApiVersionParameter``, a type of a
provider by ``NoRegisteredProviderFound`` where the resource has a location, else by ``InvalidResourceType`` (texts as
users posted them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.lab.arm.routes import Call
from fleet.lab.wire import Answer, denied


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A type below its provider, and the api-versions that it has. ``provider`` is empty for ARM's own types."""

    provider: str
    name: str
    versions: tuple[str, ...]

    def below(self, name: str, since: str) -> ResourceType:
        """Return a child type that came with a version of its parent."""
        return ResourceType(
            self.provider, f"{self.name}/{name}", tuple(each for each in self.versions if each >= since)
        )


_COMPUTE = "Microsoft.Compute"
# Of Compute's virtual machines (as listed in refusals that users posted, in the REST specs, and sent by the clients).
_COMPUTE_VERSIONS = (
    *("2015-06-15", "2016-03-30", "2016-04-30-preview", "2016-08-30", "2017-03-30", "2017-12-01", "2018-04-01"),
    *("2018-06-01", "2018-10-01", "2019-03-01", "2019-07-01", "2019-12-01", "2020-06-01", "2020-12-01", "2021-03-01"),
    *("2021-04-01", "2021-07-01", "2021-11-01", "2022-03-01", "2022-08-01", "2022-11-01", "2023-03-01", "2023-07-01"),
    *("2023-09-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-04-01", "2025-11-01", "2026-03-01", "2026-04-01"),
)
_HYBRID_VERSIONS = (
    *("2019-12-12", "2020-08-02", "2020-08-15-preview", "2021-01-28-preview", "2021-03-25-preview"),
    *("2021-04-22-preview", "2021-05-17-preview", "2021-05-20", "2021-06-10-preview", "2021-12-10-preview"),
    *("2022-03-10", "2022-05-10-preview", "2022-08-11-preview", "2022-11-10", "2022-12-27", "2022-12-27-preview"),
    *("2023-03-15-preview", "2023-06-20-preview", "2023-10-03-preview", "2024-03-31-preview", "2024-05-20-preview"),
    *("2024-07-10", "2024-07-31-preview", "2024-09-10-preview", "2024-11-10-preview", "2025-01-13"),
    *("2025-02-19-preview", "2025-06-01", "2025-09-16-preview"),
)
_ARM_VERSIONS = (
    *("2014-04-01-preview", "2014-04-01", "2015-01-01", "2015-11-01", "2016-02-01", "2016-06-01", "2016-07-01"),
    *("2016-09-01", "2017-05-10", "2017-08-01", "2018-01-01", "2018-02-01", "2018-05-01", "2018-06-01", "2019-03-01"),
    *("2019-05-01", "2019-05-10", "2019-06-01", "2019-07-01", "2019-08-01", "2019-10-01", "2019-11-01", "2020-01-01"),
    *("2020-06-01", "2020-08-01", "2020-10-01", "2021-01-01", "2021-04-01", "2022-09-01", "2022-12-01", "2023-07-01"),
    *("2024-03-01", "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01"),
)
_GRAPH_VERSIONS = (
    *("2018-09-01-preview", "2019-04-01", "2020-04-01-preview", "2021-03-01", "2021-06-01-preview"),
    *("2022-10-01", "2024-04-01"),
)

_VMS = ResourceType(_COMPUTE, "virtualMachines", _COMPUTE_VERSIONS)
_ACTIONS = ResourceType(_COMPUTE, "virtualMachines", tuple(each for each in _COMPUTE_VERSIONS if each >= "2017-03-30"))
_SETS = ResourceType(_COMPUTE, "virtualMachineScaleSets", _COMPUTE_VERSIONS)
_INSTANCES = _SETS.below("virtualMachines", "2015-06-15")
_PLACES = ResourceType(_COMPUTE, "locations", _COMPUTE_VERSIONS)
_MACHINES = ResourceType("Microsoft.HybridCompute", "machines", _HYBRID_VERSIONS)
_MANAGED_SINCE = "2021-07-01"  # the earliest recorded
_ARC_COMMANDS = ResourceType(
    "Microsoft.HybridCompute",
    "machines/runCommands",  # in no stable version before 2025-01-13 (REST specs)
    tuple(each for each in _HYBRID_VERSIONS if each >= "2023-10-03" and each != "2024-07-10"),
)
_OPERATIONS = ResourceType(_COMPUTE, "locations/operations", _COMPUTE_VERSIONS)
_ARC_OPERATIONS = ResourceType("Microsoft.HybridCompute", "locations/operationstatus", _HYBRID_VERSIONS)
_ARM = ResourceType("", "", _ARM_VERSIONS)
_NETWORK_VERSIONS = (
    *("2015-06-15", "2017-09-01", "2018-02-01", "2018-11-01", "2019-11-01", "2020-11-01", "2021-08-01", "2022-01-01"),
    *("2022-11-01", "2023-09-01", "2023-11-01", "2024-01-01", "2024-03-01", "2024-05-01", "2024-07-01", "2025-01-01"),
    *("2025-05-01", "2025-07-01", "2025-09-01"),
)
_INTERFACES = ResourceType("Microsoft.Network", "networkInterfaces", _NETWORK_VERSIONS)

_OF_MACHINES = {Call.VM, Call.VM_VIEW, Call.VMS, Call.VMS_OF_GROUP}
_MANAGED = {Call.COMMANDS, Call.COMMAND, Call.COMMAND_PUT, Call.COMMAND_PATCH, Call.COMMAND_DELETE}
_OTHERS = {
    Call.SETS: _SETS,
    Call.SET: _SETS,
    Call.INSTANCES: _INSTANCES,
    Call.ARC_MACHINES: _MACHINES,
    Call.BUILTIN: _PLACES.below("runCommands", "2017-03-30"),
    Call.BUILTINS: _PLACES.below("runCommands", "2017-03-30"),
    Call.PERMISSIONS: ResourceType(
        "Microsoft.Authorization", "permissions", ("2015-07-01", "2018-07-01", "2022-04-01", "2022-05-01-preview")
    ),
    Call.LOCKS: ResourceType(
        "Microsoft.Authorization", "locks", ("2015-01-01", "2016-09-01", "2017-04-01", "2020-05-01")
    ),
    Call.INTERFACE: _INTERFACES,
    Call.INTERFACES: _INTERFACES,
    Call.ADDRESSES: ResourceType("Microsoft.Network", "publicIPAddresses", _NETWORK_VERSIONS),
    Call.EXTENSIONS: _VMS.below("extensions", "2015-06-15"),
    Call.POWER: _VMS,
    Call.QUERY: ResourceType("Microsoft.ResourceGraph", "resources", _GRAPH_VERSIONS),
}


def type_of(call: Call, path: str) -> ResourceType:
    """Return the resource type that a request is about."""
    folded = path.casefold()
    hybrid, instance = "/microsoft.hybridcompute/" in folded, "/virtualmachinescalesets/" in folded
    if call is Call.OPERATION:
        return _ARC_OPERATIONS if hybrid else _OPERATIONS
    if call in _MANAGED:
        return _ARC_COMMANDS if hybrid else (_INSTANCES if instance else _VMS).below("runCommands", _MANAGED_SINCE)
    if call is Call.ACT:
        return _INSTANCES if instance else _ACTIONS
    if call in _OF_MACHINES:
        return _MACHINES if hybrid else _INSTANCES if instance else _VMS
    return _OTHERS.get(call, _ARM)


def refusal_of(kind: ResourceType, version: str, location: str, locations: Sequence[str]) -> Answer | None:
    """Refuse an api-version that a type does not have, or return None. ``location`` is the resource's, "" for none."""
    if version.lower() in kind.versions:
        return None
    if not kind.provider:
        text = (
            f"The api-version '{version}' is invalid. The supported versions are '{','.join(reversed(kind.versions))}'."
        )
        return denied(400, "InvalidApiVersionParameter", text)
    supported = f"The supported api-versions are '{', '.join(kind.versions)}'."
    if location:
        text = (
            f"No registered resource provider found for location '{location}' and API version '{version}' for type "
            f"'{kind.name}'. {supported} The supported locations are '{', '.join(locations)}'."
        )
        return denied(400, "NoRegisteredProviderFound", text)
    text = f"The resource type '{kind.name}' could not be found in the namespace '{kind.provider}' for api version"
    return denied(404, "InvalidResourceType", f"{text} '{version}'. {supported}")
