"""Kills deliveries to a played Windows VM at random moments: ``python -m tests.bench.windows_kills [TIMES] [SEED]``.

In turn the wrapper and its script, the wrapper alone and the script alone are killed; then the delivery is sent again. The
script must never run twice, and no answer may tell an end that was another. It needs a PowerShell: see ``FLEET_PWSH``.
"""

from __future__ import annotations

import os
import random
import sys

from fleet.lab.guests.windows.powershell import VARIABLE, find
from tests.powershell.kills import trials


def main(times: int, seed: int) -> int:
    pwsh = find(os.environ)
    if pwsh is None:
        print(f"no PowerShell: set {VARIABLE}, or put pwsh on the PATH", file=sys.stderr)
        return 2
    print(f"seed {seed}")
    good = 0
    for number, trial in enumerate(trials(pwsh, times, seed), start=1):
        good += not trial.wrong
        print(f"{number:3} {trial.kind:8} after {trial.moment:.2f} s: {trial.said} {trial.wrong}".rstrip(), flush=True)
    print(f"{good} of {times} as promised")
    return 0 if good == times else 1


if __name__ == "__main__":
    wanted = [int(word) for word in sys.argv[1:3]]
    sys.exit(
        main(wanted[0] if wanted else 50, wanted[1] if len(wanted) > 1 else random.SystemRandom().randrange(10**6))
    )
