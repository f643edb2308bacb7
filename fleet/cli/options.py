"""Options that several verbs share, each declared once, and the values that hold what was typed for a group of them.

A verb takes the values of its groups first, that of its lowest decorator before the others. Its other options follow by
name. mypy refuses a decorator over a verb that does not take its value, and a field that no group has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

import click

from fleet.app.reports import ReportFile
from fleet.cli.option_types import AmountType, ConcurrencyType, ReportType, TimeLimitType

if TYPE_CHECKING:
    from fleet.playbook.model import Amount

C = TypeVar("C", bound=Callable[..., int] | click.Command)
G = TypeVar("G")
P = ParamSpec("P")


class Declared(Protocol):
    """The decorator that declares one option or argument of a verb."""

    def __call__(self, command: C, /) -> C: ...


Verb = Callable[Concatenate[G, P], int]


def fill(kind: Callable[..., G], *declared: Declared) -> Callable[[Verb[G, P]], Callable[P, int]]:
    """Return the decorator of a group: it declares the options, and hands what was typed for them over as one value.

    Each option fills the field of its name.
    """
    probe = click.Command(None)
    for option in declared:
        option(probe)
    names = [parameter.name for parameter in probe.params if parameter.name]

    def decorate(verb: Verb[G, P]) -> Callable[P, int]:
        @wraps(verb)
        def filled(*values: P.args, **typed: P.kwargs) -> int:
            own = {name: typed.pop(name) for name in names}
            return verb(kind(**own), *values, **typed)

        for option in reversed(declared):
            option(filled)
        return filled

    return decorate


@dataclass(frozen=True, slots=True)
class Common:
    """Which settings, and how much is said on stderr."""

    config_file: str | None
    verbose: int
    quiet: int


keeping = fill(
    Common,
    click.option("-q", "--quiet", count=True, help="Say less on stderr."),
    click.option("-v", "--verbose", count=True, help="Say more on stderr."),
    click.option("--config", "config_file", metavar="FILE", help="Settings to use instead of ./config.yaml."),
)
"""The options of a verb that reads kept runs only."""


@dataclass(frozen=True, slots=True)
class Access(Common):
    """Which cloud, which settings."""

    tenant: str | None
    lab: str | None


ACCESS: tuple[Declared, ...] = (
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
"""The options that fill :class:`Access`."""

connecting = fill(Access, *ACCESS)


@dataclass(frozen=True, slots=True)
class Narrow:
    """Which of the selected targets."""

    limit: tuple[str, ...]
    exclude: tuple[str, ...]
    pick: int | None
    seed: int
    subscriptions: tuple[str, ...]
    max_targets: int | None
    allow_empty: bool


NARROW: tuple[Declared, ...] = (
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
    click.option("--max-targets", type=click.IntRange(1), metavar="N", help="Refuse if more than N are selected."),
    click.option("--allow-empty", is_flag=True, help="Do not refuse if none is selected."),
)
"""The options that fill :class:`Narrow`."""

narrowing = fill(Narrow, *NARROW)


@dataclass(frozen=True, slots=True)
class Launch:
    """How the run spreads; None where nothing was said."""

    concurrency: Amount | None
    max_failures: Amount | None
    max_unreachable: Amount | None
    slow_start: bool | None
    timeout: float | None
    """Seconds."""
    transport: str | None
    lease: str | None


def launching(verb: Verb[Launch, P]) -> Callable[P, int]:
    """How the run spreads."""
    return fill(
        Launch,
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
        click.option("--timeout", type=TimeLimitType(), help="Time limit of each script in its VM: 45m, 1h30m, 90s."),
        click.option(
            "--transport",
            type=click.Choice(["auto", "managed", "action"]),
            help="Which Run Command carries scripts; auto is managed wherever it can.",
        ),
        click.option(
            "--lease",
            type=click.Choice(["wait", "refuse", "none"]),
            help="VMs that another run is at work on: wait for them, refuse them, or none to go ahead.",
        ),
    )(verb)


@dataclass(frozen=True, slots=True)
class Output:
    """How the data on stdout looks."""

    form: str | None
    """The form asked for with ``-o``."""
    colour: str


def output(*forms: str) -> tuple[Declared, ...]:
    """Declare the options of the data on stdout, which has these forms."""
    return (
        click.option(
            "-o",
            "--output",
            "form",
            type=click.Choice(forms),
            help="Form of the data on stdout. Reports: a table on a terminal, JSON in a pipe."
            if "jsonl" in forms
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


def showing(*forms: str) -> Callable[[Verb[Output, P]], Callable[P, int]]:
    """How the data on stdout looks: one of these forms."""
    return fill(Output, *output(*forms))


def check_form(form: str | None, known: Sequence[str], what: str) -> None:
    """See that the form asked for with ``-o`` is one of these. Raises click.UsageError: nothing is given in another."""
    if form is not None and form not in known:
        *others, last = known
        raise click.UsageError(f"{what} has no form {form}; it has {', '.join(others)} and {last}")


# -- single options, which a verb takes by name ----------------------------------------------------------------------

values: Declared = click.option(
    "-e",
    "--extra",
    "given",
    multiple=True,
    metavar="K=V|@FILE",
    help="A parameter, or a YAML file of them; repeatable. A secret one is NAME=@FILE or NAME=env:VARIABLE.",
)
"""Parameters of the playbook."""

reporting: Declared = click.option(
    "--report",
    "report_files",
    type=ReportType(),
    multiple=True,
    help="Also write a report: json, jsonl, csv, md, junit or html; repeatable.",
)
"""Where reports go."""

confirming: Declared = click.option(
    "-y",
    "--yes",
    is_flag=True,
    envvar="FLEET_YES",
    help="Do not ask before sending; needed where nobody can answer.",
)
"""Whether to ask."""

waiting: Declared = click.option(
    "--wait/--no-wait",
    default=None,
    help="Where a wave must be approved: stay, or end and go on with `fleet approve`. Stays on a terminal.",
)
"""What to do while a person is awaited."""


@dataclass(frozen=True, slots=True)
class Carry(Access):
    """What is said about carrying a run out here: where, who watches, and what resumes it."""

    form: str | None
    colour: str
    report_files: tuple[ReportFile, ...]
    wait: bool | None = None
    """Whether to stay while a person is awaited; None where nothing was said."""
    given: tuple[str, ...] = ()
    """Parameters, as they were given: the verb adds them."""

    @property
    def output(self) -> Output:
        return Output(self.form, self.colour)


def carrying_out(*forms: str, waits: bool = True) -> Callable[[Verb[Carry, P]], Callable[P, int]]:
    """The options that every verb has that carries a run out; ``waits`` is false where no wave waits for approval."""
    return fill(Carry, *((waiting,) if waits else ()), reporting, *output(*forms), *ACCESS)
