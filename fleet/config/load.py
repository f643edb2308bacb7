"""Settings: what they are, where they come from, and which source wins.

The only module that reads the config files and ``FLEET_*`` variables. The first source that has a value wins:
command line, environment, the config file (``--config``, else ``FLEET_CONFIG``, else ``./config.yaml``), the
user's own file (``$XDG_CONFIG_HOME/fleet/config.yaml``), default. A component is handed its own section only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fleet.config.model import PATHS, AzureConfig, RunConfig, leaves, variable
from fleet.config.model import Config as Config
from fleet.documents.files import MOST_READ, read_start
from fleet.documents.places import closest, in_order, shown
from fleet.errors import InvalidInput, Problem

Origins = Mapping[str, str]


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
        return read_start(path, MOST_READ + 1)
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
    from fleet.config.written import of_file

    try:
        values, lines = of_file(text, str(path), partial(_absolute, path.parent, home))
    except InvalidInput as error:
        problems.extend(error.problems)
        return
    yield _Source(values, {key: f"{path}:{line}" for key, line in lines.items()})


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
    """Yield one setting given as text."""
    try:
        values = _given(key, text, origin, partial(_absolute, cwd, home))
    except InvalidInput as error:
        for item in error.problems:
            problems.append(dataclasses.replace(item, line=0, column=0, found=item.found or shown(text)))
        return
    yield _Source(values, {key: origin})


def _given(key: str, text: str, origin: str, absolute: Callable[[str], Path]) -> Mapping[str, object]:
    if key in PATHS and text and text.isprintable():  # needs no table, and is all that most environments set
        return {key: absolute(text)}
    from fleet.config.written import of_text

    return of_text(key, text, origin, absolute)


def _absolute(folder: Path, home: Path | None, path: str) -> Path:
    if not path.startswith("~/"):
        return folder / path
    if home is None:
        raise _no_home(f"{path} begins in the home folder, and none is known")
    return home / path[2:]


def _no_home(message: str) -> InvalidInput:
    hint = "set HOME, or FLEET_STATE_DIR and paths without ~"
    why = "HOME is not set, and the user has no entry in the list of users"
    return InvalidInput([Problem("no_home", f"{message}: {why}", hint=hint)])


# ---------------------------------------------------------------------------------------------- the result


def _config(values: Mapping[str, Any], environ: Mapping[str, str], home: Path | None) -> Config:
    def section(name: str) -> dict[str, Any]:
        return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}

    azure = section("azure")
    if "api_versions" in azure:
        azure["api_versions"] = azure["api_versions"] or None
    if "credential" in azure:
        forms = azure["credential"]
        azure["credential"] = tuple(forms) if isinstance(forms, list) else (forms,)
    if azure.get("subscriptions"):
        azure["subscriptions"] = tuple(azure["subscriptions"])
    base = _base(environ, "XDG_STATE_HOME", home, ".local/state")
    state = values.get("state_dir") or (base and base / "fleet")
    if state is None:
        raise _no_home("where to keep runs is not known")
    return Config(AzureConfig(**azure), RunConfig(**section("run")), state)
