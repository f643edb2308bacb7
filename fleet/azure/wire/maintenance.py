"""Questions to Resource Graph about patch settings and maintenance configurations, and their answers' rows. Pure.

Three tables' worth of questions, each about many subscriptions at once. ``maintenanceresources`` joins to other tables
only (documented), so that each is a question of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.azure.wire import shapes
from fleet.azure.wire.http import MIB, Json, Request, as_list, as_object, as_text, dig
from fleet.azure.wire.resource_graph import PAGE_ROWS
from fleet.azure.wire.versions import Api, ask
from fleet.preflight.patchers import Assignment, PatchSettings, Scope
from fleet.targets.glob import same_case

SETTINGS = "\n| ".join(
    [
        "resources",
        "where type in~ ('microsoft.compute/virtualmachines', 'microsoft.hybridcompute/machines')",
        "project id, linux = properties.osProfile.linuxConfiguration.patchSettings, "
        "windows = properties.osProfile.windowsConfiguration.patchSettings, "
        "automatic = properties.osProfile.windowsConfiguration.enableAutomaticUpdates",
        "order by id asc",
    ]
)
ASSIGNMENTS = "\n| ".join(
    [
        "maintenanceresources",
        "where type =~ 'microsoft.maintenance/configurationassignments'",
        "project id, properties",
        "order by id asc",
    ]
)
CONFIGURATIONS = "\n| ".join(
    [
        "resources",
        "where type =~ 'microsoft.maintenance/maintenanceconfigurations'",
        "project id, purpose = tostring(properties.maintenanceScope)",
        "order by id asc",
    ]
)

_ASSIGNED = "/providers/microsoft.maintenance/configurationassignments/"


def question(text: str, subscriptions: Sequence[str], skip_token: str = "") -> Request:
    """Build the request for one page of a query's rows."""
    options: dict[str, Json] = {"resultFormat": "objectArray", "$top": PAGE_ROWS}
    if skip_token:
        options["$skipToken"] = skip_token
    body: dict[str, Json] = {"subscriptions": list(subscriptions), "query": text, "options": options}
    return ask("POST", "/providers/Microsoft.ResourceGraph/resources", Api.RESOURCE_GRAPH, body=body, cap=8 * MIB)


def settings(rows: Sequence[Json]) -> Mapping[str, PatchSettings]:
    """Read each machine's patch settings, by its id in one case. A row that cannot be read tells of no machine."""
    found = {}
    for row in rows:
        identity = as_text(dig(row, "id"))
        own = [as_object(dig(row, name)) for name in ("linux", "windows")]
        modes = [each.get("patchMode") for each in own]
        if not identity or any(shapes.text(mode) for mode in modes if mode is not None):
            continue
        on_schedule = [
            dig(each, "automaticByPlatformSettings", "bypassPlatformSafetyChecksOnUserSchedule") for each in own
        ]
        automatic = dig(row, "automatic")
        found[same_case(identity)] = PatchSettings(
            next((as_text(mode) for mode in modes if mode), ""),
            any(value is True for value in on_schedule),
            automatic if isinstance(automatic, bool) else None,
        )
    return found


def assignments(rows: Sequence[Json]) -> tuple[Assignment, ...] | str:
    """Read which configurations are assigned to what; a text where a row cannot be read.

    The place is what stands before the assignment in its id: a machine, a resource group, or a subscription.
    """
    found = []
    for position, row in enumerate(rows, start=1):
        identity, properties = as_text(dig(row, "id")), as_object(dig(row, "properties"))
        end = same_case(identity).rfind(_ASSIGNED)
        configuration = as_text(properties.get("maintenanceConfigurationId"))
        if end < 0 or not configuration:
            return f"row {position} of the assignments cannot be read"
        place = identity[:end]
        whole = "/providers/" not in same_case(place)
        found.append(Assignment(place, configuration, _scope(properties.get("filter")) if whole else None))
    return tuple(found)


def _scope(data: Json) -> Scope:
    written = as_object(data)
    tags = as_object(dig(written, "tagSettings", "tags"))
    return Scope(
        _texts(written.get("resourceTypes")),
        _texts(written.get("resourceGroups")),
        _texts(written.get("osTypes")),
        _texts(written.get("locations")),
        {name: _texts(values) for name, values in tags.items()},
        same_case(as_text(dig(written, "tagSettings", "filterOperator"))) == "any",
    )


def _texts(data: Json) -> tuple[str, ...]:
    return tuple(text for item in as_list(data) if (text := as_text(item)))


def purposes(rows: Sequence[Json]) -> Mapping[str, str]:
    """Read what each configuration is for, by its id in one case."""
    told = ((as_text(dig(row, "id")), as_text(dig(row, "purpose"))) for row in rows)
    return {same_case(identity): purpose for identity, purpose in told if identity and purpose}
