"""The kinds of values that only a run command's own properties take: identities, users, parameters, tags, blobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from fleet.documents.read import Keys, refusal
from fleet.playbook.model import Identity

_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_GUID_SCHEMA = {"type": "string", "pattern": f"^{_GUID}$"}

MAX_TAGS = 50
"""Tags of one resource (documented); a name may have 512 characters, a value 256."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user to run as, and the expression of his password's secret parameter."""

    user: str
    password: str = ""


def _identity(value: object) -> Identity:
    if value == "system":
        return Identity()
    if isinstance(value, dict) and len(value) == 1:
        (key, guid), *_ = value.items()
        if key in ("client_id", "object_id") and isinstance(guid, str) and re.fullmatch(_GUID, guid):
            return Identity(**{key: guid})
    expected = "system, or a mapping with client_id or object_id and its GUID"
    raise refusal("identity", "is no managed identity", expected=expected, hint="write system for the VM's own")


def _run_as(value: object) -> RunAs:
    if isinstance(value, str) and value:
        return RunAs(value)
    if isinstance(value, dict) and set(value) in ({"user"}, {"user", "password"}):
        user, password = value["user"], value.get("password", "")
        if isinstance(user, str) and user and isinstance(password, str):
            return RunAs(user, password)
    expected = "a user's name, or a mapping with user and password"
    raise refusal("run_as", "is no user", expected=expected, hint='write deploy, or {user: deploy, password: "..."}')


def _tags(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_TAGS:
        raise refusal("tags", "has too many tags", expected=f"at most {MAX_TAGS}", hint="remove some")
    wrong = next((name for name in value if not 0 < len(name) <= 512 or re.search(r"[<>%&\\?/]", name)), None)
    if wrong is not None:
        raise refusal("tags", "has a name that Azure does not take", expected=r"names without < > % & \ ? /")
    return value


IdentityKey = Annotated[
    Identity,
    PlainValidator(_identity),
    WithJsonSchema(
        {
            "title": "identity",
            "oneOf": [
                {"const": "system"},
                *(
                    {
                        "type": "object",
                        "properties": {key: _GUID_SCHEMA},
                        "required": [key],
                        "additionalProperties": False,
                    }
                    for key in ("client_id", "object_id")
                ),
            ],
        }
    ),
]
RunAsKey = Annotated[
    RunAs,
    PlainValidator(_run_as),
    WithJsonSchema(
        {
            "title": "user, or user and password",
            "oneOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "properties": {"user": {"type": "string", "minLength": 1}, "password": {"type": "string"}},
                    "required": ["user"],
                    "additionalProperties": False,
                },
            ],
        }
    ),
]
TagsKey = Annotated[dict[str, str], AfterValidator(_tags)]
NameKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
BlobKey = Annotated[str, Field(pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/]|\{\{).+$", max_length=4096)]
GalleryKey = Annotated[
    str,
    Field(
        pattern=r"^/subscriptions/[^/\s]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/galleries/[^/\s]+"
        r"/scripts/[^/\s]+/versions/[^/\s]+$"
    ),
]


class OutputKeys(Keys):
    """Where the service writes a script's whole streams beside the 4,096 bytes it answers with."""

    stdout_blob: BlobKey | None = Field(
        default=None,
        description="Address of an append blob for standard output, made anew by each run. Expressions work, secrets "
        "too; give each VM its own.",
        examples=["https://logs.blob.core.windows.net/runs/{{ target.name }}.out?{{ params.sas }}"],
    )
    stderr_blob: BlobKey | None = Field(
        default=None,
        description="The same for standard error.",
        examples=["https://logs.blob.core.windows.net/runs/{{ target.name }}.err?{{ params.sas }}"],
    )
    identity: IdentityKey | None = Field(
        default=None,
        description="The managed identity that writes both blobs: `system`, or a `client_id`. If left out: the "
        "addresses are signed.",
        examples=["system"],
    )
    stdout_identity: IdentityKey | None = Field(
        default=None,
        description="The managed identity that writes `stdout_blob`, where the two differ. If left out: `identity`.",
        examples=["system"],
    )
    stderr_identity: IdentityKey | None = Field(
        default=None,
        description="The managed identity that writes `stderr_blob`, where the two differ. If left out: `identity`.",
        examples=[{"client_id": "22222222-2222-4222-8222-222222222222"}],
    )
