"""Wrapped scripts opened again, and answers sealed as a wrapper would print them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.guest import envelope
from fleet.guest.delivery import Delivery, Shell, script_digest, secret_parameters
from fleet.guest.receipt import read, verify
from fleet.guest.wrapper import wrap
from tests.unit.guest.strategies import deliveries, outputs, texts


@given(order=deliveries(), secret=texts)
def test_what_was_wrapped_can_be_opened(order: Delivery, secret: str) -> None:
    """A played guest sees the script, environment, secrets and arguments that a real one would."""
    carried = secret_parameters(dict.fromkeys(order.secret_names, secret))
    opened = envelope.open(wrap(order), carried)
    assert opened is not None
    assert (opened.key, opened.script, opened.args) == (order.key, order.script, order.args)
    assert dict(opened.env) == {**order.env, **dict.fromkeys(order.secret_names, secret)}
    assert (opened.delivery.nonce, opened.delivery.shell) == (order.nonce, order.shell)


@given(order=deliveries(shells=(Shell.PWSH,)))
def test_crlf_and_a_lost_line_end_do_no_harm(order: Delivery) -> None:
    """A wrapper whose line ends were turned on the way is still opened."""
    text = wrap(order).rstrip("\n").replace("\n", "\r\n")
    assert envelope.open(text, {}) is not None


@given(order=deliveries(), text=st.text(max_size=50), at=st.integers(0, 20_000))
def test_other_text_is_not_opened(order: Delivery, text: str, at: int) -> None:
    """Plain scripts and damaged wrappers are not taken for wrapped ones, and never raise."""
    assert envelope.open(text, {}) is None
    wrapped = wrap(order)
    at %= len(wrapped) - 1
    assert envelope.open(wrapped[:at], {}) is None
    damaged = envelope.open(wrapped[:at] + wrapped[at + 1 :], {})
    assert damaged is None or damaged.delivery != envelope.open(wrapped, {})


def test_bad_secrets_are_not_opened() -> None:
    """A carrier that holds no base64 does not open."""
    order = Delivery("x", Shell.SH, key="k", nonce="0" * 16, timeout=1.0, secret_names=("T",))
    assert envelope.open(wrap(order), {"FLEET_SECRET_T": "not base64!"}) is None


@given(order=deliveries(), stdout=outputs, stderr=outputs, code=st.integers(0, 128), replayed=st.booleans())
def test_sealed_answers_verify(order: Delivery, stdout: str, stderr: str, code: int, replayed: bool) -> None:
    """What a played guest seals is read and verified like the answer of a real one."""
    opened = envelope.open(wrap(order), {})
    assert opened is not None
    wrapper_code, out, err = opened.seal(
        exit_code=code,
        stdout=stdout.encode(),
        stderr=stderr.encode(),
        boot_id="b",
        started=1.0,
        ended=2.0,
        replayed=replayed,
    )
    reading = read(out.decode(), err.decode(), order.nonce)
    assert reading.receipt is not None
    assert (wrapper_code, reading.receipt.exit_code, reading.receipt.replayed) == (code, code, replayed)
    assert verify(reading, nonce=order.nonce, digest=script_digest(order)).verified


def test_other_ends_are_sealed_too() -> None:
    """Signals, time-outs and interruptions are sealed with the wrapper's own exit codes."""
    opened = envelope.open(wrap(Delivery("x", Shell.SH, key="k", nonce="0" * 16, timeout=1.0)), {})
    assert opened is not None

    def end(**more: int | bool) -> tuple[int, bytes]:
        code, out, _ = opened.seal(
            exit_code=0, stdout=b"", stderr=b"", boot_id="b", started=1, ended=2, replayed=False, **more
        )
        return code, out

    assert end(signal=9)[0] == 137
    assert b" exit=- signal=9 " in end(signal=9)[1]
    assert end(signal=15, timed_out=True)[0] == 124
    assert end(interrupted=True)[0] == 125
    assert b" exit=- signal=- timed_out=0 interrupted=1 " in end(interrupted=True)[1]


@pytest.mark.parametrize(("shell", "signal"), [(Shell.SH, b"15"), (Shell.BASH, b"15"), (Shell.PWSH, b"-")])
def test_a_time_out_is_sealed_as_the_wrapper_of_that_shell_does(shell: Shell, signal: bytes) -> None:
    """A POSIX shell's script dies of the wrapper's signal; PowerShell's ends without one."""
    order = Delivery("x", shell, key="k", nonce="0" * 16, timeout=1.0)
    opened = envelope.open(wrap(order), {})
    assert opened is not None
    code, out, err = opened.seal(
        exit_code=None, stdout=b"", stderr=b"", boot_id="b", started=1, ended=2, replayed=False, timed_out=True
    )
    assert (code, b" exit=- signal=%b timed_out=1 " % signal in out) == (124, True)
    assert verify(
        read(out.decode(), err.decode(), order.nonce), nonce=order.nonce, digest=script_digest(order)
    ).verified
