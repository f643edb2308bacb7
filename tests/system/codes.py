"""Finds the stable codes of errors in the source, so that the page about them can be held to it."""

from __future__ import annotations

import ast
from pathlib import Path

import fleet

PLACES = {"Problem": 0, "Mistake": 0, "refusal": 0, "note": 0, "_say": 1, "problem": 2}
"""Where the code stands among the arguments of what makes a problem."""

SOURCE = Path(fleet.__file__).parent


def error_codes() -> set[str]:
    """Every code that a message of the command line can end with."""
    files = [path for path in SOURCE.rglob("*.py") if _is_meant(path.relative_to(SOURCE))]
    return {code for path in files for node in ast.walk(ast.parse(path.read_text())) for code in _codes(node)} | {
        "usage"
    }


def _is_meant(path: Path) -> bool:
    """Not the lab's and the wire's codes, which are Azure's; not the log's events; not what only tests use."""
    return path.parts[0] not in ("lab", "logs.py", "testing.py") and "wire" not in path.parts


def _codes(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Assign) and any(isinstance(name, ast.Name) and name.id == "code" for name in node.targets):
        return _text(node.value)
    if not isinstance(node, ast.Call):
        return []
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    codes = [text for keyword in node.keywords if keyword.arg == "code" for text in _text(keyword.value)]
    place = PLACES.get(called)
    if place is not None and len(node.args) > place:
        codes += _text(node.args[place])
    return codes


def _text(node: ast.expr) -> list[str]:
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
