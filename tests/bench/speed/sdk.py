"""Runs in the environment of Microsoft's SDK: its asynchronous client, every VM at once, everything else as it comes.

    python sdk.py URL RESULTS SUBSCRIPTION...

A VM whose command raises has no row in the results.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from azure.core.credentials import AccessToken
from azure.mgmt.compute.aio import ComputeManagementClient

URL, RESULTS, *SUBSCRIPTIONS = sys.argv[1:]
SCRIPT = {"commandId": "RunShellScript", "script": ["hostname"]}


class Static:
    """A token that is there."""

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken("t", int(time.time()) + 3600)

    async def close(self) -> None:
        pass


async def run_on(client: ComputeManagementClient, vm: object) -> dict[str, object]:
    group = vm.id.split("/")[4]
    poller = await client.virtual_machines.begin_run_command(group, vm.name, SCRIPT)
    result = await poller.result()
    return {"name": vm.name, "stdout": result.value[0].message, "ended": time.time()}


async def run_in(subscription: str) -> list[object]:
    async with ComputeManagementClient(
        Static(), subscription, base_url=URL, credential_scopes=[f"{URL}/.default"]
    ) as client:
        vms = [vm async for vm in client.virtual_machines.list_all()]
        return await asyncio.gather(*(run_on(client, vm) for vm in vms), return_exceptions=True)


async def main() -> list[object]:
    return [row for rows in await asyncio.gather(*map(run_in, SUBSCRIPTIONS)) for row in rows]


if __name__ == "__main__":
    rows = asyncio.run(main())
    for error in [row for row in rows if isinstance(row, BaseException)][:3]:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    Path(RESULTS).write_text(json.dumps([row for row in rows if isinstance(row, dict)]), encoding="utf-8")
