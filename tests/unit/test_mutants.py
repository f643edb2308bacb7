"""The small wrong changes by which the tests of the trusted cores are tried."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.bench.cores import CORES
from tests.bench.mutants import mutants

PATH = Path("x.py")


def changes(source: str) -> list[str]:
    """What a module may become, each as the text of the changed place."""
    return [mutant.name.partition(": ")[2] for mutant in mutants(PATH, ast.parse(source))]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("return a < b", ["return None", "return a <= b"]),
        ("return a and not b", ["return None", "return a or not b", "return a and b"]),
        ("self.a = 1", ["pass", "self.a = 2"]),
        ("self.a, self.b = 1, c", ["self.b, = (c,)", "self.a, = (1,)", "self.a, self.b = (2, c)"]),
        ("n += max(m, 0)", ["pass", "n -= max(m, 0)", "n += min(m, 0)", "n += max(m, 1)"]),
        ("raise Odd('a sentence', code='word')", ["pass", "raise Odd('a sentence', code='XXwordXX')"]),
        (
            "return isinstance(a, (int, str))",
            ["return None", "return isinstance(a, (str,))", "return isinstance(a, (int,))"],
        ),
        ("assert a == 1", []),
        ("assert_never(a)", []),
        ("'only a docstring'", []),
        ("return None", []),
    ],
)
def test_what_a_statement_may_become(statement: str, expected: list[str]) -> None:
    """Each change is made alone; sentences for people, assertions and docstrings stay."""
    found = changes(f"def f(self, a, b, c, m, n):\n    {statement}\n")
    assert [text.rpartition(" -> ")[2] for text in found] == expected


def test_conditions_are_turned_round() -> None:
    """A bare condition means its opposite; one that compares changes how it compares."""
    found = changes("def f(a, b):\n    if a:\n        b()\n    return [x for x in a if x]\n")
    assert "if a: -> if not a:" in found
    assert any(text.endswith("if not x]") for text in found)


def test_tables_and_patterns_lose_one_element_at_a_time() -> None:
    """An entry of a table, an alternative of a pattern at any depth."""
    found = changes("import re\nT = {a: b, c: d}\nP = re.compile('x|(?:y|z)w', f)\n")
    assert [text.rpartition(" -> ")[2] for text in found] == [
        "T = {c: d}",
        "T = {a: b}",
        "P = re.compile('XXx|(?:y|z)wXX', f)",
        "P = re.compile('(?:y|z)w', f)",
        "P = re.compile('x', f)",
        "P = re.compile('x|(?:z)w', f)",
        "P = re.compile('x|(?:y)w', f)",
    ]


@pytest.mark.parametrize("path", [path for core in CORES.values() for path in core.paths()], ids=lambda path: path.stem)
def test_finding_changes_makes_none(path: Path) -> None:
    """Names are unique and have no line in them, the source is as before, and every change compiles."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    found = list(mutants(path, tree))
    assert ast.dump(tree) == ast.dump(ast.parse(source))
    assert len({mutant.name for mutant in found}) == len(found) > 0
    assert not any(re.search(r"line \d", mutant.name) for mutant in found)
    for number in range(0, len(found), 40):
        fresh = ast.parse(source)
        mutant = list(mutants(path, fresh))[number]
        mutant.make()
        compile(fresh, str(path), "exec")
        assert ast.dump(fresh) != ast.dump(tree)
