"""Approvals of plan files: who said yes to exactly which plan, when and why.

An approval is a record, not a signature: whoever may write the file can write any name into it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from fleet import codec

FORMAT = "fleet/approval/v1"
MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Approval:
    """A yes to the plan with this digest. ``user`` is who was signed in on the machine, ``who`` says more."""

    plan: str
    user: str
    who: str
    when: str
    """ISO 8601, UTC."""
    why: str = ""


def dump(approval: Approval) -> str:
    """Write an approval as one JSON document."""
    fields = codec.encode(approval)
    return json.dumps({"format": FORMAT, "approval": fields}, indent=1, ensure_ascii=True) + "\n"


def load(text: str) -> Approval:
    """Read an approval back. Raises ValueError with a sentence's end if it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("is no approval of a plan")
    try:
        return codec.decode(Approval, document.get("approval"))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("does not hold a whole approval") from None
