"""Frozen dataclasses to JSON and back, for everything that is kept: plans, events, reports.

One rule per kind of value, read from the type hints: dataclasses become objects (fields equal to their default are
left out), tuples become arrays, enums their value, mappings objects. JSON text is ASCII, so what a VM printed survives
byte for byte, lone surrogates included.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Decode = Callable[[Any], Any]
Encode = Callable[[Any], Any]

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})


def encode(value: object) -> Any:
    """Turn a value into plain JSON data."""
    if type(value) in _AS_THEY_ARE:
        return value
    write: Encode = _encoder(type(value))  # type: ignore[arg-type]  # a type is hashable; mypy cannot tell
    return write(value)


def decode(kind: type[T], data: object) -> T:
    """Rebuild a value of ``kind``. Unknown keys are ignored, so newer writers can be read.

    Raises ValueError, TypeError or KeyError if the data does not fit.
    """
    read: Decode = _decoder(kind)  # type: ignore[arg-type]  # a type is hashable; mypy cannot tell for T
    result: T = read(data)
    return result


def to_json(value: object) -> str:
    """Render canonical JSON: sorted keys, no spaces, ASCII. Equal values give equal text."""
    return _CANONICAL.encode(encode(value))


def digest(value: object) -> str:
    """Return the sha256, in hex, of a value's canonical JSON."""
    return hashlib.sha256(to_json(value).encode("ascii")).hexdigest()


@cache
def _encoder(kind: type) -> Encode:
    if issubclass(kind, Enum):
        return lambda value: value.value
    if dataclasses.is_dataclass(kind):
        return _sparing(kind)
    if issubclass(kind, Mapping):
        return lambda value: {str(key): encode(item) for key, item in value.items()}
    if issubclass(kind, (tuple, list)):
        return lambda value: [encode(item) for item in value]
    return lambda value: value


def _sparing(kind: type) -> Encode:
    """The encoder of a dataclass. A default is left out only if the type is equal, too: ``0`` is not ``False``."""
    fields = [(field.name, _default(field)) for field in dataclasses.fields(kind)]

    def write(value: Any) -> dict[str, Any]:
        plain = {}
        for name, default in fields:
            item = getattr(value, name)
            if type(item) is not type(default) or item != default:
                plain[name] = encode(item)
        return plain

    return write


def _default(field: dataclasses.Field[Any]) -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@cache
def _decoder(kind: Any) -> Decode:
    kind = getattr(kind, "__supertype__", kind)  # a NewType is its base at run time
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind))
    if origin is tuple:
        return _tuple(get_args(kind))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_decoder(get_args(kind)[1]))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if kind is float:
        return _number
    return _plain(kind)


def _dataclass(kind: type) -> Decode:
    hints = get_type_hints(kind)
    fields = [(field.name, _decoder(hints[field.name])) for field in dataclasses.fields(kind)]

    def build(data: Any) -> object:
        if not isinstance(data, dict):
            raise ValueError(f"expected a {kind.__name__}, got {type(data).__name__}")
        return kind(**{name: read(data[name]) for name, read in fields if name in data})

    return build


def _mapping(each: Decode) -> Decode:
    def build(data: Any) -> object:
        if not isinstance(data, dict):
            raise ValueError(f"expected a mapping, got {type(data).__name__}")
        return {key: each(item) for key, item in data.items()}

    return build


def _tuple(args: tuple[Any, ...]) -> Decode:
    if len(args) == 2 and args[1] is Ellipsis:
        each = _decoder(args[0])
        return lambda data: tuple(each(item) for item in _listed(data))
    parts = [_decoder(arg) for arg in args]
    return lambda data: tuple(read(item) for read, item in zip(parts, _listed(data), strict=True))


def _listed(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError(f"expected a list, got {type(data).__name__}")
    return data


def _union(args: tuple[Any, ...]) -> Decode:
    """Take the first member that fits; members must tell themselves apart by their JSON kind."""
    options = [(arg, _decoder(arg)) for arg in args]

    def build(data: Any) -> object:
        if data is None:
            return None
        for arg, read in options:
            if _fits(arg, data):
                return read(data)
        raise ValueError(f"nothing in {args} fits a {type(data).__name__}")

    return build


def _fits(kind: Any, data: object) -> bool:
    kind = getattr(kind, "__supertype__", kind)
    base = get_origin(kind) or kind
    if base is tuple:
        return isinstance(data, list)
    if isinstance(base, type) and (dataclasses.is_dataclass(base) or issubclass(base, Mapping)):
        return isinstance(data, dict)
    if isinstance(base, type) and issubclass(base, Enum):
        return isinstance(data, str)
    if base is float:
        return isinstance(data, (int, float)) and not isinstance(data, bool)
    return type(data) is base


def _number(data: Any) -> float:
    if isinstance(data, bool) or not isinstance(data, (int, float)):
        raise ValueError(f"expected a number, got {type(data).__name__}")
    return float(data)


def _plain(kind: Any) -> Decode:
    def check(data: Any) -> object:
        if type(data) is not kind:
            raise ValueError(f"expected {kind.__name__}, got {type(data).__name__}")
        return data

    return check
