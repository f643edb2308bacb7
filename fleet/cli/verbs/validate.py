"""The verbs for those who write playbooks and settings: validate, schema, config, completion, version."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fleet.cli.terminal import emit, say, settings, table
from fleet.errors import ExitCode, InvalidInput, Problem
from fleet.report.words import plural


@click.command(epilog="\b\nExamples:\n  fleet validate playbooks/*.yaml\n")
@click.argument("playbooks", metavar="PLAYBOOK...", nargs=-1, required=True, type=click.Path())
@click.option("-q", "--quiet", count=True, help="Say nothing where all is well.")
def validate(playbooks: tuple[str, ...], quiet: int) -> int:
    """Check playbooks, and the scripts they name, for every mistake at once. Nothing is sent."""
    from fleet.app.playbooks import load_playbook

    problems: list[Problem] = []
    for name in playbooks:
        try:
            loaded = load_playbook(Path(name))
        except InvalidInput as error:
            problems.extend(error.problems)
        else:
            say(f"{name}: {loaded.name} {loaded.version}, {plural(len(loaded.steps), 'step')}: valid", quiet=quiet)
    if problems:
        raise InvalidInput(problems)
    return ExitCode.OK


SCHEMAS = ("playbook", "report", "config", "lab")


@click.command(
    epilog="""\b
Examples:
  fleet schema playbook > playbook.schema.json
  # then, as first line of a playbook:
  # yaml-language-server: $schema=./playbook.schema.json
"""
)
@click.argument("kind", type=click.Choice(SCHEMAS), default="playbook")
def schema(kind: str) -> int:
    """Print the JSON Schema (2020-12) of a kind of document, for editors and checks."""
    emit(json.dumps(_schema(kind), indent=1))
    return ExitCode.OK


def _schema(kind: str) -> object:
    match kind:
        case "report":
            from fleet.report import render_json

            return render_json.schema()
        case "config":
            from fleet.config.schema import ConfigKeys
            from fleet.documents.schema import json_schema

            return json_schema(ConfigKeys, title="Fleet settings")
        case "lab":
            from fleet.lab.world import spec

            return spec.schema()
        case _:
            from fleet.playbook.keys import playbook

            return playbook.json_schema()


@click.group(invoke_without_command=False)
def config() -> None:
    """Show the settings in force, and where each comes from."""


@config.command(
    name="show", epilog="\b\nExamples:\n  fleet config show --origin\n  FLEET_RUN_CONCURRENCY=50 fleet config show\n"
)
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@click.option("--config", "config_file", metavar="FILE", help="Settings to use instead of ./config.yaml.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    help="Form of the data on stdout.",
)
def config_show(origin: bool, config_file: str | None, form: str) -> int:
    """Print every setting with its value."""
    found, origins = settings(config_file)
    values = found.values()
    if form == "json":
        document: dict[str, object] = {
            key: {"value": value, "origin": origins[key]} if origin else value for key, value in values.items()
        }
        emit(json.dumps(document, indent=1))
        return ExitCode.OK
    rows = [(key, json.dumps(value), *((origins[key],) if origin else ())) for key, value in sorted(values.items())]
    emit(table(("setting", "value", *(("origin",) if origin else ())), rows))
    return ExitCode.OK


@click.command(
    epilog="""\b
Examples:
  eval "$(fleet completion bash)"
  fleet completion zsh > ~/.zfunc/_fleet
  fleet completion fish > ~/.config/fish/completions/fleet.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class

    from fleet.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    emit(found(cli, {}, "fleet", "_FLEET_COMPLETE").source())
    return ExitCode.OK


@click.command()
def version() -> int:
    """Print Fleet's version."""
    from importlib.metadata import version as installed

    emit(f"fleet {installed('azfleet')}")
    return ExitCode.OK
