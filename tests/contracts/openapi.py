"""Holds answers against the official OpenAPI files: a small resolver over swagger 2.0, and jsonschema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import referencing
from referencing.jsonschema import DRAFT4

SPECS = Path(__file__).parents[3] / "shared" / "azure" / "specs" / "specification"
COMPUTE = "compute/resource-manager/Microsoft.Compute/ComputeRP/stable/2024-07-01"
FILES = (
    f"{COMPUTE}/runCommand.json",
    f"{COMPUTE}/virtualMachine.json",
    f"{COMPUTE}/virtualMachineScaleSet.json",
    "hybridcompute/resource-manager/Microsoft.HybridCompute/preview/2024-05-20-preview/HybridCompute.json",
    "resourcegraph/resource-manager/Microsoft.ResourceGraph/stable/2022-10-01/resourcegraph.json",
    "resources/resource-manager/Microsoft.Resources/stable/2022-12-01/subscriptions.json",
)
STATUS = "common-types/resource-management/v3/types.json#/definitions/OperationStatusResult"
CLOUD_ERROR = "compute/resource-manager/Microsoft.Compute/common-types/v1/common.json#/definitions/CloudError"
ACTION_RESULT = f"{COMPUTE}/runCommand.json#/definitions/RunCommandResult"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a specification: where its file is, and its responses by status."""

    id: str
    file: Path
    responses: dict[str, Any]

    def schema(self, status: int) -> dict[str, Any] | None:
        """The schema of a status' body, or None if the specification gives the answer no body."""
        response = self.responses.get(str(status)) or (self.responses.get("default") if status >= 400 else None)
        if response is None and status >= 400:
            return named(CLOUD_ERROR)  # some operations list no error; every error of ARM has this body
        assert response is not None, f"{self.id} has no {status}; it has {sorted(self.responses)}"
        if "$ref" in response:
            _, response = resolved(self.file, response)
        schema = response.get("schema")
        return None if schema is None else absolute(schema, self.file)


@cache
def document(file: Path) -> Any:
    """Read one file of the specifications."""
    return json.loads(file.read_text(encoding="utf-8-sig"))


@cache
def operations() -> tuple[tuple[str, re.Pattern[str], Operation], ...]:
    """Every operation: its method, its path as an expression, most literal paths first."""
    found = []
    for name in FILES:
        file = SPECS / name
        for path, methods in document(file)["paths"].items():
            pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), re.IGNORECASE)
            for method, given in methods.items():
                if "responses" in given:
                    operation = Operation(given["operationId"], file, given["responses"])
                    found.append((path.count("{"), method.upper(), pattern, operation))
    return tuple((method, pattern, operation) for _, method, pattern, operation in sorted(found, key=lambda f: f[0]))


def operation(method: str, url: str) -> Operation:
    """Find the operation of a request."""
    path = urlsplit(url).path
    return next(found for verb, pattern, found in operations() if verb == method and pattern.fullmatch(path))


def resolved(file: Path, node: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Follow a node's $ref, relative to its file."""
    where, _, fragment = node["$ref"].partition("#")
    goal = Path(unquote(urlsplit(where).path)) if where.startswith("file:") else (file.parent / where).resolve()
    goal = goal if where else file
    found = document(goal)
    for step in fragment.strip("/").split("/"):
        found = found[step]
    return goal, found


def absolute(node: Any, file: Path) -> Any:
    """Turn a schema's references into absolute ones, and drop lists of values that are open (modelAsString)."""
    if isinstance(node, dict):
        is_open = isinstance(node.get("x-ms-enum"), dict) and node["x-ms-enum"].get("modelAsString")
        made = {key: absolute(value, file) for key, value in node.items() if not (is_open and key == "enum")}
        if isinstance(node.get("$ref"), str):
            where, _, fragment = node["$ref"].partition("#")
            made["$ref"] = f"{(file.parent / where).resolve().as_uri() if where else file.as_uri()}#{fragment}"
        return made
    return [absolute(each, file) for each in node] if isinstance(node, list) else node


def _retrieve(uri: str) -> referencing.Resource[Any]:
    file = Path(unquote(urlsplit(uri).path))
    return DRAFT4.create_resource(absolute(document(file), file))


_REGISTRY: referencing.Registry[Any] = referencing.Registry(retrieve=_retrieve)  # type: ignore[call-arg]


def named(reference: str) -> dict[str, Any]:
    """The schema of a definition."""
    where, _, fragment = reference.partition("#")
    return {"$ref": f"{(SPECS / where).as_uri()}#{fragment}"}


def faults(schema: dict[str, Any], body: Any) -> list[str]:
    """Say how a body breaks a schema: wrong types and missing keys, and keys the schema does not know."""
    validator = jsonschema.Draft4Validator(schema, registry=_REGISTRY)
    wrong = [f"{error.json_path}: {_short(error.message)}" for error in validator.iter_errors(body)]
    return wrong + [f"{where}: not in the specification" for where in _strangers(Path(), schema, body, "$")]


def _short(text: str) -> str:
    return text if len(text) < 200 else f"{text[:100]} … {text[-60:]}"


def _known(file: Path, schema: dict[str, Any]) -> tuple[dict[str, tuple[Path, Any]], bool, tuple[Path, Any] | None]:
    """Return a schema's properties, whether it takes any other, and its items, through $ref and allOf."""
    if "$ref" in schema:
        file, schema = resolved(file, schema)
    found = {name: (file, given) for name, given in schema.get("properties", {}).items()}
    extra = schema.get("additionalProperties")
    is_open = bool(extra) or not (found or schema.get("allOf"))
    items = (file, schema["items"]) if "items" in schema else None
    for part in schema.get("allOf", ()):
        more, open_part, _ = _known(file, part)
        found |= more
        is_open = is_open or (open_part and bool(part.get("additionalProperties")))
    return found, is_open, items


def _strangers(file: Path, schema: dict[str, Any], body: Any, where: str) -> Iterator[str]:
    properties, is_open, items = _known(file, schema)
    if isinstance(body, dict):
        for key, value in body.items():
            if key in properties:
                yield from _strangers(*properties[key], value, f"{where}.{key}")
            elif not is_open:
                yield f"{where}.{key}"
    elif isinstance(body, list) and items is not None:
        for at, value in enumerate(body):
            yield from _strangers(*items, value, f"{where}[{at}]")
