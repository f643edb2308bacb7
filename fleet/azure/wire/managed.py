"""Managed commands as Azure lists them, and the PATCH that changes one."""

from __future__ import annotations

import hashlib
import math
import re
from urllib.parse import urlsplit

from fleet.azure.wire import shapes
from fleet.azure.wire.arm import is_terminal
from fleet.azure.wire.http import MIB, Json, Request, as_list, as_object, as_text, dig
from fleet.azure.wire.run_command import RESOURCE_CAP, api_of, exit_code, has_ended, resource_id
from fleet.azure.wire.versions import ask
from fleet.clock import from_iso
from fleet.commands.model import Change, ManagedCommand
from fleet.targets.glob import same_case
from fleet.targets.model import Kind, Target


def listing(target: Target) -> Request:
    """Build the GET of every managed command of a target, with instance views (REST spec: ``$expand`` of the list).

    The service may leave the views out all the same (recorded without ``$expand``); then each command is read by itself.
    """
    query = {"$expand": "instanceView"}
    return ask("GET", f"{target.id}/runCommands", api_of(target.id), query, cap=32 * MIB)


_SHAPES: tuple[tuple[str, shapes.Shape], ...] = (
    ("name", shapes.text),
    ("properties.provisioningState", shapes.text),
    ("properties.source", shapes.thing),
    ("properties.timeoutInSeconds", shapes.number),
    ("properties.runAsUser", shapes.text),
    ("properties.instanceView.executionState", shapes.text),
    ("properties.instanceView.exitCode", shapes.number),
    ("properties.instanceView.startTime", shapes.text),
    ("properties.instanceView.endTime", shapes.text),
)


def wrong(target: Target, data: Json) -> str:
    """Say why a row or an answer is not a managed command of the target; empty if it is.

    A change carries tags and parameters whole, so one that could not be read would be overwritten.
    """
    if not isinstance(data, dict):
        return f"it is {shapes.kind_of_json(data)}, not an object"
    if not _NAME.fullmatch(as_text(data.get("name"))):
        return "its name cannot be read"
    if not isinstance(data.get("properties"), dict):
        return f"its properties are {shapes.kind_of_json(data.get('properties'))}, not an object"
    identity = data.get("id")
    if identity is not None and same_case(as_text(identity)) != same_case(resource_id(target, as_text(data["name"]))):
        return "its id is not the one of a command of this VM by its name"
    for place, shape in _SHAPES:
        if found := shapes.wrong_at(data, place.split("."), shape):
            return f"{place} {found}"
    return _wrong_pairs(data)


_NAME = re.compile(r"(?!\.{1,2}$)[^/?#%\\\x00-\x20\x7f\ud800-\udfff]{1,256}")


def _wrong_pairs(row: dict[str, Json]) -> str:
    tags, parameters = row.get("tags"), dig(row, "properties", "parameters")
    if found := shapes.thing(tags):
        return f"tags {found}"
    for value in as_object(tags).values():
        if value is None or shapes.text(value):
            return f"a tag {shapes.text(value) or 'is null'}"
    if parameters is None:
        return ""
    if not isinstance(parameters, list):
        return f"properties.parameters is {shapes.kind_of_json(parameters)}, not a list"
    for item in parameters:
        if not all(isinstance(as_object(item).get(key), str) for key in ("name", "value")):
            return "properties.parameters has an entry without a name or a value"
    return ""


def command(target: Target, data: Json) -> ManagedCommand | None:
    """Read one managed command; None if the answer is none."""
    if wrong(target, data):
        return None
    row = as_object(data)
    name, properties = as_text(row.get("name")), as_object(row.get("properties"))
    view = as_object(properties.get("instanceView"))
    provisioning = as_text(properties.get("provisioningState"))
    return ManagedCommand(
        target,
        name,
        provisioning=provisioning,
        state=as_text(view.get("executionState")),
        running=not (is_terminal(provisioning or "Succeeded") and has_ended(view)),
        exit_code=exit_code(view.get("exitCode")),
        started=_moment(view.get("startTime")),
        ended=_moment(view.get("endTime")),
        source=_source(as_object(properties.get("source"))),
        timeout=float(exit_code(properties.get("timeoutInSeconds")) or 0),
        run_as=as_text(properties.get("runAsUser")),
        parameters=_pairs(properties.get("parameters")),
        tags={key: as_text(value) for key, value in as_object(row.get("tags")).items()},
        view=dict(view),
    )


def has_view(data: Json) -> bool:
    """Say whether a row came with its instance view."""
    return bool(as_object(as_object(as_object(data).get("properties")).get("instanceView")))


def _moment(data: Json) -> float | None:
    try:
        moment = from_iso(as_text(data))
    except (ValueError, OverflowError):
        return None
    return moment if moment > 0 else None  # year 1 is how the service writes that there is none


def _source(source: dict[str, Json]) -> str:
    """Say what a command runs, without what might be secret in it: the script's text, a URL's signature."""
    if script := as_text(source.get("script")):
        data = script.encode("utf-8", "surrogatepass")
        return f"script sha256:{hashlib.sha256(data).hexdigest()[:12]} ({len(data):,} bytes)"
    if uri := as_text(source.get("scriptUri")):
        parts = urlsplit(uri)
        return f"uri {parts.scheme}://{parts.hostname or ''}{parts.path}"
    for key, word in (("commandId", "command_id"), ("galleryScriptReferenceId", "gallery")):
        if text := as_text(source.get(key)):
            return f"{word} {text}"
    return "nothing"


def _pairs(data: Json) -> dict[str, str]:
    items = [as_object(item) for item in as_list(data)]
    return {as_text(item.get("name")): as_text(item.get("value")) for item in items}


def unchangeable(found: ManagedCommand, change: Change) -> str:
    """Say why a change cannot be put on this wire; empty if it can (REST spec: of an Arc machine's only tags)."""
    if found.target.kind is Kind.ARC and change.runs_again:
        return "of an Arc machine's managed commands only tags can be changed"
    return ""


def patch(found: ManagedCommand, change: Change) -> Request:
    """Build the PATCH. It carries what changes, and tags and parameters whole, since they are replaced together."""
    properties: dict[str, Json] = {}
    if change.script is not None:
        properties["source"] = {"script": change.script}
    if change.timeout is not None:
        properties["timeoutInSeconds"] = math.ceil(change.timeout)
    if (parameters := change.parameters_of(found)) is not None:
        properties["parameters"] = [{"name": name, "value": value} for name, value in parameters.items()]
    if change.protected:
        properties["protectedParameters"] = [{"name": name, "value": text} for name, text in change.protected.items()]
    body: dict[str, Json] = {}
    if (tags := change.tags_of(found)) is not None:
        body["tags"] = dict(tags)
    if properties:
        body["properties"] = properties
    place = resource_id(found.target, found.name)
    return ask("PATCH", place, api_of(found.target.id), body=body, cap=RESOURCE_CAP)
