"""The api-version of every request: one table, its defaults and why, and what a cloud says that lacks one.

A cloud that gets new api-versions late (a sovereign one, Azure Stack Hub) may be asked with others: ``azure.api_versions``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from fleet.azure.wire.http import MIB, Json, Request, path


class Api(StrEnum):
    """What is asked with one api-version; the values are the keys of ``azure.api_versions``."""

    COMPUTE = "compute"
    """VMs, scale sets, their instances, and run commands on them."""
    GALLERY_SCRIPTS = "gallery_scripts"
    """Managed commands with a script of a gallery or PowerShell 7, where it is later than ``compute``."""
    HYBRID_COMPUTE = "hybrid_compute"
    """Arc machines and their run commands."""
    RESOURCE_GRAPH = "resource_graph"
    SUBSCRIPTIONS = "subscriptions"
    AUTHORIZATION = "authorization"
    """What a principal may do (``fleet doctor``)."""
    LOCKS = "locks"
    """Locks on subscriptions, groups and VMs (``fleet doctor``)."""


Versions = Mapping[Api, str]

DEFAULTS: Versions = {
    Api.COMPUTE: "2024-11-01",
    Api.GALLERY_SCRIPTS: "2025-04-01",  # the first that knows scripts of galleries and PowerShell 7 (REST spec)
    Api.HYBRID_COMPUTE: "2025-01-13",
    Api.RESOURCE_GRAPH: "2022-10-01",
    Api.SUBSCRIPTIONS: "2022-12-01",
    Api.AUTHORIZATION: "2022-04-01",
    Api.LOCKS: "2016-09-01",
}

_QUERY = "api-version"


def ask(
    method: str, place: str, api: Api, query: Mapping[str, str] | None = None, body: Json = None, cap: int = MIB
) -> Request:
    """Build a request of ours, with its default api-version last in the query."""
    return Request(method, path(place, {**(query or {}), _QUERY: DEFAULTS[api]}), body, cap, api=api)


def asked_with(request: Request, versions: Versions) -> Request:
    """Return a request as a cloud with these api-versions is asked. A link that the service gave stays as it came."""
    if not request.target.startswith("/") or request.api not in DEFAULTS:
        return request
    api = Api(request.api)
    version = versions.get(api, DEFAULTS[api])
    if api is Api.GALLERY_SCRIPTS:
        version = max(version, versions.get(Api.COMPUTE, DEFAULTS[Api.COMPUTE]))
    return replace(request, target=request.target.removesuffix(DEFAULTS[api]) + version)


# What a cloud says that does not have a version

_CODES = frozenset({"noregisteredproviderfound", "invalidresourcetype", "invalidapiversionparameter"})
_SUPPORTED = re.compile(r"supported (?:api-)?versions are:?\s*'?([0-9A-Za-z,;\s'-]+)", re.IGNORECASE)
_VERSION = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:-[a-z]+)?\b", re.ASCII)
_NAMESPACES = {
    "microsoft.compute": Api.COMPUTE,
    "microsoft.hybridcompute": Api.HYBRID_COMPUTE,
    "microsoft.resourcegraph": Api.RESOURCE_GRAPH,
    "microsoft.authorization/locks": Api.LOCKS,
    "microsoft.authorization": Api.AUTHORIZATION,
}
_SHOWN = 5


def is_wrong_version(code: str) -> bool:
    """Say whether an error's code means that the cloud does not have the api-version, or not for this type."""
    return code.lower() in _CODES


def version_hint(code: str, message: str, api: str = "") -> str:
    """Say which api-versions the service lists, and the key to set; empty where the error is another one.

    ``api`` is what was asked; where that is not known, the message's namespace tells it.
    """
    if not is_wrong_version(code):
        return ""
    listed = _SUPPORTED.search(message)
    found = sorted(set(_VERSION.findall(listed[1]))) if listed else []
    key = f"azure.api_versions.{api or _api(message)}"
    if not found:
        return f"set {key} in the config to an api-version that this cloud has"
    newest = ", ".join(reversed(found[-_SHOWN:]))
    more = f" and {len(found) - _SHOWN} older" if len(found) > _SHOWN else ""
    return f"set {key} in the config to an api-version that this cloud has: {newest}{more}"


def _api(message: str) -> Api:
    folded = message.lower()
    return next((api for name, api in _NAMESPACES.items() if name in folded), Api.COMPUTE)
