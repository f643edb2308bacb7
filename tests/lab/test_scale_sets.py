"""Uniform scale sets of the lab: instances as Compute lists them, and both Run Command APIs on them."""

from __future__ import annotations

from tests.lab.desk import BASE, SUB, Desk, code, decoded, spec

SET = f"/subscriptions/{SUB}/resourceGroups/rg-one/providers/Microsoft.Compute/virtualMachineScaleSets/set1"
GRAPH = "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"
SHELL = {"commandId": "RunShellScript", "script": ["true"]}


def desk(**more: object) -> Desk:
    """A lab with one scale set of three instances."""
    rules = [{"stdout": "on {name}\n"}]
    return Desk(spec(scale_sets=[{"name": "set1", "count": 3, "guest": "scripted", "rules": rules}], **more))


def test_instances_are_listed() -> None:
    """The instances of a set have ids from 0, names with an underscore, and a view when it is asked for."""
    lab = desk(page_size=2)
    (found,) = lab.get(f"/subscriptions/{SUB}/providers/Microsoft.Compute/virtualMachineScaleSets")["value"]
    assert (found["name"], found["sku"]["capacity"], found["properties"]["orchestrationMode"]) == ("set1", 3, "Uniform")
    page = lab.get(f"{SET}/virtualMachines?$expand=instanceView")
    assert [(each["name"], each["instanceId"]) for each in page["value"]] == [("set1_0", "0"), ("set1_1", "1")]
    assert page["value"][0]["properties"]["instanceView"]["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"
    (last,) = lab.get(page["nextLink"])["value"]
    assert (last["properties"]["osProfile"]["computerName"], "nextLink" in last) == ("set1000002", False)
    assert "instanceView" not in lab.get(f"{SET}/virtualMachines/0")["properties"]


def test_an_action_on_an_instance() -> None:
    """An action runs on one instance and counts in the buckets of scale sets (recorded names)."""
    lab = desk()
    answer = lab.send("POST", f"{SET}/virtualmachines/1/runCommand", SHELL)
    assert (answer.status, answer.headers["x-ms-request-charge"]) == (202, "1")
    left = answer.headers["x-ms-ratelimit-remaining-resource"]
    assert left.startswith("Microsoft.Compute/VMScaleSetVMActionsSubscriptionMaximum;1999")
    assert left.endswith("Microsoft.Compute/VmssQueuedVMOperations;0")
    assert code(lab.send("POST", f"{SET}/virtualmachines/1/runCommand", SHELL)) == "409 Conflict"
    assert lab.send("POST", f"{SET}/virtualmachines/2/runCommand", SHELL).status == 202
    lab.wait(600)
    (status,) = lab.get(answer.headers["Location"])["value"]
    assert "on set1_1\n" in status["message"]


def test_a_managed_command_on_an_instance() -> None:
    """A managed command lives below its instance and has the instance's type."""
    lab = desk()
    path = f"{SET}/virtualMachines/0/runCommands/c1"
    made = lab.send("PUT", path, {"location": "westeurope", "properties": {"source": {"script": "true"}}})
    assert made.status == 201
    lab.wait(600)
    found = lab.get(f"{path}?$expand=instanceView")
    assert found["type"] == "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/runCommands"
    assert found["properties"]["instanceView"]["output"] == "on set1_0\n"
    assert lab.get(f"{SET}/virtualMachines/1/runCommands") == {"value": []}
    assert lab.send("DELETE", path).status == 202


def test_what_is_not_there() -> None:
    """A set that is not there is refused by the gateway, an instance by Compute."""
    lab = desk()
    assert code(lab.send("GET", f"{SET}x/virtualMachines")) == "404 ResourceNotFound"
    assert code(lab.send("POST", f"{SET}/virtualMachines/7/runCommand", SHELL)) == "404 NotFound"


def test_resource_graph_knows_sets_but_not_instances() -> None:
    """Resource Graph has a row for the set and none for its instances (documented), nor has the list of VMs."""
    lab = desk()
    rows = decoded(lab.send("POST", GRAPH, {"query": "resources | project type, name"}))["data"]
    assert [row["type"] for row in rows] == [
        "microsoft.compute/virtualmachines",
        "microsoft.compute/virtualmachinescalesets",
    ]
    listed = lab.get(f"/subscriptions/{SUB}/providers/Microsoft.Compute/virtualMachines")["value"]
    assert [each["name"] for each in listed] == ["vm1"]
    assert BASE not in str(listed)
