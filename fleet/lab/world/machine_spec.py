"""Classes of machines in a lab file: VMs, scale-set instances and Arc machines, their packages, their guests' answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fleet.documents import read
from fleet.lab.world.access import AccessSpec


class System(StrEnum):
    """The guest's operating system family."""

    LINUX = "linux"
    WINDOWS = "windows"


class PowerState(StrEnum):
    """Azure's power states."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"


class AgentState(StrEnum):
    """How the VM agent stands. Commands sent to one that does not answer hang until the service gives up."""

    READY = "ready"
    NOT_READY = "not_ready"
    NO_STATUS = "no_status"
    SILENT = "silent"
    NOT_INSTALLED = "not_installed"


class GuestKind(StrEnum):
    """How scripts are answered: really run in a sandbox, or by rules."""

    SANDBOX = "sandbox"
    SCRIPTED = "scripted"


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_share(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)):
        return float(match[1]) / 100
    return value


def _as_range(value: object) -> object:
    return [value, value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value


Length = Annotated[float, Field(ge=0)]
OneOrMore = Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_as_share, json_schema_input_type=float | str)]
Span = Annotated[
    list[Length],
    Field(min_length=2, max_length=2),
    BeforeValidator(_as_range, json_schema_input_type=Length | list[Length]),
]


_AGENT = (
    "VM agent. not_ready: its status blob is empty, and commands hang until the service gives up. no_status: the blob is "
    "missing, and commands fail after 25 minutes. silent: the view does not show it. not_installed: commands are refused."
)


class RuleSpec(read.Keys):
    """One answer of scripted guests; the first rule that fits is taken."""

    when: str = Field(default="", description="Regular expression searched in the script; empty fits every script.")
    share: Share = Field(
        default=1.0,
        description="Part of the class's machines the rule is for, as 10% or 0.1, chosen by the seed.",
    )
    stdout: str = Field(
        default="",
        description="What the script prints. {name} {group} {location} {size} {os} {n} are filled in.",
    )
    stderr: str = Field(default="", description="What the script prints on its error stream; filled in likewise.")
    exit: int = Field(
        default=0,
        ge=-(2**31),
        lt=2**32,
        description="The script's exit code: 0 to 255, on Windows any number of 32 bits, signed or not.",
    )
    duration: Span = Field(
        default=[1.0, 1.0], description="Seconds the script takes, or [shortest, longest]; divided by speed."
    )

    @field_validator("when")
    @classmethod
    def _is_regex(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as problem:
            raise ValueError(f"not a regular expression: {problem}") from None
        return value


_VERSION = r"^\d[A-Za-z0-9.+~-]{0,60}$"
_NAME = r"[a-z0-9][a-z0-9+.-]{0,60}"


class PackageSpec(read.Keys):
    """One package of a class of machines."""

    installed: str = Field(pattern=_VERSION, description="The version that is installed where the update waits.")
    available: str | None = Field(
        default=None, pattern=_VERSION, description="The version in the mirror. Default: the installed one."
    )
    chance: Share = Field(
        default=1.0, description="How likely the update waits on a machine, as 50%; the others have it already."
    )
    security: bool = Field(default=False, description="The update is a security update.")
    reboot: bool = Field(default=False, description="The update asks for a restart.")
    hold: bool = Field(default=False, description="Somebody keeps the package at its version where an update waits.")
    fails: bool = Field(default=False, description="The script that ends its installation fails.")
    unfinished: bool = Field(
        default=False, description="Its installation was interrupted where an update waits (Debian and Ubuntu)."
    )
    brings: str = Field(
        default="",
        pattern=rf"^({_NAME})?$",
        description="A package that the update adds, as a new kernel's (Debian and Ubuntu).",
    )


_HRESULT = r"^0x[0-9A-Fa-f]{8}$"
_ARTICLE = r"^KB\d{6,8}$"


class OfferedSpec(read.Keys):
    """One update that Windows Update offers to a class of machines."""

    kind: Literal[
        "security", "critical", "rollups", "updates", "definitions", "drivers", "previews", "upgrades", "tools"
    ] = Field(
        default="security", description="What it is. A preview is an optional rollup, an upgrade another Windows."
    )
    title: str = Field(default="", description="Title. Default: made of its kind and its article.")
    severity: Literal["", "Critical", "Important", "Moderate", "Low"] = Field(
        default="", description="Severity that Microsoft gives it; empty for none."
    )
    size_mib: float = Field(default=60.0, ge=0, le=1_000_000, description="Size in MiB.")
    chance: Share = Field(default=1.0, description="How likely it is offered to a machine, as 50%.")
    takes: Span = Field(
        default=[10.0, 60.0], description="Seconds that installing it takes, or [shortest, longest]; divided by speed."
    )
    restart: Literal["no", "after", "before_others"] = Field(
        default="no",
        description="after: it is complete only after a restart. before_others: until then no other can be installed.",
    )
    fails: str = Field(
        default="", pattern=rf"{_HRESULT}|^$", description="HRESULT with which its installation fails, as 0x80070643."
    )
    download_fails: str = Field(
        default="", pattern=rf"{_HRESULT}|^$", description="HRESULT with which its download fails, as 0x80240438."
    )
    undone: bool = Field(default=False, description="Its restart undoes it, each time.")
    comes_again: bool = Field(default=False, description="It reports success, and is offered again each time.")
    powers_off: bool = Field(
        default=False, description="The VM powers off in the middle of its installation, each time."
    )
    needs: list[str] = Field(default=[], description="Articles that must be installed first.")
    replaces: list[str] = Field(default=[], description="Articles that are not offered once it is installed.")


class ServiceSpec(read.Keys):
    """One service of a class of Windows machines."""

    status: Literal["Running", "Stopped"] = Field(default="Running", description="How it is when the lab starts.")
    start: Literal["Automatic", "Manual", "Disabled"] = Field(default="Automatic", description="How it starts.")
    needs: list[str] = Field(default=[], description="Services that it depends on.")
    start_fails: int = Field(
        default=0, ge=0, le=65535, description="Windows error with which its start fails, as 1053."
    )
    stop_fails: int = Field(default=0, ge=0, le=65535, description="Windows error with which its stop fails, as 1051.")
    crashes_after: int = Field(default=0, ge=0, le=1000, description="Looks at it, from its start on, until it stops.")


class UpdatesSpec(read.Keys):
    """The packages of a class of machines, and what stands in the way of updating them."""

    packages: dict[Annotated[str, Field(pattern=rf"^{_NAME}$")], PackageSpec] | None = Field(
        default=None, description="Packages by name. Default: some of the distribution's, with updates by chance."
    )
    offered: dict[Annotated[str, Field(pattern=_ARTICLE)], OfferedSpec] | None = Field(
        default=None, description="Windows: updates by article, as KB5044281. Default: some usual ones, by chance."
    )
    hotfixes: list[Annotated[str, Field(pattern=_ARTICLE)]] = Field(
        default=["KB5042881", "KB5046265"], description="Windows: articles that are installed when the lab starts."
    )
    pending_restart: Literal["no", "wanted", "before_others", "stays"] = Field(
        default="no",
        description="Windows: a restart is wanted when the lab starts. before_others: until then nothing can be installed. "
        "stays: it still is after each restart.",
    )
    mirror: Literal["up", "gone"] = Field(
        default="up", description="gone: no list of packages or updates can be fetched."
    )
    search_fails: str = Field(
        default="",
        pattern=rf"{_HRESULT}|^$",
        description="Windows: HRESULT with which each search for updates fails, as 0x80248007.",
    )
    locked: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Real seconds, from a guest's first script on, for which something else holds the locks or, on Windows, "
        "installs updates.",
    )
    boot_mib: int | None = Field(
        default=None, ge=1, le=1000, description="Size in MiB of a /boot of its own. Default: none, it is on the disk."
    )


class DiskSpec(read.Keys):
    """One disk of a class of machines, as it is reported in a sandboxed guest."""

    size_gib: float = Field(default=30.0, gt=0, le=1_000_000, description="Size in GiB.")
    used: Share = Field(default=0.4, description="Part of it that is used, as 97% or 0.97.")


class MachinesSpec(AccessSpec):
    """What every class of machines has."""

    name: str = Field(
        description="Name; {n} is the machine's number, as in web{n:03}, and is needed when count is above 1."
    )
    count: int = Field(default=1, ge=1, le=100_000, description="How many machines.")
    start: int = Field(default=1, ge=0, description="The first number.")
    os: Literal["linux", "windows"] = Field(default="linux", description="linux or windows.")
    location: OneOrMore = Field(default=[], description="Region; a list is dealt out in turn. Default: the group's.")
    tags: dict[str, OneOrMore] = Field(default={}, description="Tags; a list of values is dealt out in turn.")
    agent: Literal["ready", "not_ready", "no_status", "silent", "not_installed"] = Field(
        default="ready", description=_AGENT
    )
    guest: Literal["sandbox", "scripted"] | None = Field(
        default=None,
        description="sandbox (scripts really run; on Windows by a PowerShell, where one is found) or scripted (rules). "
        "Default: sandbox on Linux, scripted on Windows.",
    )
    rules: list[RuleSpec] = Field(default=[], description="Answers of scripted guests, before the lab's own rules.")
    updates: UpdatesSpec = Field(
        default=UpdatesSpec(), description="Packages of sandboxed guests, and what stands in the way of updating them."
    )
    disks: dict[Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._/-]*|[A-Z]:)$")], DiskSpec] = Field(
        default={},
        description="Disks by mount point or, on Windows, letter, as reported in sandboxed guests. / or C: is always there.",
    )
    services: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9 ._$-]{1,80}$")], ServiceSpec] | None = Field(
        default=None, description="Windows: services of sandboxed guests by name. Default: some usual ones, running."
    )
    cim: Literal["works", "broken", "hangs"] = Field(
        default="works",
        description="Windows: CIM, which is WMI, of sandboxed guests. broken: each question fails. hangs: none is answered.",
    )

    @field_validator("name")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        try:
            sample = value.format(n=1)
        except (KeyError, IndexError, ValueError) as problem:
            raise ValueError(f"not a name pattern ({problem}); only {{n}} is known, as in web{{n:03}}") from None
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?", sample):
            raise ValueError(f"{sample!r} is not a VM name: letters, digits, '-', '_' and '.', at most 64")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wrong = next((rule.exit for rule in self.rules if self.os == "linux" and not 0 <= rule.exit <= 255), None)
        if wrong is not None:
            raise ValueError(f"exit {wrong} is for Windows guests; a Linux script ends with 0 to 255")
        for key, system in self._keys():
            if system != self.os:
                raise ValueError(f"{key} is for {system.capitalize()} guests, these are {self.os.capitalize()}")
        return self

    def _keys(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that are given for guests of one system only."""
        updates = self.updates.model_fields_set
        yield from ((f"updates.{key}", "linux") for key in ("packages", "boot_mib") if key in updates)
        only = ("offered", "hotfixes", "pending_restart", "search_fails")
        yield from ((f"updates.{key}", "windows") for key in only if key in updates)
        yield from ((f"disk {name}", "linux" if name.startswith("/") else "windows") for name in self.disks)
        if self.services is not None:
            yield "services", "windows"
        if "cim" in self.model_fields_set:
            yield "cim", "windows"

    @property
    def kind(self) -> GuestKind:
        """How these guests answer."""
        if self.guest is not None:
            return GuestKind(self.guest)
        return GuestKind.SANDBOX if self.os == "linux" else GuestKind.SCRIPTED

    def numbers(self) -> range:
        """The members' numbers."""
        return range(self.start, self.start + self.count)


