"""Restarts as steps of the plan: one that asks, one that looks until the target is back.

They are planned steps like any other, made here from a step's ``reboot``, because everything a restart must keep is what
steps keep already: the request is on disk before it leaves, a resumed run goes on where it stood, the budget counts a
target that does not come back, and each has a row in the report. Both scripts know the boot that the receipt of the step
before told, so a request that arrives twice restarts once.

Azure's own restart call is not used: it needs another right, and its end says nothing of the system inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fleet import codec
from fleet.guest import restart
from fleet.guest.delivery import Shell as GuestShell
from fleet.plan.model import PlannedStep, Restart
from fleet.playbook.model import Fact, Flow, Properties, Reboot, Script, Shell, Step, Turn
from fleet.targets.model import Os

NEEDED = (80, 81, 3010, 1641)
"""Exit codes by which a script says that it wants a restart (80, 3010), or has scheduled one itself (81, 1641).

The numbers of four digits are those of Windows installers (documented for ``msiexec``); 80 and 81 are their twins."""

BOOT_FACT = "boot_id"
"""The fact that only the steps of a restart know: the boot that the step before ran in."""

PATIENCE = {Os.LINUX: 600.0, Os.WINDOWS: 1800.0}
FIRST_LOOK, BETWEEN_LOOKS = 1 / 20, 1 / 40
"""Parts of the patience: half a minute and a quarter of one, of ten minutes."""

_SHELLS = {Os.LINUX: (Shell.SH, GuestShell.SH), Os.WINDOWS: (Shell.PWSH, GuestShell.PWSH)}


def restarts(step: Step, systems: Iterable[Os]) -> Iterator[PlannedStep]:
    """Yield what restarts the targets after a step: two steps for each operating system that is there, or nothing."""
    if step.reboot is not Reboot.NEVER:
        for os in sorted(systems):
            yield from _pair(step, os)


def _pair(step: Step, os: Os) -> Iterator[PlannedStep]:
    suffix = "-windows" if os is Os.WINDOWS else ""
    ask, look = f"{step.id}-reboot{suffix}", f"{step.id}-back{suffix}"
    shell, guest_shell = _SHELLS[os]
    patience = step.reboot_timeout or PATIENCE[os]
    common = PlannedStep(
        id=ask,
        script=Script(text=restart.ask(guest_shell)),
        digest="",
        title=f"Ask for a restart after {step.id}",
        shell=shell,
        env={"EXPECT_BOOT_ID": f"{{{{ facts.{BOOT_FACT} }}}}"},
        timeout=60.0,
        ok_exit=(0, restart.SCHEDULED),
        properties=Properties(transport=step.properties.transport),
        flow=Flow(turn=_turn(step), when=_when(step, os), retry_delay=patience * BETWEEN_LOOKS),
        restart=Restart(step.id, patience=patience),
    )
    yield _digested(common)
    yield _digested(
        replace(
            common,
            id=look,
            script=Script(text=restart.back(guest_shell)),
            title=f"Wait until the restart after {step.id} is over",
            ok_exit=(0,),
            flow=Flow(
                turn=Turn.ALWAYS,  # what was begun is brought to its end, also after a stop
                when=f'steps.{ask}.status == "succeeded"',
                collect={"boot_id": Fact(key="boot_id"), "uptime_s": Fact(key="uptime_s")},
                retry_delay=patience * BETWEEN_LOOKS,
            ),
            restart=Restart(step.id, ask, patience, patience * FIRST_LOOK),
        )
    )


def _turn(step: Step) -> Turn:
    """A step that waited for a notice was told; what follows it waits for nothing."""
    return Turn.SUCCESS if step.flow.turn is Turn.NOTIFIED else step.flow.turn


def _when(step: Step, os: Os) -> str:
    when = f'os == "{os}" and steps.{step.id}.status == "succeeded"'
    if step.reboot is Reboot.ALWAYS:
        return when
    codes = ", ".join(f'"{code}"' for code in NEEDED)
    needed = f"steps.{step.id}.exit_code in [{codes}]"
    return f"{when} and ({needed} or ({step.reboot_when}))" if step.reboot_when else f"{when} and {needed}"


def _digested(step: PlannedStep) -> PlannedStep:
    return replace(step, digest=codec.digest(step))
