"""Where each Azure cloud answers, and where its tokens come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fleet.config.loopback import is_loopback
from fleet.errors import InvalidInput, Problem


@dataclass(frozen=True, slots=True)
class Endpoints:
    """One cloud. URLs have no trailing slash; ``scope`` is what a token is asked for."""

    name: str
    resource_manager: str
    authority: str
    scope: str


CLOUDS: Mapping[str, Endpoints] = {
    cloud.name: cloud
    for cloud in (
        Endpoints(
            "public",
            "https://management.azure.com",
            "https://login.microsoftonline.com",
            "https://management.azure.com/.default",
        ),
        Endpoints(
            "china",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "https://management.chinacloudapi.cn/.default",
        ),
        # The scope's host is not the service's host here (source of azure-mgmt-core, get_arm_endpoints).
        Endpoints(
            "usgovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "https://management.core.usgovcloudapi.net/.default",
        ),
    )
}


def endpoints(cloud: str | Mapping[str, str]) -> Endpoints:
    """Return a cloud by its name, or a custom one from ``resource_manager``, ``authority`` and ``audience``.

    Raises InvalidInput for an unknown name, a missing or unusable URL, and plain http to anything but this
    machine.
    """
    if isinstance(cloud, str):
        known = CLOUDS.get(cloud)
        if known is None:
            raise InvalidInput([_problem("", cloud, f"one of {', '.join(CLOUDS)}, or a mapping")])
        return known
    problems = [p for key in ("resource_manager", "authority") if (p := url_problem(cloud.get(key, ""), key))]
    if problems:
        raise InvalidInput(problems)
    manager = cloud["resource_manager"].rstrip("/")
    audience = (cloud.get("audience") or manager).rstrip("/")
    scope = audience if audience.endswith("/.default") else f"{audience}/.default"
    return Endpoints("custom", manager, cloud["authority"].rstrip("/"), scope)


def url_problem(url: str, key: str) -> Problem | None:
    """Say what is wrong with the URL of a service, or None."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return _problem(key, url, "a URL")
    if parts.scheme not in ("https", "http") or not host:
        return _problem(key, url, "a URL that begins with https://")
    if "@" in parts.netloc or parts.query or parts.fragment:
        return _problem(key, url, "a URL without user, query and fragment")
    if parts.scheme == "http" and not is_loopback(host):
        return _problem(key, url, "https: plain http is for this machine only (127.0.0.1, ::1, localhost)")
    return None


def _problem(key: str, found: str, expected: str) -> Problem:
    where = f"azure.cloud.{key}".rstrip(".")
    return Problem("cloud", f"{where} cannot be used: expected {expected}", found=found, expected=expected)
