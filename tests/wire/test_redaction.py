"""What is signed or secret in a URL shows in no log and in no message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.azure.wire.redaction import redact_text, redact_url


def test_signatures_are_redacted_and_the_rest_stays() -> None:
    """A signed operation URL is readable in a log and useless to a thief."""
    url = "https://m/x?p=1&api-version=2024-11-01&t=T0&c=CERT&s=SIG&h=HASH&monitor=true&sig=SAS&client_secret=Q"
    shown = redact_url(url)
    assert not any(secret in shown for secret in ("T0", "CERT", "SIG&", "HASH", "SAS", "=Q"))
    assert "p=1&api-version=2024-11-01" in shown
    assert "monitor=true" in shown


def test_a_percent_encoded_name_does_not_hide_a_secret() -> None:
    """``s%69g`` is ``sig``."""
    assert "abc" not in redact_url("https://m/x?s%69g=abc")


def test_messages_lose_the_secrets_of_their_urls() -> None:
    """An exception's text that quotes a signed URL is redacted too."""
    assert "CERT" not in redact_text("Connection timeout to host https://m/x?c=CERT&s=2")


@given(st.text(max_size=60))
def test_no_url_is_too_odd(url: str) -> None:
    """Whatever stands in a header, something can be shown."""
    assert isinstance(redact_url(url), str)


NAMES = """
c s h t sig se_sig signature code pwd key sas assertion client_assertion secret client_secret token access_token
refresh_token password Password SIG
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_every_telling_name_hides_its_value(name: str) -> None:
    """A parameter is hidden by its name alone, and nothing else of the URL is touched."""
    assert redact_url(f"https://m:8443/x/y?a=1&{name}=v&b=2") == f"https://m:8443/x/y?a=1&{name}=REDACTED&b=2"


@pytest.mark.parametrize("name", ["cc", "ss", "st", "monkey", "barcode", "signal", "sas2", "api-version", "$filter"])
def test_other_names_stay(name: str) -> None:
    """A name that only contains a short telling one hides nothing: the log stays useful."""
    assert redact_url(f"https://m/x?{name}=v") == f"https://m/x?{name}=v"


def test_users_and_fragments_are_left_out() -> None:
    """A password before the host and a token after the hash are not shown."""
    assert redact_url("https://me:pw@m/x#access_token=abc") == "https://m/x"
    assert redact_url("https://a@b@m/x?c") == "https://m/x?c"


def test_an_unreadable_url_is_not_shown() -> None:
    """What cannot be taken apart cannot be redacted."""
    assert redact_url("https://[m/x?sig=abc") == "[unreadable URL]"


def test_a_text_keeps_what_is_no_url() -> None:
    """Only the URLs of a message change, each by itself."""
    text = "POST 'https://m/x?c=C&p=1', then <http://n/y?sig=S> failed: key=9"
    assert redact_text(text) == "POST 'https://m/x?c=REDACTED&p=1', then <http://n/y?sig=REDACTED> failed: key=9"
