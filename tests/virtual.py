"""The virtual-time loop, under the name by which tests know it."""

from __future__ import annotations

from fleet.rehearsal.virtual import VirtualLoop, run

__all__ = ["VirtualLoop", "run"]
