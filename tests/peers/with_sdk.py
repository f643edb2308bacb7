"""Runs in the SDK's own environment: drive the lab through azure-mgmt-compute and print what came back as JSON."""

import asyncio
import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.aio import ComputeManagementClient as AsyncComputeManagementClient
from azure.mgmt.resourcegraph import ResourceGraphClient
from azure.mgmt.resourcegraph.models import QueryRequest

WAY, URL, TENANT, SUB, CLIENT = sys.argv[1:]
WHO = {"authority": URL, "disable_instance_discovery": True}
CLOUD = {"base_url": URL, "credential_scopes": [f"{URL}/.default"]}
FAST = {"polling_interval": 0.2}  # without Retry-After the SDK waits 30 seconds between polls
SHELL = {"commandId": "RunShellScript", "script": ["true"]}
FAILS = {"location": "westeurope", "properties": {"source": {"script": "exit 4"}}}


def blocking() -> dict[str, object]:
    credential = ClientSecretCredential(TENANT, CLIENT, "secret", **WHO)
    client = ComputeManagementClient(credential, SUB, **CLOUD)
    commands = client.virtual_machine_run_commands
    found: dict[str, object] = {"vms": [vm.name for vm in client.virtual_machines.list_all()]}
    action = client.virtual_machines.begin_run_command("rg-web", "web2", SHELL, **FAST).result()
    found["action"] = action.value[0].message
    made = commands.begin_create_or_update("rg-web", "web2", "s1", FAILS, **FAST).result()
    view = commands.get_by_virtual_machine("rg-web", "web2", "s1", expand="instanceView").instance_view
    found["managed"] = [made.provisioning_state, view.execution_state, view.exit_code]
    commands.begin_delete("rg-web", "web2", "s1", **FAST).result()
    found["left"] = [each.name for each in commands.list_by_virtual_machine("rg-web", "web2")]
    instance = client.virtual_machine_scale_set_vms.begin_run_command("rg-web", "pool", "0", SHELL, **FAST).result()
    found["instance"] = instance.value[0].message
    try:
        client.virtual_machines.get("rg-web", "none")
    except HttpResponseError as error:
        found["error"] = [error.status_code, error.error.code]
    graph = ResourceGraphClient(credential, **CLOUD)
    found["rows"] = graph.resources(QueryRequest(subscriptions=[SUB], query="resources | project id, name")).count
    return found


async def waiting() -> dict[str, object]:
    async with (
        AsyncClientSecretCredential(TENANT, CLIENT, "secret", **WHO) as credential,
        AsyncComputeManagementClient(credential, SUB, **CLOUD) as client,
    ):
        found: dict[str, object] = {"vms": [vm.name async for vm in client.virtual_machines.list_all()]}
        poller = await client.virtual_machines.begin_run_command("rg-web", "web3", SHELL, **FAST)
        found["action"] = (await poller.result()).value[0].message
        commands = client.virtual_machine_run_commands
        made = await (await commands.begin_create_or_update("rg-web", "web3", "s1", FAILS, **FAST)).result()
        read = await commands.get_by_virtual_machine("rg-web", "web3", "s1", expand="instanceView")
        view = read.instance_view
        found["managed"] = [made.provisioning_state, view.execution_state, view.exit_code]
        await (await commands.begin_delete("rg-web", "web3", "s1", **FAST)).result()
        found["left"] = [each.name async for each in commands.list_by_virtual_machine("rg-web", "web3")]
        return found


print(json.dumps(blocking() if WAY == "sync" else asyncio.run(waiting())))
