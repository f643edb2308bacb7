"""Plan files: a plan as text that can be reviewed, kept, and carried out exactly."""

from __future__ import annotations

import json

from fleet import codec
from fleet.errors import InvalidInput, Problem
from fleet.plan.model import Plan

FORMAT = "fleet/plan/v1"
MAX_BYTES = 64 << 20
"""Ten thousand targets with tags take a few megabytes."""


def dump(plan: Plan) -> str:
    """Write a plan as one JSON document. Secret values are not part of a plan, so none is in the file."""
    document = {"format": FORMAT, "digest": plan.digest, "plan": codec.encode(plan)}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def load(text: str, *, file: str) -> Plan:
    """Read a plan file back. Raises InvalidInput if it is none, was edited, or was made by a newer version."""
    if len(text) > MAX_BYTES:
        raise _invalid(file, "is too large for a plan file")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _invalid(file, "is not a plan file: it is not JSON") from None
    if not isinstance(document, dict) or "plan" not in document or "digest" not in document:
        raise _invalid(file, "is not a plan file")
    if document.get("format") != FORMAT:
        raise _invalid(file, f"has the format {document.get('format')!r}; this version reads {FORMAT!r}")
    try:
        plan = codec.decode(Plan, document["plan"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _invalid(file, f"does not hold a whole plan ({error})") from None
    if plan.digest != document["digest"] or plan.left:
        raise _invalid(file, "was changed after it was written: its digest does not match")
    return plan


def _invalid(file: str, message: str) -> InvalidInput:
    hint = "make it again with `fleet plan PLAYBOOK --out FILE`"
    return InvalidInput([Problem("bad_plan_file", message, file, hint=hint)])
