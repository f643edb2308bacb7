"""The lab against recordings of the real service: same status, same headers, bodies of the same shape."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fleet.lab.wire import Answer
from tests.lab.desk import Desk, decoded, spec

REAL = Path(__file__).parents[3] / "shared" / "azure" / "recordings"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not REAL.exists(), reason="needs the recordings at ../shared/azure/recordings"),
]

# Headers that a server adds below ARM's code.
HOP = {"content-length", "content-type", "date", "transfer-encoding", "content-encoding", "connection", "server"}
# What the lab has not, and why.
NOT_IN_LAB = {
    "x-ms-operation-identifier",  # names the tenant and object of the caller; nobody reads it
    "x-ms-need-to-refresh-epl-cache",  # ARM's own bookkeeping
    "x-ms-served-by",  # the instance of Compute that answered
    "x-ms-correlation-id",
    "x-ms-version",
    "vary",  # about content coding, which the lab does not do
    "x-cache",
    "x-msedge-ref",
    "p3p",
    "x-powered-by",
    "x-ms-client-request-id",  # only echoed to those who ask for it
    "x-ms-ratelimit-remaining-subscription-resource-entities-read",
}
# What the recorders drop, or what came into the world after a recording was made.
NOT_IN_RECORDING = {
    "azure-asyncnotification",  # since 2021
    "cache-control",
    "pragma",
    "expires",
    "strict-transport-security",
    "x-content-type-options",
    "x-ms-request-id",
    "x-ms-correlation-request-id",
    "x-ms-routing-request-id",
    "x-ms-failure-cause",
    "x-ms-ratelimit-remaining-subscription-reads",
    "x-ms-ratelimit-remaining-subscription-writes",
    "x-ms-ratelimit-remaining-subscription-deletes",
    "x-ms-ratelimit-remaining-subscription-global-reads",  # since 2024
    "x-ms-ratelimit-remaining-subscription-global-writes",
    "x-ms-ratelimit-remaining-subscription-global-deletes",
    "x-ms-ratelimit-remaining-resource",  # absent on some recorded GETs and on 204
    "x-ms-request-charge",  # absent on recorded GETs of commands of instances
    "retry-after",
}
# Parts of bodies that hang on what a machine has, not on the protocol.
FREE = (
    r"\.tags\b",
    r"\.zones$",
    r"\.(ssh|publicKeys|secrets|dataDisks|extensionHandlers|extensions)\b",  # what the recorders scrub, or the image
    r"\.(etag|resources|identity|diagnosticsProfile|securityProfile|timeCreated|licenseType|priority)\b",
    r"\.(patchSettings|patchStatus|enableVMAgentPlatformUpdates|bootDiagnostics|deleteOption|proximityPlacementGroup)\b",
    r"\.(hyperVGeneration|computerName|osName|osVersion|vmAgent|disks|assignedHost)\b",  # as far as the agent got
    r"\.(plan|userData|winRM|additionalUnattendContent|availabilitySet|additionalCapabilities|exactVersion)\b",
    r"\.imageReference\.",  # a marketplace image's parts or an id
    r"\.(managedDisk|vhd|image)\b",  # unmanaged disks are older than the lab
    r"\.networkProfile(Configuration)?\b",
    r"\.(networkProfileConfiguration|loadBalancerBackendAddressPools|maintenanceRedeployStatus)\b",
)
# Keys the service has added since a recording was made.
YOUNGER = (
    r"\.allowExtensionOperations$",
    r"\.modelDefinitionApplied$",
    r"\.disableTcpStateTracking$",
    r"\.requireGuestProvisionSignal$",
)


@dataclass(slots=True)
class Twin:
    """A lab in which a recording is played again: the same names, the same answers of guests."""

    exchanges: list[dict[str, Any]]
    desk: Desk = field(init=False)
    urls: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desk = Desk(_lab(self.exchanges))
        for each in self.exchanges:  # a command that was there before the recording began
            request, path = each["request"], urlsplit(each["request"]["uri"]).path
            if request["method"] == "PUT" and each["response"]["status"] == 200:
                earlier = {"location": "westus", "properties": {"source": {"script": "earlier"}}}
                assert self.desk.send("PUT", path, earlier).status == 201
            if request["method"] == "PUT":
                break
        self.desk.wait(600)

    def knows(self, exchange: dict[str, Any]) -> bool:
        """Whether it is no poll of an operation that began before the recording or with another kind of call."""
        key = _operation_of(exchange["request"]["uri"])
        return not key or key in self.urls

    def answer(self, exchange: dict[str, Any]) -> Answer:
        """Send the recorded request, its operation URL exchanged for the lab's."""
        request, response = exchange["request"], exchange["response"]
        url = request["uri"].removeprefix("https://management.azure.com")
        if key := _operation_of(url):
            url = self.urls[key]
            self._until(url, response)
        elif request["method"] == "GET":
            self.desk.wait(600)
        answer = self.desk.send(request["method"], url, request.get("body") or None)
        for name in ("Azure-AsyncOperation", "Location"):
            theirs = {key.lower(): value for key, value in response["headers"].items()}.get(name.lower())
            if theirs and name in answer.headers:
                self.urls[_operation_of(theirs)] = answer.headers[name]
        return answer

    def _until(self, url: str, response: dict[str, Any]) -> None:
        """Let time pass until the lab's operation is where the recorded one was."""
        wanted = response["body"].get("status") if isinstance(response["body"], dict) else None
        if wanted == "Queued":
            return
        for _ in range(6000):
            seen = self.desk.send("GET", url)
            state = decoded(seen).get("status") if seen.body else None
            if (wanted and state == wanted) or (not wanted and seen.status != 202):
                return
            self.desk.wait(1)
        raise AssertionError(f"the lab's operation never reads {wanted}")


