"""Why no token came: the texts of Entra, of its library and of TLS become one sentence and a hint."""

from __future__ import annotations

import pytest

from fleet.azure.wire import entra

SECRET = (
    "Authentication failed: AADSTS7000215: Invalid client secret provided. Ensure that it is the value. "
    "Trace ID: 1 Correlation ID: 2 Timestamp: 2025-01-01 00:00:00Z\nTo mitigate this issue, see https://aka.ms/x"
)
TENANT = (
    "Authentication failed: Unable to get authority configuration for https://login.example/t-1. Authority would "
    "typically be in a format of https://login.example/your_tenant. Also please double check your tenant name."
)
TLS = "SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in chain')"


@pytest.mark.parametrize(
    ("text", "sentence", "next_"),
    [
        (SECRET, "AADSTS7000215: Invalid client secret provided. Ensure that it is the value.", "the secret's value"),
        (TENANT, "the sign-in service knows no tenant at https://login.example/t-1", "--tenant"),
        (TLS, "the certificate of the sign-in service is of an authority that is not trusted here", "azure.ca_file"),
        ("Please run\n  'az login'", "Please run 'az login'", ""),
        ("AADSTS999999: unheard of. Trace ID: 5", "AADSTS999999: unheard of.", ""),
    ],
)
def test_why_there_is_no_token(text: str, sentence: str, next_: str) -> None:
    """One sentence without trace ids, and what to do where that is known."""
    assert entra.reason(text) == sentence
    assert next_ in entra.hint(text)
    assert bool(entra.hint(text)) == bool(next_)


def test_a_long_reason_is_cut() -> None:
    """A page of HTML from somewhere does not fill the screen."""
    assert len(entra.reason("x " * 5000)) <= 600
