"""The az command line against the lab, through a custom cloud with TLS and a private authority."""

from __future__ import annotations

import pytest

from tests.peers.conftest import SUB, Peer

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
VM = ("-g", "rg-web", "--vm-name", "web1", "--run-command-name")
INSTANCE = ("-g", "rg-web", "--vmss-name", "pool", "--instance-id", "0", "--run-command-name")


def test_signing_in(az: Peer) -> None:
    """az signs in against the lab's token endpoint and finds the lab's subscription."""
    (account,) = az.az("account", "list")
    assert (account["cloudName"], account["id"], account["tenantId"]) == ("lab", SUB, az.tenant)


def test_listing(az: Peer) -> None:
    """az lists groups, VMs with their power state, scale sets and instances."""
    assert [group["name"] for group in az.az("group", "list")] == ["rg-web"]
    assert [vm["name"] for vm in az.az("vm", "list")] == ["web1", "web2", "web3"]
    view = az.az("vm", "get-instance-view", "-g", "rg-web", "-n", "web1")["instanceView"]
    assert view["statuses"][1]["displayStatus"] == "VM running"
    assert [each["name"] for each in az.az("vmss", "list")] == ["pool"]
    instances = az.az("vmss", "list-instances", "-g", "rg-web", "-n", "pool", "--expand", "instanceView")
    assert [each["instanceId"] for each in instances] == ["0", "1"]


def test_details_of_vms(az: Peer) -> None:
    """az finds the power state and the addresses of VMs by their network interfaces, and lists what is around them."""
    shown = az.az("vm", "show", "-g", "rg-web", "-n", "web1", "--show-details")
    assert (shown["powerState"], shown["publicIps"]) == ("VM running", "")
    assert shown["privateIps"].startswith("10.")
    addresses = az.az("vm", "list-ip-addresses")
    assert [each["virtualMachine"]["name"] for each in addresses] == ["web1", "web2", "web3"]
    assert az.az("vm", "extension", "list", "-g", "rg-web", "--vm-name", "web1") == []
    assert {each["name"] for each in az.az("resource", "list")} == {"web1", "web2", "web3", "pool", "edge1"}
    assert az.az("lock", "list") == []
    az.az("tag", "list")


def test_power(az: Peer) -> None:
    """az deallocates a VM and starts it again, each time to the end of the operation."""
    for verb, state in (("deallocate", "VM deallocated"), ("start", "VM running")):
        az.az("vm", verb, "-g", "rg-web", "-n", "web3")
        view = az.az("vm", "get-instance-view", "-g", "rg-web", "-n", "web3")["instanceView"]
        assert view["statuses"][1]["displayStatus"] == state


def test_vm_run_command_invoke(az: Peer) -> None:
    """az vm run-command invoke waits for the action and prints its result."""
    script = ("--command-id", "RunShellScript", "--scripts", "echo $1", "--parameters", "a")
    result = az.az("vm", "run-command", "invoke", "-g", "rg-web", "-n", "web1", *script)
    assert result["value"][0]["message"] == "Enable succeeded: \n[stdout]\non web1\n\n[stderr]\n"


def test_vm_run_command_built_ins(az: Peer) -> None:
    """az lists the built-in commands of a location and shows one."""
    found = az.az("vm", "run-command", "list", "--location", "westeurope")
    assert "RunShellScript" in {each["id"] for each in found}
    shown = az.az("vm", "run-command", "show", "--location", "westeurope", "--command-id", "RunShellScript")
    assert shown["osType"] == "Linux"


def test_vm_run_command_managed(az: Peer) -> None:
    """az creates, shows, updates, lists and deletes a managed command, its script's failure only in the view."""
    made = az.az("vm", "run-command", "create", *VM, "c1", "--script", "exit 4", "--location", "westeurope")
    assert made["provisioningState"] == "Succeeded"
    view = az.az("vm", "run-command", "show", *VM, "c1", "--instance-view")["instanceView"]
    assert (view["executionState"], view["exitCode"], view["error"]) == ("Failed", 4, "no\n")
    az.az("vm", "run-command", "update", *VM, "c1", "--script", "true")
    view = az.az("vm", "run-command", "show", *VM, "c1", "--instance-view")["instanceView"]
    assert (view["executionState"], view["output"]) == ("Succeeded", "on web1\n")
    listed = az.az("vm", "run-command", "list", "-g", "rg-web", "--vm-name", "web1")
    assert [each["name"] for each in listed] == ["c1"]
    az.az("vm", "run-command", "delete", *VM, "c1", "--yes")
    assert az.az("vm", "run-command", "list", "-g", "rg-web", "--vm-name", "web1") == []


def test_vmss_run_command(az: Peer) -> None:
    """az runs an action and a managed command on an instance of a scale set."""
    script = ("--command-id", "RunShellScript", "--scripts", "true")
    result = az.az("vmss", "run-command", "invoke", "-g", "rg-web", "-n", "pool", "--instance-id", "1", *script)
    assert "on pool_1\n" in result["value"][0]["message"]
    az.az("vmss", "run-command", "create", *INSTANCE, "c1", "--script", "true", "--location", "westeurope")
    shown = az.az("vmss", "run-command", "show", *INSTANCE, "c1", "--instance-view")
    assert shown["instanceView"]["output"] == "on pool_0\n"
    az.az("vmss", "run-command", "delete", *INSTANCE, "c1", "--yes")


def test_graph_query(az: Peer) -> None:
    """az graph query finds the lab's machines by name and type."""
    try:
        az.run("-m", "azure.cli", "extension", "add", "--name", "resource-graph", "--only-show-errors")
    except AssertionError as error:
        pytest.skip(f"az fetches its extension from a place of its own, not from a package index: {str(error)[-200:]}")
    found = az.az("graph", "query", "-q", "resources | project id, name, type", "--subscriptions", SUB)
    assert {row["name"] for row in found["data"]} == {"web1", "web2", "web3", "pool", "edge1"}


def test_resource_graph_by_rest(az: Peer) -> None:
    """Resource Graph answers az rest as it answers ``az graph``, which is an extension that no package index has."""
    url = "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"
    body = f'{{"query": "resources | project id, name, type", "subscriptions": ["{SUB}"]}}'
    answer = az.az("rest", "--method", "post", "--url", url, "--body", body)
    assert {row["name"] for row in answer["data"]} == {"web1", "web2", "web3", "pool", "edge1"}


def test_arc_by_rest(az: Peer) -> None:
    """A managed command of an Arc machine is put and read by az rest; az's own commands are an extension."""
    arc = f"/subscriptions/{SUB}/resourceGroups/rg-web/providers/Microsoft.HybridCompute/machines/edge1"
    url = f"{arc}/runCommands/c1?api-version=2024-05-20-preview"
    body = '{"location": "westeurope", "properties": {"source": {"script": "true"}}}'
    assert (
        az.az("rest", "--method", "put", "--url", url, "--body", body)["properties"]["provisioningState"] == "Creating"
    )
    assert az.az("rest", "--method", "get", "--url", url)["name"] == "c1"
