"""What a played Windows keeps between scripts and boots: the file ``state.json`` in a folder.

The PowerShell files of this package read and change it; ``load.ps1`` brings them into a PowerShell, whose variable
``FLEET_PLAYED_WINDOWS`` names the folder. All keys but those of :func:`fresh` may be left out.

=================  ===============================================================================================
``updates``        what the update service knows: ``id``, ``revision``, ``title``, ``kb`` (list), ``categories``
                   (names, or ids), ``type`` (``driver``), ``browse_only``, ``asks``, ``eula`` (not accepted yet),
                   ``size``, ``hidden``, ``twice`` (listed so), ``needs`` (ids that come first), ``replaces`` (ids),
                   ``download_seconds``, ``install_seconds``, ``restart`` (``wanted`` after it, ``mandatory``:
                   nothing else before, or ``result``: only the result of its installation says so);
                   what goes wrong: ``download`` and ``install`` (``result``, ``code``, ``times``), ``throws``
                   (member: HRESULT), ``members`` (false: none can be read), ``missing`` (list), ``hangs``,
                   ``comes_again`` (so often, -1 always), ``undone`` (so often, at the restart), ``powers_off``
                   (the machine does, in the middle of it: the file ``off`` says so)
``restart``        ``wanted``, ``blocks`` (nothing may be installed before it), ``stays`` (it survives the restart)
``search``         ``throws``, ``times``, ``after``, ``code``, ``warnings`` (``result``, ``message``), ``seconds``,
                   ``members``
``installer``      ``busy`` (looks, -1 for ever), ``until`` (seconds since 1970: something else installs), ``refuses``
                   (installations, -1 for ever), ``throws``
``system_info``    ``throws``, ``members``; ``com`` has an HRESULT for each ProgID that cannot be made
``history``        installations: ``title``, ``id``, ``operation``, ``result``, ``date``
``disks``          by letter: ``size_mib``, ``free_mib``, ``kind``, ``ready``, ``throws``
``services``       by name: ``status``, ``start``, ``needs``, ``process``, ``throws`` (``access``), ``start_looks``,
                   ``stop_looks``, ``start_fails``, ``stop_fails`` (numbers of Windows), ``crashes_after`` (looks),
                   ``comes_back``; ``service_manager`` has ``throws``
``registry``       by path below ``HKLM:``: values; ``throws``: it may not be read
``hotfixes``       ``id``, ``on``; ``time``: ``source``, or ``result`` and ``message``
``defender``       ``mode``, ``enabled``, ``real_time``, ``signature_days``; none: it is not installed
``cim``            ``broken`` or ``hangs``; ``system``: ``caption``, ``version``, ``booted``, ``memory_kib``,
                   ``free_kib``
``clock``          ``instant``: waiting moves a clock of its own; else ``speed`` divides each wait
=================  ===============================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VARIABLE = "FLEET_PLAYED_WINDOWS"
"""The environment variable that names the folder."""

State = dict[str, Any]


def fresh(**given: Any) -> State:
    """Return a Windows Server with one disk, nothing to update and nothing wrong; ``given`` goes before its values."""
    state: State = {
        "updates": [],
        "restart": {"wanted": False, "blocks": False, "stays": False},
        "search": {},
        "installer": {},
        "system_info": {},
        "session": {},
        "history": [],
        "disks": {"C:": {"size_mib": 129_920, "free_mib": 100_000}},
        "services": {},
        "service_manager": {},
        "registry": {},
        "hotfixes": [],
        "time": {"source": "VM IC Time Synchronization Provider"},
        "defender": {"mode": "Normal", "enabled": True, "real_time": True, "signature_days": 0},
        "system": {
            "caption": "Microsoft Windows Server 2022 Datacenter",
            "version": "10.0.20348",
            "booted": "2026-11-01T00:00:00Z",
            "memory_kib": 8_388_608,
            "free_kib": 6_291_456,
        },
    }
    return state | given


def restarted(state: State) -> State:
    """Return the state after a restart: what waited for it is installed or undone, and the wish for it is gone or stays."""
    updates = [_after_restart(update) for update in state["updates"]]
    wish = state["restart"]
    stays = bool(wish.get("stays")) and bool(wish.get("wanted"))
    blocks = stays and bool(wish.get("blocks"))
    return state | {"updates": updates, "restart": wish | {"wanted": stays, "blocks": blocks}}


def _after_restart(update: State) -> State:
    if not update.get("pending"):
        return update
    undone = int(update.get("undone") or 0)
    if undone:
        return update | {"pending": False, "undone": undone - 1 if undone > 0 else undone}
    return update | {"pending": False, "installed": True}


def write(state: State, folder: Path) -> None:
    """Put the state into its folder, at once and whole."""
    draft = folder / ".state.json"
    draft.write_text(json.dumps(state, indent=1), encoding="utf-8")
    draft.replace(folder / "state.json")


def read(folder: Path) -> State:
    """Return the state that a folder has now."""
    state: State = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return state
