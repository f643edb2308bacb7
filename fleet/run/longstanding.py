"""What is known of a managed command that stays on its VM."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.playbook.model import OnExisting
from fleet.run.answers import Refusal


@dataclass(slots=True)
class StandingCommand:
    """What is known of a command that stays on its VM. Written only by :func:`advance`."""

    on_existing: OnExisting
    source: str = ""
    """What the job sent, by its source; a wrapped script's is different in every try."""
    surveyed: bool = False
    """It is known how the command stood before anything was sent."""
    present: bool = False
    earlier: str = ""
    """When its script had started last, before anything was sent; empty if never."""

    @property
    def is_updated(self) -> bool:
        return self.present and self.on_existing is OnExisting.UPDATE

    def is_gone(self, refusal: Refusal) -> bool:
        """Whether a change was refused because the command is no longer on the VM."""
        return refusal.status == 404 and self.is_updated and "/runcommands/" in refusal.message.casefold()
