"""What may be delivered, and what is refused before anything is sent."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given

from fleet.errors import InvalidInput
from fleet.guest.delivery import Delivery, Shell, script_digest, secret_parameters, secret_value
from fleet.guest.wrapper import wrap
from tests.unit.guest.strategies import deliveries, texts

GOOD: dict[str, object] = {"script": "x", "shell": Shell.SH, "key": "k", "nonce": "0" * 16, "timeout": 1.0}


def make(**more: object) -> Delivery:
    return Delivery(**{**GOOD, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"script": "a\0b"}, "NUL"),
        ({"script": "\ud800"}, "surrogate"),
        ({"key": "../x"}, "key"),
        ({"key": ""}, "key"),
        ({"key": "a/b"}, "key"),
        ({"key": "k\n"}, "key"),
        ({"nonce": "XYZ"}, "nonce"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": 8 * 86400.0}, "timeout"),
        ({"env": {"A-B": "x"}}, "cannot name"),
        ({"env": {"A\n": "x"}}, "cannot name"),
        ({"env": {"UID": "0"}}, "belongs to the shell"),
        ({"env": {"fleet_key": "x"}}, "kept for the wrapper"),
        ({"env": {"FLEET_SECRET_X": "x"}}, "kept for the wrapper"),
        ({"env": {"T": "x"}, "secret_names": ("T",)}, "given twice"),
        ({"env": {"T": "x", "t": "y"}, "shell": Shell.PWSH}, "given twice"),
        ({"env": {"T": "x\0"}}, "NUL"),
        ({"env": {"T": "é" * 65_536}}, "longer"),
        ({"env": {"T": "x" * 32_767}, "shell": Shell.PWSH}, "longer"),
        ({"args": ("x" * 131_072,)}, "longer"),
        ({"args": ("x" * 9_000,) * 3, "shell": Shell.PWSH}, "command line"),
        ({"args": ("a", "-Name:value"), "shell": Shell.PWSH}, "PowerShell would make two of argument 2"),
        ({"args": ("-Name:",), "shell": Shell.PWSH}, "at the colon"),
        ({"args": ("\u2013x\n:1",), "shell": Shell.PWSH}, "at the colon"),
    ],
)
def test_what_cannot_arrive_is_refused(wrong: dict[str, object], message: str) -> None:
    """Everything that could not arrive unchanged is refused with a reason."""
    with pytest.raises(InvalidInput, match=message):
        make(**wrong)


def test_other_arguments_with_a_colon_or_a_dash_go_to_powershell() -> None:
    """Only what begins with a dash and has a colon is taken apart, and only by PowerShell."""
    assert make(args=("-Name", "a:b", "-", ":", "", "C:\\-x"), shell=Shell.PWSH).args[1] == "a:b"
    assert make(args=("-Name:value",)).args == ("-Name:value",)


def test_every_problem_is_named_and_no_value() -> None:
    """Problems come together, and a refused value is not repeated in them."""
    with pytest.raises(InvalidInput) as caught:
        make(key="/", nonce="", env={"T": "canary\0"})
    assert len(caught.value.problems) == 3
    assert "canary" not in str(caught.value)


@given(order=deliveries())
def test_the_digest_is_of_the_file(order: Delivery) -> None:
    """The digest is that of the script's UTF-8 bytes, with a byte order mark for PowerShell only."""
    mark = b"\xef\xbb\xbf" if order.shell is Shell.PWSH else b""
    assert script_digest(order) == hashlib.sha256(mark + order.script.encode()).hexdigest()
    assert order.script.endswith("\n")


def test_line_ends_follow_the_shell() -> None:
    """Scripts for sh get line feeds, PowerShell's keep their own; a byte order mark is dropped from both."""
    assert make(script="\ufeffa\r\nb\rc").script == "a\nb\nc\n"
    assert make(script="\ufeffa\r\nb", shell=Shell.PWSH).script == "a\r\nb\n"


@given(value=texts)
def test_secrets_come_back(value: str) -> None:
    """A secret parameter is never empty and reads back as the secret."""
    (name, carried), *rest = secret_parameters({"TOKEN": value}).items()
    assert (name, rest) == ("FLEET_SECRET_TOKEN", [])
    assert carried
    assert secret_value(carried) == value
    assert value == "" or base64.b64decode(carried).decode() == value


def test_secrets_that_cannot_travel_are_refused() -> None:
    """Bad names and lengths are refused without repeating the value."""
    for values in ({"A B": "canary"}, {"T": "canary\0"}, {"T": "canary" * 20_000}):
        with pytest.raises(InvalidInput) as caught:
            secret_parameters(values)
        assert "canary" not in str(caught.value)


@given(order=deliveries(shells=(Shell.SH, Shell.BASH)))
def test_sh_wrappers_hold_no_carriage_return(order: Delivery) -> None:
    """Nothing in an sh wrapper is lost when the handler strips carriage returns."""
    text = wrap(order)
    assert text.startswith("#!/bin/sh\n")
    assert "\r" not in text
