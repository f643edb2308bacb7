"""Scripts of sandboxed guests that wait for others that are starting: what counts as their time."""

from __future__ import annotations

from fleet.lab.arm.control import ControlPlane
from fleet.lab.world.orders import Kill, Look, Start
from fleet.lab.world.scripted import Result
from tests.lab.desk import BASE, Desk, spec


class Sandboxed(Desk):
    """A desk whose guests are sandboxes that nobody runs."""

    def __init__(self) -> None:
        super().__init__(spec({"name": "vm1", "guest": "sandbox"}))
        self.plane = ControlPlane(spec({"name": "vm1", "guest": "sandbox"}), sandboxed=True)
        self.plane.base = BASE

    def orders(self) -> list[object]:
        return [order for order in self.plane.life.take_orders() if not isinstance(order, Look)]


def test_waiting_is_not_the_scripts_time() -> None:
    """A time limit counts from the start of the script, and its view says when that was."""
    desk = Sandboxed()
    desk.put(timeoutInSeconds=60)
    desk.wait(600)
    (order,) = desk.orders()
    assert isinstance(order, Start)
    desk.plane.life.began(order.execution, desk.now)
    desk.wait(59)
    assert desk.orders() == []
    desk.wait(2)
    assert desk.orders() == [Kill(order.execution)]
    desk.plane.life.ended(order.execution, Result(-1), desk.now)
    desk.wait(60)
    view = desk.command()["instanceView"]
    assert (view["startTime"], view["endTime"]) == ("2026-01-01T00:10:00+00:00", "2026-01-01T00:11:01+00:00")


def test_a_wish_to_restart_comes_true_while_the_script_runs() -> None:
    """Real seconds later, unless it is taken back; asking anew puts it off, and an end counts from then."""
    desk = Sandboxed()
    desk.put()
    desk.wait(60)
    (order,) = desk.orders()
    assert isinstance(order, Start)
    life, machine = desk.plane.life, desk.plane.world.by_id(desk.vm().id)
    assert machine is not None
    life.began(order.execution, desk.now)
    for seconds, waited, boots in ((60.0, 59, 0), (None, 60, 0), (30.0, 31, 1)):
        life.wished(order.execution, seconds, desk.now)
        desk.wait(waited)
        assert machine.boots == boots
    life.wished(order.execution, 5.0, desk.now)
    desk.wait(600)
    assert machine.boots == 1
