"""Flags that several verbs share, each declared once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from fleet.app.reports import ReportFile

if TYPE_CHECKING:
    from fleet.playbook.model import Amount

F = TypeVar("F", bound=Callable[..., Any])

REPORT_FORMATS = ("json", "jsonl", "csv", "md", "junit", "html")


class AmountType(click.ParamType["Amount"]):
    """A count or a percent: ``5`` or ``5%``."""

    name = "N|N%"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        from fleet.playbook.model import Amount

        if isinstance(value, Amount):
            return value
        match = re.fullmatch(r"(\d{1,9}|\d{1,3}\.\d{1,3}(?=%))(%?)", str(value))
        if match is None or (match[2] and float(match[1]) > 100):
            self.fail(f"{value!r} is not a count such as 5 or a percent such as 5%", param, ctx)
        return Amount(float(match[1]), percent=bool(match[2]))


class ConcurrencyType(AmountType):
    """A count or a percent of VMs at a time; ``instead`` says what to do where nothing is to start."""

    def __init__(self, instead: str = "") -> None:
        self._instead = instead

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        amount = super().convert(value, param, ctx)
        if not amount.value:
            self.fail(f"{value!r} would start nothing; give at least 1, or more than 0%{self._instead}", param, ctx)
        return amount


class DurationType(click.ParamType[float]):
    """A duration: ``45m``, ``1h30m``, ``90s`` or seconds."""

    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from fleet.documents.schema import seconds

        text = str(value)
        try:
            return seconds(float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else text)
        except ValueError:
            self.fail(f"{value!r} is not a duration such as 45m, 1h30m or 90s", param, ctx)


class TimeLimitType(DurationType):
    """A duration that is not zero."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = super().convert(value, param, ctx)
        if found <= 0:
            self.fail(f"{value!r} leaves no time; give more than 0s", param, ctx)
        return found


class ReportType(click.ParamType[ReportFile]):
    """``FORMAT=FILE``."""

    name = "FORMAT=FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ReportFile:
        if isinstance(value, ReportFile):
            return value
        format_, _, file = str(value).partition("=")
        if format_ not in REPORT_FORMATS or not file:
            formats = ", ".join(REPORT_FORMATS)
            self.fail(f"{value!r} is not FORMAT=FILE with a format of {formats}", param, ctx)
        return ReportFile(format_, file)


def connecting(command: F) -> F:
    """Which cloud, which settings."""
    for option in reversed(
        (
            click.option("--config", "config_file", metavar="FILE", help="Settings to use instead of ./config.yaml."),
            click.option("--tenant", metavar="TENANT", help="Sign in to this tenant (id or domain); azure.tenant."),
            click.option(
                "--lab",
                is_flag=False,
                flag_value="default",
                default=None,
                metavar="[=FILE|URL]",
                help="Use a pretend Azure: the default lab, a lab file, or the URL of a lab that is up.",
            ),
            click.option("-v", "--verbose", count=True, help="Say more on stderr; -vv shows requests."),
            click.option("-q", "--quiet", count=True, help="Say less on stderr."),
        )
    ):
        command = option(command)
    return command


def narrowing(command: F) -> F:
    """Which of the selected targets."""
    for option in reversed(
        (
            click.option(
                "-l",
                "--limit",
                multiple=True,
                metavar="EXPR",
                help="Only these of the selected VMs: a name, a glob or an expression; repeatable, one must fit.",
            ),
            click.option(
                "-x",
                "--exclude",
                multiple=True,
                metavar="NAME",
                help="Not these: a name, a glob or an expression; repeatable. Always wins.",
            ),
            click.option(
                "--pick",
                type=click.IntRange(1),
                metavar="N",
                help="A sample of N of them, the same N for the same --seed.",
            ),
            click.option(
                "--seed",
                type=int,
                default=0,
                metavar="N",
                help="Another number, another sample of --pick, and another order where it is random.",
            ),
            click.option(
                "--subscription",
                "subscriptions",
                multiple=True,
                metavar="NAME",
                help="Look in these subscriptions instead (name, id or glob; repeatable).",
            ),
            click.option(
                "--max-targets", type=click.IntRange(1), metavar="N", help="Refuse if more than N are selected."
            ),
            click.option("--allow-empty", is_flag=True, help="Do not refuse if none is selected."),
        )
    ):
        command = option(command)
    return command


def values(command: F) -> F:
    """Parameters of the playbook."""
    return click.option(
        "-e",
        "--extra",
        "given",
        multiple=True,
        metavar="K=V|@FILE",
        help="A parameter, or a YAML file of them; repeatable. A secret one is NAME=@FILE or NAME=env:VARIABLE.",
    )(command)


