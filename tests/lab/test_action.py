"""The action API of the lab, as the real service answers it."""

from __future__ import annotations

import json

import pytest

from tests.lab.desk import BASE, SUB, Desk, code, decoded, spec


def test_acceptance_has_both_urls_and_no_body() -> None:
    """A submission is accepted with 202, an empty body, both URLs, its id, and no Retry-After (recorded)."""
    answer = Desk(spec(url_length=3264)).run()
    headers = answer.headers
    assert (answer.status, answer.body) == (202, b"")
    operation = headers["Azure-AsyncOperation"]
    place = f"{BASE}/subscriptions/{SUB}/providers/Microsoft.Compute/locations/westeurope/operations/"
    assert operation.startswith(place + headers["x-ms-request-id"] + "?p=")
    assert "&monitor=true&" in headers["Location"]
    assert headers["Azure-AsyncNotification"] == "Enabled"
    assert "Retry-After" not in headers
    assert len(operation) == 3264


def test_polls_have_the_recorded_bytes() -> None:
    """A running operation is 200, indented by two with CRLF, its keys in recorded order."""
    desk = Desk(spec())
    answer = desk.send("GET", desk.run().headers["Azure-AsyncOperation"])
    id = decoded(answer)["name"]
    text = '{\r\n  "startTime": "2026-01-01T00:00:00+00:00",\r\n  "status": "InProgress",\r\n  "name": "' + id
    assert answer.status == 200
    assert answer.body.decode() == text + '"\r\n}'


def test_result_on_linux() -> None:
    """Success carries one status whose message holds both streams; the exit code is nowhere."""
    desk = Desk(spec({"name": "vm1", "rules": [{"stdout": "hi {name}\n", "stderr": "oh\n", "exit": 3}]}))
    accepted = desk.run()
    desk.wait(300)
    answer = desk.send("GET", accepted.headers["Azure-AsyncOperation"])
    state = decoded(answer)
    message = "Enable succeeded: \n[stdout]\nhi vm1\n\n[stderr]\noh\n"
    status = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "message": message,
    }
    assert list(state) == ["startTime", "endTime", "status", "properties", "name"]
    assert (state["status"], state["properties"]) == ("Succeeded", {"output": {"value": [status]}})
    assert b'"output": {"value":[{"code":"ProvisioningState/succeeded","level"' in answer.body
    assert desk.get(accepted.headers["Location"]) == {"value": [status]}


def test_location_while_running() -> None:
    """The Location URL answers 202 with itself until the operation is done."""
    desk = Desk(spec())
    location = desk.run().headers["Location"]
    answer = desk.send("GET", location)
    assert (answer.status, answer.body, answer.headers["Location"]) == (202, b"", location)


def test_result_on_windows() -> None:
    """Windows results are two statuses, one for each stream."""
    desk = Desk(spec({"name": "vm1", "os": "windows", "rules": [{"stdout": "out", "stderr": ""}]}))
    body = {"commandId": "RunPowerShellScript", "script": ["x"]}
    accepted = desk.send("POST", f"{desk.vm().id}/runCommand", body)
    desk.wait(900)
    value = desk.get(accepted.headers["Location"])["value"]
    assert [(each["code"], each["message"]) for each in value] == [
        ("ComponentStatus/StdOut/succeeded", "out"),
        ("ComponentStatus/StdErr/succeeded", ""),
    ]


@pytest.mark.parametrize(("version", "bare"), [("2018-04-01", True), ("2018-06-01", False)])
def test_old_versions_give_bare_arrays(version: str, bare: bool) -> None:
    """The result is a bare array up to 2018-04-01 and an object from 2018-06-01 on."""
    desk = Desk(spec())
    body = {"commandId": "RunShellScript", "script": ["true"]}
    accepted = desk.send("POST", f"{desk.vm().id}/runCommand?api-version={version}", body)
    desk.wait(300)
    output = desk.get(accepted.headers["Azure-AsyncOperation"])["properties"]["output"]
    assert isinstance(output, list) is bare


def test_streams_are_cut_to_their_last_4096_bytes() -> None:
    """Each stream keeps its last 4,096 bytes, and a character cut through becomes U+FFFD."""
    desk = Desk(spec({"name": "vm1", "rules": [{"stdout": "é" * 3000 + "!", "stderr": "e" * 5000}]}))
    accepted = desk.run()
    desk.wait(300)
    message = desk.get(accepted.headers["Location"])["value"][0]["message"]
    expected = "\ufffd" + "é" * 2047 + "!"
    assert message == f"Enable succeeded: \n[stdout]\n{expected}\n[stderr]\n{'e' * 4096}"


