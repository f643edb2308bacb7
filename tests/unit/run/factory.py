"""Plans for tests: any number of VMs in any number of subscriptions."""

from __future__ import annotations

from fleet.plan.model import Limits, Plan, PlannedStep, PlaybookRef
from fleet.plan.waves import split
from fleet.playbook.model import Amount, Script, Transport
from fleet.targets.model import Os, Target


def target(index: int, subscription: str = "sub-0", **changes: object) -> Target:
    """One VM."""
    values: dict[str, object] = {
        "id": f"/subscriptions/{subscription}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm{index:04}",
        "subscription": subscription,
        "subscription_name": subscription,
        "resource_group": "rg",
        "name": f"vm{index:04}",
        "location": "westeurope",
        "os": Os.LINUX,
        "size": "Standard_B2s",
        "image": "ubuntu",
    }
    return Target(**{**values, **changes})  # type: ignore[arg-type]


def plan(
    vms: int = 10,
    *,
    subscriptions: int = 1,
    steps: int = 1,
    waves: tuple[Amount | str, ...] = (),
    transport: Transport = Transport.AUTO,
    receipts: bool = True,
    limits: Limits | None = None,
) -> Plan:
    """A plan over ``vms`` targets spread over ``subscriptions``."""
    targets = tuple(target(index, f"sub-{index % subscriptions}") for index in range(vms))
    return Plan(
        playbook=PlaybookRef("test", "1", "0" * 64),
        targets=targets,
        steps=tuple(
            PlannedStep(f"step{n}", Script(text=f"echo {n}\n"), f"digest{n}", timeout=600.0) for n in range(steps)
        ),
        waves=split(targets, waves),
        limits=limits or Limits(),
        transport=transport,
        receipts=receipts,
    )
