"""Tables of keys: what the models of documents share, and what is derived from them.

A document's model is the one table of its keys: each field has a description, a default and an example. The
JSON Schema for editors and the Markdown reference for people are derived here, so neither can drift.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pydantic
from pydantic import PlainValidator, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from fleet.documents.durations import MAX_DURATION, seconds
from fleet.documents.problems import refusal

Json = dict[str, Any]


def _duration(value: object) -> float:
    try:
        return seconds(value)
    except ValueError as error:
        expected = "a duration such as 45m, 1h30m, 90s, or seconds"
        raise refusal("duration", str(error), expected=expected, hint="write it as 45m or 1h30m") from None


Duration = Annotated[
    float,
    PlainValidator(_duration),
    WithJsonSchema(
        {
            "title": "duration",
            "oneOf": [
                {"type": "string", "pattern": r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"},
                {"type": "number", "minimum": 0, "maximum": MAX_DURATION},
            ],
        }
    ),
]
"""A field of a document that holds a duration; seconds once it is read."""

Text = Annotated[str, pydantic.Field(max_length=4096)]
"""A field that holds text of a reasonable length."""

Item = Annotated[str, pydantic.Field(min_length=1, max_length=4096)]
"""The same, and some text there must be."""


def json_schema(model: type[pydantic.BaseModel], *, title: str) -> Json:
    """Return the JSON Schema (2020-12) of a document, for editors and for checking before Fleet is asked."""
    schema = model.model_json_schema(schema_generator=_Untitled)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that only repeat a key, and the ``Keys`` at the end of a model's name."""

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name).removesuffix("Keys")

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def reference(model: type[pydantic.BaseModel], *, level: int = 3) -> str:
    """Return Markdown tables of all keys, a section for each mapping, in reading order."""
    schema = json_schema(model, title=_name(model))
    definitions = schema.get("$defs", {})
    order = [_name(model)]
    for name in order:
        node = schema if name == order[0] else definitions[name]
        for found in re.findall(r'"#/\$defs/(\w+)"', json.dumps(node.get("properties", {}))):
            if found not in order:
                order.append(found)
    sections = {name: definitions.get(name, schema) for name in order}
    return "\n".join(_section(name, node, level, sections) for name, node in sections.items())


def _name(model: type[pydantic.BaseModel]) -> str:
    return str(model.model_config.get("title") or model.__name__.removesuffix("Keys"))


def _section(name: str, node: Json, level: int, sections: Mapping[str, Json]) -> str:
    lines = [f"{'#' * level} {node.get('title', name)}", ""]
    if node.get("description"):
        lines += [" ".join(str(node["description"]).split()), ""]
    lines += ["| key | value | default | example | what it does |", "|---|---|---|---|---|"]
    required = node.get("required", ())
    for key, field in node["properties"].items():
        default = "*required*" if key in required else _default(field)
        examples = field.get("examples") or [None]
        text = field.get("description") or sections.get(_target(field), {}).get("description", "")
        what = " ".join(str(text).split())
        cells = [f"`{key}`", _value(field, sections), default, _code(examples[0]), what]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _default(field: Json) -> str:
    return "as there" if "$ref" in field else _code(field.get("default"))


def _code(value: object) -> str:
    if value is None:
        return "none"
    return f"`{value if isinstance(value, str) and value else _flow(value)}`"


def _flow(value: object) -> str:
    """Spell plain data as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./ -]*|\d+%", value):
        return value
    return json.dumps(value)


_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def _target(node: Json) -> str:
    return str(node.get("$ref", "")).rsplit("/", 1)[-1]


def _value(node: Json, sections: Mapping[str, Json]) -> str:
    """Say in words what a key's value may be."""
    if "$ref" in node:
        title = str(sections[_target(node)].get("title", _target(node)))
        return f"[{title}](#{title.lower()})"
    if "title" in node:
        return str(node["title"])
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{word}`" for word in node["enum"])
    if options := node.get("anyOf") or node.get("oneOf"):
        return " or ".join(_value(option, sections) for option in options if option.get("type") != "null")
    if node.get("type") == "array":
        return f"list of {_value(node.get('items', {}), sections)}"
    if node.get("type") == "object":
        return f"mapping of names to {_value(node.get('additionalProperties', {}), sections)}"
    return _WORDS.get(str(node.get("type")), "anything")
