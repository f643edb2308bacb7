"""Settings: what they are, where they come from, and which source wins.

The only module that reads the config files and ``FLEET_*`` variables. The first source that has a value wins:
command line, environment, the config file (``--config``, else ``FLEET_CONFIG``, else ``./config.yaml``), the
user's own file (``$XDG_CONFIG_HOME/fleet/config.yaml``), default. A component is handed its own section only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from fleet.config.schema import ConfigKeys, CredentialForm, leaves, variable
from fleet.documents import read
from fleet.documents.files import read_start
from fleet.documents.places import closest, in_order, shown
from fleet.documents.read import Document
from fleet.errors import InvalidInput, Problem

Origins = Mapping[str, str]
Credential = str | Mapping[str, object]


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


def load(
    *, flags: Mapping[str, str], environ: Mapping[str, str], cwd: Path, home: Path | None
) -> tuple[Config, Origins]:
    """Read all sources, and say for every key where its value comes from.

    ``flags`` maps dotted keys to text (``run.concurrency``), and ``config`` to a file. Raises InvalidInput
    with every problem of every source.
    """
    problems: list[Problem] = []
    sources = [
        *_files(flags, environ, cwd, home, problems),
        *_variables(environ, cwd, home, problems),
        *_options(flags, cwd, home, problems),
    ]
    if problems:
        raise InvalidInput(in_order(problems))
    values: dict[str, object] = {}
    origins = dict.fromkeys(leaves(), "default")
    for source in sources:
        values.update(source.values)
        origins.update(source.origins)
    return _config(values, environ, home), origins


# --------------------------------------------------------------------------------------------- the sources

_PATHS = ("azure.ca_file", "state_dir")
_TEXTS = ("azure.tenant",)
_LISTS = ("azure.subscriptions",)


@dataclass(frozen=True, slots=True)
class _Source:
    values: Mapping[str, object]
    origins: Mapping[str, str]


def _files(
    flags: Mapping[str, str], environ: Mapping[str, str], cwd: Path, home: Path | None, problems: list[Problem]
) -> Iterator[_Source]:
    """Yield the user's own file and the chosen one, as far as they are there."""
    base = _base(environ, "XDG_CONFIG_HOME", home, ".config")
    chosen, named_by = cwd / "config.yaml", ""
    for name, by in ((environ.get("FLEET_CONFIG"), "FLEET_CONFIG"), (flags.get("config"), "--config")):
        if name:
            chosen, named_by = cwd / Path(name), by
    for path, by in ((base and base / "fleet" / "config.yaml", ""), (chosen, named_by)):
        text = _text(path, by, problems) if path is not None else None
        if text is not None:
            assert path is not None
            yield from _file(text, path, home, problems)


def _base(environ: Mapping[str, str], name: str, home: Path | None, usual: str) -> Path | None:
    """The folder that a variable of the XDG specification names, which ignores relative ones, else the usual one."""
    named = Path(environ.get(name, ""))
    if named.is_absolute():
        return named
    return None if home is None else home / usual