def test_one_action_at_a_time() -> None:
    """A second submission while one runs is 409 Conflict; afterwards it is accepted."""
    desk = Desk(spec())
    assert desk.run().status == 202
    refused = desk.run()
    assert code(refused) == "409 Conflict"
    assert decoded(refused)["error"]["message"] == (
        "Run command extension execution is in progress. Please wait for completion before invoking a run command."
    )
    desk.wait(300)
    assert desk.run().status == 202


@pytest.mark.parametrize("power", ["stopped", "deallocated", "deallocating"])
def test_a_vm_that_is_not_running(power: str) -> None:
    """A VM that is not running refuses with OperationNotAllowed and the service's text."""
    refused = Desk(spec({"name": "vm1", "power": power})).run()
    assert code(refused) == "409 OperationNotAllowed"
    text = "The operation requires the VM to be running (or set to run)."
    assert decoded(refused)["error"]["message"] == text


def test_an_agent_that_is_not_ready() -> None:
    """Without a ready agent nothing happens for 90 minutes and 12 seconds, then the operation fails."""
    desk = Desk(spec({"name": "vm1", "agent": "not_ready"}))
    url = desk.run().headers["Azure-AsyncOperation"]
    desk.wait(5412)
    assert desk.get(url)["status"] == "InProgress"
    desk.wait(1)
    failed = desk.get(url)
    assert (failed["status"], failed["error"]["code"]) == ("Failed", "VMExtensionProvisioningTimeout")
    assert failed["error"]["message"].startswith("Provisioning of VM extension RunCommandLinux has timed out.")
    assert desk.plane.life.counts == {}
    assert desk.run().status == 202


def test_an_agent_that_comes_back() -> None:
    """What waited for an agent is delivered when it comes back."""
    desk = Desk(spec({"name": "vm1", "agent": "not_ready"}))
    url = desk.run().headers["Azure-AsyncOperation"]
    desk.wait(600)
    desk.plane.move(desk.vm(), desk.now, agent="ready")
    desk.wait(60)
    assert desk.get(url)["status"] == "Succeeded"
    assert desk.plane.life.counts == {desk.vm().id: 1}


def test_a_script_longer_than_90_minutes_frees_the_vm_when_it_ends() -> None:
    """After the service gave up the VM stays busy until the script ends, and no longer."""
    desk = Desk(spec({"name": "vm1", "rules": [{"duration": 7000}]}))
    url = desk.run().headers["Azure-AsyncOperation"]
    desk.wait(5500)
    assert desk.get(url)["error"]["code"] == "VMExtensionProvisioningTimeout"
    assert code(desk.run()) == "409 Conflict"
    desk.wait(1700)
    assert desk.run().status == 202


def test_operation_urls_are_used_byte_for_byte() -> None:
    """A URL whose query was rewritten is refused."""
    desk = Desk(spec())
    url = desk.run().headers["Azure-AsyncOperation"]
    assert desk.send("GET", url).status == 200
    assert desk.send("GET", url.replace("&t=", "&T=")).status == 403


def test_builtins() -> None:
    """Built-in commands are listed and shown with their script; unknown ones are 404."""
    desk = Desk(spec())
    place = f"/subscriptions/{SUB}/providers/Microsoft.Compute/locations/westeurope/runCommands"
    ids = [each["id"] for each in desk.get(place)["value"]]
    assert {"RunShellScript", "RunPowerShellScript", "RemoveRunCommandLinuxExtension"} <= set(ids)
    assert list(desk.get(f"{place}/RunShellScript"))[:4] == ["script", "parameters", "$schema", "id"]
    for refused in (desk.send("GET", f"{place}/Nope"), desk.run(commandId="Nope")):
        assert code(refused) == "404 NotFound"
        text = "The entity was not found in this Azure location."
        assert decoded(refused)["error"]["message"] == text


def test_equal_seeds_give_equal_labs() -> None:
    """Two labs of one seed answer the same requests with the same bytes; another seed does not."""

    def story(seed: int) -> str:
        desk = Desk(spec({"name": "vm{n}", "count": 3, "rules": [{"duration": [1, 60]}]}, seed=seed))
        urls = [desk.run(name=f"vm{n}").headers["Azure-AsyncOperation"] for n in (1, 2, 3)]
        desk.wait(400)
        return json.dumps([desk.get(url) for url in urls])

    assert story(7) == story(7)
    assert story(7) != story(8)
