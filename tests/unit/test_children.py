"""Programs that Fleet starts get no more of the environment than they need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import children
from fleet.azure import az
from fleet.logs import conceal

SECRETS = (
    "FLEET_VAR_TOKEN", "GATE_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "AZURE_FEDERATED_TOKEN_FILE",
    "ARM_CLIENT_SECRET", "azure_client_secret", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_VARIABLE", "SECRET_PATH",
)  # fmt: skip
WINDOWS = ("Path", "UserProfile", "AppData", "SystemRoot", "ComSpec", "ProgramFiles(x86)", "TEMP", "PATHEXT")


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_secret_by_its_name_is_not_handed_on(name: str) -> None:
    """Whatever its value is; neither to az nor to any other program."""
    assert name not in az.environment({name: "value-of-it"}) and children.environment({name: "value-of-it"}) == {}


def test_a_setting_of_az_that_holds_a_concealed_value_is_not_handed_on() -> None:
    """Settings may name any variable for a secret; a proxy keeps its password, as az could reach nothing without."""
    conceal("a-concealed-value")
    given = {"AZURE_CORE_X": "user:a-concealed-value", "HTTPS_PROXY": "http://u:a-concealed-value@proxy:8080"}
    assert az.environment(given) == {"HTTPS_PROXY": given["HTTPS_PROXY"], "AZURE_CORE_NO_COLOR": "true"}


@pytest.mark.parametrize("name", [*WINDOWS, "PATH", "HOME", "LC_CTYPE", "TMPDIR"])
def test_what_every_program_needs_is_handed_on(name: str) -> None:
    """Names are compared without regard to case, as Windows does."""
    assert children.environment({name: "x"}) == {name: "x"}
    assert az.environment({name: "x"}) == {name: "x", "AZURE_CORE_NO_COLOR": "true"}


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=5)))
def test_nothing_is_made_up(variables: dict[str, str]) -> None:
    """What is handed on is as it was given."""
    handed = az.environment(variables)
    assert handed.items() <= {**variables, "AZURE_CORE_NO_COLOR": "true"}.items()


@pytest.mark.parametrize("scope", ["https://management.azure.com; rm -rf /", "", "a b", 'x"y'])
def test_az_is_asked_for_nothing_odd(scope: str) -> None:
    """On Windows its words go through a shell."""
    with pytest.raises(az.AzFailed, match="is not a resource or tenant"):
        az.token(scope, None, {"PATH": "/nowhere"})
