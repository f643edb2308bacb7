"""Fleet: one playbook over a whole fleet of Azure VMs, one report you can prove.

Data flows one way, and the packages are named after its stages::

    text -> playbook -> targets -> plan -> preflight -> run (effects <-> events) -> report

``targets guest playbook plan preflight run commands report`` are pure: no I/O, no clock, no randomness. ``engine`` makes
a run happen, ``inspection`` asks a VM beside one, ``azure`` is the real cloud, ``lab`` the pretend one, ``store`` the
memory on disk. ``app`` is the only place where they are put together, and ``cli`` is the terminal. Beneath them all,
``documents`` turns YAML text into values with places, ``config`` has the settings, and ``codec`` turns frozen values into
JSON and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.app.fleet import LAB, Fleet
    from fleet.app.runs import Stop
    from fleet.app.search import Narrowing
    from fleet.plan.model import Plan
    from fleet.report.model import Report

__all__ = ["LAB", "Fleet", "Narrowing", "Plan", "Report", "Stop"]

_HOMES = {
    "Fleet": "fleet.app.fleet",
    "LAB": "fleet.app.fleet",
    "Narrowing": "fleet.app.search",
    "Plan": "fleet.plan.model",
    "Report": "fleet.report.model",
    "Stop": "fleet.app.runs",
}


def __getattr__(name: str) -> object:
    """Return a name of the library face; only its use loads what it needs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
