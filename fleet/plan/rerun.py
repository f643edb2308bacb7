"""The same plan over fewer targets, for a run that is carried out again on some of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fleet.plan.model import Plan


def narrowed(plan: Plan, ids: Collection[str]) -> Plan:
    """Return the plan over the targets with these ids, in the same waves; waves without one are left out.

    Targets that had left the plan's selection stay out. The result may be empty.
    """
    left = {plan.targets[item.target].id for item in plan.left}
    places = [index for index, target in enumerate(plan.targets) if target.id in ids and target.id not in left]
    moved = {old: new for new, old in enumerate(places)}
    kept = [replace(wave, targets=tuple(moved[old] for old in wave.targets if old in moved)) for wave in plan.waves]
    waves = [wave for wave in kept if wave.targets]
    number = {wave.index: index for index, wave in enumerate(waves)}
    after = {index + 1: place + 1 for index, place in number.items()}
    return replace(
        plan,
        targets=tuple(plan.targets[index] for index in places),
        waves=tuple(replace(wave, index=index) for index, wave in enumerate(waves)),
        gates=tuple(
            replace(gate, wave=moved_to[gate.wave])
            for gate in plan.gates
            if gate.wave in (moved_to := number if gate.check is None else after)
        ),
        unread=(),
        notes=(),
        left=(),
    )
