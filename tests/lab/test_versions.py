"""Api-versions: which the lab knows for each type, and how it refuses others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.arm.routes import ROUTES
from fleet.lab.arm.versions import refusal_of, type_of
from tests.lab.desk import SUB, Desk, code, decoded, spec

GROUP = f"/subscriptions/{SUB}/resourceGroups/rg-One"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1"
INSTANCE = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/set1/virtualMachines/0"
ARC = f"{GROUP}/providers/Microsoft.HybridCompute/machines/arc1"
HERE = f"/subscriptions/{SUB}/providers/Microsoft.Compute"
BODY = {"location": "westeurope", "properties": {"source": {"script": "true"}}}


def desk() -> Desk:
    return Desk(spec(scale_sets=[{"name": "set1", "guest": "scripted"}], arc=[{"name": "arc1", "guest": "scripted"}]))


@pytest.mark.parametrize(
    ("method", "url", "refused", "named"),
    [
        ("GET", "/subscriptions", "400 InvalidApiVersionParameter", "The api-version '2099-01-01' is invalid. "),
        ("GET", GROUP, "400 InvalidApiVersionParameter", "The supported versions are '2025-"),
        ("GET", VM, "400 NoRegisteredProviderFound", "location 'westeurope' and API version '2099-01-01' for type"),
        ("GET", f"{VM}/runCommands", "400 NoRegisteredProviderFound", "type 'virtualMachines/runCommands'"),
        ("PUT", f"{VM}/runCommands/c", "400 NoRegisteredProviderFound", "The supported locations are 'westeurope'."),
        ("POST", f"{VM}/runCommand", "400 NoRegisteredProviderFound", "type 'virtualMachines'"),
        ("GET", INSTANCE, "400 NoRegisteredProviderFound", "type 'virtualMachineScaleSets/virtualMachines'"),
        ("GET", f"{ARC}/runCommands", "400 NoRegisteredProviderFound", "type 'machines/runCommands'"),
        ("GET", f"{HERE}/virtualMachines", "404 InvalidResourceType", "in the namespace 'Microsoft.Compute' for api"),
        ("GET", f"{HERE}/locations/westeurope/runCommands", "400 NoRegisteredProviderFound", "'locations/runCommands'"),
        ("POST", "/providers/Microsoft.ResourceGraph/resources", "404 InvalidResourceType", "2022-10-01, 2024-04-01'"),
    ],
)
def test_an_unknown_version_is_refused_with_those_that_are_known(
    method: str, url: str, refused: str, named: str
) -> None:
    """ARM's own types, resources with a location and lists each have their code; the message lists the versions."""
    answer = desk().send(method, f"{url}?api-version=2099-01-01", BODY if method != "GET" else None)
    assert code(answer) == refused
    assert named in decoded(answer)["error"]["message"]
    assert answer.headers["x-ms-failure-cause"] == "gateway"


@pytest.mark.parametrize(
    ("url", "known", "unknown"),
    [
        (f"{VM}/runCommands", ["2021-07-01", "2024-07-01", "2026-04-01"], ["2017-03-30", "2020-06-01", "2024-07-10"]),
        (VM, ["2017-03-30", "2025-11-01"], ["2025-01-13"]),
        (f"{ARC}/runCommands", ["2025-01-13", "2024-05-20-preview"], ["2024-07-10", "2022-12-27", "2024-07-01"]),
        (ARC, ["2024-07-10", "2022-12-27"], ["2024-07-01"]),
        ("/subscriptions", ["2016-06-01", "2022-12-01"], ["2024-07-10"]),
    ],
)
def test_each_type_has_versions_of_its_own(url: str, known: list[str], unknown: list[str]) -> None:
    """A version of the provider is not one of every type: commands came later than the machines that run them."""
    statuses = [desk().send("GET", f"{url}?api-version={version}").status for version in (*known, *unknown)]
    assert statuses == [200] * len(known) + [400] * len(unknown)


@pytest.mark.parametrize(
    ("version", "properties", "member"),
    [
        ("2022-11-01", {"treatFailureAsDeploymentFailure": True}, "treatFailureAsDeploymentFailure"),
        ("2024-11-01", {"source": {"scriptShell": "Powershell7"}}, "scriptShell"),
        ("2024-11-01", {"source": {"galleryScriptReferenceId": "/x"}}, "galleryScriptReferenceId"),
    ],
)
def test_a_property_that_is_younger_than_the_version_is_refused(
    version: str, properties: dict[str, object], member: str
) -> None:
    """A version does not know what came later; the newest takes all of it."""
    body = {"location": "westeurope", "properties": properties}
    url = f"{VM}/runCommands/c?api-version="
    refused = desk().send("PUT", url + version, body)
    assert code(refused) == "400 InvalidParameter"
    assert f"Could not find member '{member}'" in decoded(refused)["error"]["message"]
    assert desk().send("PUT", f"{url}2025-04-01", body).status == 201


@given(st.sampled_from(ROUTES), st.dates())
def test_a_version_is_taken_exactly_where_it_is_listed(route: object, date: object) -> None:
    """Whatever the request, a version is refused just if its type does not list it."""
    kind = type_of(route.call, route.pattern.pattern)  # type: ignore[attr-defined]
    assert (refusal_of(kind, str(date), "", ()) is None) == (str(date) in kind.versions)
    assert all(refusal_of(kind, version.upper(), "x", ()) is None for version in kind.versions)
