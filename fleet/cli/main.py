"""The ``fleet`` command: finds the verb, runs it, and turns what went wrong into a sentence and an exit code.

A verb's module is imported only when the verb is used, so that help and completion stay quick.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
from _thread import interrupt_main
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import click

from fleet.cli.streams import STDOUT_HINT, prepare, to_nowhere
from fleet.errors import ExitCode, FleetError, InvalidInput, StateError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VERBS: dict[str, tuple[str, str]] = {
    "run": ("fleet.cli.verbs.run:run", "Run a playbook over its targets and report."),
    "plan": ("fleet.cli.verbs.run:plan", "Show what a run would do, and send nothing."),
    "apply": ("fleet.cli.verbs.apply:apply", "Carry out exactly what a plan file froze."),
    "exec": ("fleet.cli.verbs.exec:execute", "Run one command on the selected VMs, without a playbook."),
    "resume": ("fleet.cli.verbs.resume:resume", "Go on with a run that was left unfinished."),
    "rerun": ("fleet.cli.verbs.resume:rerun", "Run again on the targets of a run that did not end well."),
    "commands": ("fleet.cli.verbs.commands:commands", "List, show, change or delete managed commands on VMs."),
    "approve": ("fleet.cli.verbs.approve:approve", "Approve the wave that a run waits to open, or a plan file."),
    "reject": ("fleet.cli.verbs.approve:reject", "Reject the wave that a run waits to open, which ends it."),
    "pause": ("fleet.cli.verbs.steer:pause", "Launch nothing more in a run until it is unpaused."),
    "unpause": ("fleet.cli.verbs.steer:unpause", "Let a paused run launch again."),
    "cancel": ("fleet.cli.verbs.steer:cancel", "End a run: what has not begun does not begin."),
    "tune": ("fleet.cli.verbs.steer:tune", "Change concurrency and budgets of a run while it goes on."),
    "targets": ("fleet.cli.verbs.targets:targets", "List the VMs that a playbook or an expression selects."),
    "doctor": ("fleet.cli.verbs.doctor:doctor", "Check what stands in the way of a run, before it."),
    "rbac": ("fleet.cli.verbs.doctor:rbac", "Print the smallest role that can carry out a playbook."),
    "validate": ("fleet.cli.verbs.validate:validate", "Check playbooks without sending anything."),
    "runs": ("fleet.cli.verbs.runs:runs", "List the runs kept here."),
    "show": ("fleet.cli.verbs.runs:show", "Show how a run stands, or how it ended."),
    "output": ("fleet.cli.verbs.output:output", "Print what a run's scripts printed, VM by VM."),
    "probe": ("fleet.cli.verbs.probe:probe", "Look into VMs in which a run's scripts hang."),
    "unstick": ("fleet.cli.verbs.probe:unstick", "End a script that hangs in a VM."),
    "report": ("fleet.cli.verbs.runs:report", "Render a run's report again, in any format."),
    "verify": ("fleet.cli.verbs.runs:verify", "Check that a run's journal is whole and unchanged."),
    "diff": ("fleet.cli.verbs.diff:diff", "Show what differs between VMs, or between two runs."),
    "lab": ("fleet.cli.verbs.lab:lab", "Serve a pretend Azure on this machine."),
    "sim": ("fleet.cli.verbs.sim:sim", "Rehearse a run in virtual time, against a pretend fleet."),
    "schema": ("fleet.cli.verbs.validate:schema", "Print a JSON Schema: playbook, report, config, lab."),
    "config": ("fleet.cli.verbs.validate:config", "Show the settings in force, and where each comes from."),
    "completion": ("fleet.cli.verbs.validate:completion", "Print the completion script of a shell."),
    "version": ("fleet.cli.verbs.validate:version", "Print Fleet's version."),
}


class Verbs(click.Group):
    """A group whose verbs are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, importing none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a verb from the table, importing none of them."""
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(name, help=text) for name, (_, text) in VERBS.items() if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, VERBS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "fleet --help lists the verbs"
            raise click.UsageError(f"there is no verb {name!r}; {hint}", ctx=ctx)
        return super().resolve_command(ctx, args)


EPILOG = """\b
Examples:
  fleet run playbooks/linux-health.yaml --lab -y     try it on a pretend fleet
  fleet targets 'tag.env == "prod" and os == "linux"'
  fleet plan patch.yaml --limit 'web*'
  fleet run patch.yaml --max-failures 2% --report html=patch.html
  fleet show last
"""


@click.group(
    cls=Verbs,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.version_option(package_name="azfleet", message="fleet %(version)s", help="Print Fleet's version.")
def cli() -> None:
    """Run one playbook over a whole fleet of Azure VMs, and get one report you can prove.

    Data goes to stdout, everything else to stderr. Each verb has --help with examples.
    """


ASKED_AGAIN_AFTER = 0.05
"""Seconds after which the code that swallowed an interrupt is over."""


def main() -> NoReturn:
    """Run the command line and exit with its code; no traceback ever reaches the user."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.unraisablehook = ask_again
    if prepare():
        hint = "send it to a file, or to /dev/null; nothing was done"
        sys.exit(_failure(StateError("stdout is closed, so the output would be lost", hint=hint, code="stdout")))
    code = invoke(sys.argv[1:])
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        _end_at_once(code)
    for number in (signal.SIGINT, signal.SIGTERM):  # all was said: a thread that hangs keeps nobody
        signal.signal(number, lambda *_: os._exit(code))
    sys.exit(code)


