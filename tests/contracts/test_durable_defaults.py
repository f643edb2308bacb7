"""Plans, events and approvals are written without the fields that have their default, and kept for years."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import UnionType

from fleet.plan.approval import Approval
from fleet.plan.model import Plan
from fleet.run.events import Event

KEPT = Path(__file__).with_name("durable_defaults.txt")


def parts(kind: object, seen: set[type]) -> Iterator[type]:
    """The dataclasses that a value of this type may hold, at any depth."""
    kind = getattr(kind, "__supertype__", kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind in seen:
            return
        seen.add(kind)
        yield kind
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            yield from parts(hints[field.name], seen)
    elif isinstance(kind, UnionType) or typing.get_origin(kind) is not None:
        for each in typing.get_args(kind):
            yield from parts(each, seen)


def shown(field: dataclasses.Field[typing.Any]) -> str:
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return f"{type(default).__name__} {default.value!r}" if isinstance(default, Enum) else repr(default)


def found() -> list[str]:
    """A line for each field with a default: class, field, default."""
    seen: set[type] = set()
    kinds = [kind for root in (Plan, Event, Approval) for kind in parts(root, seen)]
    return sorted(
        f"{kind.__name__}.{field.name} = {shown(field)}"
        for kind in kinds
        for field in dataclasses.fields(kind)
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    )


def test_no_default_of_what_is_kept_ever_changes() -> None:
    """A value that was left out when it was written is read as the default of today, so that must be the default of then.

    Where a user should get something else, change the setting's default in ``fleet.config``. A new field is a new line of the
    file; a line of a released version is never changed or removed.
    """
    assert found() == KEPT.read_text(encoding="utf-8").splitlines()


def test_defaults_at_any_depth_are_held() -> None:
    """The list reaches what plans hold inside steps and limits, and what events hold inside answers."""
    lines = found()
    for begin in ("Limits.", "PlannedStep.", "Properties.", "Answer.", "SubmissionIntended.", "Target."):
        assert any(line.startswith(begin) for line in lines), begin
