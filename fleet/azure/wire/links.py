"""Links that the service gives: where a list goes on, where an operation is asked about. Only its own are followed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

from fleet.azure.wire.http import Response

_NEVER_IN_LINKS = re.compile(r"[^\x21-\x7e]|\\")
"""Links are percent-encoded (recorded); a character that is not ASCII could not be sent byte for byte."""

_NEVER_AT_ALL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
"""What no escape makes good: clients and servers read such a link differently."""

_ESCAPED = re.compile(r"[^\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Link:
    """A link made fit to be followed, or why it is not followed: then ``url`` is empty."""

    url: str = field(default="", repr=False)
    problem: str = ""


def resolve(base: str, asked: str, given: str) -> Link:
    """Return a link of the answer to a request, absolute and on the service's own host, or say why it is refused.

    ``asked`` is the target of that request: a relative link is relative to it (RFC 9110). A link that is percent-encoded
    stays byte for byte as it came; raw spaces and characters beyond ASCII are escaped.
    """
    link = given.strip(" ")
    if _is_plainly_own(base, link):
        return Link(link)
    if _NEVER_AT_ALL.search(link):
        return Link(problem="has a character that no link may have")
    link = _ESCAPED.sub(lambda found: quote(found.group(), safe=""), link)
    own = base + asked if asked.startswith("/") else asked
    try:
        if not urlsplit(link).scheme:
            link = urljoin(own, link)
    except ValueError:
        return Link(problem="is not an address")
    return Link(link) if check_link(base, link) else Link(problem=problem_of(base, link))


def problem_of(base: str, link: str) -> str:
    """Say why a link is not followed."""
    theirs, own = _origin(link), _own_origin(base)
    if _NEVER_IN_LINKS.search(link):
        return "has a character that no link may have"
    if theirs is None or own is None:
        return "is not the address of a service"
    if theirs[1] != own[1]:
        return f"leads to another host ({theirs[1]})"
    if theirs[0] != own[0]:
        return f"leads to the same host by {theirs[0]} instead of {own[0]}"
    return f"leads to another port ({theirs[2]}) of the same host"


def check_link(base: str, link: str) -> bool:
    """Say whether a link stays on the configured service: scheme, host and port equal, and no user in it.

    The token is only ever sent there, so a ``nextLink`` or ``Location`` elsewhere must not be followed.
    """
    if _is_plainly_own(base, link):
        return True
    if _NEVER_IN_LINKS.search(link):
        return False
    theirs = _origin(link)
    return theirs is not None and theirs == _own_origin(base)


def _is_plainly_own(base: str, link: str) -> bool:
    """Say whether a link begins with the service's own address and has no character that a link may not have.

    Most do, and are 3.4 KB long. What follows the first slash can name no other host.
    """
    visible = link.isascii() and link.isprintable() and " " not in link and "\\" not in link
    return visible and link.startswith(f"{base.rstrip('/')}/") and _own_origin(base) is not None


@lru_cache(maxsize=16)
def _own_origin(base: str) -> tuple[str, str, int] | None:
    """The origin of an address of ours. Links are not kept: they are signed."""
    return _origin(base)


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return None
    if "@" in parts.netloc or not parts.hostname or not port:
        return None
    return parts.scheme, parts.hostname.lower(), port


@dataclass(frozen=True, slots=True)
class Links:
    """Where an accepted request says to ask further. ``refused`` says what is wrong with one that is dropped."""

    status: str = field(default="", repr=False)
    location: str = field(default="", repr=False)
    refused: str = ""


def links(response: Response, base: str, asked: str) -> Links:
    """Take ``Azure-AsyncOperation`` and ``Location`` of the answer to a request, if they stay on the service's host."""
    given = [response.header(name) for name in ("azure-asyncoperation", "location")]
    status, location = (resolve(base, asked, link) if link.strip(" ") else Link() for link in given)
    refused = dict.fromkeys(link.problem for link in (status, location) if link.problem)
    return Links(status.url, location.url, " and ".join(refused))