class NamedSpec(MachinesSpec):
    """A class whose members have names of their own."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.count > 1 and self.name.format(n=1) == self.name.format(n=2):
            raise ValueError("name needs {n} when count is above 1, as in web{n:03}")
        return self


class ComputeSpec(MachinesSpec):
    """What machines that Compute runs have."""

    size: OneOrMore = Field(
        default=["Standard_D2s_v5"], min_length=1, description="VM size; a list is dealt out in turn."
    )
    image: OneOrMore = Field(
        default=[],
        description="publisher:offer:sku:version or an image's resource id; a list is dealt out in turn.",
    )
    zones: OneOrMore = Field(default=[], description="Availability zones, dealt out in turn; none if left out.")
    power: Literal["running", "starting", "stopping", "stopped", "deallocating", "deallocated"] = Field(
        default="running", description="Power state; commands need running or starting."
    )
    extensions: bool = Field(
        default=True, description="false: extension operations are switched off on the VM, and commands are refused."
    )
    patch_mode: Literal["ImageDefault", "AutomaticByPlatform", "AutomaticByOS", "Manual"] | None = Field(
        default=None, description="Who installs updates. Default: ImageDefault on Linux, AutomaticByOS on Windows."
    )
    patch_on_schedule: bool = Field(
        default=False,
        description="Azure patches at the times of a maintenance configuration only; with AutomaticByPlatform.",
    )
    extension_policy: Literal["none", "deny"] = Field(
        default="none",
        description="deny: the Linux agent's policy does not let the Run Command handlers run, so no script runs.",
    )

    @model_validator(mode="after")
    def _has_a_patch_mode(self) -> Self:
        wrong = {"linux": ("AutomaticByOS", "Manual"), "windows": ("ImageDefault",)}
        if self.patch_mode in wrong[self.os]:
            raise ValueError(f"{self.patch_mode} is not a patch mode of {self.os}")
        return self

    @model_validator(mode="after")
    def _has_a_policy(self) -> Self:
        if self.extension_policy == "deny" and self.os == "windows":
            raise ValueError("extension_policy is the Linux agent's")
        return self


class VmSpec(NamedSpec, ComputeSpec):
    """A class of VMs that are alike."""

    availability_set: str = Field(
        default="", description="Name of the availability set that the VMs are in; such VMs have no zones."
    )
    update_domains: int = Field(
        default=5, ge=1, le=20, description="Update domains of that set; its VMs are dealt out to them in turn."
    )
    fault_domains: int = Field(default=2, ge=1, le=3, description="Fault domains of that set, dealt out likewise.")

    @model_validator(mode="after")
    def _has_one_kind_of_place(self) -> Self:
        if self.availability_set and self.zones:
            raise ValueError("a VM in an availability set has no zones (documented)")
        return self


class ScaleSetSpec(ComputeSpec):
    """A scale set."""

    name: str = Field(description="Name of the scale set.")
    count: int = Field(default=2, ge=1, le=1000, description="How many instances.")
    start: int = Field(default=0, ge=0, description="The first instance id.")
    orchestration: Literal["uniform", "flexible"] = Field(
        default="uniform",
        description="uniform: instances of their own kind. flexible: ordinary VMs that name their set, listed as VMs.",
    )


class ArcSpec(NamedSpec):
    """A class of Arc machines that are alike."""

    agent: Literal["ready", "not_ready"] = Field(
        default="ready", description="ready is Connected; not_ready is Disconnected, and commands wait."
    )
