"""The keys of a playbook's ``rollout``: how a run spreads over the VMs, and when it stops."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from fleet.config.urls import service_url
from fleet.documents.durations import seconds
from fleet.documents.read import Keys, closest, refusal
from fleet.documents.schema import Duration, Json
from fleet.playbook.model import Amount, StartRate
from fleet.targets.traits import TRAITS, is_trait

_AMOUNT = r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%"


def amount(value: object) -> Amount:
    """Read a count (``5``) or a percent (``5%``, ``2.5%``). Raises ValueError with a sentence."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Amount(value)
    match = re.fullmatch(_AMOUNT, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is neither a count nor a percent")
    if match[1] is not None:
        return Amount(int(match[1]))
    if float(match[2]) > 100:
        raise ValueError("is more than 100%")
    return Amount(float(match[2]), percent=True)


def _amount(value: object) -> Amount:
    try:
        if isinstance(value, str) and not value.endswith("%"):
            raise ValueError("is neither a count nor a percent")
        return amount(value)
    except ValueError as error:
        hint = "percents go up to 100%" if "100" in str(error) else "write 5 or 5%"
        raise refusal("amount", str(error), expected="a count such as 5 or a percent such as 5%", hint=hint) from None


def _share(value: object) -> Amount:
    read = _amount(value)
    if not read.percent or read.value == 0:
        hint = "write 95%; without it all of them must"
        raise refusal("amount", "is no share of the VMs", expected="a percent above 0% such as 95%", hint=hint)
    return read


def _positive(value: object) -> Amount:
    read = _amount(value)
    if read.value == 0:
        raise refusal("amount", "is zero, so nothing could start", expected="at least 1, or more than 0%")
    return read


def _wave(value: object) -> Amount | str:
    if value == "canary":
        return "canary"
    if isinstance(value, str) and not re.fullmatch(_AMOUNT, value):
        expected = "a count, a percent, or canary"
        raise refusal("wave", "is no wave", expected=expected, hint="write 1, 5% or canary")
    return _positive(value)


def _rate(value: object) -> StartRate:
    count, slash, per = value.partition("/") if isinstance(value, str) else ("", "", "")
    expected, hint = "a count and a duration such as 5/1m", "write 5/1m for five VMs a minute"
    if not slash or not re.fullmatch(r"[1-9][0-9]{0,5}", count):
        raise refusal("rate", "is no rate", expected=expected, hint=hint)
    try:
        length = seconds(per)
    except ValueError as error:
        raise refusal(
            "rate", f"has a length that {error}", expected=expected, hint="write 5/1m for five VMs a minute"
        ) from None
    if length <= 0:
        raise refusal("rate", "is over no time at all", expected=expected, hint=hint)
    return StartRate(int(count), length)


def _trait(value: object) -> str:
    if isinstance(value, str) and is_trait(value):
        return value
    expected = f"tag:NAME, or one of {', '.join(TRAITS)}"
    hint = closest(str(value), [*TRAITS, f"tag:{value}"]) or f"write tag:{value} for the tag of that name"
    raise refusal("trait", "is nothing that VMs are grouped by", expected=expected, hint=hint)


_PERCENT: Json = {"type": "string", "pattern": r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,6})?)%$"}


def _counts(minimum: int, *more: Json) -> Json:
    return {"oneOf": [{"type": "integer", "minimum": minimum}, _PERCENT, *more]}


AmountKey = Annotated[Amount, PlainValidator(_amount), WithJsonSchema({"title": "amount", **_counts(0)})]
SomeKey = Annotated[Amount, PlainValidator(_positive), WithJsonSchema({"title": "amount", **_counts(1)})]
ShareKey = Annotated[Amount, PlainValidator(_share), WithJsonSchema({"title": "percent", **_PERCENT})]
WaveKey = Annotated[
    Amount | str,
    PlainValidator(_wave),
    WithJsonSchema({"title": "amount or `canary`", **_counts(1, {"const": "canary"})}),
]
TraitKey = Annotated[
    str,
    PlainValidator(_trait),
    WithJsonSchema(
        {
            "title": f"`tag:NAME`, {', '.join(f'`{name}`' for name in TRAITS)}",
            "anyOf": [{"enum": list(TRAITS)}, {"type": "string", "pattern": r"^tag:\S(.{0,510}\S)?$"}],
        }
    ),
]
RateKey = Annotated[
    StartRate,
    PlainValidator(_rate),
    WithJsonSchema({"title": "count/duration", "type": "string", "pattern": r"^[1-9][0-9]{0,5}/\S+$"}),
]
Item = Annotated[str, Field(min_length=1, max_length=4096)]


