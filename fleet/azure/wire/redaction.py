"""URLs fit for logs and messages: what is signed or secret in them is hidden."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

_SECRET = re.compile(
    r"^(c|s|h|t|signature|code|pwd|key|sas)$|assertion|secret|token|password|sig$",
    re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """Return a URL fit for logs: user and the values of signed or secret query parameters hidden, the rest
    as it is.

    Operation URLs carry a certificate chain and signatures in ``t``, ``c``, ``s``, ``h`` (recorded since
    2023-10).
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "[unreadable URL]"
    pairs = [_redact_pair(pair) for pair in parts.query.split("&")] if parts.query else []
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, parts.path, "&".join(pairs), ""))


def _redact_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}{equals}REDACTED" if equals and _SECRET.search(unquote(name)) else pair


def redact_text(text: str) -> str:
    """Return a message in which every URL is redacted."""
    return re.sub(r"https?://[^\s'\"<>]+", lambda found: redact_url(found.group()), text)
