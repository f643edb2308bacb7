"""Managed commands for people and for scripts: tables, JSON and CSV, in which nothing a VM printed can do anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fleet.cli.terminal import table
from fleet.clock import iso
from fleet.commands.bulk import Ended
from fleet.commands.model import Change, ManagedCommand
from fleet.report.safe import csv_text, terminal, terminal_line, without_query
from fleet.report.words import duration

HEAD = ("vm", "resource group", "command", "state", "exit", "age", "owner", "runs", "timeout")


def listing(commands: Sequence[ManagedCommand], form: str, now: float) -> str:
    """Render commands as a table, JSON, JSON lines or CSV."""
    if form in ("json", "jsonl"):
        return _json([document(command, now) for command in commands], form)
    return _tabular(HEAD, [_row(command, now) for command in commands], form)


def _tabular(head: Sequence[str], rows: Sequence[Sequence[str]], form: str) -> str:
    if form == "csv":
        return csv_text([head, *rows])
    return table(head, rows)


def _json(rows: Sequence[Mapping[str, object]], form: str) -> str:
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows)
    return json.dumps(list(rows), indent=1)


def _row(command: ManagedCommand, now: float) -> tuple[str, ...]:
    age = command.age(now)
    return (
        command.target.name,
        command.target.resource_group,
        command.name,
        state_of(command),
        "" if command.exit_code is None or command.running else str(command.exit_code),
        "" if age is None else duration(age),
        owner_of(command),
        command.source,
        duration(command.timeout) if command.timeout else "",
    )


def state_of(command: ManagedCommand) -> str:
    """One word: the provisioning state while that is not over, else the script's."""
    if command.provisioning.casefold() not in ("", "succeeded"):
        return command.provisioning.casefold()
    return command.state.casefold() or "unknown"


def owner_of(command: ManagedCommand) -> str:
    """Whose it is: a run of Fleet, or another tool."""
    return f"run {command.run}" if command.run else "other"


def document(command: ManagedCommand, now: float) -> dict[str, object]:
    """Return a command as data: no script, no values of parameters, no signature of a URL."""
    age = command.age(now)
    return {
        "vm": command.target.name,
        "target": command.target.id,
        "name": command.name,
        "state": state_of(command),
        "running": command.running,
        "exit_code": command.exit_code,
        "started": None if command.started is None else iso(command.started),
        "ended": None if command.ended is None else iso(command.ended),
        "age_s": None if age is None else round(age),
        "owner": "fleet" if command.run else "other",
        "run": command.run or None,
        "source": command.source,
        "timeout_s": command.timeout,
        "run_as": command.run_as or None,
        "parameters": sorted(command.parameters),
        "tags": dict(command.tags),
        "provisioning": command.provisioning,
    }


def shown(commands: Sequence[ManagedCommand], form: str, now: float) -> str:
    """Render commands whole, with everything of their instance views."""
    if form == "json":
        return json.dumps([{**document(c, now), "instanceView": dict(c.view)} for c in commands], indent=1)
    return "\n".join(_page(command, now) for command in commands)


def _page(command: ManagedCommand, now: float) -> str:
    facts = {**document(command, now), **{k: v for k, v in command.view.items() if k not in _APART}}
    lines = [f"{terminal_line(command.target.name)}  {terminal_line(command.name)}"]
    lines += [f"  {terminal_line(key)}: {terminal_line(_plain(value))}" for key, value in facts.items() if value]
    lines += [f"  status: {terminal_line(without_query(line))}" for line in _statuses(command.view.get("statuses"))]
    for stream in ("output", "error"):
        text = str(command.view.get(stream) or "")
        shown_lines = text.replace("\r\n", "\n").rstrip("\n").split("\n") if text else []
        lines += [f"  {stream}:", *(f"  | {terminal(line)}" for line in shown_lines)] if text else []
    return "\n".join(lines) + "\n"


_APART = ("output", "error", "statuses")
"""What of an instance view has lines of its own."""


def _statuses(found: object) -> list[str]:
    """Say each status in one line: level, code, words, message and time; one of another shape as it came."""
    if not isinstance(found, list):
        return [] if found is None else [json.dumps(found)]
    return [_status(each) if isinstance(each, dict) else json.dumps(each) for each in found]


def _status(status: Mapping[str, object]) -> str:
    known = [str(status[key]) for key in ("level", "code", "displayStatus", "message") if status.get(key)]
    others = {key: value for key, value in status.items() if key not in _OF_STATUS and value is not None}
    time = [f"({status['time']})"] if status.get("time") else []
    return " ".join([": ".join(known), *time, *([json.dumps(others)] if others else [])]).strip()


_OF_STATUS = ("level", "code", "displayStatus", "message", "time")


def _plain(value: object) -> str:
    return without_query(value if isinstance(value, str) else json.dumps(value))


def describe(command: ManagedCommand, change: Change) -> tuple[str, ...]:
    """Say what a change does to a command, one thing each; values of parameters are not told."""
    parts: list[str] = []
    if change.script is not None:
        size = len(change.script.encode("utf-8", "surrogatepass"))
        parts.append(f"source: {command.source} -> script of {size:,} bytes")
    if change.timeout is not None and change.timeout != command.timeout:
        parts.append(f"timeout: {_limit(command.timeout)} -> {_limit(change.timeout)}")
    changed = [name for name, value in change.parameters.items() if command.parameters.get(name) != value]
    parts += [f"parameter {name}" for name in changed]
    parts += [f"protected parameter {name}" for name in change.protected]
    tags = change.tags_of(command)
    if tags is not None:
        parts += [
            f"tag {k}: {command.tags.get(k, '(none)')} -> {v}" for k, v in tags.items() if command.tags.get(k) != v
        ]
        parts += [f"tag {k}: {v} -> (none)" for k, v in command.tags.items() if k not in tags]
    return tuple(parts)


def _limit(seconds: float) -> str:
    return duration(seconds) if seconds else "none"


def listing_of_changes(commands: Sequence[ManagedCommand], change: Change, form: str) -> str:
    """Render what would change, command by command."""
    if form in ("json", "jsonl"):
        rows = [
            {"vm": c.target.name, "target": c.target.id, "name": c.name, "changes": list(describe(c, change))}
            for c in commands
        ]
        return _json(rows, form)
    head = ("vm", "command", "owner", "what changes")
    return _tabular(
        head, [(c.target.name, c.name, owner_of(c), "; ".join(describe(c, change))) for c in commands], form
    )


def outcomes(commands: Sequence[ManagedCommand], ended: Sequence[Ended], word: str, form: str) -> str:
    """Render what came of each call."""
    if form in ("json", "jsonl"):
        rows = [
            {
                "vm": command.target.name,
                "target": command.target.id,
                "name": command.name,
                "result": item.fate.value,
                "cause": None if item.cause is None else item.cause.code.value,
                "message": "" if item.cause is None else item.cause.message,
            }
            for command, item in zip(commands, ended, strict=True)
        ]
        return _json(rows, form)
    rows_of_text = [
        (
            command.target.name,
            command.name,
            word if item.cause is None else item.fate.value,
            "" if item.cause is None else f"{item.cause.code.value}: {item.cause.message}",
        )
        for command, item in zip(commands, ended, strict=True)
    ]
    return _tabular(("vm", "command", "result", "why"), rows_of_text, form)
