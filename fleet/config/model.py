"""Settings as components get them: plain values, and the name of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Credential = str | Mapping[str, object]

PATHS = ("azure.ca_file", "state_dir")
"""The settings that are paths."""


@dataclass(frozen=True, slots=True)
class AzureConfig:
    """How to reach Azure. ``cloud`` and ``credential`` keep the form in which they are written.

    ``credential`` is a pool of one or more.
    """

    cloud: str | Mapping[str, str] = "public"
    credential: tuple[Credential, ...] = ("default",)
    tenant: str | None = None
    ca_file: Path | None = None
    api_versions: Mapping[str, str] | None = None
    """By the keys of ``azure.api_versions``; those that are not named have their defaults."""
    subscriptions: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How a run behaves where the playbook says nothing. Times in seconds; None means no limit."""

    concurrency: int | Literal["auto"] = "auto"
    concurrency_per_subscription: int | None = None
    transport: Literal["auto", "managed", "action"] = "auto"
    receipts: bool = True
    deliver_timeout: float = 1800.0
    start_timeout: float = 600.0
    answer_grace: float = 600.0
    require_approval: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. ``state_dir`` is absolute; nothing has been created there yet."""

    azure: AzureConfig
    run: RunConfig
    state_dir: Path

    def values(self) -> Mapping[str, object]:
        """Return every setting by its dotted key, as plain data, for showing."""
        return {
            **{f"azure.{key}": _plain(value) for key, value in _fields(self.azure)},
            **{f"run.{key}": _plain(value) for key, value in _fields(self.run)},
            "state_dir": str(self.state_dir),
        }


def leaves() -> tuple[str, ...]:
    """Return the dotted key of every setting, in the order of the table (``fleet.config.schema``)."""
    sections = (("azure.", AzureConfig), ("run.", RunConfig))
    inner = (f"{name}{field.name}" for name, section in sections for field in dataclasses.fields(section))
    return (*inner, "state_dir")


def variable(key: str) -> str:
    """Return the environment variable of a key: ``run.concurrency`` is FLEET_RUN_CONCURRENCY."""
    return "FLEET_" + key.replace(".", "_").upper()


def _fields(section: Any) -> Iterator[tuple[str, object]]:
    return ((field.name, getattr(section, field.name)) for field in dataclasses.fields(section))


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return value
