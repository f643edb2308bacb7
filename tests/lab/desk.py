"""A control plane on a desk: requests by hand, time by hand, no sockets."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fleet.lab.arm.control import ControlPlane
from fleet.lab.wire import Answer, Request
from fleet.lab.world.scripted import Envelope
from fleet.lab.world.spec import LabSpec
from fleet.lab.world.world import Machine

BASE = "http://127.0.0.1:4711"
VERSION = "2024-07-01"
SUB = "11111111-1111-4111-8111-111111111111"
DAY = 1_767_225_600.0


def spec(*vms: dict[str, Any], **more: Any) -> LabSpec:
    """Return a lab with one subscription and one group of these VM classes; scripted, at the real speed."""
    classes = [{"guest": "scripted", **each} for each in vms] or [{"name": "vm1", "guest": "scripted"}]
    group: dict[str, Any] = {"name": "rg-One", "location": "westeurope", "vms": classes}
    group |= {key: more.pop(key) for key in ("scale_sets", "arc") if key in more}
    given = {"speed": 1.0, "subscriptions": [{"name": "one", "id": SUB, "groups": [group]}], **more}
    return LabSpec.model_validate(given)


def version_of(path: str) -> str:
    """Return a version that every type of a path's provider has."""
    given = {
        "microsoft.hybridcompute": "2025-01-13",
        "microsoft.resourcegraph": "2022-10-01",
        "microsoft.compute": VERSION,
        "microsoft.network": "2024-05-01",
        "microsoft.authorization": "2022-04-01",
    }
    provider = path.casefold().rpartition("/providers/")[2].partition("/")[0]
    return given.get(provider, "2022-12-01")


class Desk:
    """Sends requests to a control plane at a time that only tests move."""

    def __init__(self, lab: LabSpec, envelope: Envelope | None = None) -> None:
        self.plane = ControlPlane(lab, sandboxed=False, envelope=envelope)
        self.plane.base = BASE
        self.now = DAY
        self.token = "t"

    def send(self, method: str, url: str, body: object = None, **headers: str) -> Answer:
        """Send a request to a path, or to a whole URL byte for byte."""
        parts = urlsplit(url)
        raw = url.removeprefix(BASE)
        query = parts.query
        if "api-version=" not in query:
            query = f"{query}&api-version={version_of(parts.path)}".lstrip("&")
            raw = f"{parts.path}?{query}"
        content = b"" if body is None else json.dumps(body).encode()
        given = {"authorization": f"Bearer {self.token}", **headers}
        request = Request(method, parts.path, raw, dict(parse_qsl(query, True)), given, content)
        return self.plane.handle(request, self.now)

    def get(self, url: str) -> Any:
        """GET and decode."""
        return decoded(self.send("GET", url))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.plane.life.advance(self.now)

    def vm(self, name: str = "vm1") -> Machine:
        """Find a VM of the first group."""
        machine = self.plane.world.machine(SUB, "rg-one", name)
        assert machine is not None
        return machine

    def run(self, script: str = "true", name: str = "vm1", **more: object) -> Answer:
        """Submit an action."""
        body = {"commandId": "RunShellScript", "script": script.split("\n"), **more}
        return self.send("POST", f"{self.vm(name).id}/runCommand", body)

    def put(self, name: str = "c1", script: str = "true", vm: str = "vm1", **properties: object) -> Answer:
        """Create or update a managed command."""
        body = {"location": "westeurope", "properties": {"source": {"script": script}, **properties}}
        return self.send("PUT", f"{self.vm(vm).id}/runCommands/{name}", body)

    def command(self, name: str = "c1", vm: str = "vm1") -> Any:
        """Read a managed command with its instance view: its properties."""
        return self.get(f"{self.vm(vm).id}/runCommands/{name}?$expand=instanceView")["properties"]


def decoded(answer: Answer) -> Any:
    """Decode an answer's JSON."""
    return json.loads(answer.body)


def code(answer: Answer) -> str:
    """Return status and error code as one word."""
    return f"{answer.status} {decoded(answer)['error']['code']}"
