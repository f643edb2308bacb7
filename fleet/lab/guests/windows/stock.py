"""What a Windows guest of the lab has when it begins: updates that wait, services, disks, hot fixes. Pure.

All machines of a class are offered updates from one list; which of them wait on a machine is drawn from its id and so
from the lab's seed. The result is a state of :mod:`fleet.lab.guests.windows.state`, which the played
Windows reads and changes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from fleet.lab.guests.windows.state import State, fresh, restarted
from fleet.lab.world.chance import named_uuid
from fleet.lab.world.machine_spec import DiskSpec, OfferedSpec, ServiceSpec
from fleet.lab.world.world import Machine

_BOOTS = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
_WINDOWS = r"SOFTWARE\Microsoft\Windows\CurrentVersion"
_PENDING = rf"{_WINDOWS}\Component Based Servicing\RebootPending"
_REQUIRED = rf"{_WINDOWS}\WindowsUpdate\Auto Update\RebootRequired"
_GONE = "0x8024402C"  # WU_E_PT_WINHTTP_NAME_NOT_RESOLVED
_MIB = 1024 * 1024
_TITLES = {
    "security": "Security Update for Microsoft Windows ({0})",
    "critical": "Critical Update for Microsoft Windows ({0})",
    "rollups": "Cumulative Update for Microsoft server operating system version 21H2 for x64-based Systems ({0})",
    "updates": "Update for Microsoft Windows ({0})",
    "definitions": "Security Intelligence Update for Microsoft Defender Antivirus - {0}",
    "drivers": "Microsoft - Net - Driver update ({0})",
    "previews": "Cumulative Update Preview for Microsoft server operating system version 21H2 ({0})",
    "upgrades": "Windows Server 2025 ({0})",
    "tools": "Windows Malicious Software Removal Tool x64 ({0})",
}
_CATEGORIES = {"previews": ["rollups"], "rollups": ["security", "rollups"]}


def initial(machine: Machine, speed: float, booted: float, now: float) -> State:
    """Return the state of a machine whose boot began at ``booted``, both times in seconds since 1970.

    Installing takes its seconds divided by ``speed``.
    """
    rng = random.Random(f"packages/{machine.vm_id}")
    spec = machine.updates
    offered = spec.offered if spec.offered is not None else _DEFAULTS
    wish = spec.pending_restart
    restart = {"wanted": wish != "no", "blocks": wish == "before_others", "stays": wish == "stays"}
    fails = spec.search_fails or (_GONE if spec.mirror == "gone" else "")
    state = fresh(
        updates=list(_drawn(offered, rng, speed)),
        restart=restart,
        search={"throws": fails} if fails else {},
        installer={"until": now + spec.locked} if spec.locked else {},
        cim="" if machine.cim == "works" else machine.cim,
        services={name: _service(each) for name, each in (machine.services or _SERVICES).items()},
        hotfixes=[{"id": article, "description": "Security Update", "on": "2026-10-13"} for article in spec.hotfixes],
        disks={letter: _disk(each) for letter, each in {"C:": DiskSpec(size_gib=127), **machine.disks}.items()},
        registry={_BOOTS: {"BootId": 1 + machine.boots}},
    )
    return _begun(state, booted)


def after_boot(state: State, booted: float) -> State:
    """Return the state after a restart that began at this time."""
    registry = dict(state["registry"])
    registry[_BOOTS] = {"BootId": int(registry[_BOOTS]["BootId"]) + 1}
    services = {name: _restarted(each) for name, each in state["services"].items()}
    return _begun(restarted(state) | {"registry": registry, "services": services}, booted)


def _begun(state: State, booted: float) -> State:
    moment = datetime.fromtimestamp(booted, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    registry = {key: values for key, values in state["registry"].items() if key not in (_PENDING, _REQUIRED)}
    if state["restart"]["wanted"]:
        registry |= {_PENDING: {}, _REQUIRED: {}}
    return state | {"registry": registry, "system": state["system"] | {"booted": moment}}


def _drawn(offered: Mapping[str, OfferedSpec], rng: random.Random, speed: float) -> Iterator[State]:
    for article, spec in sorted(offered.items()):
        waits, seconds = rng.random() < spec.chance, rng.uniform(*spec.takes)
        if waits:
            yield _update(article, spec, seconds / speed)


def _update(article: str, spec: OfferedSpec, seconds: float) -> State:
    title = spec.title or _TITLES[spec.kind].format(article)
    update: State = {
        "id": _id(article),
        "revision": 200,
        "title": title,
        "kb": [article.removeprefix("KB")],
        "categories": _CATEGORIES.get(spec.kind, [spec.kind]),
        "browse_only": spec.kind == "previews",
        "size": int(spec.size_mib * _MIB),
        "severity": spec.severity or None,
        "install_seconds": round(seconds, 3),
        "needs": [_id(each) for each in spec.needs],
        "replaces": [_id(each) for each in spec.replaces],
    }
    if spec.kind == "drivers":
        update |= {"type": "driver", "kb": []}
    if spec.restart != "no":
        update["restart"] = "mandatory" if spec.restart == "before_others" else "wanted"
    if spec.fails:
        update["install"] = {"result": spec.fails}
    if spec.download_fails:
        update["download"] = {"result": spec.download_fails}
    if spec.undone:
        update["undone"] = -1
    if spec.comes_again:
        update["comes_again"] = -1
    if spec.powers_off:
        update["powers_off"] = True
    return update


def _id(article: str) -> str:
    return named_uuid(0, f"update/{article}")


def _service(spec: ServiceSpec) -> State:
    service: State = {"status": spec.status, "start": spec.start, "needs": spec.needs, "process": 1000}
    given = {"start_fails": spec.start_fails, "stop_fails": spec.stop_fails, "crashes_after": spec.crashes_after}
    return service | {key: value for key, value in given.items() if value}


def _restarted(service: State) -> State:
    """Return a service after a boot: automatic ones run, with another process."""
    runs = service.get("start") == "Automatic" and not service.get("start_fails")
    return service | {"status": "Running" if runs else "Stopped", "process": int(service.get("process", 0)) + 1}


def _disk(spec: DiskSpec) -> State:
    size = round(spec.size_gib * 1024)
    return {"size_mib": size, "free_mib": round(size * (1 - spec.used))}


def _offered(kind: str, chance: float, **more: object) -> OfferedSpec:
    return OfferedSpec.model_validate({"kind": kind, "chance": chance, **more})


_DEFAULTS = {
    "KB2267602": _offered("definitions", 0.8, size_mib=110, takes=[5, 20]),
    "KB5044281": _offered("rollups", 0.6, severity="Critical", size_mib=380, takes=[60, 240], restart="after"),
    "KB5044099": _offered("security", 0.4, severity="Important", size_mib=70, takes=[20, 60]),
    "KB5044414": _offered("previews", 0.3, size_mib=390, takes=[60, 240], restart="after"),
    "KB890830": _offered("tools", 0.5, size_mib=70, takes=[10, 30]),
}
_SERVICES = {
    "BITS": ServiceSpec(start="Manual", status="Stopped"),
    "Dhcp": ServiceSpec(),
    "EventLog": ServiceSpec(),
    "RdAgent": ServiceSpec(),
    "Spooler": ServiceSpec(),
    "W32Time": ServiceSpec(),
    "WinDefend": ServiceSpec(),
    "WindowsAzureGuestAgent": ServiceSpec(),
    "wuauserv": ServiceSpec(start="Manual", status="Stopped"),
}
