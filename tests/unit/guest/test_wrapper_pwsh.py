"""The PowerShell wrapper as text: no PowerShell is needed here."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from tree_sitter import Language, Parser

from fleet.guest import live
from fleet.guest.delivery import Delivery, Shell
from fleet.guest.spool import Stream, Wanted, asked, reader
from fleet.guest.wrapper import wrap
from tests.unit.guest.strategies import deliveries

tree_sitter_powershell = pytest.importorskip("tree_sitter_powershell")
PARSER = Parser(Language(tree_sitter_powershell.language()))

FULL = Delivery(
    "param($a)\nWrite-Output 'é'\n'@\n",
    Shell.PWSH,
    key="run-step",
    nonce="0" * 16,
    timeout=5.0,
    env={"A": "it's", "B": "C:\\new", "C": "", "D": "@'\n'@\n"},
    args=("-Name", 'a "b" \\', "", "é\r\n"),
    secret_names=("TOKEN", "OTHER"),
)


@example(order=FULL)
@given(order=deliveries(shells=(Shell.PWSH,)))
def test_it_parses(order: Delivery) -> None:
    """The text is PowerShell for every kind of delivery."""
    assert not PARSER.parse(wrap(order).encode()).root_node.has_error


def test_the_parser_can_tell() -> None:
    """A wrapper with a brace too few does not parse, so the test above can fail."""
    assert PARSER.parse(wrap(FULL).replace("function Stop-Fleet(", "function {(", 1).encode()).root_node.has_error


@example(order=FULL)
@given(order=deliveries(shells=(Shell.PWSH,)))
def test_it_survives_the_way(order: Delivery) -> None:
    """The text is ASCII without a backslash, since neither is safe on the way to Windows."""
    text = wrap(order)
    assert text.isascii()
    assert "\\" not in text
    assert "\r" not in text


@pytest.mark.parametrize("stream", Stream)
def test_the_reader_parses_and_survives_the_way(stream: Stream) -> None:
    """The script that reads kept output is PowerShell, ASCII and free of backslashes, and is read back as it is."""
    wanted = Wanted("20260301-020304-abcd-1", stream, 12, "0" * 32)
    text = reader(wanted, windows=True)
    assert not PARSER.parse(text.encode()).root_node.has_error
    assert text.isascii() and "\\" not in text
    assert asked(text.replace("\n", "\r\n")) == wanted
    assert wrapper_entry(wrap(Delivery("x", Shell.PWSH, wanted.key, "0" * 16, 1.0))) == wrapper_entry(text)


def test_the_follower_parses_and_survives_the_way() -> None:
    """The script that follows growing output is PowerShell, ASCII and free of backslashes, and is read back as it is."""
    since = live.Since("20260301-020304-abcd-1", 12, None, 15, "0" * 32)
    text = live.follower(since, windows=True)
    assert not PARSER.parse(text.encode()).root_node.has_error
    assert text.isascii() and "\\" not in text
    assert live.asked(text.replace("\n", "\r\n")) == since


def wrapper_entry(text: str) -> str:
    return next(line for line in text.split("\n") if line.startswith("$FleetEntry"))


def test_secrets_are_parameters() -> None:
    """Each secret is declared as a parameter, before anything else, and used under its own name."""
    text = wrap(FULL)
    first = next(line for line in text.split("\n") if not line.startswith("#"))
    assert first == "param([string]$FLEET_SECRET_TOKEN = '', [string]$FLEET_SECRET_OTHER = '')"
    assert "$FleetEnvironment['TOKEN'] = Get-FleetSecret 'TOKEN' $FLEET_SECRET_TOKEN" in text


def test_keys_that_differ_in_case_get_different_folders() -> None:
    """NTFS does not tell upper from lower case; the folders' names still differ."""
    entries = set()
    for key in ("Step", "step", "CON"):
        text = wrap(Delivery("x", Shell.PWSH, key=key, nonce="0" * 16, timeout=1.0))
        entries.add(next(line for line in text.split("\n") if line.startswith("$FleetEntry")).lower())
    assert len(entries) == 3
