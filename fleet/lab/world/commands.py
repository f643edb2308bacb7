"""Managed run-command resources: what they are, and what an instance view says of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.lab.wire import Json, stamp, whole_stamp
from fleet.lab.world.scripted import Result, tail
from fleet.lab.world.world import Kind, Machine

LIMIT = 25  # managed commands on one VM (documented)


class Provisioning(StrEnum):
    """A resource's provisioning state (recorded: Creating, Updating, Succeeded)."""

    CREATING = "Creating"
    UPDATING = "Updating"
    DELETING = "Deleting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


class Execution(StrEnum):
    """Execution states the Linux handler sends; it never sends TimedOut or Canceled (handler source)."""

    UNKNOWN = "Unknown"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(slots=True)
class View:
    """An instance view."""

    state: Execution = Execution.UNKNOWN
    message: str = ""
    exit_code: int = 0
    output: str = ""
    error: str = ""
    started: float | None = None
    ended: float | None = None

    def begin(self, now: float) -> None:
        """The script has started."""
        self.state, self.message, self.started = Execution.RUNNING, "Execution in progress", now

    def so_far(self, stdout: bytes, stderr: bytes) -> None:
        """The handler has refreshed what a running script printed."""
        self.output, self.error = tail(stdout), tail(stderr)

    def end(self, result: Result, now: float, done: str = "Execution completed") -> None:
        """The script has ended; ``done`` is said if it ended well."""
        self.started = now if self.started is None else self.started
        self.ended = now
        self.exit_code = result.exit_code
        self.output, self.error = tail(result.stdout), tail(result.stderr)
        if result.exit_code == 0 and not result.message:
            self.state, self.message = Execution.SUCCEEDED, done
            return
        why = f"failed to execute command: command terminated with exit status={result.exit_code}"
        self.state, self.message = Execution.FAILED, f"Execution failed: {result.message or why}"

    def json(self, *, exact: bool = False) -> Json:
        """Render it; keys in their recorded order. ``exact``: times with fractions, as Arc has them (recorded)."""
        written = stamp if exact else whole_stamp
        return {
            "exitCode": self.exit_code,
            "executionState": self.state.value,
            "executionMessage": self.message,
            "output": self.output,
            "error": self.error,
            "startTime": "" if self.started is None else written(self.started),
            "endTime": "" if self.ended is None else written(self.ended),
        }


@dataclass(slots=True, eq=False)
class Command:
    """One managed run command on one machine. ``properties`` are as the client gave them."""

    machine: Machine
    name: str
    location: str
    tags: Mapping[str, str]
    properties: Mapping[str, object]
    provisioning: Provisioning = Provisioning.CREATING
    sequence: int = 0
    view: View = field(default_factory=View)

    @property
    def id(self) -> str:
        """The ARM id."""
        return f"{self.machine.id}/runCommands/{self.name}"

    @property
    def done_text(self) -> str:
        """What an instance view says of success (handler source; on Arc recorded)."""
        arc = self.machine.kind is Kind.ARC
        return "RunCommand script execution completed" if arc else "Execution completed"

    def text(self, key: str) -> str:
        """Return a property that is text, or ""."""
        value = self.properties.get(key)
        return value if isinstance(value, str) else ""

    def flag(self, key: str) -> bool:
        """Return a property that is true or false."""
        return self.properties.get(key) is True

    @property
    def source(self) -> Mapping[str, object]:
        """Where the script comes from."""
        value = self.properties.get("source")
        return value if isinstance(value, Mapping) else {}

    @property
    def limit(self) -> float:
        """The time limit in seconds; 0 is none (handler source)."""
        value = self.properties.get("timeoutInSeconds")
        return float(value) if isinstance(value, int) else 0.0

    def parameters(self) -> list[tuple[str, str]]:
        """Return names and values, public first, then protected; empty values are dropped (handler
        source).
        """
        found = []
        for key in ("parameters", "protectedParameters"):
            found += [(name, value) for name, value in pairs(self.properties.get(key)) if value]
        return found

    def json(self, *, view: bool) -> Json:
        """Render the resource. Protected parameters and the password never come back."""
        given = self.properties
        properties: dict[str, object] = {"source": dict(self.source)}
        if given.get("parameters"):
            properties["parameters"] = given["parameters"]
        for key in ("runAsUser", "outputBlobUri", "errorBlobUri"):
            if self.text(key):
                properties[key] = self.text(key)
        for key in ("outputBlobManagedIdentity", "errorBlobManagedIdentity"):
            if isinstance(given.get(key), Mapping):
                properties[key] = given[key]
        properties["timeoutInSeconds"] = int(self.limit)
        properties["provisioningState"] = self.provisioning.value
        properties["asyncExecution"] = self.flag("asyncExecution")
        if "treatFailureAsDeploymentFailure" in given:
            properties["treatFailureAsDeploymentFailure"] = self.flag("treatFailureAsDeploymentFailure")
        if view:
            properties["instanceView"] = self.view.json()
        whole: dict[str, object] = {
            "name": self.name,
            "id": f"{self.machine.shown_id}/runCommands/{self.name}",
            "type": f"{self.machine.type}/runCommands",
            "location": self.location,
        }
        if self.tags:
            whole["tags"] = dict(self.tags)
        whole["properties"] = properties
        return whole


def pairs(value: object) -> list[tuple[str, str]]:
    """Read a list of ``{name, value}``; anything else in it is passed over."""
    if not isinstance(value, list):
        return []
    return [(str(item.get("name", "")), str(item.get("value", ""))) for item in value if isinstance(item, Mapping)]
