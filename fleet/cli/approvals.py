"""Approvals of plan files at the command line: leaving one, and asking for one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleet.app.reports import write_approval
from fleet.cli.terminal import emit, say
from fleet.clock import iso, wall_time
from fleet.documents.files import read_text
from fleet.errors import InvalidInput, Refused
from fleet.report.safe import terminal_line

if TYPE_CHECKING:
    from fleet.config.load import Config
    from fleet.plan.model import Plan

BESIDE = "beside"
"""What ``--approved`` without a file means: the one beside the plan."""


def place_of(plan_file: Path) -> Path:
    """Where the approval of a plan file lies."""
    return plan_file.with_name(f"{plan_file.name}.approval")


def approve_plan(plan_file: Path, name: str | None, why: str, *, quiet: int) -> None:
    """Leave an approval beside a plan file. Raises InvalidInput if it holds no plan, StateError."""
    from fleet.app.steer import asker, user
    from fleet.plan import approval, file
    from fleet.plan.approval import Approval

    plan = file.load(read_text(plan_file, "the plan file", most=file.MAX_BYTES), file=str(plan_file))
    made = Approval(plan.digest, user(), asker(name), iso(wall_time()), why)
    write_approval(approval.dump(made), place_of(plan_file))
    emit(f"approved {terminal_line(plan.playbook.name)}, plan {plan.digest[:12]}, as {terminal_line(made.who)}")
    emit(f"wrote {terminal_line(str(place_of(plan_file)))}: a record, not a signature")
    say(f"fleet apply {plan_file} --approved carries it out", quiet=quiet)


def check_approval(plan: Plan, plan_file: Path, config: Config, *, approved: str | None, by_other: bool) -> None:
    """See that a plan is approved, where options or config ask for it. Raises Refused ``not_approved``."""
    if not (approved or by_other or config.run.require_approval):
        return
    path = place_of(plan_file) if approved is None or approved == BESIDE else Path(approved)
    if problem := _problem(plan, path, by_other=by_other):
        hint = f"have it approved: fleet approve {plan_file}"
        raise Refused(f"the plan is not approved: {problem}", hint=hint, code="not_approved")


def _problem(plan: Plan, path: Path, *, by_other: bool) -> str:
    from fleet.app.steer import user
    from fleet.plan import approval

    try:
        found = approval.load(read_text(path, "the approval", most=approval.MAX_BYTES))
    except InvalidInput as error:
        return error.problems[0].message
    except ValueError as error:
        return f"{path} {error}"
    if found.plan != plan.digest:
        return f"{path} approves the plan {found.plan[:12]}, and this is {plan.digest[:12]}"
    if by_other and found.user == user():
        return f"{found.user} approved it, and another user must"
    say(f"approved by {found.who} at {found.when}" + (f": {found.why}" if found.why else ""))
    return ""


def refuse_unapproved(config: Config) -> None:
    """Refuse what carries out no plan file, where config asks for approved plans. Raises Refused ``not_approved``."""
    if config.run.require_approval:
        hint = "fleet plan PLAYBOOK --out x.plan; fleet approve x.plan; fleet apply x.plan"
        raise Refused(
            "run.require_approval lets approved plan files only be carried out", hint=hint, code="not_approved"
        )
