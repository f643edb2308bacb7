"""The house itself: layers, charters, examples, and the README's promises."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.app.playbooks import load_playbook
from fleet.errors import InvalidInput
from fleet.playbook.load import load

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fleet"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def lint(folder: Path) -> str:
    """Check the import contracts of the package in a folder; return what was printed if any is broken."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", "pyproject.toml"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_import_contracts_hold() -> None:
    """Every contract about who may import whom is kept."""
    assert lint(ROOT) == ""


BREACHES = {
    "a lower layer reads a higher one": ("plan/build.py", "import fleet.run.state", "Data flows one way"),
    "a stray module without a layer": ("utils.py", "", "Data flows one way"),
    "siblings read each other": ("store/sqlite/runs.py", "import fleet.azure.clouds", "Data flows one way"),
    "waiting in the core": ("run/retry.py", "import asyncio", "The core does no I/O and owns no clock"),
    "a clock in the core": ("plan/build.py", "import time", "The core does no I/O and owns no clock"),
    "chance in the core": ("targets/expand.py", "import random", "The core does no I/O and owns no clock"),
    "I/O on the wire": ("azure/wire/arm.py", "import socket", "The wire halves of the adapters are pure too"),
    "the lab reads the client": ("lab/world/world.py", "import fleet.azure.clouds", "The lab knows ARM, not Fleet"),
    "the lab reads the wrapper": (
        "lab/world/scripted.py",
        "import fleet.guest.envelope",
        "The lab knows ARM, not Fleet",
    ),
    "the wheel reads its tests": (
        "cli/verbs/sim.py",
        "import tests.verification",
        "The wheel does not know its tests",
    ),
    "the terminal opens a journal": (
        "cli/verbs/runs.py",
        "import fleet.store.sqlite.journal",
        "The terminal goes through the use cases",
    ),
    "a use case opens a journal": (
        "app/steer.py",
        "import fleet.store.sqlite.journal",
        "The use cases know the store by its port",
    ),
    "a second door to SQLite": ("app/plans.py", "import sqlite3", "SQLite has one door"),
    "a signal in the engine": (
        "engine/loop.py",
        "import signal",
        "What carries out a run knows no store and no signal",
    ),
    "a second door to azure-identity": ("azure/cloud.py", "import azure.identity", "azure-identity has one door"),
    "a fourth door to aiohttp": ("azure/cloud.py", "import aiohttp", "aiohttp has three doors"),
    "a second door to YAML": ("config/load.py", "import yaml", "YAML has one door"),
    "the state machine upside down": ("run/events.py", "import fleet.run.job", "Inside run/"),
    "one renderer reads another": (
        "report/render_csv.py",
        "import fleet.report.render_text",
        "Renderers do not know each other",
    ),
    "a cycle": ("store/sqlite/files.py", "import fleet.store.sqlite.runs", "No cycles, at any depth"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each broken contract, by its name, about a copy of the package with every breach in it."""
    copy = tmp_path_factory.mktemp("broken")
    shutil.copytree(PACKAGE, copy / "fleet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for module, line, _ in BREACHES.values():
        with (copy / "fleet" / module).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    details = lint(copy).partition("Broken contracts\n")[2]
    parts = re.split(r"^(.+)\n-+\n\n", details, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_caught(breach: str, broken: dict[str, str]) -> None:
    """A deliberate breach of each contract is reported under that contract's name, with the module that does it."""
    module, _, contract = BREACHES[breach]
    assert re.search(rf"\.{Path(module).stem}( ->|$)", broken[contract], re.MULTILINE)


def packages() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("__init__.py"))


@pytest.mark.parametrize("path", packages(), ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_packages_open_with_a_charter_and_nothing_else(path: Path) -> None:
    """An ``__init__.py`` says what belongs into its package, and holds no code. That of ``fleet`` has the library face."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert len(body) == 1 or path.parent == PACKAGE
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)
    assert len(str(body[0].value.value)) > 80


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def trials() -> list[Path]:
    """The modules that try Fleet itself: they are as large as a part of it, and are read as often."""
    return sorted(path for path in (ROOT / "tests" / "verification").glob("*.py") if not path.name.startswith("test_"))


@pytest.mark.parametrize("path", [*modules(), *trials()], ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_tell_one_story(path: Path) -> None:
    """A module begins with a docstring and fits into 480 lines."""
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 480


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_playbooks_are_valid(path: Path) -> None:
    """Every playbook that ships loads without a problem."""
    assert load_playbook(path).steps


def examples() -> list[tuple[str, str]]:
    """Every YAML block of README and docs that is a whole playbook."""
    found = []
    for page in PAGES:
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            if "kind: Playbook" in block:
                found.append((f"{page.name}-{number}", block))
    return found


@pytest.mark.parametrize(("name", "text"), examples())
def test_documented_playbooks_are_valid(name: str, text: str) -> None:
    """Every playbook printed in README and docs loads."""
    try:
        load(text, file=name, read_script=lambda path: f"# {path}\n")
    except InvalidInput as error:
        pytest.fail("\n".join(str(problem) for problem in error.problems))


def test_there_are_documented_playbooks() -> None:
    """The README shows a playbook, so that the test above has something to hold."""
    assert any(name.startswith("README.md") for name, _ in examples())


def links() -> list[tuple[str, str]]:
    return [
        (page.name, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target)
    ]


@pytest.mark.parametrize(("page", "target"), links())
def test_links_lead_somewhere(page: str, target: str) -> None:
    """A relative link in README and docs names a file that is there."""
    folder = ROOT if page == "README.md" else ROOT / "docs"
    assert (folder / target).exists()


def test_the_readme_has_its_two_commands() -> None:
    """The two commands that a newcomer runs stand in the README where CI looks for them, one line each."""
    for mark in ("first-command", "second-command"):
        match = re.search(rf"<!-- {mark} -->\n```sh\n(.+)\n```", README)
        assert match, mark


FORBIDDEN_NAMES = re.compile(r"(manager|helper|util)", re.IGNORECASE)


def test_names_say_what_a_thing_is() -> None:
    """No module or class is a Manager, Helper or Util."""
    wrong = [path.name for path in modules() if FORBIDDEN_NAMES.search(path.stem)]
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and FORBIDDEN_NAMES.search(node.name):
                wrong.append(f"{path.name}: {node.name}")
    assert wrong == []


def test_the_architecture_page_names_what_is_there() -> None:
    """Each file and folder that the page names, with or without a link, is in the tree."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    links = [ROOT / "docs" / link for link in re.findall(r"\]\((\.\./[^)#]+)\)", page)]
    names = [
        PACKAGE / name.removeprefix("fleet/") if not name.startswith("tests/") else ROOT / name
        for name in re.findall(r"`((?:fleet/)?[a-z_]+/[a-z_./]*)`", page)
    ]
    assert len(links) > 12 and len(names) > 30
    assert [str(path) for path in (*links, *names) if not path.exists()] == []
