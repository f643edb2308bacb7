"""The minimal service in a process of its own, on loopback over TLS.

    python -m tests.bench.speed.server FOLDER VMS SECONDS OUTPUT

Prints its URL; the authority to trust is ``FOLDER/ca.pem``. Each line on standard input is a command, answered by a line of
JSON: ``begin on`` or ``begin off`` forgets everything and turns ARM's limits on or off, ``figures`` says what was counted. It
ends when standard input does, and after an hour in any case.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

from fleet.lab.arm.tls import make
from tests.bench.speed.service import Service
from tests.bench.speed.wire import Connection

LONGEST_S = 3600.0


async def serve(folder: Path, vms: int, seconds: float, output: int) -> None:
    """Serve until standard input ends."""
    files = make(folder, time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    loop = asyncio.get_running_loop()
    services: list[Service] = []
    server = await loop.create_server(lambda: Connection(services[0].answer), "127.0.0.1", 0, ssl=context, backlog=1000)
    base = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    services.append(Service(base, vms, seconds, output))
    print(base, flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.timeout(LONGEST_S):
        while words := (await reader.readline()).decode().split():
            if words[0] == "begin":
                services[0].begin(throttled=words[1] == "on")
            print(json.dumps(services[0].figures()), flush=True)


if __name__ == "__main__":
    place, count, each, size = sys.argv[1:]
    asyncio.run(serve(Path(place), int(count), float(each), int(size)))
