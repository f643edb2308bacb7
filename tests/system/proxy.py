"""A company's proxy: it opens every TLS tunnel, looks inside, and seals it again with an authority of its own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fleet.clock import wall_time
from fleet.lab.arm import tls

HOSTS = ("arm.example", "login.example", "localhost")


@dataclass
class Proxy:
    """One that is up. Whatever host a tunnel asks for, its other end is the lab."""

    url: str
    ca_file: Path
    tunnels: list[str] = field(default_factory=list)
    """Hosts and ports that were asked for."""


@contextmanager
def proxy_up(folder: Path, lab_url: str, lab_ca: str) -> Iterator[Proxy]:
    """Serve the proxy on loopback until the block ends."""
    files = tls.make(folder, wall_time(), HOSTS)
    inside = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    inside.load_cert_chain(files.certificate, files.key)
    outside = ssl.create_default_context(cafile=lab_ca)
    port = urlsplit(lab_url).port
    with socket.create_server(("127.0.0.1", 0)) as door:
        proxy = Proxy(f"http://127.0.0.1:{door.getsockname()[1]}", files.ca_file)

        def tunnel(client: socket.socket) -> None:
            with suppress(OSError), client:
                asked = client.recv(4096).split()
                proxy.tunnels.append(asked[1].decode())
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with (
                    inside.wrap_socket(client, server_side=True) as near,
                    socket.create_connection(("localhost", port), timeout=20) as plain,
                    outside.wrap_socket(plain, server_hostname="localhost") as far,
                ):
                    back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                    back.start()
                    _pump(near, far)
                    back.join(20)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=tunnel, args=(door.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield proxy
        finally:
            door.shutdown(socket.SHUT_RDWR)


def _pump(source: ssl.SSLSocket, sink: ssl.SSLSocket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