def launching(command: F) -> F:
    """How the run spreads."""
    from fleet.playbook.model import Lease

    for option in reversed(
        (
            click.option("-f", "--concurrency", "--forks", type=ConcurrencyType(), help="How many VMs at a time."),
            click.option(
                "--max-failures",
                type=AmountType(),
                help="Launch no more once more than this failed; 0 stops at the first.",
            ),
            click.option(
                "--max-unreachable", type=AmountType(), help="Launch no more once more than this could not be reached."
            ),
            click.option(
                "--slow-start/--no-slow-start",
                default=None,
                help="Begin each wave with one VM, then as many more as ended well (as the playbook says; exec: not).",
            ),
            click.option(
                "--timeout", type=TimeLimitType(), help="Time limit of each script in its VM: 45m, 1h30m, 90s."
            ),
            click.option(
                "--transport",
                type=click.Choice(["auto", "managed", "action"]),
                help="Which Run Command carries scripts; auto is managed wherever it can.",
            ),
            click.option(
                "--lease",
                type=click.Choice([lease.value for lease in Lease]),
                help="VMs that another run is at work on: wait for them, refuse them, or none to go ahead.",
            ),
        )
    ):
        command = option(command)
    return command


def showing(*formats: str) -> Callable[[F], F]:
    """How the data on stdout looks."""

    def decorate(command: F) -> F:
        for option in reversed(
            (
                click.option(
                    "-o",
                    "--output",
                    "output_format",
                    type=click.Choice(formats),
                    help="Form of the data on stdout. Reports: a table on a terminal, JSON in a pipe."
                    if "jsonl" in formats
                    else "Form of the data on stdout; a table where nothing is said.",
                ),
                click.option(
                    "--color",
                    "colour",
                    type=click.Choice(["auto", "always", "never"]),
                    default="auto",
                    help="Whether to colour; auto is on a terminal only.",
                ),
            )
        ):
            command = option(command)
        return command

    return decorate


def check_form(form: str | None, known: Sequence[str], what: str) -> None:
    """See that the form asked for with ``-o`` is one of these. Raises click.UsageError: nothing is given in another."""
    if form is not None and form not in known:
        *others, last = known
        raise click.UsageError(f"{what} has no form {form}; it has {', '.join(others)} and {last}")


def reporting(command: F) -> F:
    """Where reports go."""
    return click.option(
        "--report",
        "report_files",
        type=ReportType(),
        multiple=True,
        help="Also write a report: json, jsonl, csv, md, junit or html; repeatable.",
    )(command)


def confirming(command: F) -> F:
    """Whether to ask."""
    return click.option(
        "-y",
        "--yes",
        is_flag=True,
        envvar="FLEET_YES",
        help="Do not ask before sending; needed where nobody can answer.",
    )(command)


def waiting(command: F) -> F:
    """What to do while a person is awaited."""
    return click.option(
        "--wait/--no-wait",
        default=None,
        help="Where a wave must be approved: stay, or end and go on with `fleet approve`. Stays on a terminal.",
    )(command)


@dataclass(frozen=True, slots=True)
class CarryOptions:
    """What the flags of a verb say about carrying a run out here: where, who watches, and what resumes it."""

    lab: str | None
    config_file: str | None
    tenant: str | None
    verbose: int
    quiet: int
    output_format: str | None
    colour: str
    report_files: tuple[ReportFile, ...]
    given: tuple[str, ...] = ()
    """Parameters, as they were given."""
    wait: bool | None = None
    """Whether to stay while a person is awaited; None where nothing was said."""
    allow_empty: bool = True


def carrying_out(*formats: str, waits: bool = True) -> Callable[[F], F]:
    """The flags that every verb has that carries a run out. The verb gets them as one value too, ``carry``."""

    def decorate(command: F) -> F:
        @wraps(command)
        def verb(*args: Any, **flags: Any) -> Any:
            return command(*args, carry=carry_options(flags), **flags)

        wrapped: F = reporting(showing(*formats)(connecting(cast(F, verb))))
        return waiting(wrapped) if waits else wrapped

    return decorate


def carry_options(flags: Mapping[str, Any]) -> CarryOptions:
    """Read the flags of ``connecting``, ``showing`` and ``reporting``, and others where a verb has them."""
    return CarryOptions(
        lab=flags["lab"],
        config_file=flags["config_file"],
        tenant=flags["tenant"],
        verbose=flags["verbose"],
        quiet=flags["quiet"],
        output_format=flags["output_format"],
        colour=flags["colour"],
        report_files=flags["report_files"],
        given=flags.get("given", ()),
        wait=flags.get("wait"),
        allow_empty=flags.get("allow_empty", True),
    )
