"""A standing command's change, as the REST reference writes it: each property in the playbook, on the wire, in the lab."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.contracts import openapi
from tests.system.between import Between, between
from tests.system.cli import Done, Here, LabUp, Machine
from tests.system.conftest import Labs

GROUP = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/myResourceGroup"
VMS = f"{GROUP}/providers/Microsoft.Compute/virtualMachines"
SAMPLE = openapi.SPECS / openapi.COMPUTE / "examples/runCommandExamples/VirtualMachineRunCommand_Update.json"
WRITE_ONLY = ("runAsPassword", "protectedParameters")
"""Secrets, which the service never gives back (documented)."""

EVERYTHING = {
    "tags": {"change": "c-17"},
    "properties": {
        "source": {"script": "Get-Service\tW32Time | Restart-Service"},
        "parameters": [{"name": "Mode", "value": "fast"}, {"name": "Depth", "value": "2"}],
        "protectedParameters": [{"name": "Token", "value": "s3cret"}],
        "asyncExecution": False,
        "runAsUser": "operator",
        "runAsPassword": "pw-7",
        "timeoutInSeconds": 5400,
        "treatFailureAsDeploymentFailure": False,
        "outputBlobUri": "https://logs.blob.core.windows.net/runs/out.txt",
        "outputBlobManagedIdentity": {"clientId": "33333333-3333-4333-8333-333333333333"},
        "errorBlobUri": "https://logs.blob.core.windows.net/runs/err.txt",
        "errorBlobManagedIdentity": {"objectId": "44444444-4444-4444-8444-444444444444"},
    },
}
IDS = {"clientId": "client_id", "objectId": "object_id"}


def playbook(name: str, wanted: dict[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    """Write what a body asks for as a playbook, with secret parameters of these names and values."""
    given = wanted["properties"]
    names = {value: f"{{{{ params.{name} }}}}" for name, value in secrets.items()}
    env = {item["name"]: item["value"] for item in given["parameters"]}
    for item in given.get("protectedParameters", []):
        env[item["name"]] = names[item["value"]]
    output = {"stdout_blob": given["outputBlobUri"], "stderr_blob": given["errorBlobUri"]}
    for stream, key in (("output", "stdout_identity"), ("error", "stderr_identity")):
        if identity := given.get(f"{stream}BlobManagedIdentity"):
            output[key] = {IDS[which]: guid for which, guid in identity.items()}
    step = {
        "id": "sample",
        "run": {"inline": given["source"]["script"]},
        "command": name,
        "env": env,
        "async": given["asyncExecution"],
        "run_as": {"user": given["runAsUser"], "password": names[given["runAsPassword"]]},
        "timeout": f"{given['timeoutInSeconds']}s",
        "output": output,
    }
    if "treatFailureAsDeploymentFailure" in given:
        step["fail_deployment"] = given["treatFailureAsDeploymentFailure"]
    if "tags" in wanted:
        step["tags"] = wanted["tags"]
    return {
        "apiVersion": "fleet/v1",
        "kind": "Playbook",
        "metadata": {"name": "sample"},
        "parameters": {name: {"secret": True} for name in secrets},
        "steps": [step],
    }


def request(url: str, method: str = "GET", body: object = None) -> Any:
    """Ask the lab as any other client would."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer t", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method=method)) as answer:
        return json.load(answer)


def resource(lab: LabUp, name: str, vm: str = "myVM") -> str:
    return f"{lab.url}{VMS}/{vm}/runCommands/{name}?api-version=2024-07-01"


def make(lab: LabUp, name: str, vm: str = "myVM", **properties: object) -> None:
    """Put a command on a VM before Fleet comes."""
    body = {"location": "westus", "properties": {"source": {"script": "Write-Host before"}, **properties}}
    request(resource(lab, name, vm), "PUT", body)


def written(machine: Machine, name: str, value: str) -> str:
    """Write a secret into a file of its own, whose name is returned."""
    (machine.cwd / name).write_text(value)
    return name


def run(here: Here, machine: Machine, door: Between, play: object, vm: str, *given: str) -> Done:
    (machine.cwd / "play.yaml").write_text(json.dumps(play))
    return here("run", "play.yaml", door.flag, "-y", "-o", "json", "-l", vm, *given)


def changed(here: Here, machine: Machine, lab: LabUp, name: str, wanted: dict[str, Any], **secrets: str) -> Any:
    """Run the playbook of a body over a command that is there: what was sent, in whole."""
    make(lab, name)
    play = playbook(name, wanted, secrets)
    with between(lab.url) as door:
        given = [word for name, value in secrets.items() for word in ("-e", f"{name}=@{written(machine, name, value)}")]
        done = run(here, machine, door, play, "myVM", *given)
    assert done.report["jobs"], done.err
    (sent,) = door.bodies("PATCH", f"{VMS}/myVM/runCommands/{name}?")
    return json.loads(sent)


