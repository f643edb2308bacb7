"""The verbs for the managed commands that lie on VMs: list, show, update, delete; leftovers of other tools included."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.cli import options
from fleet.cli.execute import agree, config_of, narrowing_of, tell_notes
from fleet.cli.option_types import TimeLimitType
from fleet.cli.options import Access, Narrow, Output
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, say, warn
from fleet.cli.verbs.targets import selection_of, warn_about
from fleet.clock import wall_time
from fleet.documents.files import read_text
from fleet.errors import ExitCode, InvalidInput, Problem
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.commands.bulk import Ended
    from fleet.commands.model import Change, ManagedCommand
    from fleet.config.load import Config

FORMATS = ("table", "json", "jsonl", "csv")


@click.group(invoke_without_command=False)
def commands() -> None:
    """Look after the managed commands that lie on VMs, whoever put them there.

    A VM holds 25 of them. Fleet deletes its own once their result is read; what a run or another tool left behind is
    found and removed here.
    """


@dataclass(frozen=True, slots=True)
class Select(Narrow):
    """Which commands, on which VMs."""

    what: str
    names: tuple[str, ...]
    leftovers: bool


selecting = options.fill(
    Select,
    click.argument("what", metavar="EXPR|PLAYBOOK"),
    click.option("--name", "names", multiple=True, metavar="GLOB", help="Only commands so named; repeatable."),
    click.option("--leftovers", is_flag=True, help="Only what Fleet's runs left behind: theirs, and ended."),
    *options.NARROW,
)


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to change in commands."""

    script: Path | None
    timeout: float | None
    """Seconds."""
    parameters: tuple[str, ...]
    protected: tuple[str, ...]
    tags: tuple[str, ...]
    untag: tuple[str, ...]


editing = options.fill(
    Edit,
    click.option("--script", type=click.Path(path_type=Path), metavar="FILE", help="Run this script instead."),
    click.option("--timeout", type=TimeLimitType(), help="Azure's own time limit of the script: 45m, 1h30m, 90s."),
    click.option("--parameter", "parameters", multiple=True, metavar="K=V", help="Set a parameter; repeatable."),
    click.option(
        "--protected",
        multiple=True,
        metavar="K=@FILE|env:NAME",
        help="Set a protected parameter, by reference; repeatable.",
    ),
    click.option("--tag", "tags", multiple=True, metavar="K=V", help="Set a tag; repeatable."),
    click.option("--untag", multiple=True, metavar="K", help="Take a tag away; repeatable."),
)


@commands.command(
    name="list",
    epilog="""\b
Examples:
  fleet commands list all
  fleet commands list 'tag.app == "web"' --name 'deploy-*' -o csv
  fleet commands list patch.yaml --leftovers
""",
)
@selecting
@options.showing(*FORMATS)
@options.connecting
def list_(access: Access, output: Output, select: Select) -> int:
    """List the managed commands of the VMs that EXPR or PLAYBOOK selects: state, age, and whose they are.

    Nothing is changed. Exits 4 if a VM could not be read.
    """
    from fleet.cli.command_tables import listing

    found = run_interruptible(_looked(access, select))
    emit(listing(found.commands, output.form or "table", wall_time()))
    say(found.summary, quiet=access.quiet)
    return found.code


@commands.command(
    epilog="""\b
Examples:
  fleet commands show 'name == "web01"' --name deploy
  fleet commands show all --name 'fleet-*' -o json
"""
)
@selecting
@options.showing("table", "json")
@options.connecting
def show(access: Access, output: Output, select: Select) -> int:
    """Show managed commands whole: what they run, as whom, and everything their instance view says.

    A script is told by its digest and parameters by their names, since either may hold a secret.
    """
    from fleet.cli.command_tables import shown

    found = run_interruptible(_looked(access, select))
    emit(shown(found.commands, output.form or "table", wall_time()))
    say(found.summary, quiet=access.quiet)
    return found.code


