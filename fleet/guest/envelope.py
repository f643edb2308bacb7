"""A wrapped script opened from outside: what a played guest needs to answer as a wrapper would."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.errors import InvalidInput

if TYPE_CHECKING:
    from fleet.guest.delivery import Delivery
    from fleet.guest.receipt import Receipt

SIGTERM = 15
TIMED_OUT_EXIT = 124
INTERRUPTED_EXIT = 125


@dataclass(frozen=True, slots=True)
class Opened:
    """A delivery as the VM would see it: ``env`` holds plain values and secrets, by their own names."""

    delivery: Delivery
    env: Mapping[str, str]

    @property
    def key(self) -> str:
        return self.delivery.key

    @property
    def script(self) -> str:
        return self.delivery.script

    @property
    def limit(self) -> float:
        """Seconds after which the wrapper ends the script."""
        return self.delivery.timeout

    @property
    def args(self) -> tuple[str, ...]:
        return self.delivery.args

    def seal(
        self,
        *,
        exit_code: int | None,
        stdout: bytes,
        stderr: bytes,
        boot_id: str,
        started: float,
        ended: float,
        replayed: bool,
        signal: int | None = None,
        timed_out: bool = False,
        interrupted: bool = False,
        partial: bool = False,
        fault: str = "",
    ) -> tuple[int, bytes, bytes]:
        """Return the wrapper's exit code, stdout and stderr, byte for byte, for a script that ended so.

        ``exit_code`` is left out of the receipt when a signal ended the script or its end is unknown; None with
        ``timed_out`` is the wrapper's own signal, which PowerShell does not have.
        """
        from fleet.guest.delivery import Shell, script_digest
        from fleet.guest.receipt import Receipt, printed

        if timed_out and exit_code is None and self.delivery.shell is not Shell.PWSH:
            signal = signal or SIGTERM
        receipt = Receipt(
            nonce=self.delivery.nonce,
            script_digest=script_digest(self.delivery),
            exit_code=None if interrupted or signal is not None else exit_code,
            signal=None if interrupted else signal,
            timed_out=timed_out,
            replayed=replayed,
            stdout_length=len(stdout),
            stdout_digest=hashlib.sha256(stdout).hexdigest(),
            stderr_length=len(stderr),
            stderr_digest=hashlib.sha256(stderr).hexdigest(),
            boot_id=boot_id,
            started=started,
            ended=ended,
            interrupted=interrupted,
            partial=partial,
            fault=fault,
        )
        return wrapper_exit(receipt), *printed(receipt, stdout, stderr, packing=not self.delivery.live)


def open(delivered: str, environment: Mapping[str, str]) -> Opened | None:
    """Open a wrapped script; None if the text is not exactly what :func:`fleet.guest.wrapper.wrap` writes.

    ``environment`` holds the carriers of the secrets by name (on Windows: the named arguments). Missing ones
    are missing in ``env``. Line ends may have become CRLF, and the last one may be lost, as on the way to a
    VM.
    """
    from fleet.guest import wrapper_pwsh, wrapper_sh
    from fleet.guest.wrapper import wrap

    text = delivered.replace("\r\n", "\n")
    text = text if text.endswith("\n") else text + "\n"
    try:
        delivery = wrapper_sh.unwrap(text) or wrapper_pwsh.unwrap(text)
        if delivery is None or wrap(delivery) != text:
            return None
        return Opened(delivery, {**delivery.env, **_secrets(delivery, environment)})
    except (ValueError, InvalidInput):
        return None


def asks_for(delivered: str) -> str | None:
    """Return the key that a script of ours asks about beside a running one; None if the text is none of this version."""
    from fleet.guest import live, probe, spool

    wanted = spool.asked(delivered) or live.asked(delivered) or probe.asked(delivered)
    return None if wanted is None else wanted.key


def show(delivered: str, kept: tuple[bytes, bytes] | None, exit_code: int | None) -> tuple[bytes, bytes]:
    """Return what such a script prints on stdout and stderr in a VM with this output; None has none of it.

    ``exit_code`` is the inner script's, None while it runs. A played guest runs nothing, so there is no process that a
    probe could show.
    """
    from fleet.guest import live, probe, spool
    from fleet.guest.spool import Stream

    streams = None if kept is None else dict(zip(Stream, kept, strict=True))
    if (probed := probe.asked(delivered)) is not None:
        return probe.nothing_to_tell(probed)
    since = live.asked(delivered)
    if since is not None:
        return live.shown(since, streams, exit_code)
    wanted = spool.asked(delivered)
    assert wanted is not None, "only scripts that ask are answered"
    return spool.shown(wanted, streams, running=exit_code is None)


def wrapper_exit(receipt: Receipt) -> int:
    """Return the wrapper's own exit code: the script's, 128 + signal, 124 timed out, 125 interrupted."""
    if receipt.timed_out:
        return TIMED_OUT_EXIT
    if receipt.interrupted or (receipt.exit_code is None and receipt.signal is None):
        return INTERRUPTED_EXIT
    return 128 + receipt.signal if receipt.signal is not None else receipt.exit_code or 0


def _secrets(delivery: Delivery, environment: Mapping[str, str]) -> dict[str, str]:
    from fleet.guest.delivery import CARRIER, secret_value

    carried = {name: environment.get(CARRIER + name) for name in delivery.secret_names}
    return {name: secret_value(value) for name, value in carried.items() if value is not None}