class WavesByKeys(Keys):
    """Waves by something that VMs have in common: group after group."""

    by: TraitKey = Field(
        description="What the groups have in common. VMs without a value form the last group.", examples=["tag:ring"]
    )
    order: list[Item] = Field(
        default=[],
        description="Values that come first, in this order; the others follow, `zone 2` before `zone 10`.",
        examples=[["dev", "test", "prod"]],
    )
    each: list[WaveKey] = Field(
        default=[],
        description="Waves inside each group, as in a plain list: of the VMs of the group. Empty: each group at once.",
        examples=[["canary", "50%", "100%"]],
    )
    canary: bool = Field(
        default=False,
        description="A wave before all groups that covers every kind, OS, image, size and region.",
        examples=[True],
    )


class SpreadKeys(Keys):
    """How many VMs of one group may be under way at once, whatever the concurrency."""

    per: TraitKey = Field(
        description="What the groups have in common. VMs without a value are not held back.", examples=["tag:app"]
    )
    max: SomeKey = Field(
        default=Amount(1),
        description="VMs of a group at once; percents are of the VMs of the group that the run has, rounded down, "
        "and at least one may go.",
        examples=[1],
        json_schema_extra={"default": 1},
    )


WavePlace = Annotated[int, Field(ge=1)] | Item


def _some_time(value: float) -> float:
    if value < 1:
        raise refusal("duration", "is too short to ask anybody", expected="at least 1s", hint="write 30s")
    return value


class WebhookKeys(Keys):
    """A service that is asked whether a wave may open. What is sent and answered: [rollouts](rollouts.md#webhooks)."""

    url: Annotated[str, AfterValidator(service_url), Field(json_schema_extra={"title": "URL"})] = Field(
        description="Where to ask: https, or http on this machine. A secret has no place in it.",
        examples=["https://change.example.org/fleet"],
    )
    token_env: Annotated[str, Field(pattern=r"^GATE_[A-Za-z0-9_]+$")] | None = Field(
        default=None,
        description="The environment variable that holds a bearer token to show. Its name begins with `GATE_`, so that "
        "no playbook can have another secret of the machine sent anywhere.",
        examples=["GATE_TOKEN"],
    )
    timeout: Annotated[Duration, AfterValidator(_some_time)] = Field(
        default=30.0,
        description="How long to ask again for an answer before the run stops.",
        examples=["10m"],
        json_schema_extra={"default": "30s"},
    )


class GateKeys(Keys):
    """What must be so before a wave opens. Before it: a person has approved it, a webhook lets it go, or both in this
    order. After the one before it: its VMs are healthy, their facts are right, or both.
    """

    model_config = pydantic.ConfigDict(
        json_schema_extra={"oneOf": [{"required": [key]} for key in ("before_wave", "after_wave")]}
    )

    before_wave: WavePlace | None = Field(
        default=None,
        description="The wave that a person or a webhook opens: its number, its label as `fleet plan` shows it, or "
        "`each` for every one but the first.",
        examples=[2],
    )
    after_wave: WavePlace | None = Field(
        default=None,
        description="The wave on whose VMs `health` and `facts` look: its number, its label, or `each` for every one. "
        "After the last wave they decide the run's exit code.",
        examples=["each"],
    )
    health: Item | None = Field(
        default=None,
        description="The id of a step with `turn: gate`, which runs on the wave's VMs when it has ended and `soak` has "
        "passed.",
        examples=["check"],
    )
    max_failed: AmountKey | None = Field(
        default=None,
        description="The run stops when `health` does not end well on more VMs than this; percents are of the wave's "
        "VMs, rounded down. If left out: 0.",
        examples=["5%"],
    )
    facts: Item | None = Field(
        default=None,
        description="A condition over VM, facts and steps, see [conditions](#conditions). Where a fact that it needs is "
        "missing, it is not met.",
        examples=['facts.failed == "0"'],
    )
    min_share: ShareKey | None = Field(
        default=None,
        description="The run stops when `facts` is met on a smaller share of the wave's VMs. If left out: 100%.",
        examples=["95%"],
    )
    approve: Literal[True] | Annotated[list[Item], Field(min_length=1)] | None = Field(
        default=None,
        description="Who may approve with `fleet approve RUN`: names of users, or `true` for anybody who may steer the "
        "run. If left out, `true`, unless there is a webhook.",
        examples=[["alice", "bob"]],
    )
    webhook: WebhookKeys | None = Field(
        default=None,
        description="A service that must let the wave go.",
        examples=[{"url": "https://change.example.org/fleet", "token_env": "GATE_TOKEN"}],
    )


