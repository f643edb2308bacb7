"""Fleet's own wrapper inside the lab: the receipt that comes back is the same, run for real or played."""

from __future__ import annotations

import pytest

from fleet.guest import envelope
from fleet.guest.delivery import Delivery, Shell, script_digest
from fleet.guest.receipt import read, verify
from fleet.guest.wrapper import wrap
from fleet.lab.arm.server import serve
from tests.lab.desk import Desk, spec
from tests.lab.test_server import VM, client, finished

NONCE = "00112233445566778899aabbccddeeff"
RULES = [{"when": "echo hi", "stdout": "hi\n", "exit": 3}]


def delivery(nonce: str = NONCE) -> Delivery:
    """Return a delivery of a script that says hi and fails."""
    return Delivery("echo hi; exit 3", Shell.BASH, "run1.step.vm1", nonce, 60.0)


def test_a_played_guest_seals_like_the_wrapper() -> None:
    """A scripted guest's answer to a wrapped script reads and verifies as a receipt, and replays say so."""
    desk = Desk(spec({"name": "vm1", "rules": RULES}), envelope)
    for name, nonce in (("a", NONCE), ("b", NONCE[::-1])):
        desk.put(name, wrap(delivery(nonce)))
        desk.wait(120)
        view = desk.command(name)["instanceView"]
        reading = read(view["output"], view["error"], nonce)
        assert reading.receipt is not None
        assert (reading.receipt.exit_code, reading.stdout) == (3, "hi\n")
        assert reading.receipt.replayed is (name == "b")
        assert reading.receipt.boot_id == desk.vm().boot_id
        assert verify(reading, nonce=nonce, digest=script_digest(delivery())).verified
    assert desk.plane.life.counts[desk.vm().id] == 1


@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_a_sandboxed_guest_runs_the_wrapper() -> None:
    """In a sandbox the wrapper runs the script once; a second delivery returns the kept answer."""
    vms = {"name": "vm1", "guest": "sandbox"}
    async with serve(spec(vms, speed=100.0), envelope=envelope) as lab, client(lab) as session:
        for nonce, replayed in ((NONCE, False), (NONCE[::-1], True)):
            body = {"commandId": "RunShellScript", "script": wrap(delivery(nonce)).split("\n")}
            async with session.post(f"{VM}/vm1/runCommand?api-version=2024-07-01", json=body) as answer:
                url = answer.headers["Azure-AsyncOperation"]
            state = await finished(session, url)
            message = state["properties"]["output"]["value"][0]["message"]  # type: ignore[index]
            out, _, err = message.removeprefix("Enable succeeded: \n[stdout]\n").rpartition("\n[stderr]\n")
            reading = read(out, err, nonce)
            assert reading.receipt is not None
            assert (reading.receipt.exit_code, reading.receipt.replayed, reading.stdout) == (
                3,
                replayed,
                "hi\n",
            )
            assert reading.receipt.boot_id == next(iter(lab._plane.world.machines())).boot_id
