"""An interrupt that a library in C has swallowed: it is asked for once more."""

from __future__ import annotations

import signal
import sys
from threading import Event

import pytest

from fleet.cli.main import ask_again
from tests.patience import stretched


class Swallows:
    """What is raised while an object goes is printed and forgotten, as by code that cannot hand an error on."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error


def test_a_swallowed_interrupt_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after, and where the program then is."""
    monkeypatch.setattr(sys, "unraisablehook", ask_again)
    with pytest.raises(KeyboardInterrupt):
        Swallows(KeyboardInterrupt())
        Event().wait(stretched(10))


def test_a_swallowed_end_by_sigterm_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of that moment hears of it."""
    heard = Event()

    def hear(number: int, frame: object) -> None:
        heard.set()

    monkeypatch.setattr(sys, "unraisablehook", ask_again)
    before = signal.signal(signal.SIGTERM, hear)
    try:
        Swallows(SystemExit(143))
        assert heard.wait(stretched(10))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_any_other_error_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As Python itself does it."""
    monkeypatch.setattr(sys, "unraisablehook", ask_again)
    Swallows(ValueError("odd"))
    assert "ValueError: odd" in capsys.readouterr().err
