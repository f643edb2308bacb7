"""Settings as they are written in a file or a variable, held against the table of keys (``fleet.config.schema``).

Apart from the sources, because it brings YAML and pydantic: where no such setting is written, neither is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from fleet.config.model import PATHS, leaves
from fleet.config.schema import ConfigKeys, CredentialForm
from fleet.documents import read
from fleet.documents.read import Document

Absolute = Callable[[str], Path]
"""Makes a path absolute from where it is written."""


def of_file(text: bytes, file: str, absolute: Absolute) -> tuple[Mapping[str, object], Mapping[str, int]]:
    """Return what a config file says by dotted key, and in which line. Raises InvalidInput with every problem."""
    document = read.examine(text, file=file)
    if document.data is None and not document.problems:
        return {}, {}
    values = _plain(read.validated(document, ConfigKeys), absolute)
    return values, {key: document.mark(key.split("."), key=True).line for key in values}


def of_text(key: str, text: str, origin: str, absolute: Absolute) -> Mapping[str, object]:
    """Return one setting given as text: paths and names as they are, everything else as YAML. Raises InvalidInput."""
    document = Document(origin)
    document.data = _nested(key, _value(key, text, origin))
    return _plain(read.validated(document, ConfigKeys), absolute)


_TEXTS = (*PATHS, "azure.tenant")
_LISTS = ("azure.subscriptions",)


def _value(key: str, text: str, origin: str) -> object:
    if key in _TEXTS:
        return text
    if key in _LISTS and not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    return read.read(text, file=origin).data


def _nested(key: str, value: object) -> object:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _plain(written: ConfigKeys, absolute: Absolute) -> dict[str, object]:
    """Return what was really written, as plain data by dotted key, paths made absolute."""
    values: dict[str, object] = {}
    for key in leaves():
        node: Any = written
        for part in key.split("."):
            if part not in node.model_fields_set:
                break
            node = getattr(node, part)
        else:
            values[key] = absolute(node) if key in PATHS and node else _unwrapped(node, absolute)
    return values


def _unwrapped(node: Any, absolute: Absolute) -> Any:
    """Return plain data, with the path of a certificate made absolute, wherever it stands among credentials."""
    if isinstance(node, list):
        return [_unwrapped(item, absolute) for item in node]
    if not isinstance(node, pydantic.BaseModel):
        return node
    form = node.model_dump(exclude_none=True)
    if isinstance(node, CredentialForm) and node.client_certificate is not None:
        form["client_certificate"]["path"] = str(absolute(node.client_certificate.path))
    return form
