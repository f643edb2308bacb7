"""Arc machines of the lab: what tells Microsoft.HybridCompute from Compute, as recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.desk import SUB, Desk, code, decoded, spec

ARC = f"/subscriptions/{SUB}/resourceGroups/rg-One/providers/Microsoft.HybridCompute/machines/arc1"
GRAPH = "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"
BODY = {"location": "westeurope", "properties": {"source": {"script": "true"}}}


def desk(**more: Any) -> Desk:
    """A lab with one Arc machine."""
    return Desk(spec(arc=[{"name": "arc1", "guest": "scripted", "rules": [{"stdout": "hi\n"}], **more}]))


def test_queued_in_progress_and_the_whole_resource() -> None:
    """Polls read Queued, then InProgress with both URLs again, and end with the whole resource and no URLs."""
    lab = desk()
    made = lab.send("PUT", f"{ARC}/runCommands/c1", BODY)
    assert (made.status, decoded(made)["properties"]["provisioningState"]) == (201, "Creating")
    url, result = made.headers["Azure-AsyncOperation"], made.headers["Location"]
    assert "/operationstatus/" in url and "/operationresults/" in result
    states = []
    for _ in range(200):
        answer = lab.send("GET", url)
        state = decoded(answer)
        states.append(state["status"])
        if state["status"] == "Succeeded":
            break
        assert {"Azure-AsyncOperation", "Location"} <= set(answer.headers)
        assert lab.send("GET", result).status == 202
        lab.wait(1)
    assert sorted(set(states), key=states.index) == ["Queued", "InProgress", "Succeeded"]
    assert 120 <= len(states) <= 160  # recorded: 2 minutes and 15 seconds
    assert "endTime" not in state and "Azure-AsyncOperation" not in answer.headers
    view = state["properties"]["properties"]["instanceView"]
    assert (view["executionMessage"], view["output"]) == ("RunCommand script execution completed", "hi\n")
    read = lab.get(f"{ARC}/runCommands/c1")
    assert (read["properties"]["instanceView"], read["type"]) == (view, "Microsoft.HybridCompute/machines/runcommands")
    assert lab.get(f"{ARC}/runCommands")["value"] == [read] == [lab.get(result)]


def test_put_again_is_201() -> None:
    """PUT answers 201 and Creating for a name that is there as well (recorded)."""
    lab = desk()
    for script in ("one", "two"):
        body = {"location": "westeurope", "properties": {"source": {"script": script}}}
        answer = lab.send("PUT", f"{ARC}/runCommands/c1", body)
        assert (answer.status, decoded(answer)["properties"]["provisioningState"]) == (201, "Creating")
        lab.wait(300)


def test_delete() -> None:
    """DELETE is 202 and takes two minutes; its Location ends with 200 and nothing (recorded); then 204."""
    lab = desk()
    lab.send("PUT", f"{ARC}/runCommands/c1", BODY)
    lab.wait(300)
    gone = lab.send("DELETE", f"{ARC}/runCommands/c1")
    assert (gone.status, gone.body) == (202, b"")
    lab.wait(100)
    assert lab.get(gone.headers["Azure-AsyncOperation"])["status"] == "InProgress"
    lab.wait(100)
    assert lab.get(gone.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    final = lab.send("GET", gone.headers["Location"])
    assert (final.status, final.body) == (200, b"")
    assert lab.send("DELETE", f"{ARC}/runCommands/c1").status == 204


def test_a_machine_that_is_away() -> None:
    """A command of a disconnected machine stays Creating and Unknown until the machine is back (reported)."""
    lab = desk(agent="not_ready")
    assert lab.get(ARC)["properties"]["status"] == "Disconnected"
    made = lab.send("PUT", f"{ARC}/runCommands/c1", BODY)
    lab.wait(86_400)
    properties = lab.get(f"{ARC}/runCommands/c1")["properties"]
    assert (properties["provisioningState"], properties["instanceView"]["executionState"]) == ("Creating", "Unknown")
    machine = lab.plane.world.by_id(ARC)
    assert machine is not None
    lab.plane.move(machine, lab.now, agent="ready")
    lab.wait(300)
    assert lab.get(made.headers["Azure-AsyncOperation"])["status"] == "Succeeded"


def test_there_is_no_action() -> None:
    """Arc machines have managed commands only, and are no VMs."""
    lab = desk()
    answer = lab.send("POST", f"{ARC}/runCommand", {"commandId": "RunShellScript"})
    assert code(answer) == "404 InvalidResourceType"
    listed = lab.get(f"/subscriptions/{SUB}/providers/Microsoft.HybridCompute/machines")["value"]
    assert [each["name"] for each in listed] == ["arc1"]


def test_rows_and_headers() -> None:
    """Resource Graph has a row for an Arc machine; writes count under a header of their own (recorded)."""
    lab = desk()
    query = "resources | where type =~ 'microsoft.hybridcompute/machines' | project id, status = properties.status"
    assert decoded(lab.send("POST", GRAPH, {"query": query}))["data"] == [{"id": ARC, "status": "Connected"}]
    headers = lab.send("PUT", f"{ARC}/runCommands/c1", BODY).headers
    assert headers["x-ms-ratelimit-remaining-subscription-resource-requests"] == "319"
    assert "x-ms-ratelimit-remaining-subscription-writes" not in headers


def test_what_is_refused_in_its_own_words() -> None:
    """A body that is none, a name that is being deleted, and a URL that was changed on the way."""
    lab = desk()
    assert lab.send("PUT", f"{ARC}/runCommands/c1", ["no", "object"]).status == 400
    made = lab.send("PUT", f"{ARC}/runCommands/c1", BODY)
    answer = lab.send("GET", f"{made.headers['Azure-AsyncOperation']}&more=1")
    assert code(answer) == "403 InvalidOperationUrl"
    lab.wait(300)
    assert lab.send("DELETE", f"{ARC}/runCommands/c1").status == 202
    assert code(lab.send("PUT", f"{ARC}/runCommands/c1", BODY)) == "409 Conflict"


@pytest.mark.parametrize(("speed", "put", "delete"), [(1.0, "120", "15"), (12.0, "10", "2"), (500.0, "1", "1")])
def test_how_long_to_wait_before_the_first_look(speed: float, put: str, delete: str) -> None:
    """PUT and DELETE say so, as recorded and divided by the speed; no other answer does."""
    lab = Desk(spec(speed=speed, arc=[{"name": "arc1", "guest": "scripted"}]))
    made = lab.send("PUT", f"{ARC}/runCommands/c1", BODY)
    lab.wait(300)
    gone = lab.send("DELETE", f"{ARC}/runCommands/c1")
    assert (made.headers["Retry-After"], gone.headers["Retry-After"]) == (put, delete)
    assert "Retry-After" not in lab.send("GET", made.headers["Azure-AsyncOperation"]).headers
    assert "Retry-After" not in lab.put().headers
