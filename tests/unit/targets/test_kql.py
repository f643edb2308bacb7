"""The Resource Graph pre-filter, judged by a small reading of the query language."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given

from fleet.targets.model import Target
from fleet.targets.selector import parse, to_kql

from .strategies import expressions, make, targets

TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|tostring\([\w.]+\)|in~|=~|\w+|[(),])')


def _row(target: Target) -> dict[str, str]:
    """What Resource Graph holds of a VM, by column."""
    return {
        "name": target.name,
        "resourceGroup": target.resource_group.lower(),
        "location": target.location.lower(),
        "tostring(properties.hardwareProfile.vmSize)": target.size,
        "tostring(properties.storageProfile.osDisk.osType)": target.os.value.title(),
        "tostring(tags)": json.dumps(dict(target.tags)),
    }


class _Condition:
    """Evaluates the part of the language that is emitted; anything else fails the test."""

    def __init__(self, text: str, row: dict[str, str]) -> None:
        self.tokens = TOKEN.findall(text)
        assert not TOKEN.sub("", text).strip()
        self.row = {column: _lower(value) for column, value in row.items()}

    def whole(self) -> bool:
        value = self.part()
        assert not self.tokens
        return value

    def part(self) -> bool:
        token = self.tokens.pop(0)
        if token == "not":
            assert self.tokens.pop(0) == "("
            value = not self.part()
            assert self.tokens.pop(0) == ")"
            return value
        if token == "(":
            values, words = [self.part()], set()
            while (word := self.tokens.pop(0)) != ")":
                words.add(word)
                values.append(self.part())
            assert words in ({"and"}, {"or"})
            return all(values) if words == {"and"} else any(values)
        return self.compare(self.row[token], self.tokens.pop(0))

    def compare(self, value: str, operator: str) -> bool:
        if operator == "in~":
            assert self.tokens.pop(0) == "("
            wanted = [self.literal()]
            while self.tokens.pop(0) == ",":
                wanted.append(self.literal())
            return value in wanted
        text = self.literal()
        return {
            "=~": value == text,
            "contains": text in value,
            "startswith": value.startswith(text),
            "endswith": value.endswith(text),
        }[operator]

    def literal(self) -> str:
        return _lower(re.sub(r"\\(.)", r"\1", self.tokens.pop(0)[1:-1]))


def _lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


@given(expressions, targets)
def test_never_loses_a_match(text: str, target: Target) -> None:
    """Every VM that the selector lets in passes the condition."""
    selector = parse(text)
    condition = to_kql(selector)
    if condition is not None and selector.matches(target):
        assert _Condition(condition, _row(target)).whole()


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", None),
        ('name == "web-1"', 'name =~ "web-1"'),
        ('name != "web-1"', 'not(name =~ "web-1")'),
        ('resource_group in ["a", "b"]', 'resourceGroup in~ ("a", "b")'),
        ('name matches "web-*"', 'name startswith "web-"'),
        ('not name matches "*web*"', 'not(name contains "web")'),
        ('not name matches "w*b"', None),
        ('name matches "a*b?c*d"', '(name startswith "a" and name contains "b" and name endswith "d")'),
        ('location == "West Europe"', 'location =~ "westeurope"'),
        ('os == "linux"', 'tostring(properties.storageProfile.osDisk.osType) in~ ("linux", "")'),
        ('os != "linux"', 'tostring(properties.storageProfile.osDisk.osType) in~ ("windows", "")'),
        ('tag.env == "prod"', '(tostring(tags) contains "env" and tostring(tags) contains "prod")'),
        ("tag.env", 'tostring(tags) contains "env"'),
        ("not tag.env", None),
        ('power == "running"', None),
        ('name == "a" or power == "running"', None),
        ('name == "a" and power == "running"', 'name =~ "a"'),
        ('not (name == "a" or power == "running")', 'not(name =~ "a")'),
        ('name == "é"', None),
        (r'name == "a\"b\\c"', r'name =~ "a\"b\\c"'),
    ],
)
def test_translates(text: str, condition: str | None) -> None:
    """The documented part of the language is translated, the rest is left out on the safe side."""
    assert to_kql(parse(text)) == condition


def test_text_cannot_leave_its_literal() -> None:
    """Quotes and pipes in a selector stay inside a string of the query."""
    condition = to_kql(parse(r"""name == 'x" or true | take 1 //\\'"""))
    assert condition == r'name =~ "x\" or true | take 1 //\\"'
    assert not _Condition(condition, _row(make("web"))).whole()
