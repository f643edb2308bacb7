"""Power actions of the lab, and what other tools ask about VMs: interfaces, extensions, resources, names of tags."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.lab.wire import Answer
from tests.lab.desk import SUB, Desk, code, decoded, spec

HERE = f"/subscriptions/{SUB}"
GROUP = f"{HERE}/resourceGroups/rg-One"


def power(desk: Desk, verb: str, name: str = "vm1") -> Answer:
    return desk.send("POST", f"{desk.vm(name).id}/{verb}", None)


def shown(desk: Desk) -> str:
    return str(desk.get(f"{desk.vm().id}/instanceView")["statuses"][1]["code"])


@pytest.mark.parametrize(
    ("before", "verb", "between", "after"),
    [
        ("running", "powerOff", "stopping", "stopped"),
        ("running", "deallocate", "deallocating", "deallocated"),
        ("deallocated", "start", "starting", "running"),
        ("stopped", "start", "starting", "running"),
        ("running", "restart", "running", "running"),
        ("running", "start", "running", "running"),
    ],
)
def test_a_power_action_is_a_long_running_operation(before: str, verb: str, between: str, after: str) -> None:
    """202 with both links, the state on the way, and the state at the end, which the operation tells as well."""
    desk = Desk(spec({"name": "vm1", "power": before}))
    answer = power(desk, verb)
    assert (answer.status, answer.body) == (202, b"")
    assert shown(desk) in (f"PowerState/{between}", f"PowerState/{after}")
    assert desk.send("GET", answer.headers["Location"]).status in (202, 204)
    desk.wait(60)
    assert shown(desk) == f"PowerState/{after}"
    assert desk.get(answer.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    assert desk.send("GET", answer.headers["Location"]).status == 204
    query = {"query": "resources | project power = properties.extended.instanceView.powerState.code"}
    (row,) = decoded(desk.send("POST", "/providers/Microsoft.ResourceGraph/resources", query))["data"]
    assert row == {"power": f"PowerState/{after}"}


@pytest.mark.parametrize("verb", ["powerOff", "restart"])
def test_what_is_deallocated_is_not_stopped(verb: str) -> None:
    """The refusal is the one that was seen."""
    desk = Desk(spec({"name": "vm1", "power": "deallocated"}))
    refused = power(desk, verb)
    assert code(refused) == "409 OperationNotAllowed"
    text = (
        f"Operation '{verb}' is not allowed on VM 'vm1' since the VM is either deallocated or marked to be deallocated."
    )
    assert decoded(refused)["error"]["message"] == text


@pytest.mark.parametrize("verb", ["powerOff", "deallocate", "restart"])
@pytest.mark.parametrize("managed", [True, False])
def test_what_a_vm_is_doing_gives_way(verb: str, managed: bool) -> None:
    """The running command's operation ends as preempted, its script is gone, and the VM is free for another one."""
    desk = Desk(spec({"name": "vm1", "rules": [{"duration": 600}]}))
    begun = desk.put() if managed else desk.run()
    desk.wait(60)
    power(desk, verb)
    state = desk.get(begun.headers["Azure-AsyncOperation"])
    assert (state["status"], state["error"]["code"]) == ("Canceled", "OperationPreempted")
    if managed:
        properties = desk.command()
        assert (properties["provisioningState"], properties["instanceView"]["executionState"]) == (
            "Canceled",
            "Running",
        )
    desk.wait(60)
    power(desk, "start")
    desk.wait(60)
    assert (desk.put("c2") if managed else desk.run()).status < 300
    desk.wait(7000)
    assert desk.plane.life.counts == {desk.vm().id: 2}


def test_a_restart_is_another_boot() -> None:
    """The boot id is a new one, and the agent is away until the VM is up again."""
    desk = Desk(spec())
    before = desk.vm().boot_id
    power(desk, "restart")
    assert desk.get(f"{desk.vm().id}/instanceView")["vmAgent"]["statuses"][0]["displayStatus"] == "Not Ready"
    desk.wait(60)
    assert desk.get(f"{desk.vm().id}/instanceView")["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"
    assert desk.vm().boot_id != before


def test_the_newest_power_action_holds() -> None:
    """A second action takes the first one's place, whose operation is preempted."""
    desk = Desk(spec())
    first, second = power(desk, "deallocate"), power(desk, "start")
    desk.wait(60)
    states = [desk.get(each.headers["Azure-AsyncOperation"])["status"] for each in (first, second)]
    assert (states, shown(desk)) == (["Canceled", "Succeeded"], "PowerState/running")


def test_the_interface_that_a_vm_names_is_there() -> None:
    """It names the VM back and has a private address of its own; there is no public one, and no extension."""
    desk = Desk(spec({"name": "vm{n}", "count": 3}))
    found = []
    for vm in desk.get(f"{HERE}/providers/Microsoft.Compute/virtualMachines")["value"]:
        (link,) = vm["properties"]["networkProfile"]["networkInterfaces"]
        interface = desk.get(link["id"])
        assert (interface["id"], interface["properties"]["virtualMachine"]["id"]) == (link["id"], vm["id"])
        found.append(interface)
        assert desk.get(f"{vm['id']}/extensions")["value"] == []
    addresses = {each["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] for each in found}
    assert len(addresses) == 3
    for place in (HERE, GROUP):
        assert desk.get(f"{place}/providers/Microsoft.Network/networkInterfaces")["value"] == found
        assert desk.get(f"{place}/providers/Microsoft.Network/publicIPAddresses")["value"] == []
    for name in ("none", "noneVMNic"):
        assert code(desk.send("GET", f"{GROUP}/providers/Microsoft.Network/networkInterfaces/{name}")).startswith("404")


def test_resources_and_names_of_tags() -> None:
    """Each resource once with its type; a filter by type works and another is refused by name; tags are counted."""
    more: dict[str, Any] = {
        "scale_sets": [{"name": "set1", "guest": "scripted", "tags": {"env": "dev"}}],
        "arc": [{"name": "arc1", "guest": "scripted"}],
    }
    desk = Desk(spec({"name": "vm{n}", "count": 2, "tags": {"env": "prod"}}, **more))
    kinds = [each["type"] for each in desk.get(f"{HERE}/resources")["value"]]
    assert sorted(kinds) == [
        "Microsoft.Compute/virtualMachineScaleSets",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.HybridCompute/machines",
    ]
    wanted = "$filter=resourceType%20eq%20'microsoft.hybridcompute/machines'"
    assert [each["name"] for each in desk.get(f"{GROUP}/resources?{wanted}")["value"]] == ["arc1"]
    refused = desk.send("GET", f"{HERE}/resources?$filter=tagName%20eq%20'env'")
    assert (refused.status, "resourceType eq" in decoded(refused)["error"]["message"]) == (400, True)
    (tag,) = desk.get(f"{HERE}/tagNames")["value"]
    assert (tag["tagName"], tag["count"]["value"]) == ("env", 3)
    assert {each["tagValue"]: each["count"]["value"] for each in tag["values"]} == {"prod": 2, "dev": 1}