@commands.command(
    epilog="""\b
Examples:
  fleet commands delete all --leftovers --dry-run
  fleet commands delete 'tag.app == "web"' --name 'deploy-*' -y
  fleet commands delete 'name == "web01"' --all --running
"""
)
@selecting
@click.option("--all", "everything", is_flag=True, help="Every command, where neither --name nor --leftovers is given.")
@click.option("--running", is_flag=True, help="Also those not known to have ended: it ends their scripts.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@options.confirming
@options.showing(*FORMATS)
@options.connecting
def delete(
    access: Access, output: Output, select: Select, *, everything: bool, running: bool, dry_run: bool, yes: bool
) -> int:
    """Delete managed commands. One that may still be running is kept unless --running is said.

    Exits 4 if a VM could not be read or a command could not be deleted.
    """
    from fleet.app import connect
    from fleet.app.release import delete_and_record
    from fleet.app.stores import open_store
    from fleet.cli.command_tables import listing

    if not (select.names or select.leftovers or everything):
        raise InvalidInput(
            [Problem("nothing_named", "say which commands: --name GLOB, --leftovers, or --all", "commands delete")]
        )

    async def go() -> int:
        async with connect.connect(config, access.lab, os.environ) as connection:
            found = await _look(connection, config, access.quiet, select)
            doomed = tuple(command for command in found.commands if running or not command.running)
            if kept := len(found.commands) - len(doomed):
                say(f"{plural(kept, 'command')} may still be running and will stay; --running deletes them too")
            if dry_run or not doomed:
                emit(listing(doomed, output.form or "table", wall_time()))
                say(f"{plural(len(doomed), 'command')} would be deleted" if dry_run else "nothing to delete")
                return found.code
            ending = sum(command.running for command in doomed)
            stops = f", ending {plural(ending, 'script')} that may be running" if ending else ""
            agree(
                f"delete {plural(len(doomed), 'managed command')} on {plural(_vms(doomed), 'VM')}{stops}",
                lambda: listing(doomed, "table", wall_time()),
                yes=yes,
            )
            with counting("deleting", len(doomed), access.quiet) as seen:
                ended = await delete_and_record(open_store(config), connection, doomed, seen)
            return _told(doomed, ended, "deleted", found, output, access.quiet)

    config = config_of(access)
    return run_interruptible(go())


@commands.command(
    epilog="""\b
Examples:
  fleet commands update all --name agent-watch --timeout 10m
  fleet commands update 'tag.app == "web"' --name watch --script watch.sh --parameter LEVEL=2
  fleet commands update all --name 'watch*' --tag owner=ops --untag temp -y
"""
)
@selecting
@editing
@click.option("--running", is_flag=True, help="Also those not known to have ended: it ends their scripts.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@options.confirming
@options.showing(*FORMATS)
@options.connecting
def update(
    access: Access, output: Output, edit: Edit, select: Select, *, running: bool, dry_run: bool, yes: bool
) -> int:
    """Change managed commands in place, by PATCH: script, time limit, parameters, tags.

    Changed content runs again at once; tags alone do not. What changes is listed first. Exits 4 if a VM could not be read
    or a command could not be changed.
    """
    from fleet.app import connect
    from fleet.app.commands import change_commands
    from fleet.cli.command_tables import describe, listing_of_changes

    change = _change(edit)
    if not select.names or change.is_nothing:
        missing = "which commands: --name GLOB" if not select.names else "what to change: --script, --timeout, ..."
        raise InvalidInput([Problem("nothing_named", f"say {missing}", "commands update")])

    async def go() -> int:
        async with connect.connect(config, access.lab, os.environ) as connection:
            found = await _look(connection, config, access.quiet, select)
            keep = change.runs_again and not running
            meant = tuple(
                command for command in found.commands if not (keep and command.running) and describe(command, change)
            )
            busy = sum(command.running for command in found.commands) if keep else 0
            if busy:
                say(f"{plural(busy, 'command')} may still be running and will stay; --running changes them too")
            table = listing_of_changes(meant, change, output.form or "table")
            if dry_run or not meant:
                emit(table)
                say(f"{plural(len(meant), 'command')} would change" if dry_run else "nothing to change")
                return found.code
            again = "; they run again" if change.runs_again else ""
            what_for = f"change {plural(len(meant), 'managed command')} on {plural(_vms(meant), 'VM')}{again}"
            agree(what_for, lambda: listing_of_changes(meant, change, "table"), yes=yes)
            with counting("changing", len(meant), access.quiet) as seen:
                ended = await change_commands(connection.managed, meant, change, connection.shared, seen)
            return _told(meant, ended, "changed", found, output, access.quiet)

    config = config_of(access)
    return run_interruptible(go())


# -- what the verbs share --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """The commands that were meant, and how many VMs were asked and could not be read."""

    commands: tuple[ManagedCommand, ...]
    vms: int
    unread: int

    @property
    def code(self) -> int:
        return ExitCode.NOT_REACHED if self.unread else ExitCode.OK

    @property
    def summary(self) -> str:
        return f"{plural(len(self.commands), 'managed command')} on {plural(_vms(self.commands), 'VM')} of {self.vms:,}"


async def _looked(access: Access, select: Select) -> Found:
    from fleet.app import connect

    config = config_of(access)
    async with connect.connect(config, access.lab, os.environ) as connection:
        return await _look(connection, config, access.quiet, select)


async def _look(connection: Connection, config: Config, quiet: int, select: Select) -> Found:
    """Read the commands of every selected VM, and choose those that are meant."""
    from fleet.app import search
    from fleet.app.leases import have_ended
    from fleet.app.stores import open_store
    from fleet.commands.model import chosen
    from fleet.targets.expand import require_some

    tell_notes(connection, quiet)
    selection = selection_of(select.what, config.azure.subscriptions)
    found = await search.find(connection, selection, narrowing_of(select))
    warn_about(found)
    require_some(found.chosen, select.allow_empty)
    targets = found.chosen.targets
    with counting("reading", len(targets), quiet) as seen:
        read = await connection.managed.commands(targets, seen)
    unread = [item for item in read if item.why]
    for item in unread:
        warn(f"{item.target.name}: its managed commands could not be read: {item.why}")
    commands = [command for item in read for command in item.commands]
    theirs = [command.run for command in commands if command.run] if select.leftovers else []
    known = await have_ended(open_store(config), theirs) if theirs else {}
    meant = chosen(commands, select.names, select.leftovers, wall_time(), known)
    return Found(meant, len(targets), len(unread) + len(found.chosen.unread))


def _change(edit: Edit) -> Change:
    from fleet.app.parameters import secret_of
    from fleet.commands.model import Change

    problems: list[Problem] = []
    change = Change(
        script=None if edit.script is None else read_text(edit.script, "the script"),
        timeout=edit.timeout,
        parameters=_pairs("--parameter", edit.parameters, problems),
        protected={
            name: secret_of(name, text, os.environ, problems)
            for name, text in _pairs("--protected", edit.protected, problems).items()
        },
        tags=_pairs("--tag", edit.tags, problems),
        untag=edit.untag,
    )
    if problems:
        raise InvalidInput(problems)
    return change


def _pairs(flag: str, items: Sequence[str], problems: list[Problem]) -> dict[str, str]:
    pairs = [item.partition("=") for item in items]
    problems += [
        Problem("bad_parameter", f"{flag} is not NAME=VALUE", flag, found=name)
        for name, equals, _ in pairs
        if not equals
    ]
    return {name: value for name, _, value in pairs}


def _told(
    meant: Sequence[ManagedCommand], ended: Sequence[Ended], word: str, found: Found, output: Output, quiet: int
) -> int:
    from fleet.cli.command_tables import outcomes
    from fleet.commands.bulk import Fate

    emit(outcomes(meant, ended, word, output.form or "table"))
    done = sum(item.fate is Fate.DONE for item in ended)
    say(f"{done:,} of {plural(len(meant), 'command')} {word}", quiet=quiet)
    return found.code if done == len(meant) else ExitCode.NOT_REACHED


def _vms(commands: Sequence[ManagedCommand]) -> int:
    return len({command.target.key for command in commands})


@contextmanager
def counting(word: str, total: int, quiet: int) -> Iterator[Callable[[], None]]:
    """Show on a terminal how many are done; yields what is to be called for each."""
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda: None
        return
    with click.progressbar(length=total, label=word, file=sys.stderr, show_eta=False) as bar:
        yield lambda: bar.update(1)
