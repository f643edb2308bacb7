"""Throttling and faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.arm.throttle import Cost, Policy, Throttle, Verb
from fleet.lab.wire import Fate
from tests.lab.desk import DAY, SUB, Desk, code, decoded, spec


def test_the_thirteenth_change_of_a_vm_is_refused() -> None:
    """A VM has 12 changes and gets 4 back a minute; the refusal is Compute's 429 without an envelope."""
    desk = Desk(spec(throttling="real"))
    first = desk.put("c0")
    assert first.headers["x-ms-ratelimit-remaining-resource"] == (
        "Microsoft.Compute/UpdateVMSubscriptionMaximum;1499,Microsoft.Compute/UpdateVMResource;11"
    )
    assert first.headers["x-ms-ratelimit-remaining-subscription-writes"] == "199"
    assert first.headers["x-ms-ratelimit-remaining-subscription-global-writes"] == "2999"
    assert [desk.put(f"c{n}").status for n in range(1, 12)] == [201] * 11
    desk.wait(20)
    refused = desk.put("c12")
    body = decoded(refused)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "40")
    assert (body["code"], body["details"][0]["code"]) == ("OperationNotAllowed", "TooManyRequests")
    assert body["details"][0]["target"] == "UpdateVMResource"
    desk.wait(40)
    assert [desk.put(f"d{n}").status for n in range(5)] == [201] * 4 + [429]


def test_arm_refuses_for_each_principal() -> None:
    """One principal's writes run out at 200 and refill by 10 a second; another's are untouched."""
    desk = Desk(spec({"name": "vm{n}", "count": 40}, throttling="real"))
    statuses = [desk.put(f"c{n % 5}", vm=f"vm{n // 5 + 1}").status for n in range(200)]
    assert statuses == [201] * 200
    refused = desk.put(vm="vm40", name="x")
    assert code(refused) == "429 SubscriptionRequestsThrottled"
    assert refused.headers["x-ms-failure-cause"] == "gateway"
    assert "exceeded the limit of '200'" in decoded(refused)["error"]["message"]
    desk.token = "another"
    assert desk.put(vm="vm40", name="x").status == 200 or desk.put(vm="vm40", name="y").status == 201
    desk.token = "t"
    desk.wait(int(refused.headers["Retry-After"]))
    assert desk.put(vm="vm39", name="x").status == 201


def test_polls_have_a_bucket_of_their_own() -> None:
    """One operation can be polled 45 times; then polls are refused while reads still pass."""
    desk = Desk(spec(throttling="real"))
    url = desk.run().headers["Azure-AsyncOperation"]
    assert [desk.send("GET", url).status for _ in range(46)] == [200] * 45 + [429]
    assert desk.send("GET", desk.vm().id).status == 200


def test_queries_are_fifteen_in_five_seconds() -> None:
    """The 16th query within five seconds is refused with the seconds to wait."""
    desk = Desk(spec(throttling="real"))
    url = "/providers/Microsoft.ResourceGraph/resources"
    answers = [desk.send("POST", url, {"query": "resources | count"}) for _ in range(16)]
    assert [each.status for each in answers] == [200] * 15 + [429]
    assert (code(answers[-1]), answers[-1].headers["Retry-After"]) == ("429 RateLimiting", "5")
    desk.wait(5)
    assert desk.send("POST", url, {"query": "resources | count"}).status == 200


def test_nothing_is_refused_without_throttling() -> None:
    """With throttling none the buckets only count down in headers."""
    desk = Desk(spec())
    answers = [desk.send("GET", desk.vm().id) for _ in range(40)]
    assert {each.status for each in answers} == {200}
    assert "LowCostGetResource;0" in answers[-1].headers["x-ms-ratelimit-remaining-resource"]


@given(st.lists(st.floats(0, 90), min_size=1, max_size=120))
def test_buckets_never_give_more_than_they_have(pauses: list[float]) -> None:
    """Whatever the pauses, a VM's changes never exceed its bucket plus what was refilled."""
    throttle = Throttle(enforced=True)
    now, passed = DAY, 0
    for pause in pauses:
        now += pause
        cost = Cost(Verb.WRITES, SUB, "p", Policy.UPDATE_VM, "westeurope", "vm")
        passed += throttle.take(cost, now)[1] is None
        assert passed <= 12 + 4 * ((now - DAY) // 60)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (409, "409 Conflict"),
        (500, "500 InternalOperationError"),
        (401, "401 ExpiredAuthenticationToken"),
        (403, "403 AuthorizationFailed"),
    ],
)
def test_faults_with_a_body(kind: int, expected: str) -> None:
    """A fault answers in the service's shape and nothing is carried out."""
    desk = Desk(spec(faults=[{"request": "submit", "kind": kind, "times": 1}]))
    assert code(desk.run()) == expected
    assert desk.run().status == 202


def test_faults_without_a_body() -> None:
    """503 has an empty body and its Retry-After; a 429 has the Retry-After that was asked for."""
    faults = [
        {"request": "submit", "kind": 503, "retry_after": 7, "times": 1},
        {"request": "submit", "kind": 429, "retry_after": 9},
    ]
    desk = Desk(spec(faults=faults))
    first, second = desk.run(), desk.run()
    assert (first.status, first.body, first.headers["Retry-After"]) == (503, b"", "7")
    assert (second.status, second.headers["Retry-After"]) == (429, "9")


