"""Interrupts ``fleet exec`` again and again at random moments: ``python -m tests.bench.interrupts [TIMES] [SEED]``.

Each time the exit code must be 130, and the last line on stderr either the command that resumes the run or, where no run
was started yet, a sentence. Each line that resumes is executed, and must lead to a report in which each VM ran once.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.system.cli import LABS, Done, LabUp, Machine, ended, lab_up

SCRIPT = "echo this takes a while"
LONGEST = 10.0
"""Seconds after its start at which a command is interrupted at the latest."""


def main(times: int, seed: int) -> int:
    # A shell starts what runs in its background with interrupts ignored, and programs inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = random.Random(seed)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as scratch:
        machine = Machine(Path(scratch))
        with lab_up(machine, LABS / "small.yaml") as lab:
            good = sum(_trial(machine, lab, number, rng.uniform(0.3, LONGEST)) for number in range(1, times + 1))
    print(f"{good} of {times} as promised")
    return 0 if good == times else 1


def _trial(machine: Machine, lab: LabUp, number: int, moment: float) -> bool:
    before = lab.executions()
    process = machine.start("exec", "all", lab.flag, "-x", "off*", "-y", "-f", 1, "--timeout", "2h", "--", SCRIPT)
    time.sleep(moment)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = ended(process)
    took = time.monotonic() - begun
    print(f"{number:3} after {moment:.2f} s: exit {done.code} in {took:.1f} s, last line: {done.last}", flush=True)
    return done.code == 130 and _continues(machine, lab, done, before)


def _continues(machine: Machine, lab: LabUp, done: Done, before: dict[str, int]) -> bool:
    if not done.last.startswith("fleet resume "):
        return done.last.startswith("interrupted") and not lab.executions(before)
    again = machine.run(*done.last.split()[1:], "-o", "json")
    ran = lab.executions(before)
    return again.code == 0 and again.report["counts"]["succeeded"] == len(ran) == 12 and set(ran.values()) == {1}


if __name__ == "__main__":
    wanted = [int(word) for word in sys.argv[1:3]]
    sys.exit(
        main(wanted[0] if wanted else 10, wanted[1] if len(wanted) > 1 else random.SystemRandom().randrange(10**6))
    )
