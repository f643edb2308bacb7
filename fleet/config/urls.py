"""URLs that people write."""

from __future__ import annotations

from urllib.parse import urlsplit

from fleet.config.loopback import is_loopback
from fleet.documents.read import refusal


def service_url(value: str) -> str:
    """Let the URL of a service through. Raises a refusal for one with user, query or fragment, and for plain http."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise refusal("url", "is not a URL", expected="a URL that begins with https://") from None
    if parts.scheme not in ("https", "http") or not host or "@" in parts.netloc or parts.query or parts.fragment:
        expected = "a URL that begins with https://, without user, query and fragment"
        raise refusal("url", "is not the URL of a service", expected=expected)
    if parts.scheme == "http" and not is_loopback(host):
        raise refusal(
            "url",
            "must be https: plain http is for this machine only",
            expected="https://",
            hint="write https://",
        )
    return value
