"""What a probe found, and what came of freeing, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleet.app.inspect import SAID, Freed
from fleet.cli.terminal import table
from fleet.guest.probe import Disk, Findings, Standing
from fleet.report.safe import terminal, terminal_line
from fleet.report.words import duration
from fleet.run.job_state import JobState
from fleet.run.model import Cause

LITTLE = 0.05
"""The part of a disk, or of the memory, below which what is left is called little."""
LONG = 60
"""Seconds of silence that are worth a word."""


@dataclass(frozen=True, slots=True)
class Probed:
    """One job, and what its VM said."""

    job: JobState
    said: Findings | Cause


def remarks(found: Findings) -> tuple[str, ...]:
    """Say what is worth knowing first, in a few words each; how the script stands comes before all."""
    return (SAID[found.standing], *_remarks(found))


def _remarks(found: Findings) -> Iterator[str]:
    silent = found.silent_for()
    if found.standing is Standing.ALIVE and silent is not None and silent >= LONG:
        yield f"nothing printed for {duration(silent)}"
    for process in found.processes:
        if process.state == "D":
            yield f"process {process.pid} waits for a device ({process.waits}): {process.command[:40]}"
    yield from (f"package lock held: {lock}" for lock in found.locks)
    yield from (f"disk {disk.place} is full: {_size(disk.free)} left" for disk in found.disks if _is_little(disk))
    total, free = found.number("memtotal"), found.number("memavailable")
    if total and free is not None and free < LITTLE * total:
        yield f"memory is short: {_size(free * 1024)} of {_size(total * 1024)} left"
    if not found.whole:
        yield "the VM did not tell all: something in it hangs, or there was too much to tell"


def _is_little(disk: Disk) -> bool:
    return disk.size > 0 and disk.free < LITTLE * disk.size


def probes(rows: Sequence[Probed], form: str) -> str:
    """Render probes: a table of what is worth knowing, and a section for each VM."""
    if form == "json":
        return json.dumps([_document(row) for row in rows], indent=1)
    lines = [
        (row.job.job.target.name, row.job.job.step.id, _load(row.said), "; ".join(_words(row.said))) for row in rows
    ]
    pages = [_page(row.job, row.said) for row in rows if isinstance(row.said, Findings)]
    return "\n".join([table(("vm", "step", "load", "what was found"), lines), *pages])


def _words(said: Findings | Cause) -> tuple[str, ...]:
    return remarks(said) if isinstance(said, Findings) else (f"{said.code.value}: {said.message}", said.hint)


def _load(said: Findings | Cause) -> str:
    if isinstance(said, Cause):
        return ""
    return said.facts.get("load", "")[:8] or (f"{said.number('busy')}%" if said.number("busy") is not None else "")


def _page(job: JobState, found: Findings) -> str:
    target = job.job.target
    lines = [f"-- {terminal_line(target.name)}  {terminal_line(job.job.step.id)}", *_machine(found)]
    if found.processes:
        lines.append("  processes (pid, state, age, cpu, waits in, command):")
        lines += [
            f"    {each.pid:>7} {terminal_line(each.state)} {duration(each.age):>8} {duration(each.used):>7} "
            f"{terminal_line(each.waits)[:20]:<20} {'  ' * min(each.depth, 10)}{terminal_line(each.command)}"
            for each in found.processes
        ]
    for name, text in (("stdout", found.stdout), ("stderr", found.stderr), ("agent's log", found.agent)):
        if text.strip():
            lines.append(f"  {name}, its end:")
            shown = text.replace("\r\n", "\n").strip("\n").split("\n")
            lines += [f"    | {terminal(line)}" for line in shown]
    return "\n".join(lines) + "\n"


def _machine(found: Findings) -> Iterator[str]:
    now, booted = found.number("time"), found.number("booted")
    started = found.number("started")
    parts = [f"load {found.facts['load']}"] if "load" in found.facts else []
    if found.number("processors"):
        parts.append(f"{found.number('processors')} processors")
    total, free = found.number("memtotal"), found.number("memavailable")
    if total and free is not None:
        parts.append(f"memory {_size(free * 1024)} free of {_size(total * 1024)}")
    parts += [f"disk {disk.place} {_size(disk.free)} free of {_size(disk.size)}" for disk in found.disks]
    if now is not None and booted is not None:
        parts.append(f"up {duration(now - booted)}")
    if now is not None and started is not None:
        parts.append(f"script begun {duration(now - started)} ago")
    if parts:
        yield "  " + terminal_line(", ".join(parts))


def _document(row: Probed) -> dict[str, object]:
    target, said = row.job.job.target, row.said
    base: dict[str, object] = {"vm": target.name, "target": target.id, "step": row.job.job.step.id}
    if isinstance(said, Cause):
        return {**base, "state": None, "cause": said.code.value, "message": said.message, "hint": said.hint}
    return {
        **base,
        "state": said.standing.value or None,
        "remarks": list(remarks(said)),
        "facts": dict(said.facts),
        "silent_s": said.silent_for(),
        "locks": list(said.locks),
        "processes": [
            {
                "pid": each.pid,
                "depth": each.depth,
                "state": each.state,
                "age_s": each.age,
                "cpu_s": each.used,
                "waits": each.waits,
                "command": each.command,
            }
            for each in said.processes
        ],
        "disks": [{"place": disk.place, "size": disk.size, "free": disk.free} for disk in said.disks],
        "stdout": said.stdout,
        "stderr": said.stderr,
        "agent": said.agent,
        "whole": said.whole,
    }


def freeings(rows: Sequence[Freed], form: str) -> str:
    """Render what came of freeing, or what would be done."""
    if form == "json":
        documents = [
            {
                "vm": row.job.job.target.name,
                "target": row.job.job.target.id,
                "step": row.job.job.step.id,
                "how": row.how,
                "done": row.done,
                "message": row.message,
            }
            for row in rows
        ]
        return json.dumps(documents, indent=1)
    cells = [(row.job.job.target.name, row.job.job.step.id, row.how, row.message) for row in rows]
    return table(("vm", "step", "how", "result"), cells)


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
