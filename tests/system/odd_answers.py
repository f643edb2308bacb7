"""A service whose answers are of any shape: one field or header of one kind of answer is changed, the rest is the lab's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any
from urllib.parse import urlsplit

from tests.system.between import Passing, between

ABSENT: Any = object()
"""In place of a value: the field is not there."""

STRANGE: Mapping[str, Any] = {
    "null": None,
    "a list": [],
    "a number": 7,
    "a huge number": 10**400,
    "another text": "odd",
    "a huge text": "x" * 100_000,
    "an object": {"a": {"b": [1]}},
    "true": True,
    "a lone surrogate": "\ud800x",
    "absence": ABSENT,
}
"""What stands in place of each field, in turn."""

HEADERS = ("Retry-After", "Azure-AsyncOperation", "Location")
ODD_HEADERS = (
    "",
    "odd",
    "-1",
    "999999999",
    "1e999",
    "9" * 5000,
    "/odd",
    "https://elsewhere.example/x",
    "http://[",
    "\x7f",
)
"""What stands in place of each header that is read, in turn; none of them is a link to an operation."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One change to every answer of one kind. ``path`` leads into the body; where there is a ``header``, it is that one."""

    answer: str
    path: Path
    name: str
    value: Any
    header: str = ""

    def __str__(self) -> str:
        place = self.header or ".".join(map(str, self.path)) or "the body"
        return f"{self.answer}: {place} is {self.name}"


def kind_of_answer(method: str, target: str) -> str:
    """Name the kind of an answer by its request, without what differs from run to run."""
    parts = urlsplit(target)
    path = re.sub(r"/runCommands/fleet-[^/?]+", "/runCommands/COMMAND", parts.path, flags=re.IGNORECASE)
    path = re.sub(r"/operations/[^/?]+", "/operations/OPERATION", path)
    flags = [word for word in ("statusOnly=true", "skiptoken", "monitor=true") if word in parts.query]
    return " ".join([method, path, *flags])


def paths(data: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the way to every value; of the entries of a list, which are alike, the last stands for all."""
    yield at
    if isinstance(data, dict):
        for key, value in data.items():
            yield from paths(value, (*at, key))
    elif isinstance(data, list) and data:
        yield from paths(data[-1], (*at, len(data) - 1))


def changed(data: Any, path: Path, value: Any) -> Any:
    """Return the data with another value at the end of a path; as it is where the path leads nowhere."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(data, dict) and key in data:
        return _without(data, key) if value is ABSENT and not rest else {**data, key: changed(data[key], rest, value)}
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        if value is ABSENT and not rest:
            return [*data[:key], *data[key + 1 :]]
        return [*data[:key], changed(data[key], rest, value), *data[key + 1 :]]
    return data


def _without(data: dict[Any, Any], key: Any) -> dict[Any, Any]:
    return {name: value for name, value in data.items() if name != key}


@dataclass
class Tap:
    """Where answers pass: notes the shape of each kind, and makes changes."""

    made: tuple[Change, ...] = ()
    seen: dict[str, dict[Path, None]] = field(default_factory=dict)

    def passed(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        """Return headers and body as the client is to see them."""
        kind = kind_of_answer(method, target)
        try:
            data = json.loads(body) if body else ABSENT
        except ValueError:
            return headers, body
        known = self.seen.setdefault(kind, {})
        known.update(dict.fromkeys(paths(data) if data is not ABSENT else [()]))
        for change in (change for change in self.made if change.answer == kind):
            if change.header:
                other = {name: value for name, value in headers.items() if name.lower() != change.header.lower()}
                headers = {**other, change.header: change.value}
            elif data is not ABSENT:
                data = changed(data, change.path, change.value)
                body = b"" if data is ABSENT else json.dumps(data).encode()
        return headers, body

    def changes(self) -> Iterator[Change]:
        """Yield every change of what was seen, in an order that is always the same."""
        for kind in sorted(self.seen):
            for path in self.seen[kind]:
                for name, value in STRANGE.items():
                    yield Change(kind, path, name, value)
            for header in HEADERS:
                for value in ODD_HEADERS:
                    yield Change(kind, (), repr(value[:20]), value, header)


LAB = (File(__file__).parent / "labs" / "answers.yaml").read_text()

BAD = "bad"
PLAYBOOK = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: odd, version: 1.0.0}
steps:
  - {id: hello, run: {inline: echo hello}}
"""


@dataclass
class Door:
    """A lab's door on loopback behind which answers pass a tap, which may be changed at any time."""

    flag: str = ""
    tap: Tap = field(default_factory=Tap)

    def rewrite(self, passing: Passing) -> None:
        body = b"" if passing.body is None else json.dumps(passing.body).encode()
        passing.headers, told = self.tap.passed(passing.method, passing.path, passing.headers, body)
        passing.body = json.loads(told) if told else None


@contextmanager
def tapped(lab_url: str) -> Iterator[Door]:
    """Serve the door until the block ends."""
    door = Door()
    with between(lab_url, door.rewrite) as served:
        door.flag = served.flag
        yield door
