"""The text that is sent to a VM in place of the user's script."""

from __future__ import annotations

from fleet.guest import wrapper_pwsh, wrapper_sh
from fleet.guest.delivery import Delivery, Shell


def wrap(delivery: Delivery) -> str:
    """Return the wrapper that carries the delivery: a script for ``/bin/sh``, or one for PowerShell.

    The text holds no secret value. Equal deliveries give equal text, and ``fleet.guest.envelope`` reads it
    back.
    """
    if delivery.shell is Shell.PWSH:
        return wrapper_pwsh.wrap(delivery)
    return wrapper_sh.wrap(delivery)
