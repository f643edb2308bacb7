"""The keys of one step: the part of a playbook's table that tells what runs, when, and how its end is judged."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from fleet.documents.read import Keys
from fleet.documents.schema import Duration, Item, Text
from fleet.playbook.keys.properties import BlobKey, GalleryKey, IdentityKey, NameKey, OutputKeys, RunAsKey, TagsKey
from fleet.playbook.keys.rollout import SomeKey

FactName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class RunKeys(Keys):
    """What a step runs: exactly one of the first five."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={"oneOf": [{"required": [key]} for key in ("file", "inline", "command_id", "uri", "gallery")]}
    )

    file: Item | None = Field(
        default=None,
        description="A script file, relative to the playbook.",
        examples=["scripts/linux-patch.sh"],
    )
    inline: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="The script itself.", examples=["uname -r"]
    )
    command_id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")] | None = Field(
        default=None,
        description="A command built into the service; sent by the action API, unless the step says "
        "`transport: managed`.",
        examples=["ifconfig"],
    )
    uri: BlobKey | None = Field(
        default=None,
        description="A script that the VM downloads itself; sent by managed Run Command, without a receipt. "
        "Expressions work, secrets (a signature) too.",
        examples=["https://example.org/patch.sh"],
    )
    gallery: GalleryKey | None = Field(
        default=None,
        description="A version of a script in a gallery, by its resource id; sent by managed Run Command, without a "
        "receipt.",
        examples=[
            "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/rg-tools/providers/Microsoft.Compute"
            "/galleries/tools/scripts/patch/versions/1.0.0"
        ],
    )
    identity: IdentityKey | None = Field(
        default=None,
        description="The managed identity that downloads `uri`: `system`, or a `client_id` or `object_id`. If left "
        "out: the address is public or signed.",
        examples=[{"client_id": "22222222-2222-4222-8222-222222222222"}],
    )


class OkKeys(Keys):
    """When a step counts as succeeded."""

    exit: Annotated[list[Annotated[int, Field(ge=-(2**31), lt=2**32)]], Field(min_length=1)] = Field(
        default=[0], description="Exit codes that mean success.", examples=[[0, 80]]
    )
    stdout: Item | None = Field(
        default=None,
        description="A regular expression (RE2) that must be found in standard output as well.",
        examples=["healthy"],
    )


