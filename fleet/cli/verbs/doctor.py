"""The verbs for the time before a run: rbac says which rights it needs, doctor what stands in its way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.cli import options
from fleet.cli.execute import config_of, narrowing_of, settings_of, tell_notes
from fleet.cli.options import Access, Launch, Narrow, Output
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, say, settings, table, warn
from fleet.cli.verbs.targets import warn_about
from fleet.errors import ExitCode
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.plan.model import Plan
    from fleet.playbook.model import Playbook
    from fleet.preflight.doctor import Finding
    from fleet.preflight.rights import Right
    from fleet.targets.model import Target


@click.command(
    epilog="""\b
Examples:
  fleet rbac patch.yaml > role.json && az role definition create --role-definition @role.json
  fleet rbac patch.yaml --transport action -o table
  fleet rbac patch.yaml --scope /subscriptions/00000000-0000-0000-0000-000000000000
"""
)
@click.argument("playbook", type=click.Path())
@click.option("--transport", type=click.Choice(["auto", "managed", "action"]), help="Which Run Command.")
@click.option(
    "--scope", "given_scopes", multiple=True, metavar="ID", help="Where the role may be assigned; repeatable."
)
@click.option("--name", metavar="NAME", help="The role's name, instead of one after the playbook.")
@click.option("--doctor", "with_doctor", is_flag=True, help="Add the rights by which `fleet doctor` checks the others.")
@click.option("-o", "--output", "form", type=click.Choice(["json", "table"]), help="A role, or the reasons.")
@click.option("--config", "config_file", metavar="FILE", help="Settings to use instead of ./config.yaml.")
@click.option("-q", "--quiet", count=True, help="Say less on stderr.")
def rbac(
    playbook: str,
    transport: str | None,
    given_scopes: tuple[str, ...],
    name: str | None,
    with_doctor: bool,
    form: str | None,
    config_file: str | None,
    quiet: int,
) -> int:
    """Print the smallest custom role that can carry out PLAYBOOK, as `az role definition create` reads it.

    Nothing is asked of Azure. Scopes are the subscriptions that the playbook names by id; others are given by --scope.
    """
    from fleet.app.playbooks import load_playbook
    from fleet.playbook.model import Transport
    from fleet.preflight.patchers import PURPOSE
    from fleet.preflight.rights import DOCTOR, LOCKS, PATCHERS, rights
    from fleet.targets import selector
    from fleet.targets.kinds import wanted_kinds

    config, _ = settings(config_file, 0, quiet)
    loaded = load_playbook(Path(playbook))
    kinds = wanted_kinds(loaded.selection.kinds, selector.parse(loaded.selection.where).expression)
    needed = rights(loaded.steps, Transport(transport or config.run.transport), kinds)
    needed += (DOCTOR, LOCKS) if with_doctor else ()
    needed += PATCHERS if with_doctor or loaded.labels.get("purpose") == PURPOSE else ()
    if form == "table":
        emit(table(("action", "where", "why"), [(right.action, right.reach.value, right.reason) for right in needed]))
        return ExitCode.OK
    emit(json.dumps(_role(loaded, needed, name, given_scopes), indent=2))
    say("note: assign it on whole subscriptions: operations are read there, not in a group", quiet=quiet)
    return ExitCode.OK


def _role(
    loaded: Playbook, needed: Sequence[Right], name: str | None, given_scopes: tuple[str, ...]
) -> dict[str, object]:
    from fleet.preflight.rights import role, scopes

    found, others = scopes(loaded.selection.subscriptions)
    where = given_scopes or found
    if others and not given_scopes:
        names = ", ".join(others)
        warn(f"{names}: no subscription id, so no scope; put the ids into AssignableScopes, or give --scope")
    description = f"What Fleet needs to carry out the playbook {loaded.name} {loaded.version}, and nothing else"
    return role(name or f"Fleet {loaded.name}", description, needed, where)


@click.command(
    epilog="""\b
Examples:
  fleet doctor patch.yaml
  fleet doctor patch.yaml -l 'web*' -o json
  fleet doctor playbooks/linux-health.yaml --lab
