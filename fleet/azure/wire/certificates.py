"""What is wrong with a certificate that was not accepted, by OpenSSL's words, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a certificate: ``what`` follows its subject in a sentence."""

    what: str
    hint: str


_AUTHORITY = "set azure.ca_file to the PEM file of the proxy's or private cloud's certificate authority"
_FAULTS: tuple[tuple[str, Fault], ...] = (
    (
        r"hostname mismatch|ip address mismatch|certificate is not valid for|doesn't match",
        Fault(
            "is for another host name",
            "check the addresses in azure.cloud and the proxy: the certificate names other hosts than the one asked",
        ),
    ),
    (
        r"not yet valid",
        Fault(
            "is not valid yet",
            "check this machine's clock; if it is right, whoever runs the service or the proxy must replace the certificate",
        ),
    ),
    (
        r"has expired|certificate expired",
        Fault(
            "has expired",
            "check this machine's clock; if it is right, whoever runs the service or the proxy must replace the certificate",
        ),
    ),
    (
        r"certificate (has been )?revoked",
        Fault("was revoked", "whoever runs the service or the proxy must replace the certificate"),
    ),
    (
        r"self[- ]signed certificate in (certificate )?chain",
        Fault("is of an authority that is not trusted here", _AUTHORITY),
    ),
    (
        r"self[- ]signed certificate",
        Fault(
            "is signed by itself and not trusted here",
            "check that it is the service's own, then set azure.ca_file to a PEM file that holds this certificate",
        ),
    ),
)
_UNKNOWN = Fault("is of an authority that is not trusted here", _AUTHORITY)
_REFUSED = re.compile(
    r"certificate_verify_failed|certificate verify failed|cannot connect to host [^\n]*certificateerror"
)


def fault_of(text: str) -> Fault | None:
    """Return what is wrong with a certificate, by the text of a failed connection; None if that is not why it failed.

    Trying again does not help. Words that are not known are taken for an authority that is not trusted.
    """
    words = text.casefold()
    if not _REFUSED.search(words):
        return None
    return next((fault for pattern, fault in _FAULTS if re.search(pattern, words)), _UNKNOWN)
