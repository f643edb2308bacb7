"""What shape a field of an answer has, said in words where it is not the one that is expected. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fleet.azure.wire.http import Json

LONGEST = 4096
"""Characters of a text. Names, ids, locations and tags of Azure are shorter (documented)."""

Shape = Callable[[Json], str]
"""Says what is wrong with a value; empty if nothing is."""


def kind_of_json(data: Json) -> str:
    """Name the kind of a JSON value: ``a list``, ``null``."""
    if data is None:
        return "null"
    if isinstance(data, bool):
        return "true or false"
    if isinstance(data, (int, float)):
        return "a number"
    return {str: "a text", list: "a list", dict: "an object"}[type(data)]


def is_absent(data: Json) -> bool:
    """Say whether a field is not there: Resource Graph writes null or an empty text for one that a resource has not."""
    return data is None or data == ""


def text(data: Json) -> str:
    """Expect a text that can be encoded and is not longer than ``LONGEST``, or none."""
    if data is None:
        return ""
    if not isinstance(data, str):
        return f"is {kind_of_json(data)}, not a text"
    if len(data) > LONGEST:
        return f"is a text of {len(data):,} characters"
    if not data.isascii() and any("\ud800" <= character <= "\udfff" for character in data):
        return "has a character that cannot be encoded"
    return ""


def number(data: Json) -> str:
    """Expect a whole number, or none."""
    if data is None or (isinstance(data, int) and not isinstance(data, bool)):
        return ""
    return f"is {kind_of_json(data)}, not a whole number"


def flag(data: Json) -> str:
    """Expect true or false, or nothing."""
    return "" if data is None or isinstance(data, bool) else f"is {kind_of_json(data)}, not true or false"


def thing(data: Json) -> str:
    """Expect an object, or none."""
    return "" if is_absent(data) or isinstance(data, dict) else f"is {kind_of_json(data)}, not an object"


def texts(data: Json) -> str:
    """Expect a list of texts, or none."""
    if is_absent(data):
        return ""
    if not isinstance(data, list):
        return f"is {kind_of_json(data)}, not a list"
    return next((f"has an entry that {wrong}" for item in data if (wrong := text(item) or _null(item))), "")


def each(inner: Sequence[tuple[str, Shape]]) -> Shape:
    """Expect a list of objects with these fields, or none."""

    def check(data: Json) -> str:
        if is_absent(data):
            return ""
        if not isinstance(data, list):
            return f"is {kind_of_json(data)}, not a list"
        for item in data:
            if not isinstance(item, dict):
                return f"has an entry that is {kind_of_json(item)}, not an object"
            for name, shape in inner:
                if wrong := shape(item.get(name)):
                    return f"has an entry whose {name} {wrong}"
        return ""

    return check


def _null(data: Json) -> str:
    return "is null" if data is None else ""


def wrong_at(data: Json, path: Sequence[str], shape: Shape) -> str:
    """Say what is wrong with the value at a path, or with an object on the way to it; empty if nothing is."""
    for place, key in enumerate(path):
        if isinstance(data, dict):
            data = data.get(key)
        elif is_absent(data):
            return ""
        else:
            return f"cannot be read: {'.'.join(path[:place]) or 'the row'} is {kind_of_json(data)}, not an object"
    return "" if data is None else shape(data)
