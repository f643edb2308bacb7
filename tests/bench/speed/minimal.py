"""What somebody writes by hand in half an hour: every VM at once over 400 connections, each asked again every 5 to 10 s.

    python minimal.py URL CA_FILE RESULTS [FIRST_LOOK_SECONDS]

It needs aiohttp alone. A 429 is waited out for as long as ``Retry-After`` says, as often as it takes.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

GRAPH = "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"
QUERY = "resources | where type =~ 'microsoft.compute/virtualmachines' | project id, name"
SCRIPT = {"commandId": "RunShellScript", "script": ["hostname"]}
CONNECTIONS = 400
HEADERS = 32 * 1024


async def list_vms(session: aiohttp.ClientSession) -> list[dict[str, str]]:
    """Find every VM by Resource Graph."""
    found: list[dict[str, str]] = []
    options: dict[str, Any] = {"$top": 1000}
    while True:
        async with session.post(GRAPH, json={"query": QUERY, "options": options}) as answer:
            page = await answer.json()
        found += page["data"]
        if "$skipToken" not in page:
            return found
        options["$skipToken"] = page["$skipToken"]


async def run_on(session: aiohttp.ClientSession, vm: dict[str, str], first: float | None) -> dict[str, Any]:
    """Run the script on one VM and wait for its end."""
    while True:
        async with session.post(f"{vm['id']}/runCommand?api-version=2024-07-01", json=SCRIPT) as answer:
            if answer.status == 202:
                link = URL(answer.headers["Azure-AsyncOperation"], encoded=True)
                break
            wait = float(answer.headers["Retry-After"])
        await asyncio.sleep(wait)
    await asyncio.sleep(random.uniform(5, 10) if first is None else first)
    while True:
        async with session.get(link) as answer:
            wait = float(answer.headers.get("Retry-After") or random.uniform(5, 10))
            state = await answer.json() if answer.status == 200 else {}
        if state.get("status") == "Succeeded":
            message = state["properties"]["output"]["value"][0]["message"]
            return {"name": vm["name"], "stdout": message, "ended": time.time()}
        await asyncio.sleep(wait)


async def main(url: str, ca_file: str, first: float | None) -> list[dict[str, Any]]:
    """Run the script on every VM."""
    trust = ssl.create_default_context(cafile=ca_file)
    async with aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trust),
        headers={"Authorization": "Bearer t"},
        max_line_size=HEADERS,
        max_field_size=HEADERS,
    ) as session:
        vms = await list_vms(session)
        return await asyncio.gather(*(run_on(session, vm, first) for vm in vms))


if __name__ == "__main__":
    rows = asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[4]) if len(sys.argv) > 4 else None))
    Path(sys.argv[3]).write_text(json.dumps(rows), encoding="utf-8")
