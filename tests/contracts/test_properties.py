"""Every property of the two Run Command APIs: in the docs' table, settable from a playbook, seen by the lab."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.transport import Transport
from fleet.azure.wire.run_command import HANDLER_EXIT_CODES
from fleet.lab.arm.control import ControlPlane
from fleet.lab.wire import Request
from fleet.plan.build import Settings, build
from fleet.playbook.load import load
from fleet.run import command
from fleet.run.answers import Accepted, Refused
from fleet.targets.model import Os, Target, TargetSet
from tests.contracts import openapi
from tests.lab.desk import DAY, SUB, spec
from tests.wire.replay import serving

DOCS = Path(__file__).parents[2] / "docs" / "properties.md"
VERSIONS = ("2024-07-01", "2025-04-01")
GUID = "33333333-3333-4333-8333-333333333333"
GALLERY = f"/subscriptions/{SUB}/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/scripts/s/versions/1.0.0"
VM = f"/subscriptions/{SUB}/resourceGroups/rg-One/providers/Microsoft.Compute/virtualMachines/vm1"

PLAYBOOK = f"""
apiVersion: fleet/v1
kind: Playbook
metadata: {{name: all}}
parameters: {{secret: {{secret: true}}, change: {{}}}}
steps:
- id: script
  run: {{inline: "echo hi"}}
  env: {{TOKEN: "{{{{ params.secret }}}}"}}
  timeout: 1m
  run_as: {{user: deploy, password: "{{{{ params.secret }}}}"}}
  async: true
  fail_deployment: true
  tags: {{change: "{{{{ params.change }}}}"}}
  output:
    stdout_blob: "https://x.example/{{{{ target.name }}}}.out?{{{{ params.secret }}}}"
    stderr_blob: "https://x.example/{{{{ target.name }}}}.err"
    identity: {{client_id: {GUID}}}
- id: uri
  run: {{uri: "https://x.example/a.sh?{{{{ params.secret }}}}", identity: {{client_id: {GUID}}}}}
  parameters: {{Mode: "{{{{ params.change }}}}", Key: "{{{{ params.secret }}}}"}}
  args: ["two words"]
  output:
    stdout_blob: "https://x.example/o"
    stdout_identity: {{object_id: {GUID}}}
    stderr_blob: "https://x.example/e"
    stderr_identity: {{object_id: {GUID}}}
- id: object
  run: {{uri: "https://x.example/a.sh", identity: {{object_id: {GUID}}}}}
- id: system
  run: {{uri: "https://x.example/a.sh", identity: system}}
  output:
    stdout_blob: "https://x.example/o"
    stderr_blob: "https://x.example/e"
    identity: {{client_id: {GUID}}}
    stdout_identity: system
- id: gallery
  run: {{gallery: {GALLERY}}}
  shell: pwsh7
- id: built-in
  run: {{command_id: ifconfig}}
  transport: managed
- id: action
  run: {{inline: "echo hi"}}
  transport: action
- id: built-in-action
  run: {{command_id: ifconfig}}
  parameters: {{Mode: "{{{{ params.change }}}}"}}