def assert_kept(lab: LabUp, name: str, wanted: dict[str, Any]) -> None:
    """Every property that was sent is read back, but for what is a secret."""
    kept = request(resource(lab, name))
    given = {key: value for key, value in wanted["properties"].items() if key not in WRITE_ONLY}
    assert {key: kept["properties"].get(key) for key in given} == given
    assert not set(WRITE_ONLY) & set(kept["properties"])
    assert kept.get("tags", {}) == wanted.get("tags", {})


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts go as they are, so that their parameters are the playbook's."""
    monkeypatch.setenv("FLEET_RUN_RECEIPTS", "false")


@pytest.mark.shared
@pytest.mark.skipif(not SAMPLE.exists(), reason="needs the OpenAPI files at ../shared/azure/specs")
def test_the_references_own_change_can_be_written_word_for_word(
    here: Here, machine: Machine, labs: Labs, bare: None
) -> None:
    """The body on the wire is the sample's, property by property, values included, and the lab keeps all of it.

    The path has the lab's subscription in place of ``{subscription-id}``, and the api-version that Fleet asks with.
    """
    sample = json.loads(SAMPLE.read_text(encoding="utf-8"))["parameters"]
    wanted = sample["runCommand"]
    assert (sample["resourceGroupName"], sample["vmName"]) == ("myResourceGroup", "myVM")
    password = wanted["properties"]["runAsPassword"]
    sent = changed(here, machine, labs("samples"), sample["runCommandName"], wanted, password=password)
    assert sent == wanted
    assert_kept(labs("samples"), sample["runCommandName"], wanted)


def test_every_property_of_a_change_can_be_written(here: Here, machine: Machine, labs: Labs, bare: None) -> None:
    """Each property that a PATCH takes is sent as the playbook has it, nothing else is, and the lab keeps all of it."""
    sent = changed(here, machine, labs("samples"), "everything", EVERYTHING, password="pw-7", token="s3cret")
    assert sent == EVERYTHING
    assert_kept(labs("samples"), "everything", EVERYTHING)


BARE: dict[str, Any] = {"id": "s", "run": {"inline": "hostname"}, "command": "c", "timeout": "60s"}
OFF: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "fail_deployment": ({"fail_deployment": False}, {"properties.treatFailureAsDeploymentFailure": False}),
    "async": ({"async": False}, {"properties.asyncExecution": False}),
    "tags": ({"tags": {}}, {"tags": {}}),
    "env": ({"env": {}}, {"properties.parameters": [], "properties.protectedParameters": []}),
    "args": ({"args": []}, {"properties.parameters": [], "properties.protectedParameters": []}),
}
BEFORE = {
    "parameters": [{"name": "A", "value": "1"}],
    "asyncExecution": True,
    "treatFailureAsDeploymentFailure": True,
    "outputBlobUri": "https://x.example/o",
}


@pytest.mark.parametrize("name", OFF)
def test_what_a_step_names_as_off_is_switched_off(
    here: Here, machine: Machine, labs: Labs, bare: None, name: str
) -> None:
    """A change holds false and empty values that the step names; what it does not name stays as it was on the VM."""
    lab, command = labs("samples"), f"off-{name.replace('_', '-')}"
    make(lab, command, "lin1", **BEFORE)
    before = request(resource(lab, command, "lin1"))["properties"]
    named, sent = OFF[name]
    play = {"apiVersion": "fleet/v1", "kind": "Playbook", "metadata": {"name": "off"}}
    with between(lab.url) as door:
        run(here, machine, door, {**play, "steps": [{**BARE, "command": command, **named}]}, "lin1")
    body = json.loads(*door.bodies("PATCH", f"/{command}?"))
    expected: dict[str, Any] = {"properties": {"source": {"script": "hostname"}, "timeoutInSeconds": 60}}
    for path, value in sent.items():
        inside, _, key = path.rpartition(".")
        (expected[inside] if inside else expected)[key] = value
    assert body == expected
    after = request(resource(lab, command, "lin1"))["properties"]
    kept = set(BEFORE) - {path.rpartition(".")[2] for path in sent}
    assert {key: after.get(key) for key in kept} == {key: before[key] for key in kept}


def test_a_new_command_gets_no_empty_lists(here: Here, machine: Machine, labs: Labs, bare: None) -> None:
    """Where a command is made, there is nothing to clear: its PUT holds what is named and has a value, or is false."""
    lab = labs("samples")
    play = {"apiVersion": "fleet/v1", "kind": "Playbook", "metadata": {"name": "new"}}
    with between(lab.url) as door:
        step = {**BARE, "command": "new", "env": {}, "fail_deployment": False}
        run(here, machine, door, {**play, "steps": [step]}, "lin2")
    properties = json.loads(*door.bodies("PUT", "/new?"))["properties"]
    assert properties == {
        "source": {"script": "hostname"},
        "timeoutInSeconds": 60,
        "asyncExecution": False,
        "treatFailureAsDeploymentFailure": False,
    }
