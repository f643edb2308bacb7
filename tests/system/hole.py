"""A network that swallows everything: a relay in front of a lab that, while it is told to, reads and never answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Hole:
    """A relay that is up. ``swallows`` says whether bytes go on or vanish; connections that lost some are closed later."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.swallows = threading.Event()
        self.only = b""
        """What a piece must begin with to vanish: ``b"PUT "`` lets all but submissions through."""
        self.swallowed = 0
        """Pieces of requests and answers that vanished."""

    @property
    def flag(self) -> str:
        return f"--lab={self.url}"


@contextmanager
def hole_up(lab: str) -> Iterator[Hole]:
    """Serve a relay to the lab on loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        hole = Hole(f"http://127.0.0.1:{door.getsockname()[1]}")

        def pump(source: socket.socket, sink: socket.socket) -> None:
            lost = False
            with suppress(OSError):
                while data := source.recv(65536):
                    if lost or (hole.swallows.is_set() and data.startswith(hole.only)):
                        lost = True
                        hole.swallowed += 1
                        if not hole.swallows.is_set():
                            break
                    else:
                        sink.sendall(data)
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def relay(client: socket.socket) -> None:
            with suppress(OSError), client, socket.create_connection(("127.0.0.1", urlsplit(lab).port or 0)) as far:
                back = threading.Thread(target=pump, args=(far, client), daemon=True)
                back.start()
                pump(client, far)
                back.join(20)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=relay, args=(door.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield hole
        finally:
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