def _operation_of(url: str) -> str:
    """The operation a URL asks for, and at which of its two doors."""
    path = urlsplit(url).path.lower()
    found = re.search(r"/(operations|operationstatus|operationresults)/([0-9a-f-]{36})$", path)
    if found is None or "microsoft.network" in path or "microsoft.resources" in path:
        return ""
    return f"{found[2]} {'monitor=true' in url or found[1] == 'operationresults'}"


def _lab(exchanges: list[dict[str, Any]]) -> Any:
    """Make a lab with the machines a recording names."""
    text = json.dumps([each["request"] for each in exchanges])
    places = set(re.findall(r"/locations/([a-z0-9]+)/", text)) or {"westus"}
    windows = "RunPowerShellScript" in text or "ADDADS" in text
    os = "windows" if windows else "linux"
    timeout = any("timed out" in json.dumps(each["response"]["body"]) for each in exchanges)
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for group, kind, name in re.findall(
        r"/resourceGroups/([^/\"]+)/providers/Microsoft\.(?:Compute|HybridCompute)/"
        r"(virtualMachineScaleSets|virtualMachines|machines)/([^/?\"]+)",
        text,
        re.IGNORECASE,
    ):
        there = groups.setdefault(group.lower(), {"vms": [], "scale_sets": [], "arc": []})
        key = {"virtualmachinescalesets": "scale_sets", "machines": "arc"}.get(kind.lower(), "vms")
        if name.lower() not in {each["name"].lower() for each in there[key]}:
            made: dict[str, Any] = {"name": name, "guest": "scripted", "os": os, "rules": [{"stdout": "out\n"}]}
            if key == "scale_sets":
                made["count"] = 10
            if timeout:
                made["agent"] = "not_ready"
            there[key].append(made)
    lab = spec(url_length=3000)
    data = lab.model_dump()
    data["subscriptions"] = [
        {
            "name": "recorded",
            "id": re.search(r"/subscriptions/([0-9a-f-]{36})/", text)[1],  # type: ignore[index]
            "groups": [{"name": name, "location": sorted(places)[0], **there} for name, there in groups.items()],
        }
    ]
    return type(lab).model_validate(data)


def _applies(exchange: dict[str, Any]) -> bool:
    """Whether a recorded call is one the lab knows, with an answer that hangs on nothing but the call."""
    url = exchange["request"]["uri"].lower()
    return not any(
        part in url for part in ("microsoft.network", "microsoft.resources/", "deployments", "vmss-instances")
    )


