"""What to do about a read that failed for good, and the code of the error that it becomes."""

from __future__ import annotations

import math

from fleet.azure.reading import Unread
from fleet.azure.wire.certificates import fault_of
from fleet.azure.wire.versions import version_hint
from fleet.run.answers import LostReason

AGAIN = "try again; if it stays, look at Azure's status page"


def hint_for(unread: Unread) -> str:
    """Say what to do about a failed read."""
    if fault := fault_of(unread.message):
        return fault.hint
    if hint := version_hint(unread.code, unread.message, unread.api):
        return hint
    if unread.code == "InvalidAuthenticationTokenTenant":
        return "the subscription is of another tenant: sign in to it with --tenant, or leave the subscription out"
    if unread.is_throttled or (unread.is_unavailable and unread.wait is not None):
        return (
            f"Azure limits how often it can be asked: {_later(unread.wait)}, or when fewer others use the subscription"
        )
    if unread.status in (401, 403):
        return "sign in again, and see that the principal has the Reader role"
    if unread.code == LostReason.NOT_CONNECTED:
        return "check the network, the proxy and azure.cloud"
    return AGAIN


def _later(wait: float | None) -> str:
    if wait is None:
        return "run the same command again in a few minutes"
    return f"run the same command again in {max(math.ceil(wait / 60), 1)} min"


def code_for(unread: Unread) -> str:
    """Return the code of the error: it says what is to be done, so a busy service is not a missing right."""
    code = "azure_unusable"
    if unread.is_throttled:
        code = "throttled"
    elif unread.is_unavailable:
        code = "unavailable"
    elif unread.status in (401, 403) and unread.code != "InvalidAuthenticationTokenTenant":
        code = "no_rights"
    return code
