"""The one table of a playbook's keys: what may be written, what it means, its default, an example (steps: ``step``).

Everything that needs to know a key derives it from here: the loader, the JSON Schema, the reference page.
What a single value may be is checked here; what values mean to each other in ``fleet.playbook.checks.values``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from fleet.documents import schema
from fleet.documents.read import Keys, Lookalike, refusal
from fleet.documents.schema import Item, Json, Text
from fleet.playbook.keys.rollout import RolloutKeys
from fleet.playbook.keys.step import StepKeys


def _scalar(value: object) -> object:
    """Let a parameter's value through as it is; its type is declared beside it and checked by the loader."""
    if isinstance(value, Lookalike):
        boolean = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.text.lower())
        hint = f'write "{value.text}" for text' + (f", or {boolean}" if boolean else "")
        raise refusal(
            "ambiguous_scalar",
            f"is {value.text} without quotes, which YAML readers do not agree on",
            hint=hint,
        )
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise refusal("wrong_type", "must be text, a number, true, false or a list of text", expected="a plain value")


ScalarKey = Annotated[
    Any,
    PlainValidator(_scalar),
    WithJsonSchema(
        {
            "title": "a value of the parameter's type",
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": {"type": "string"}},
            ],
        }
    ),
]


class MetadataKeys(Keys):
    """Who the playbook is and who answers for it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")] = Field(
        description="Lower-case letters, digits, `.`, `_`, `-`. It names runs and reports.",
        examples=["linux-patch"],
    )
    version: Text = Field(default="", description="The playbook's own version, shown in reports.", examples=["1.2.0"])
    title: Text = Field(default="", description="One line for people.", examples=["Patch Linux VMs"])
    owner: Text = Field(default="", description="Who to ask about this playbook.", examples=["ops@example.org"])
    description: Text = Field(
        default="",
        description="What it does, and why.",
        examples=["Security updates"],
    )
    labels: dict[str, Text] = Field(
        default={},
        description="Free labels, carried into reports. `purpose: patching` says that the playbook installs updates, see "
        "[patching](patching.md#who-else-patches).",
        examples=[{"team": "platform"}],
    )


class ParameterKeys(Keys):
    """One value that whoever starts the run may give (`-e name=value`)."""

    type: Literal["string", "integer", "number", "boolean", "list"] = Field(
        default="string",
        description="What kind of value it is; `list` is a list of text.",
        examples=["integer"],
    )
    default: ScalarKey = Field(
        default=None,
        description="The value if none is given. Not allowed for a secret.",
        examples=["security"],
    )
    required: bool | None = Field(
        default=None,
        description="Whether a value must be given. If left out: yes, unless there is a default. "
        "An optional parameter without a value is empty text.",
        examples=[True],
    )
    enum: Annotated[list[ScalarKey], Field(min_length=1)] | None = Field(
        default=None, description="The values allowed.", examples=[["security", "all"]]
    )
    pattern: Item | None = Field(
        default=None,
        description="A regular expression that the whole text (each item of a `list`) must match.",
        examples=["[a-z][a-z0-9-]*"],
    )
    minimum: float | None = Field(default=None, description="The smallest number allowed.", examples=[1])
    maximum: float | None = Field(default=None, description="The largest number allowed.", examples=[30])
    description: Text = Field(
        default="",
        description="What it is for; shown by `fleet plan`.",
        examples=["Which updates to install"],
    )
    secret: bool = Field(
        default=False,
        description="The value is never written anywhere and travels as a protected parameter. "
        "It may only be the whole value of an entry of `env` or `parameters`, the password of `run_as`, or a part of "
        "an address.",
        examples=[True],
    )


class TargetsKeys(Keys):
    """Which VMs. All conditions must hold."""

    subscriptions: Annotated[list[Item], Field(min_length=1)] = Field(
        default=["all"],
        description="Names or ids, globs allowed; a leading `!` excludes; `all` is every one in sight.",
        examples=[["prod-*", "!prod-legacy"]],
    )
    resource_groups: list[Item] = Field(
        default=[],
        description="Resource groups, globs allowed; a leading `!` excludes; empty means all.",
        examples=[["rg-web-*"]],
    )
    kinds: Annotated[list[Literal["vm", "scale_set", "arc"]], Field(min_length=1)] | None = Field(
        default=None,
        description="What sorts of machines: `vm` (those of flexible scale sets included), `scale_set` (instances of "
        "uniform ones), `arc` (Azure Arc machines). If left out: VMs only, unless `where` has a clause about `kind` "
        "or `scale_set`, see [selectors](selectors.md#kinds-of-machines).",
        examples=[["vm", "scale_set", "arc"]],
    )
    where: Text = Field(
        default="",
        description="An expression over the VM's fields and tags, see [selectors](selectors.md).",
        examples=['tag.env == "prod" and os == "linux"'],
    )
    exclude: list[Item] = Field(
        default=[], description="VM names to leave out, globs allowed.", examples=[["vm-jump-01"]]
    )
    max: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Refuse to start if more VMs than this are selected.", examples=[400]
    )


class PlaybookKeys(Keys):
    """A file of `kind: Playbook`."""

    apiVersion: Literal["fleet/v1"] = Field(description="The version of this format.", examples=["fleet/v1"])
    kind: Literal["Playbook"] = Field(description="What the file is.", examples=["Playbook"])
    metadata: MetadataKeys = Field(description="Who the playbook is.", examples=[{"name": "linux-patch"}])
    parameters: dict[str, ParameterKeys] = Field(
        default={},
        description="Values that may be given when a run is started.",
        examples=[{"scope": {"enum": ["security", "all"], "default": "security"}}],
    )
    targets: TargetsKeys = Field(
        default=TargetsKeys.model_construct(),
        description="Which VMs.",
        examples=[{"where": 'os == "linux"', "max": 400}],
    )
    rollout: RolloutKeys = Field(
        default=RolloutKeys.model_construct(),
        description="How the run spreads.",
        examples=[{"waves": [1, "100%"], "max_failures": 0}],
    )
    steps: Annotated[list[StepKeys], Field(min_length=1)] = Field(
        description="What to run, in order.", examples=[[{"id": "uptime", "run": {"inline": "uptime"}}]]
    )
    report: list[Literal["json", "jsonl", "csv", "md", "junit", "html"]] = Field(
        default=[], description="Reports to write when the run ends.", examples=[["html", "json"]]
    )


def json_schema() -> Json:
    """Return the JSON Schema (2020-12) of a playbook."""
    return schema.json_schema(PlaybookKeys, title="Fleet playbook")


def reference() -> str:
    """Return the Markdown reference of all keys; ``docs/playbook.md`` holds it (tested)."""
    return schema.reference(PlaybookKeys)