def _text(path: Path, named_by: str, problems: list[Problem]) -> bytes | None:
    try:
        return read_start(path, read.MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not named_by:
            return None
        reason = error.strerror
    except OSError as error:
        reason = error.strerror
    message = f"the config file cannot be read: {reason}"
    problems.append(Problem("config_unreadable", message, str(path), hint=f"check {named_by or 'the file'}"))
    return None


def _file(text: bytes, path: Path, home: Path | None, problems: list[Problem]) -> Iterator[_Source]:
    try:
        document = read.examine(text, file=str(path))
        if document.data is None and not document.problems:
            return
        written = read.validated(document, ConfigKeys)
    except InvalidInput as error:
        problems.extend(error.problems)
        return
    values = _written(written, path.parent, home)
    yield _Source(values, {key: f"{path}:{document.mark(key.split('.'), key=True).line}" for key in values})


def _variables(environ: Mapping[str, str], cwd: Path, home: Path | None, problems: list[Problem]) -> Iterator[_Source]:
    """Yield what FLEET_* variables set. Misspelt ones of a section are problems; others are not judged."""
    known = {variable(key): key for key in leaves()}
    for name, text in environ.items():
        if name in known and text:
            yield from _single(known[name], text, name, cwd, home, problems)
        elif name.startswith(("FLEET_AZURE_", "FLEET_RUN_")) and name not in known:
            hint = closest(name, known) or f"known are: {', '.join(known)}"
            problems.append(Problem("unknown_variable", f"{name} is not a setting", name, found=name, hint=hint))


def _options(flags: Mapping[str, str], cwd: Path, home: Path | None, problems: list[Problem]) -> Iterator[_Source]:
    for key, text in flags.items():
        if key != "config":
            yield from _single(key, text, "command line", cwd, home, problems)


def _single(
    key: str, text: str, origin: str, cwd: Path, home: Path | None, problems: list[Problem]
) -> Iterator[_Source]:
    """Yield one setting given as text: paths and names as they are, everything else as YAML."""
    try:
        document = Document(origin)
        document.data = _nested(key, _value(key, text, origin))
        written = read.validated(document, ConfigKeys)
    except InvalidInput as error:
        for item in error.problems:
            problems.append(dataclasses.replace(item, line=0, column=0, found=item.found or shown(text)))
        return
    yield _Source(_written(written, cwd, home), {key: origin})


def _value(key: str, text: str, origin: str) -> object:
    if key in _PATHS or key in _TEXTS:
        return text
    if key in _LISTS and not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    return read.read(text, file=origin).data


def _nested(key: str, value: object) -> object:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _absolute(path: str, folder: Path, home: Path | None) -> Path:
    if not path.startswith("~/"):
        return folder / path
    if home is None:
        raise _no_home(f"{path} begins in the home folder, and none is known")
    return home / path[2:]


def _no_home(message: str) -> InvalidInput:
    hint = "set HOME, or FLEET_STATE_DIR and paths without ~"
    why = "HOME is not set, and the user has no entry in the list of users"
    return InvalidInput([Problem("no_home", f"{message}: {why}", hint=hint)])


def _written(written: ConfigKeys, folder: Path, home: Path | None) -> dict[str, object]:
    """Return what was really written, by dotted key, with paths made absolute from ``folder``."""
    values: dict[str, object] = {}
    for key in leaves():
        node: Any = written
        for part in key.split("."):
            if part not in node.model_fields_set:
                break
            node = getattr(node, part)
        else:
            values[key] = _absolute(node, folder, home) if key in _PATHS and node else _placed(node, folder, home)
    return values


def _placed(node: Any, folder: Path, home: Path | None) -> Any:
    """Make the path of a certificate absolute, wherever it stands among credentials."""
    if isinstance(node, list):
        return [_placed(item, folder, home) for item in node]
    if isinstance(node, CredentialForm) and node.client_certificate is not None:
        path = str(_absolute(node.client_certificate.path, folder, home))
        certificate = node.client_certificate.model_copy(update={"path": path})
        return node.model_copy(update={"client_certificate": certificate})
    return node


# ---------------------------------------------------------------------------------------------- the result


def _config(values: Mapping[str, Any], environ: Mapping[str, str], home: Path | None) -> Config:
    def section(name: str) -> dict[str, Any]:
        return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}

    azure = section("azure")
    if "cloud" in azure:
        azure["cloud"] = _unwrapped(azure["cloud"])
    if azure.get("api_versions"):
        azure["api_versions"] = _unwrapped(azure["api_versions"]) or None
    if "credential" in azure:
        forms = azure.pop("credential")
        azure["credential"] = tuple(_unwrapped(form) for form in (forms if isinstance(forms, list) else [forms]))
    if azure.get("subscriptions"):
        azure["subscriptions"] = tuple(azure["subscriptions"])
    base = _base(environ, "XDG_STATE_HOME", home, ".local/state")
    state = values.get("state_dir") or (base and base / "fleet")
    if state is None:
        raise _no_home("where to keep runs is not known")
    return Config(AzureConfig(**azure), RunConfig(**section("run")), state)


def _unwrapped(form: str | pydantic.BaseModel) -> Any:
    return form if isinstance(form, str) else form.model_dump(exclude_none=True)


def _fields(section: Any) -> Iterator[tuple[str, object]]:
    return ((field.name, getattr(section, field.name)) for field in dataclasses.fields(section))


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return value