"""
)
@click.argument("playbook", type=click.Path())
@options.values
@options.narrowing
@options.launching
@options.showing("table", "json")
@options.connecting
def doctor(
    access: Access, output: Output, launch: Launch, narrow: Narrow, *, playbook: str, given: tuple[str, ...]
) -> int:
    """Check what stands in the way of a run of PLAYBOOK: sign-in, rights, VMs, locks, and whether its scripts fit.

    It also names other patchers of the VMs: Azure, Windows, maintenance configurations.

    Nothing is sent to any VM. Exits with 0 if every target would be reached, 4 if some would not, 7 if sign-in or rights
    are in the way, 2 if the playbook does not fit its targets. What could not be checked changes no exit code.
    """
    from fleet.app import connect, plans, search
    from fleet.app.examine import examine
    from fleet.app.parameters import parameters
    from fleet.app.playbooks import load_playbook
    from fleet.preflight.doctor import exit_code

    config = config_of(access)
    loaded = load_playbook(Path(playbook))
    values, secrets = parameters(loaded, given, os.environ)

    async def go() -> tuple[Plan, tuple[Finding, ...]]:
        async with connect.connect(config, access.lab, os.environ, runs_scripts=False) as connection:
            tell_notes(connection, access.quiet)
            found = await search.find_for(connection, loaded, narrowing_of(narrow))
            warn_about(found)
            made = plans.make_plan(
                connection, loaded, found, values, settings_of(config, launch), allow_empty=narrow.allow_empty
            )
            return made, await examine(connection, made, secrets)

    plan, findings = run_interruptible(go())
    emit(render(plan, findings, output.form or "table"))
    return exit_code(findings)


def render(plan: Plan, findings: Sequence[Finding], form: str) -> str:
    """Render findings as a table for people, or as JSON."""
    from fleet.preflight.doctor import kept_out

    out = kept_out(findings)
    reached = len(plan.targets) - len(out)
    if form == "json":
        return json.dumps(_document(plan, findings, out), indent=1)
    rows = [(item.check.value, item.level.value, _where(item), item.what) for item in findings]
    lines = [table(("check", "verdict", "where", "what"), rows)]
    lines.append(f"{reached:,} of {plural(len(plan.targets), 'target')} would be reached")
    if out:
        lines.append(f"{len(out):,} would not: {_names(out)}")
    todo = dict.fromkeys(item.next for item in findings if item.next)
    if todo:
        wheres = ["; ".join(_where(item) for item in findings if item.next == hint) for hint in todo]
        lines += ["", table(("what to do", ""), list(zip(map(_cut, wheres), todo, strict=True)))]
    return "\n".join(lines) + "\n"


async def warn_of_patchers(connection: Connection, plan: Plan) -> tuple[Finding, ...]:
    """Warn, before a run that patches, of other patchers of its targets and of what could not be read; return both."""
    from fleet.app.examine import other_patchers

    found = await other_patchers(connection, plan)
    for finding in found:
        warn(f"{_where(finding)}: {finding.what}")
    for hint in dict.fromkeys(finding.next for finding in found):
        say(f"  hint: {hint}")
    return found


def _where(finding: Finding) -> str:
    return f"{_names(finding.targets)} ({len(finding.targets):,})" if finding.targets else finding.subject


def _names(targets: Iterable[Target]) -> str:
    from fleet.targets.folding import fold

    return _cut(fold(target.name for target in targets))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _document(plan: Plan, findings: Sequence[Finding], out: frozenset[Target]) -> dict[str, object]:
    from fleet.cli.render_plan import finding_document
    from fleet.preflight.doctor import BLOCKING, Level, exit_code

    return {
        "schema": "urn:fleet:doctor:v1",
        "playbook": plan.playbook.name,
        "exit_code": int(exit_code(findings)),
        "targets": len(plan.targets),
        "reached": len(plan.targets) - len(out),
        "not_reached": [target.id for target in plan.targets if target in out],
        "blocked": any(item.level in BLOCKING for item in findings),
        "unchecked": any(item.level is Level.UNCHECKED for item in findings),
        "findings": [finding_document(item) for item in findings],
    }
