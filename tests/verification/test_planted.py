"""Deliberate defects in copies of Fleet: each applies to the code as it is, and the simulation notices it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.bench.cores import ROOT
from tests.bench.planted import DEFECTS, SEEDS, DoesNotApply, Edit, notice, plant


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_applies_to_the_code(name: str, tmp_path: Path) -> None:
    """Each text that an edit replaces stands once in its file, and what comes of it is Python."""
    package = tmp_path / "fleet"
    for edit in DEFECTS[name]:
        (package / edit.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "fleet" / edit.file, package / edit.file)
    plant(DEFECTS[name], package)
    for edit in DEFECTS[name]:
        compile((package / edit.file).read_text(encoding="utf-8"), edit.file, "exec")


def test_an_edit_that_no_longer_applies_is_refused(tmp_path: Path) -> None:
    """The table cannot fall behind the code without a word: a text that is missing, or there twice, is an error."""
    (tmp_path / "file.py").write_text("one = 1\none = 1\n")
    for old in ("two = 2", "one = 1"):
        with pytest.raises(DoesNotApply, match=r"file\.py: .* expected once"):
            plant((Edit("file.py", old, "three = 3"),), tmp_path)


def test_a_planted_defect_is_noticed_in_a_copy() -> None:
    """The first seed that fails is named with the sentence; the package itself is left as it is."""
    before = (ROOT / "fleet" / "report" / "verdict.py").read_bytes()
    noticed = notice(DEFECTS["exit-code-forgets"], range(20))
    assert 0 <= noticed.seed < 20
    assert noticed.sentence.startswith("the exit code is what the rows say: exit code 0")
    assert (ROOT / "fleet" / "report" / "verdict.py").read_bytes() == before


def on_the_page() -> dict[str, int]:
    """The defects of the page of figures, and the seed that noticed each."""
    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    return {name: int(seed) for name, seed in re.findall(r"^\| `([a-z-]+)` \|.*\| (\d+) \|", page, re.MULTILINE)}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", DEFECTS)
def test_the_simulation_notices_every_planted_defect(name: str) -> None:
    """By the seed on the page of figures or, where the generator has changed since, within the first three hundred."""
    assert notice(DEFECTS[name], (on_the_page()[name], *range(SEEDS))).seed >= 0


def test_the_page_of_figures_has_every_planted_defect() -> None:
    """The table names the defects that there are, in their order, and no others."""
    assert list(on_the_page()) == list(DEFECTS)
