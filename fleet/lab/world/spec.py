"""The lab file: which pretend subscriptions, groups and VMs there are, and how they behave.

The models below are the only list of keys; ``docs/lab.md`` is held to them by a test, and the JSON Schema
is made from them. Lengths of time are seconds; those that imitate the service or a script are divided by
``speed``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fleet.documents import read
from fleet.lab.world.access import AccessSpec
from fleet.lab.world.machine_spec import ArcSpec, RuleSpec, ScaleSetSpec, Share, VmSpec
from fleet.lab.world.maintenance import MaintenanceSpec


class FaultOn(StrEnum):
    """The kinds of request a fault can hit."""

    SUBMIT = "submit"
    POLL = "poll"
    READ = "read"
    DELETE = "delete"
    LIST = "list"
    QUERY = "query"
    SIGN_IN = "sign_in"


class FaultKind(StrEnum):
    """What goes wrong."""

    THROTTLED = "429"
    CONFLICT = "409"
    CONCURRENT_REQUEST = "concurrent_request"
    CONCURRENT_WRITE = "concurrent_write"
    MARKED_FOR_DELETION = "marked_for_deletion"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    RESET = "reset"
    LOST_ANSWER = "lost_answer"
    SLOW = "slow"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    OPERATION_FAILS = "operation_fails"
    OPERATION_CANCELS = "operation_cancels"
    OPERATION_VANISHES = "operation_vanishes"
    OPERATION_HANGS = "operation_hangs"
    OPERATION_PREEMPTED = "operation_preempted"
    VM_STOPS = "vm_stops"
    VM_VANISHES = "vm_vanishes"


ON_OPERATIONS = frozenset(
    {
        FaultKind.OPERATION_FAILS,
        FaultKind.OPERATION_CANCELS,
        FaultKind.OPERATION_VANISHES,
        FaultKind.OPERATION_HANGS,
        FaultKind.OPERATION_PREEMPTED,
    }
)
"""What befalls the operation that a submission began."""


class FaultSpec(read.Keys):
    """One thing that goes wrong, by rule or by chance."""

    request: Literal["submit", "poll", "read", "delete", "list", "query", "sign_in"] = Field(
        description="Which requests it hits: submit, poll, read, delete, list, query or sign_in (a token asked for)."
    )
    kind: Literal[
        429,
        409,
        500,
        503,
        401,
        403,
        "concurrent_request",
        "concurrent_write",
        "marked_for_deletion",
        "reset",
        "lost_answer",
        "slow",
        "truncated",
        "malformed",
        "operation_fails",
        "operation_cancels",
        "operation_vanishes",
        "operation_hangs",
        "operation_preempted",
        "vm_stops",
        "vm_vanishes",
    ] = Field(description="What happens, see below.")
    chance: Share = Field(default=1.0, description="How likely each such request is hit, as 5% or 0.05.")
    times: int | None = Field(default=None, ge=1, description="At most this many hits; unlimited if left out.")
    after: int = Field(default=0, ge=0, description="This many matching requests pass unharmed first.")
    machines: str = Field(
        default="*", description="Glob over VM names; a narrower one than * never fits lists and queries."
    )
    retry_after: int | None = Field(default=None, ge=0, description="Seconds in Retry-After of a 429 or 503.")
    delay: float = Field(default=2.0, ge=0, description="Seconds a slow answer is late (not divided by speed).")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.what in ON_OPERATIONS and FaultOn(self.request) is not FaultOn.SUBMIT:
            raise ValueError(f"{self.kind} befalls what a submission began; use request: submit")
        return self

    @property
    def what(self) -> FaultKind:
        """The kind as a member of its closed list."""
        return FaultKind(str(self.kind))


class GroupSpec(AccessSpec):
    """A resource group."""

    name: str = Field(pattern=r"^[\w().-]{1,90}$", description="Name of the resource group.")
    location: str = Field(default="westeurope", description="Region of the group and of VMs that name none.")
    tags: dict[str, str] = Field(default={}, description="Tags of the group.")
    vms: list[VmSpec] = Field(default=[], description="Classes of VMs.")
    scale_sets: list[ScaleSetSpec] = Field(default=[], description="Scale sets.")
    arc: list[ArcSpec] = Field(default=[], description="Classes of Arc machines.")
    maintenance: list[MaintenanceSpec] = Field(default=[], description="Maintenance configurations.")


class SubscriptionSpec(AccessSpec):
    """A subscription."""

    name: str = Field(min_length=1, description="Display name.")
    id: str | None = Field(
        default=None,
        pattern=r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
        description="Subscription id; made from the seed if left out.",
    )
    tags: dict[str, str] = Field(default={}, description="Tags of the subscription.")
    groups: list[GroupSpec] = Field(default=[], description="Resource groups.")


class LabSpec(read.Keys):
    """The whole lab."""

    apiVersion: Literal["fleet/v1"] = Field(default="fleet/v1", description="Always fleet/v1.")
    kind: Literal["Lab"] = Field(default="Lab", description="Always Lab.")
    seed: int = Field(default=1, description="Decides ids, chances, shares and spreads; equal seeds give equal labs.")
    speed: float = Field(
        default=12.0,
        gt=0,
        le=100_000,
        description="How much faster than the real service; 1 takes the recorded times.",
    )
    throttling: Literal["none", "real"] = Field(
        default="none",
        description="none (buckets only count down in headers) or real (empty buckets answer 429).",
    )
    lag: float = Field(
        default=0.0,
        ge=0,
        description="Seconds a managed command still reads Updating after its operation succeeded.",
    )
    graph_lag: float = Field(
        default=0.0,
        ge=0,
        description="Seconds until Resource Graph knows of a machine's changed power, agent or tags.",
    )
    remember_names: bool = Field(
        default=False,
        description="A managed command put anew under a name that was deleted does not run on Linux (reported).",
    )
    rerun_identical: bool = Field(
        default=False, description="A PUT of the same content runs again, which the documentation says it does not."
    )
    clock_skew: float = Field(default=0.0, description="Seconds by which the lab's clock is ahead of this machine's.")
    id_case: Literal["given", "upper"] = Field(
        default="given",
        description="upper: Compute writes resource groups in ids in capitals, Resource Graph as they were given.",
    )
    page_size: int = Field(default=200, ge=1, le=5000, description="VMs on a page of a list.")
    empty_pages: bool = Field(
        default=False, description="Put an empty page with a nextLink before every page of a list."
    )
    url_length: int = Field(
        default=1000,
        ge=600,
        le=3428,
        description="Length of signed operation URLs, in characters; the longest recorded is 3428.",
    )
    sandboxes: int | None = Field(
        default=None,
        ge=1,
        description="Sandboxes that may be starting at once. Default: four for each processor.",
    )
    powershells: int | None = Field(
        default=None,
        ge=1,
        description="PowerShells that may be starting at once. Default: one for each processor.",
    )
    rules: list[RuleSpec] = Field(default=[], description="Answers of every scripted guest, after those of its class.")
    faults: list[FaultSpec] = Field(default=[], description="What goes wrong.")
    subscriptions: list[SubscriptionSpec] = Field(min_length=1, description="Subscriptions.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        seen: set[str] = set()
        for place in _places(self):
            if place.casefold() in seen:
                raise ValueError(f"{place} is there twice")
            seen.add(place.casefold())
        return self


def load(text: str, *, file: str) -> LabSpec:
    """Read a lab file. Raises InvalidInput with every problem and its place."""
    return read.validated(read.read(text, file=file), LabSpec)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the lab file."""
    made = LabSpec.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Fleet lab file"}