def shape(value: Any, where: str = "$") -> dict[str, str]:
    """Return the paths of a value and their types; members of a list count as one."""
    found = {where: _type(value)}
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= shape(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            found |= shape(inner, f"{where}[]")
    return found


def _type(value: Any) -> str:
    if value is None or value == "[scrubbed]":
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {dict: "object", list: "array"}.get(type(value), "string")


def differences(theirs: dict[str, Any], ours: Answer) -> list[str]:
    """Say where the lab's answer differs from a recorded one, tolerated differences left out."""
    found = []
    if theirs["status"] != ours.status:
        found.append(f"status {ours.status}, recorded {theirs['status']}")
    recorded = {name.lower() for name in theirs["headers"]} - HOP
    given = {name.lower() for name in ours.headers} - HOP
    found += [f"no header {name}" for name in sorted(recorded - given - NOT_IN_LAB)]
    found += [f"header {name} besides" for name in sorted(given - recorded - NOT_IN_RECORDING)]
    body = decoded(ours) if ours.body else ""
    mine, yours = shape(body), shape(theirs["body"] or "")
    if isinstance(theirs["body"], dict) and theirs["body"].get("value") == []:
        mine = {path: kind for path, kind in mine.items() if not path.startswith("$.value[]")}
    for path in sorted(mine.keys() | yours.keys()):
        here, there = mine.get(path, "nothing"), yours.get(path, "nothing")
        free = any(re.search(each, path) for each in (FREE if here == "nothing" or there == "nothing" else FREE[:3]))
        younger = there == "nothing" and any(re.search(each, path) for each in YOUNGER)
        if here != there and "null" not in (here, there) and not free and not younger:
            found.append(f"{path} is {here}, recorded {there}")
    return found


# Sessions, and how many of their exchanges are calls that the lab knows.
PLAYED = {
    "action-linux-2025": 5,
    "action-linux-90min-timeout-2020": 176,
    "action-linux-builtins-2023": 9,
    "action-linux-exit127-2024": 13,
    "action-vmss-2024": 9,
    "action-windows-2024": 6,
    "action-windows-full-headers-2018": 2,
    "arc-managed": 2,
    "managed-remove-full-headers-2021": 4,
    "managed-set-full-headers-2021": 3,
    "managed-vm-2024": 16,
    "managed-vmss-2024": 16,
    "vmss-instances-list": 10,
}


def recording(name: str) -> list[dict[str, Any]]:
    """Read a recording's exchanges."""
    found: list[dict[str, Any]] = json.loads((REAL / f"{name}.json").read_text(encoding="utf-8"))["exchanges"]
    return found


@pytest.mark.parametrize("name", PLAYED)
def test_recorded_sessions(name: str) -> None:
    """Played again in a lab, every call of a recorded session is answered alike, in the same order."""
    exchanges = recording(name)
    played = [each for each in exchanges if _applies(each)]
    twin = Twin(played)
    wrong: list[str] = []
    compared = 0
    for each in played:
        if not twin.knows(each):
            continue
        compared += 1
        answer = twin.answer(each)
        request = each["request"]
        wrong += [
            f"{request['method']} {request['uri'][:200]}: {said}" for said in differences(each["response"], answer)
        ]
    assert wrong == []
    print(name, compared)
    assert compared >= PLAYED[name]


@pytest.mark.parametrize(
    ("name", "query"),
    [("resource-graph-query", "resources | project id, tags, properties"), ("resource-graph-error", "")],
)
def test_resource_graph(name: str, query: str) -> None:
    """Resource Graph answers a query and a mistake as recorded; what rows hold hangs on the query."""
    (exchange,) = recording(name)
    body = {"query": query or exchange["request"]["body"]["query"]}
    answer = Desk(spec()).send("POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", body)
    found = differences(exchange["response"], answer)
    assert [each for each in found if not re.match(r"\$\.data\[\]\.(properties|tags)\.", each)] == []


def test_throttled_by_arm() -> None:
    """ARM's refusal of too many requests has the recorded status, code, headers and words."""
    exchange = next(
        each
        for each in recording("arm-429-and-5xx")
        if "write requests for subscription" in json.dumps(each["response"]["body"])
    )
    desk = Desk(spec({"name": "vm{n}", "count": 300, "guest": "scripted"}, throttling="real"))
    answer = next(found for n in range(1, 301) if (found := desk.run(name=f"vm{n}")).status == 429)
    assert differences(exchange["response"], answer) == []
    theirs, ours = exchange["response"]["body"]["error"], decoded(answer)["error"]
    assert ours["code"] == theirs["code"]
    words = [re.sub(r"[0-9a-f-]{36}|[0-9:]+", "#", each["message"]) for each in (theirs, ours)]
    assert words[0] == words[1]


def test_the_judge_can_find_fault() -> None:
    """Another status, a missing header, a missing key and a wrong type are found, so that silence means something."""
    exchange = next(e for e in recording("managed-vm-2024") if e["request"]["method"] == "PUT")
    answer = Twin([exchange]).answer(exchange)
    assert differences(exchange["response"], answer) == []
    answer.status = 200
    del answer.headers["Azure-AsyncOperation"]
    answer.body = answer.body.replace(b'"timeoutInSeconds": 0', b'"timeoutInSeconds": "0"').replace(
        b'"type"', b'"kind"'
    )
    assert differences(exchange["response"], answer) == [
        "status 200, recorded 201",
        "no header azure-asyncoperation",
        "$.kind is string, recorded nothing",
        "$.properties.timeoutInSeconds is string, recorded number",
        "$.type is nothing, recorded string",
    ]
