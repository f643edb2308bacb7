"""Errors that happen at the same time: what a person sees of those that were not raised."""

from __future__ import annotations

import pytest

from fleet.cli.terminal import show_notes
from fleet.engine.gather import most_telling
from fleet.errors import AzureUnusable
from fleet.logs import conceal


def test_each_error_of_a_group_is_shown_without_its_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr for each, harmless to a terminal; an error that came alone has none."""
    conceal("hunter22-hunter22")
    error = most_telling(ExceptionGroup("", [ValueError("\x1b[2Jbad hunter22-hunter22"), AzureUnusable("no token")]))
    show_notes(error)
    show_notes(AzureUnusable("alone"))
    out, err = capsys.readouterr()
    assert (out, err) == ("", "  at the same time: ValueError: \\x1b[2Jbad ***\n")