def test_a_lost_answer_was_carried_out_and_a_reset_was_not() -> None:
    """lost_answer drops the connection after the work, reset before it, slow answers late."""
    for kind, busy, fate in (
        ("lost_answer", True, Fate.DROPPED),
        ("reset", False, Fate.DROPPED),
        ("slow", True, Fate.DELIVERED),
        ("truncated", True, Fate.TRUNCATED),
        ("malformed", True, Fate.DELIVERED),
    ):
        desk = Desk(spec(faults=[{"request": "submit", "kind": kind, "times": 1}]))
        answer = desk.run()
        assert (answer.fate, answer.delay > 0) == (fate, kind == "slow")
        assert desk.plane.life.busy(desk.vm()) is busy


def test_a_malformed_answer_is_a_page_under_success() -> None:
    """The request is carried out and its status stays; the body is no JSON."""
    desk = Desk(spec(faults=[{"request": "submit", "kind": "malformed"}]))
    answer = desk.put()
    assert answer.status == 201
    assert answer.body.startswith(b"<html>")
    assert desk.command()["provisioningState"] == "Creating"


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("operation_fails", "Failed"),
        ("operation_cancels", "Canceled"),
        ("operation_hangs", "InProgress"),
        ("operation_vanishes", None),
    ],
)
def test_what_befalls_an_operation(kind: str, seen: str | None) -> None:
    """The submission is accepted, its operation goes wrong as the rule says, and the script runs once all the same."""
    desk = Desk(spec(faults=[{"request": "submit", "kind": kind}]))
    accepted = desk.run()
    assert accepted.status == 202
    desk.wait(3600)
    answer = desk.send("GET", accepted.headers["Azure-AsyncOperation"])
    assert (decoded(answer)["status"] if answer.status == 200 else None) == seen
    assert desk.plane.life.counts[desk.vm().id] == 1


def test_a_hanging_operation_is_given_up() -> None:
    """After ninety minutes the service fails an operation that hangs, as it does one without a report."""
    desk = Desk(spec(faults=[{"request": "submit", "kind": "operation_hangs"}]))
    url = desk.run().headers["Azure-AsyncOperation"]
    desk.wait(6000)
    assert desk.get(url)["error"]["code"] == "VMExtensionProvisioningTimeout"


def test_operations_are_begun_by_submissions() -> None:
    """A rule that lets operations go wrong on another request is refused, with the request it belongs to."""
    with pytest.raises(ValueError, match="use request: submit"):
        spec(faults=[{"request": "poll", "kind": "operation_hangs"}])


def test_a_vm_that_stops_takes_its_script_along() -> None:
    """What runs in a VM that stops ends without a word: its operation goes on until it is given up, and the VM is off."""
    rules = [{"duration": 60, "stdout": "at last"}]
    desk = Desk(spec({"name": "vm1", "rules": rules}, faults=[{"request": "poll", "kind": "vm_stops", "after": 1}]))
    url = desk.run().headers["Azure-AsyncOperation"]
    desk.wait(30)
    assert [desk.get(url)["status"] for _ in range(2)] == ["InProgress"] * 2
    assert code(desk.run()) == "409 OperationNotAllowed"
    desk.wait(3000)
    assert desk.get(url)["status"] == "InProgress"
    desk.wait(3000)
    assert desk.get(url)["error"]["code"] == "VMExtensionProvisioningTimeout"
    desk.plane.move(desk.vm(), desk.now, power="running")
    assert desk.run().status == 202


def test_a_vm_that_vanishes_is_not_found() -> None:
    """A VM deleted while its command runs is gone from every answer, and so is its command."""
    desk = Desk(spec({"name": "vm{n}", "count": 2}, faults=[{"request": "read", "kind": "vm_vanishes"}]))
    vm = desk.vm("vm1")
    desk.put(vm="vm1")
    desk.send("GET", f"{vm.id}/runCommands/c1")
    assert code(desk.send("GET", vm.id)) == "404 ResourceNotFound"
    assert code(desk.send("GET", f"{vm.id}/runCommands/c1")) == "404 ResourceNotFound"
    assert desk.put(vm="vm2").status == 201


def test_an_identical_put_runs_again_where_the_lab_says_so() -> None:
    """With rerun_identical the same content runs twice; without it once, as documented."""
    for rerun in (True, False):
        desk = Desk(spec(rerun_identical=rerun))
        for _ in range(2):
            desk.put()
            desk.wait(300)
        assert desk.plane.life.counts[desk.vm().id] == 1 + rerun
        assert desk.command()["instanceView"]["executionState"] == "Succeeded"


def test_faults_choose_machines_and_requests() -> None:
    """A fault hits the requests and machines it names, after those it lets pass, as often as it may."""
    faults = [{"request": "submit", "kind": 500, "machines": "VM2*", "after": 1, "times": 2}]
    desk = Desk(spec({"name": "vm{n}", "count": 2}, faults=faults))
    assert [desk.put(f"c{n}", vm="vm1").status for n in range(3)] == [201] * 3
    assert [desk.put(f"c{n}", vm="vm2").status for n in range(4)] == [201, 500, 500, 201]
    assert desk.send("GET", desk.vm("vm2").id).status == 200
    assert desk.plane.state()["faults"][0]["hits"] == 2


def test_chance_is_decided_by_the_seed() -> None:
    """Equal seeds hit the same requests, about as many as the chance says, whatever the order of machines."""
    faults = [{"request": "submit", "kind": 500, "chance": "20%"}]

    def hit(order: range) -> set[int]:
        desk = Desk(spec({"name": "vm{n}", "count": 300}, faults=faults))
        return {n for n in order if desk.put(vm=f"vm{n}").status == 500}

    forwards = hit(range(1, 301))
    assert 30 < len(forwards) < 90
    assert forwards == hit(range(300, 0, -1))
