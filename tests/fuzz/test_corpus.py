"""The kept corpus of the fuzzer: every input that ever mattered is tried again."""

from __future__ import annotations

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.targets import TARGETS

KEPT = sorted(path for path in command.CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_keeps_the_invariant(name: str) -> None:
    """Whatever the fuzzer found worth keeping is answered as documented, without a traceback."""
    kept = [path for path in KEPT if path.parent.name == name]
    assert len(kept) >= 10
    for path in kept:
        TARGETS[name](path.read_bytes())


def test_the_command_fuzzes_every_target() -> None:
    """No target is forgotten by the bounded run, and no corpus belongs to none."""
    assert set(command.TARGETS) == set(TARGETS) == {path.parent.name for path in KEPT}