class FactKeys(Keys):
    """Where a fact is found in a step's standard output: exactly one of the three."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={"oneOf": [{"required": [k]} for k in ("regex", "key", "path")]}
    )

    regex: Item | None = Field(
        default=None,
        description="A regular expression (RE2): its first group, or the whole match where it has none.",
        examples=["Linux version ([0-9.]+)"],
    )
    key: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,79}$")] | None = Field(
        default=None,
        description="What stands behind `KEY=`, up to the next space or in quotes; the last one counts.",
        examples=["state"],
    )
    path: Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(\[\d{1,4}\]|\.[A-Za-z_][\w-]*)*$")] | None = Field(
        default=None,
        description="A path into the output read as JSON, or into its last line where the whole is none.",
        examples=["disks[0].free"],
    )


class StepKeys(Keys):
    """One script, run once on each VM. Steps of a VM run in order, see [the order of steps](#the-order-of-steps)."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,60}$")] = Field(
        description="The step's name in reports: lower-case letters, digits, `_`, `-`; unique.",
        examples=["patch"],
    )
    title: Text = Field(default="", description="One line for people.", examples=["Install updates"])
    run: RunKeys = Field(description="What to run.", examples=[{"file": "scripts/linux-patch.sh"}])
    shell: Literal["auto", "bash", "sh", "pwsh", "pwsh7"] = Field(
        default="auto",
        description="What runs the script. `auto`: on Linux the program that its first line (`#!`) names, else bash; "
        "PowerShell on Windows. A first line that names another program than `shell` is refused, see [which program runs "
        "a script](guest.md#which-program-runs-a-script). `pwsh7` asks managed Run Command for PowerShell 7, which must be "
        "on the VM.",
        examples=["sh"],
    )
    env: dict[str, str] = Field(
        default={},
        description="Environment of the script. Values may use `{{ params.x }}` and `{{ target.name }}`.",
        examples=[{"SCOPE": "{{ params.scope }}"}],
    )
    args: list[str] = Field(
        default=[],
        description="Arguments of the script. May use the same expressions, but no secrets.",
        examples=[["--quick"]],
    )
    timeout: Annotated[Duration, Field(gt=0.0)] = Field(
        default=1800.0,
        description="How long the script may run.",
        examples=["45m"],
        json_schema_extra={"default": "30m"},
    )
    ok: OkKeys = Field(
        default=OkKeys.model_construct(), description="When the step counts as succeeded.", examples=[{"exit": [0, 80]}]
    )
    run_as: RunAsKey | None = Field(
        default=None,
        description="The user to run as, by name or with a password, which is one secret parameter; sent by managed "
        "Run Command.",
        examples=[{"user": "deploy", "password": "{{ params.password }}"}],
    )
    concurrency: SomeKey | None = Field(
        default=None,
        description="On how many VMs the step runs at once: a count, or a percent of the run's VMs. None: as many as the "
        "rollout lets.",
        examples=[10],
    )
    transport: Literal["auto", "managed", "action"] = Field(
        default="auto",
        description="Which Run Command carries this step; `auto` leaves it to the run. What is said here goes before "
        "`--transport`.",
        examples=["managed"],
    )
    parameters: dict[str, str] = Field(
        default={},
        description="Named parameters for a `command_id`, `uri` or `gallery`, as the service passes them: environment "
        "on Linux, `-NAME value` on Windows. Expressions work; a secret is sent protected.",
        examples=[{"Mode": "{{ params.scope }}"}],
    )
    async_: bool | None = Field(
        default=None,
        alias="async",
        description="Whether the command counts as set up as soon as its script starts. Fleet waits for the script "
        "all the same. If left out: only where `timeout` needs it (from 87 minutes).",
        examples=[True],
    )
    fail_deployment: bool | None = Field(
        default=None,
        description="Whether a failed script fails the deployment of its managed command, too, so that it shows in "
        "the activity log. If left out: no, or as a standing command has it.",
        examples=[True],
    )
    tags: TagsKey = Field(
        default={},
        description="Tags of the managed command. Expressions work, but no secrets.",
        examples=[{"change": "{{ params.change }}"}],
    )
    command: NameKey | None = Field(
        default=None,
        description="A managed command of this name stays on the VM: made where it is missing, never deleted by a "
        "run. See [standing commands](standing-commands.md).",
        examples=["nightly-check"],
    )
    on_existing: Literal["update", "replace", "fail"] = Field(
        default="update",
        description="Where `command` is on the VM already: change what the step names, set all of it anew, or leave "
        "it alone and end unreachable.",
        examples=["replace"],
    )
    output: OutputKeys = Field(
        default=OutputKeys.model_construct(),
        description="Where the service also writes the streams.",
        examples=[
            {"stdout_blob": "https://logs.blob.core.windows.net/runs/{{ target.name }}.out", "identity": "system"}
        ],
    )
    turn: Literal["success", "rescue", "always", "notified", "gate"] = Field(
        default="success",
        description="What the step's turn depends on: all went well above, a step above failed, nothing, a step above "
        "changed something and names this one in `notify`, or a gate names it in `health`.",
        examples=["rescue"],
    )
    when: Text = Field(
        default="",
        description="A condition over the VM, facts and the steps above, see [conditions](#conditions). "
        "Where it is false, the step is skipped.",
        examples=['facts.pending != "0"'],
    )
    collect: dict[FactName, FactKeys] = Field(
        default={},
        description="Facts to take from standard output, for conditions, `env` (`{{ facts.x }}`) and the report.",
        examples=[{"pending": {"key": "pending"}}],
    )
    failed_when: Text = Field(
        default="",
        description="A condition under which the step counts as failed although its exit code is right.",
        examples=['facts.state == "partial"'],
    )
    changed_when: Text = Field(
        default="",
        description="A condition that says whether a success changed something; only then it notifies. "
        "If left out, every success did.",
        examples=['steps.patch.exit_code == "80"'],
    )
    notify: list[Item] = Field(
        default=[], description="Steps below, with `turn: notified`, to run after a change.", examples=[["restart"]]
    )
    idempotent: bool = Field(
        default=False,
        description="Whether the script may run again where it failed or ran out of time.",
        examples=[True],
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0,
        description="How often an `idempotent` step is run again after it failed or ran out of time.",
        examples=[2],
    )
    retry_delay: Duration = Field(
        default=30.0,
        description="How long to wait between the tries.",
        examples=["2m"],
        json_schema_extra={"default": "30s"},
    )
    reboot: Literal["never", "if_needed", "always"] = Field(
        default="never",
        description="Whether the VM restarts after this step succeeded: `if_needed` where its exit code (80, 81, 3010, "
        "1641, which then count as success) or `reboot_when` asks for it. See [restarts](reboots.md).",
        examples=["if_needed"],
    )
    reboot_when: Text = Field(
        default="",
        description="A condition under which `if_needed` restarts as well.",
        examples=['facts.reboot == "yes"'],
    )
    reboot_timeout: Annotated[Duration, Field(ge=10.0)] | None = Field(
        default=None,
        description="How long the VM may take to come back. If left out: 10 minutes on Linux, 30 on Windows.",
        examples=["20m"],
    )
