"""Api-versions: one table, which the docs and the settings agree with, and what is said where a cloud lacks one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fleet.azure.wire
from fleet.azure.advice import hint_for
from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.preflight import AzurePreflight
from fleet.azure.reading import Unread, read_list
from fleet.azure.transport import Transport
from fleet.azure.wire import compute, hybrid, locks, maintenance, preflight, resource_graph, run_command
from fleet.azure.wire.http import Request
from fleet.azure.wire.versions import DEFAULTS, Api, asked_with, version_hint
from fleet.config import schema
from fleet.playbook.model import Transport as Way
from fleet.run.answers import Command, Refused
from fleet.targets.model import Os, Target
from tests.wire.replay import Script, arm, serving

DOCS = Path(__file__).parents[2] / "docs"
GROUP = "/subscriptions/s/resourceGroups/g/providers"
VM = Target(f"{GROUP}/Microsoft.Compute/virtualMachines/v", "s", "one", "g", "v", "westus", Os.LINUX)
ARC = Target(f"{GROUP}/Microsoft.HybridCompute/machines/m", "s", "one", "g", "m", "westus", Os.LINUX)
OTHERS = {api: f"201{number}-02-03-preview" for number, api in enumerate(Api)}
GALLERY = Command(VM, Way.MANAGED, name="n", gallery=f"{GROUP}/Microsoft.Compute/galleries/g/scripts/s")

REQUESTS: dict[Api, list[Request]] = {
    Api.COMPUTE: [
        compute.list_vms("s", status_only=True),
        compute.list_scale_sets("s"),
        compute.list_instances("/x"),
        compute.vm_view(VM),
        run_command.submission(Command(VM, Way.ACTION, name="n", script="x")),
        run_command.submission(Command(VM, Way.MANAGED, name="n", script="x")),
        run_command.submission(Command(VM, Way.MANAGED, name="n", script="x", update=True)),
        run_command.reading(run_command.resource_id(VM, "n")),
        run_command.listing(VM),
        run_command.removal(VM, "n"),
    ],
    Api.HYBRID_COMPUTE: [
        hybrid.list_machines("s"),
        hybrid.reading(ARC),
        run_command.submission(Command(ARC, Way.MANAGED, name="n", script="x")),
        run_command.removal(ARC, "n"),
    ],
    Api.RESOURCE_GRAPH: [resource_graph.question(["s"]), maintenance.question("resources", ["s"])],
    Api.SUBSCRIPTIONS: [compute.list_subscriptions()],
    Api.AUTHORIZATION: [preflight.permissions("/subscriptions/s")],
    Api.LOCKS: [locks.listing("s")],
    Api.GALLERY_SCRIPTS: [run_command.submission(GALLERY)],
}


@pytest.mark.parametrize("api", Api)
def test_every_request_is_asked_with_the_version_of_its_key(api: Api) -> None:
    """The default without a setting, and the set one with it; the rest of the address stays as it is."""
    for request in REQUESTS[api]:
        assert request.target.endswith(f"api-version={DEFAULTS[api]}")
        assert asked_with(request, {}) == request
        other = asked_with(request, {api: "2030-01-01"})
        assert other.target == request.target.replace(DEFAULTS[api], "2030-01-01")


def test_gallery_scripts_are_asked_with_the_later_one() -> None:
    """A cloud whose compute is later than the first that knows them is asked with that."""
    [request] = REQUESTS[Api.GALLERY_SCRIPTS]
    for compute_version, sent in (("2026-01-01", "2026-01-01"), ("2021-07-01", "2025-04-01")):
        assert asked_with(request, {Api.COMPUTE: compute_version}).target.endswith(f"={sent}")


def test_a_link_of_the_service_keeps_its_version() -> None:
    """It goes out as it came."""
    link = Request("GET", "https://management.azure.com/x?api-version=2024-11-01", api=Api.COMPUTE)
    assert asked_with(link, {Api.COMPUTE: "2020-01-01"}) == link


def test_no_version_stands_beside_the_table() -> None:
    """No other module of the wire writes an api-version of its own."""
    folder = Path(fleet.azure.wire.__file__).parent
    for file in [*folder.glob("*.py"), *folder.parent.glob("*.py")]:
        if file.name not in ("versions.py", "blobs.py"):  # Storage has versions of its own, in a header
            assert not re.search(r"api-version\"|\"\d{4}-\d{2}-\d{2}\"", file.read_text()), file


def test_the_docs_and_the_settings_agree_with_the_table() -> None:
    """The page names each key with its default, and the settings take these keys and tell these defaults."""
    page = (DOCS / "api-versions.md").read_text()
    assert dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", page, re.MULTILINE)) == {**DEFAULTS}
    fields = schema.ApiVersions.model_fields
    assert list(fields) == [api.value for api in Api]
    for name, field in fields.items():
        assert re.search(r"None: (\d{4}-\d\d-\d\d)", field.description or "") is not None
        assert DEFAULTS[Api(name)] in (field.description or "")


@pytest.mark.asyncio
async def test_the_set_versions_are_on_the_wire() -> None:
    """Reads, submissions and removals of one transport all go out with what was set."""
    script = Script([arm(404) for _ in range(6)])
    chosen = {Api.COMPUTE: "2020-06-01", Api.HYBRID_COMPUTE: "2024-07-10"}
    async with serving(script.answer) as base, Transport(base, StaticTokens("t"), versions=chosen) as transport:
        cloud = AzureCloud(transport)
        await cloud.submit(Command(VM, Way.ACTION, name="n", script="x"))
        await cloud.remove(VM, "n")
        await cloud.remove(ARC, "n")
        await read_list(transport, compute.list_vms("s"), _never)
    sent = [path.rpartition("=")[2] for _, path, _, _ in script.asked]
    assert sent == ["2020-06-01", "2020-06-01", "2024-07-10", "2020-06-01"]


LISTED = (
    "No registered resource provider found for location 'westeurope' and API version '2024-11-01' for type "
    "'virtualMachines'. The supported api-versions are '2015-06-15, 2016-03-30, 2017-03-30, 2017-12-01, 2019-07-01, "
    "2020-06-01'. The supported locations are 'local'."
)
PARAMETER = "The api-version '2024-11-01' is invalid. The supported versions are '2020-06-01,2019-12-01-preview'."


@pytest.mark.parametrize(
    ("code", "message", "api", "hint"),
    [
        (
            "NoRegisteredProviderFound",
            LISTED,
            "compute",
            "azure.api_versions.compute in the config to an api-version that this cloud has: "
            "2020-06-01, 2019-07-01, 2017-12-01, 2017-03-30, 2016-03-30 and 1 older",
        ),
        ("InvalidApiVersionParameter", PARAMETER, "subscriptions", "azure.api_versions.subscriptions in"),
        ("InvalidApiVersionParameter", PARAMETER, "compute", "2020-06-01, 2019-12-01-preview"),
        (
            "InvalidResourceType",
            "The resource type 'machines' could not be found in the namespace 'Microsoft.HybridCompute' for api version 'x'.",
            "",
            "set azure.api_versions.hybrid_compute in the config to an api-version that this cloud has",
        ),
    ],
)
def test_a_missing_version_names_what_the_cloud_has_and_the_key(code: str, message: str, api: str, hint: str) -> None:
    """The newest ones first, and the key of what was asked."""
    assert hint in version_hint(code, message, api)
    assert hint in hint_for(Unread(400, code, message, api))


def test_another_error_has_no_hint_about_versions() -> None:
    """A list of versions in another error means nothing."""
    assert version_hint("Conflict", LISTED, "compute") == ""


@pytest.mark.asyncio
async def test_a_404_about_the_version_is_not_a_vm_that_is_gone() -> None:
    """InvalidResourceType is a 404 as well: nothing was deleted, and no command removed."""
    error = {"error": {"code": "InvalidResourceType", "message": "The resource type could not be found."}}
    script = Script([arm(404, error) for _ in range(2)])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        assert isinstance((await AzureCloud(transport).remove(VM, "n")).answer, Refused)
        [condition] = await AzurePreflight(transport, pause=_never).conditions([VM], commands=False)
    assert not condition.gone
    assert "azure.api_versions.compute" in condition.why


async def _never(seconds: float) -> None:
    raise AssertionError("none of these is tried again")