class PerWaveKeys(Keys):
    """Budgets of each wave, beside those of the run."""

    max_failures: AmountKey | None = Field(
        default=None,
        description="The run stops when more VMs of a wave than this failed; percents are of the wave's VMs.",
        examples=["10%"],
    )
    max_unreachable: AmountKey | None = Field(
        default=None,
        description="The run stops when more VMs of a wave than this could not be reached.",
        examples=[2],
    )


class RolloutKeys(Keys):
    """How the run spreads over the VMs, and when it stops. What each word counts: [rollouts](rollouts.md)."""

    waves: list[WaveKey] | WavesByKeys = Field(
        default=[],
        description="Cumulative counts or percents of the VMs; each wave waits for the one before. `canary`, "
        "only first, is the smallest set that covers every kind, OS, image, size and region. Empty: all at once.",
        examples=[[1, "5%", "25%", "100%"]],
    )
    order: Literal["name", "random"] = Field(
        default="name",
        description="Who fills the waves first: by name, or drawn by lot from `--seed`. Inside a wave the VMs that took "
        "longest in an earlier run of the playbook go first.",
        examples=["random"],
    )
    slow_start: bool | None = Field(
        default=None,
        description="A wave starts one VM, and each VM that ended well lets one more run: 1, 2, 4, ... up to the "
        "concurrency. If left out: only where a budget could stop the run, as without one every VM is tried anyway.",
        examples=[False],
    )
    rate: RateKey | None = Field(
        default=None,
        description="At most so many VMs start in any stretch of so long, for servers that many would overload: licences, "
        "mirrors, load balancers.",
        examples=["5/1m"],
    )
    spread: SpreadKeys | None = Field(
        default=None,
        description="At most so many VMs of one group at once.",
        examples=[{"per": "tag:app", "max": 1}],
    )
    gates: list[GateKeys] = Field(
        default=[],
        description="What must be so before a wave opens. The process may end meanwhile.",
        examples=[[{"before_wave": 2, "approve": ["alice"]}]],
    )
    concurrency: SomeKey | None = Field(
        default=None, description="Jobs in flight; if left out, the configuration's.", examples=[60]
    )
    max_failures: AmountKey | None = Field(
        default=None,
        description="The run stops when more VMs than this failed; percents are rounded down. None: never.",
        examples=["2%"],
    )
    max_unreachable: AmountKey | None = Field(
        default=None,
        description="The run stops when more VMs than this could not be reached. None: never.",
        examples=["5%"],
    )
    per_wave: PerWaveKeys = Field(
        default=PerWaveKeys.model_construct(), description="Budgets of each wave.", examples=[{"max_failures": "10%"}]
    )
    strict: bool = Field(
        default=True,
        description="Work in flight counts against the budgets before it ends: no overshoot.",
        examples=[False],
    )
    soak: Duration = Field(
        default=0.0,
        description="How long to wait after a wave before the next one starts.",
        examples=["10m"],
        json_schema_extra={"default": "0s"},
    )
    deadline: Duration | None = Field(
        default=None, description="No job starts later than this after the run's start.", examples=["4h"]
    )
    lease: Literal["wait", "refuse", "none"] = Field(
        default="wait",
        description="What to do about a VM that another run kept in the same state folder is at work on: wait for it, "
        "leave it out as unreachable, or not to care, which suits scripts that only read.",
        examples=["none"],
    )
    strategy: Literal["node", "step"] = Field(
        default="node",
        description="`node`: each VM goes through the steps by itself. `step`: a step starts when the one before has "
        "ended on every VM of the wave.",
        examples=["step"],
    )