def default() -> LabSpec:
    """Return the lab that starts when no file is named: 120 Linux and 6 Windows VMs in 2 subscriptions, all healthy."""
    ubuntu = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest"
    debian = "Debian:debian-12:12-gen2:latest"
    rhel = "RedHat:RHEL:9-lvm-gen2:latest"
    windows = "MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition:latest"
    rings = ["canary", "early", "broad", "broad", "broad"]

    def group(env: str, app: str, location: str, *vms: dict[str, object]) -> dict[str, object]:
        tags = {"env": env, "app": app, "owner": "ops@example.org", "ring": rings}
        return {
            "name": f"rg-{app}-{env}",
            "location": location,
            "tags": {"env": env, "app": app},
            "vms": [{"tags": tags, **vm} for vm in vms],
        }

    web = {
        "count": 24,
        "image": ubuntu,
        "size": ["Standard_D2s_v5", "Standard_D4s_v5"],
        "zones": ["1", "2", "3"],
    }
    api = {"count": 20, "image": [ubuntu, debian], "size": "Standard_D4s_v5", "zones": ["1", "2", "3"]}
    win = {"count": 6, "os": "windows", "guest": "sandbox", "image": windows, "size": "Standard_D4s_v5"}
    db = {"count": 12, "image": rhel, "size": "Standard_E8s_v5", "zones": ["1", "2"]}
    return LabSpec.model_validate(
        {
            "subscriptions": [
                {
                    "name": "prod-shop",
                    "groups": [
                        group("prod", "web", "westeurope", {"name": "web{n:03}", **web}),
                        group(
                            "prod",
                            "api",
                            "westeurope",
                            {"name": "api{n:03}", **api, "location": ["westeurope", "northeurope"]},
                        ),
                        group("prod", "db", "northeurope", {"name": "db{n:03}", **db}),
                        group("prod", "win", "northeurope", {"name": "win{n:03}", **win}),
                    ],
                },
                {
                    "name": "dev-shop",
                    "groups": [
                        group("dev", "web", "swedencentral", {"name": "devweb{n:03}", **web}),
                        group("dev", "api", "swedencentral", {"name": "devapi{n:03}", **api}),
                        group("dev", "jobs", "swedencentral", {"name": "job{n:03}", **api}),
                    ],
                },
            ]
        }
    )


def _places(spec: LabSpec) -> list[str]:
    found = []
    for subscription in spec.subscriptions:
        found.append(f"subscription {subscription.name}")
        for group in subscription.groups:
            found.append(f"group {subscription.name}/{group.name}")
            place = f"{subscription.name}/{group.name}"
            for vms in group.vms:
                found += [f"VM {place}/{vms.name.format(n=n)}" for n in vms.numbers()]
            found += [f"scale set {place}/{each.name}" for each in group.scale_sets]
            for machines in group.arc:
                found += [f"Arc machine {place}/{machines.name.format(n=n)}" for n in machines.numbers()]
    return found
