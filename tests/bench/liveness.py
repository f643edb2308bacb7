"""How much longer runs take under harsh faults than on a calm day.

    python -m tests.bench.liveness [--seeds 300] [--vms 5..50]

Each scenario is lived twice, in virtual time: with 20 % 5xx, 10 % resets, 10 % 429 and 5 % lost answers of all requests, and
without any fault. Deaths of processes and VMs, which add what nobody can bound, are left out of both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from fleet.rehearsal.faults import Fault
from tests.verification.invariants import check
from tests.verification.scenario import Sizes, draw
from tests.verification.world import live

HARSH: Mapping[Fault, float] = {Fault.ERROR: 0.2, Fault.RESET: 0.1, Fault.THROTTLED: 0.1, Fault.LOST: 0.05}


def ratio(seed: int, sizes: Sizes) -> tuple[float, int]:
    """How many times as long the run took under faults, and how many invariants were breached."""
    drawn = draw(seed, HARSH, sizes)
    limits = replace(drawn.plan.limits, deadline=None, max_failures=None, max_unreachable=None)
    harsh = replace(
        drawn,
        plan=replace(drawn.plan, limits=limits, gates=()),
        lab=drawn.lab.model_copy(update={"faults": []}),
        interruptions=(),
        happenings=(),
        sqlite=False,
    )
    calm = replace(harsh, rates={})
    stormy, still = live(harsh), live(calm)
    breaches = len(tuple(check(stormy))) + len(tuple(check(still)))
    return (stormy.ended - stormy.began) / max(still.ended - still.began, 1.0), breaches


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--vms", default="5..50", help="the fewest and the most VMs")
    asked = parser.parse_args()
    fewest, _, most = asked.vms.partition("..")
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        found = pool.map(partial(ratio, sizes=(int(fewest), int(most or fewest))), range(asked.seeds), chunksize=5)
    ratios = sorted(times for times, _ in found)
    middle, most_of, worst = (ratios[int(share * (len(ratios) - 1))] for share in (0.5, 0.99, 1.0))
    print(f"{len(ratios)} runs, each ended; {sum(breaches for _, breaches in found)} invariants breached")
    print(
        f"{middle:.1f} times as long as without faults in the middle, 99 % within {most_of:.1f}, {worst:.1f} at worst"
    )


if __name__ == "__main__":
    main()
