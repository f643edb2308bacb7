"""Patch settings of VMs, and maintenance configurations, as Azure renders them. Pure; shapes as in the REST spec."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fleet.documents import read


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Names = Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]


class DynamicScopeSpec(read.Keys):
    """The condition of an assignment to a whole group or subscription; what is empty fits any VM."""

    of: Literal["subscription", "group"] = Field(
        default="subscription", description="What the configuration is assigned to: its subscription, or its group."
    )
    groups: _Names = Field(default=[], description="Resource groups.")
    os: _Names = Field(default=[], description="Operating systems, as Linux or Windows.")
    locations: _Names = Field(default=[], description="Regions.")
    tags: dict[str, _Names] = Field(default={}, description="Values by tag.")
    operator: Literal["All", "Any"] = Field(default="All", description="Whether each tag must fit, or one suffices.")


class MaintenanceSpec(read.Keys):
    """A maintenance configuration of a group, and what it is assigned to."""

    name: str = Field(pattern=r"^[\w.-]{1,80}$", description="Name of the configuration.")
    purpose: Literal["InGuestPatch", "Host", "OSImage", "Extension", "Resource", "SQLDB", "SQLManagedInstance"] = Field(
        default="InGuestPatch", description="What it is for (`maintenanceScope`)."
    )
    vms: _Names = Field(default=[], description="Globs over the names of the group's VMs that it is assigned to.")
    dynamic: DynamicScopeSpec | None = Field(default=None, description="A dynamic scope that it is assigned to.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dynamic is not None and self.purpose != "InGuestPatch":
            raise ValueError("a dynamic scope is for InGuestPatch only (documented)")
        return self

    def reaches(self, name: str) -> bool:
        """Say whether a VM of the group has the configuration assigned to itself."""
        return any(fnmatchcase(name, glob) for glob in self.vms)


Row = dict[str, object]


def patch_settings(mode: str, *, on_schedule: bool) -> Row:
    """Render the patch settings of a VM's model."""
    found: Row = {"patchMode": mode, "assessmentMode": "ImageDefault"}
    if mode == "AutomaticByPlatform":
        found["automaticByPlatformSettings"] = {
            "rebootSetting": "IfRequired",
            "bypassPlatformSafetyChecksOnUserSchedule": on_schedule,
        }
    return found


def configuration(group_id: str, spec: MaintenanceSpec) -> Row:
    """Render a configuration's id and properties, for a row of ``resources``."""
    window = {"startDateTime": "2026-01-01 02:00", "duration": "03:00", "timeZone": "UTC", "recurEvery": "Week Sunday"}
    return {
        "id": configuration_id(group_id, spec),
        "properties": {"maintenanceScope": spec.purpose, "visibility": "Custom", "maintenanceWindow": window},
    }


def configuration_id(group_id: str, spec: MaintenanceSpec) -> str:
    """Return a configuration's id."""
    return f"{group_id}/providers/Microsoft.Maintenance/maintenanceConfigurations/{spec.name}"


def assignments(group_id: str, vms: list[tuple[str, str]], spec: MaintenanceSpec) -> Iterator[Row]:
    """Yield the id and properties of each assignment of a configuration, given the names and ids of the group's VMs."""
    whole = configuration_id(group_id, spec)
    for name, identity in vms:
        if spec.reaches(name):
            yield _assignment(identity, spec.name, {"maintenanceConfigurationId": whole, "resourceId": identity})
    if spec.dynamic is not None:
        place = group_id if spec.dynamic.of == "group" else group_id.rpartition("/resourceGroups/")[0]
        given: Row = {"maintenanceConfigurationId": whole, "resourceId": place, "filter": _filter(spec.dynamic)}
        yield _assignment(place, spec.name, given)


def _filter(spec: DynamicScopeSpec) -> Row:
    return {
        "resourceTypes": ["microsoft.compute/virtualmachines"],
        "resourceGroups": spec.groups,
        "osTypes": spec.os,
        "locations": spec.locations,
        "tagSettings": {"tags": spec.tags, "filterOperator": spec.operator},
    }


def _assignment(place: str, name: str, properties: Row) -> Row:
    return {
        "id": f"{place}/providers/Microsoft.Maintenance/configurationAssignments/{name}",
        "properties": properties,
    }