"""

IDENTITY = "ManagedIdentity"
SEEN: dict[str, tuple[str, object]] = {
    "location": ("script", "westeurope"),
    "tags": ("script", {"change": "c-1"}),
    "properties.source.scriptUri": ("uri", "https://x.example/a.sh?s3cret"),
    f"properties.source.scriptUri{IDENTITY}.clientId": ("uri", GUID),
    f"properties.source.scriptUri{IDENTITY}.objectId": ("object", GUID),
    "properties.source.commandId": ("built-in", "ifconfig"),
    "properties.source.galleryScriptReferenceId": ("gallery", GALLERY),
    "properties.source.scriptShell": ("gallery", "Powershell7"),
    "properties.parameters.name": ("uri", ["Mode", ""]),
    "properties.parameters.value": ("uri", ["c-1", "'two words'"]),
    "properties.protectedParameters.name": ("uri", ["Key"]),
    "properties.protectedParameters.value": ("uri", ["s3cret"]),
    "properties.asyncExecution": ("script", True),
    "properties.runAsUser": ("script", "deploy"),
    "properties.runAsPassword": ("script", "s3cret"),
    "properties.timeoutInSeconds": ("script", 240),
    "properties.outputBlobUri": ("script", "https://x.example/vm1.out?s3cret"),
    "properties.errorBlobUri": ("script", "https://x.example/vm1.err"),
    f"properties.outputBlob{IDENTITY}.clientId": ("script", GUID),
    f"properties.errorBlob{IDENTITY}.clientId": ("script", GUID),
    f"properties.outputBlob{IDENTITY}.objectId": ("uri", GUID),
    f"properties.errorBlob{IDENTITY}.objectId": ("uri", GUID),
    "properties.treatFailureAsDeploymentFailure": ("script", True),
    "commandId": ("built-in-action", "ifconfig"),
    "parameters.name": ("built-in-action", ["Mode"]),
    "parameters.value": ("built-in-action", ["c-1"]),
}
"""Property: the step that sets it, and what the lab must have received. Scripts are wrapped: see below."""
SCRIPTS = {"properties.source.script": "script", "script": "action"}


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading of the page."""
    text = DOCS.read_text().partition(f"{heading}\n")[2].partition("\n#")[0]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def leaves(file: Path, node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every property that may be written, by its path; items of arrays by theirs."""
    if "$ref" in node:
        file, node = openapi.resolved(file, node)
    parts = [(file, part) for part in node.get("allOf", ())]
    for where, part in parts:
        yield from leaves(where, part, path)
    if "items" in node:
        yield from leaves(file, node["items"], path)
    elif node.get("properties"):
        for name, inner in node["properties"].items():
            if not inner.get("readOnly"):
                yield from leaves(file, inner, f"{path}.{name}" if path else name)
    elif not parts and path:
        yield path


def of_version(version: str, definition: str) -> set[str]:
    """Every property of a definition; what the update's base would add, one later file lacks, is taken from the earlier."""
    file = openapi.SPECS / openapi.COMPUTE.replace(VERSIONS[0], version) / "runCommand.json"
    node = dict(openapi.document(file)["definitions"][definition])
    if definition.endswith("Update"):
        node.pop("allOf")
        return {"tags", *leaves(file, node)}
    return set(leaves(file, node))


@pytest.mark.shared
@pytest.mark.skipif(not openapi.SPECS.exists(), reason="needs the OpenAPI files at ../shared/azure/specs")
def test_the_table_has_every_property_of_the_specification() -> None:
    """No property of PUT, PATCH and POST, in either api-version, is missing from the table, and none is invented."""
    told = {(name.strip("`"), call) for name, calls, _ in rows("## What is sent") for call in calls.split()}
    definitions = {
        "PUT": "VirtualMachineRunCommand",
        "PATCH": "VirtualMachineRunCommandUpdate",
        "POST": "RunCommandInput",
    }
    wanted = {
        (name, call)
        for call, definition in definitions.items()
        for version in VERSIONS
        for name in of_version(version, definition)
    }
    assert told == wanted


@pytest.mark.shared
@pytest.mark.skipif(not openapi.SPECS.exists(), reason="needs the OpenAPI files at ../shared/azure/specs")
def test_the_table_has_every_field_of_the_instance_view() -> None:
    """No field of the instance view is missing from the page, and none is invented."""
    file = openapi.SPECS / openapi.COMPUTE / "runCommand.json"
    fields = openapi.document(file)["definitions"]["VirtualMachineRunCommandInstanceView"]["properties"]
    assert {name.strip("`") for name, _ in rows("## What is read")} == set(fields)


@pytest.mark.shared
@pytest.mark.skipif(not openapi.SPECS.exists(), reason="needs the OpenAPI files at ../shared/azure/specs")
@pytest.mark.parametrize(
    ("heading", "file", "definition"),
    [
        ("### The result of an action", "runCommand.json", "RunCommandResult"),
        ("### A status", "computeRPCommon.json", "InstanceViewStatus"),
        ("### An error", "../../../common-types/v1/common.json", "CloudError"),
    ],
)
def test_the_tables_have_every_field_of_what_is_read(heading: str, file: str, definition: str) -> None:
    """No field of a result, a status or an error is missing from the page, and none is invented."""
    place = (openapi.SPECS / openapi.COMPUTE / file).resolve()
    fields = set(
        read_fields(place, openapi.document(place)["definitions"][definition], definition != "RunCommandResult")
    )
    assert {name.strip("`") for name, _ in rows(heading)} == fields


def read_fields(file: Path, node: dict[str, Any], deep: bool, path: str = "") -> Iterator[str]:
    """Every property of what is read, by its path; those of a list's items unless they have a table of their own."""
    if "$ref" in node:
        file, node = openapi.resolved(file, node)
    if deep and "items" in node:
        yield from read_fields(file, node["items"], deep, path)
    elif "properties" in node:
        for name, inner in node["properties"].items():
            yield from read_fields(file, inner, deep, f"{path}.{name}" if path else name)
    else:
        yield path


def test_every_row_of_the_table_is_put_to_the_proof() -> None:
    """The table and the properties that the test below sends are the same, with or without the OpenAPI files."""
    assert {name.strip("`") for name, *_ in rows("## What is sent")} == {*SEEN, *SCRIPTS}


def test_the_page_has_every_exit_code_of_the_handler() -> None:
    """The handler's own exit codes stand on the page with the meaning that rows give them."""
    assert {int(code): text for code, text in rows("### Negative exit codes")} == dict(HANDLER_EXIT_CODES)


def found(body: Any, path: str) -> Any:
    """What stands at a path of a body; of arrays, what each item has."""
    for index, name in enumerate(parts := path.split(".")):
        if isinstance(body, list):
            return [found(item, ".".join(parts[index:])) for item in body]
        assert name in body, f"{path} is not in {json.dumps(body)[:300]}"
        body = body[name]
    return body


async def received() -> dict[tuple[str, str], tuple[Any, str]]:
    """Send every step to a lab over HTTP, as PUT or POST and then as PATCH: bodies and versions by step and method."""
    plane = ControlPlane(spec(), sandboxed=False)
    bodies: dict[tuple[str, str], tuple[Any, str]] = {}
    step, now = "", DAY

    async def answer(request: web.BaseRequest) -> web.Response:
        content = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        told = plane.handle(
            Request(request.method, request.path, request.raw_path, dict(request.query), headers, content), now
        )
        bodies[step, request.method] = json.loads(content), request.query["api-version"]
        return web.Response(status=told.status, body=told.body, headers=told.headers)

    playbook = load(PLAYBOOK, file="all.yaml", read_script=str)
    target = Target(VM, SUB, "one", "rg-One", "vm1", "westeurope", Os.LINUX)
    plan = build(playbook, TargetSet((target,)), {"change": "c-1"}, Settings())
    async with serving(answer) as base, Transport(base, StaticTokens("t")) as transport:
        plane.base, cloud = base, AzureCloud(transport)
        for job in plan.jobs():
            step = job.step.id
            sent = command.build(plan, "run", job, {"secret": "s3cret"})
            first = (await cloud.submit(sent)).answer
            assert isinstance(first, (Accepted, Refused)), first
            assert isinstance(first, Accepted), first
            now += 600
            plane.life.advance(now)
            if sent.transport.value == "managed":
                assert isinstance((await cloud.submit(replace(sent, update=True))).answer, Accepted)
    return bodies


def test_every_property_is_seen_on_the_wire() -> None:
    """What a playbook says about each property is in the body that the lab receives and accepts, by PUT, PATCH or POST."""
    bodies = asyncio.run(received())
    for path, (step, value) in SEEN.items():
        for method in ("POST",) if path.partition(".")[0] in ("commandId", "parameters") else ("PUT", "PATCH"):
            body, _ = bodies[step, method]
            if (path, method) == ("location", "PATCH"):
                assert "location" not in body
            else:
                assert found(body, path) == value, (path, method)
    assert "echo hi" in _unwrapped(found(bodies["script", "PUT"][0], "properties.source.script"))
    assert "echo hi" in _unwrapped("\n".join(found(bodies["action", "POST"][0], "script")))
    assert found(bodies["system", "PUT"][0], "properties.source.scriptUriManagedIdentity") == {}
    assert found(bodies["system", "PUT"][0], "properties.outputBlobManagedIdentity") == {}
    assert found(bodies["system", "PUT"][0], "properties.errorBlobManagedIdentity") == {"clientId": GUID}


def test_only_what_needs_a_later_api_version_asks_with_it() -> None:
    """Clouds get new api-versions late: only gallery scripts and PowerShell 7 ask with 2025-04-01."""
    versions = {step: version for (step, _), (_, version) in asyncio.run(received()).items()}
    assert {step for step, version in versions.items() if version == "2025-04-01"} == {"gallery"}


def _unwrapped(script: str) -> str:
    from fleet.guest import envelope

    opened = envelope.open(script, {})
    assert opened is not None
    return opened.script