def _end_at_once(code: int) -> NoReturn:
    """End an interrupted process with its exit code, whatever thread still hangs in it.

    An exit in order would wait for the thread, and may end by SIGINT itself, where the interrupt met code made from text.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def ask_again(lost: sys.UnraisableHookArgs) -> None:
    """Ask once more to stop where a library in C met the request and went on, as pydantic does while it reads a pattern."""
    number = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(lost.exc_type)
    if number is None:
        sys.__unraisablehook__(lost)
    else:
        # A signal proper, where there are such: it also wakes a program that waits.
        send = partial(interrupt_main, number) if sys.platform == "win32" else partial(os.kill, os.getpid(), number)
        threading.Timer(ASKED_AGAIN_AFTER, send).start()


def _terminated(number: int, frame: object) -> NoReturn:
    """End in order where no run is in progress; a run takes the signal over (``fleet.cli.signals``)."""
    os.write(2, b"terminated\n")
    sys.exit(ExitCode.TERMINATED)


def invoke(args: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        result = cli.main(_with_values(args), prog_name="fleet", standalone_mode=False)
        sys.stdout.flush()
        return int(result) if isinstance(result, int) else ExitCode.OK
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return ExitCode.OK
    except click.ClickException as error:
        return _usage(error, args)
    except BrokenPipeError:  # the reader of our output went away: nothing is wrong, and nothing more can be said
        to_nowhere()
        return ExitCode.OK
    except InvalidInput as error:
        return _problems(error)
    except FleetError as error:
        return _failure(error)
    except OSError as error:
        return _failure(_refusal(error))
    except Exception as error:
        return _internal(error)


def _with_values(args: list[str]) -> list[str]:
    """Give a bare ``--lab`` or ``--approved`` its value: like this neither takes the file behind it for its own."""
    end = args.index("--") if "--" in args else len(args)
    bare = {"--lab": "--lab=default", "--approved": "--approved=beside"}
    return [bare.get(arg, arg) for arg in args[:end]] + args[end:]


def _usage(error: click.ClickException, args: list[str]) -> int:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"{error.ctx.command_path} --help explains it, with examples"
        if "--lab" in args:
            hint = f"a lab file or URL follows an equals sign, --lab=FILE; {hint}"
    return _error(error.format_message().rstrip("."), hint, ExitCode.USAGE, "usage")


def _problems(error: InvalidInput) -> int:
    from fleet.cli.terminal import label
    from fleet.report.safe import terminal

    for problem in error.problems:
        click.echo(f"{label('error', 'red')}: {terminal(str(problem))} [{problem.code}]", err=True)
        for word, text in (("found", problem.found), ("expected", problem.expected), ("hint", problem.hint)):
            if text:
                click.echo(f"  {word}: {terminal(text)}", err=True)
    count = len(error.problems)
    click.echo(f"{count} problem{'s' if count != 1 else ''} found; nothing was sent", err=True)
    return ExitCode.USAGE


def _error(message: str, hint: str, code: int, name: str) -> int:
    from fleet.cli.terminal import label
    from fleet.report.safe import terminal

    click.echo(f"{label('error', 'red')}: {terminal(message)} [{name}]", err=True)
    if hint:
        click.echo(f"  hint: {terminal(hint)}", err=True)
    return code


_OF_STREAMS = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF})
"""What a write says that has no file's name: help and version are written by a library."""


def _failure(error: FleetError) -> int:
    from fleet.cli.terminal import show_notes

    code = _error(str(error), error.hint, error.exit_code, error.code)
    show_notes(error)
    return code


def _refusal(error: OSError) -> StateError:
    """The operating system refused something, and no part of Fleet knows more about it."""
    reason = error.strerror or str(error)
    if error.filename is None and error.errno in _OF_STREAMS:
        to_nowhere()
        return StateError(f"stdout cannot be written: {reason}", hint=STDOUT_HINT, code="stdout")
    what = f"{error.filename}: " if error.filename is not None else ""
    hint = "check the path, its rights and the free space"
    return StateError(f"{what}{reason}", hint=hint, code="system")


def _internal(error: Exception) -> int:
    """A defect of ours: say so in a sentence and keep the details in a file that only its owner can read."""
    import tempfile
    import traceback

    from fleet.logs import masked

    text = masked("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="fleet-defect-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
        place = f"the details are in {file.name}"
    except OSError as problem:
        place = f"the details could not be kept: {problem.strerror}"
    return _error(
        f"internal error: {type(error).__name__}: {masked(str(error))[:300]}",
        f"this is a defect of Fleet; {place}",
        ExitCode.INTERNAL,
        FleetError.code,
    )
