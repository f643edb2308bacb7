"""Behaviour that surprises clients, each switched on in the lab file."""

from __future__ import annotations

from tests.lab.desk import SUB, Desk, decoded, spec

GRAPH = "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"
ROWS = "resources | project id, power = properties.extended.instanceView.powerState.code, env = tags.env"


def rows(desk: Desk) -> list[dict[str, object]]:
    """Ask Resource Graph for ids, power states and tags."""
    found: list[dict[str, object]] = decoded(desk.send("POST", GRAPH, {"query": ROWS}))["data"]
    return found


def test_output_while_it_runs() -> None:
    """The view of a running command shows what was printed so far, refreshed every 15 seconds, whole lines only."""
    lines = "".join(f"line {n}\n" for n in range(1, 11))
    desk = Desk(spec({"name": "vm1", "rules": [{"stdout": lines, "duration": 100}]}))
    desk.put()
    seen = []
    while desk.command()["instanceView"]["executionState"] in ("Unknown", "Running"):
        output = desk.command()["instanceView"]["output"]
        seen += [output] if output not in seen else []
        desk.wait(1)
    assert seen == ["", *("".join(lines.splitlines(keepends=True)[:n]) for n in (1, 3, 4, 6, 7, 9))]
    assert desk.command()["instanceView"]["output"] == lines


def test_a_deleted_name_is_remembered() -> None:
    """With remember_names a command under a deleted name does not run: success, and a view that knows nothing."""
    for remember, runs, state in ((True, 1, "Unknown"), (False, 2, "Succeeded")):
        desk = Desk(spec(remember_names=remember))
        desk.put()
        desk.wait(120)
        desk.send("DELETE", f"{desk.vm().id}/runCommands/c1")
        desk.wait(120)
        url = desk.put(script="other").headers["Azure-AsyncOperation"]
        desk.wait(120)
        assert desk.get(url)["status"] == "Succeeded"
        assert desk.command()["provisioningState"] == "Succeeded"
        assert (desk.plane.life.counts[desk.vm().id], desk.command()["instanceView"]["executionState"]) == (runs, state)


def test_a_new_name_runs_though_names_are_remembered() -> None:
    """With remember_names other names run, and changed content of a living command does too."""
    desk = Desk(spec(remember_names=True))
    for name, script in (("a", "one"), ("b", "one"), ("a", "two")):
        desk.put(name, script)
        desk.wait(120)
    assert desk.plane.life.counts[desk.vm().id] == 3


def test_resource_graph_lags() -> None:
    """With graph_lag Compute knows of a change at once and Resource Graph later, of each change in its turn."""
    desk = Desk(spec({"name": "vm1", "tags": {"env": "dev"}}, graph_lag=60.0))
    desk.plane.move(desk.vm(), desk.now, power="deallocated", tags={"env": "prod"})
    view = desk.get(f"{desk.vm().id}/instanceView")
    assert view["statuses"][1]["code"] == "PowerState/deallocated"
    desk.wait(30)
    desk.plane.move(desk.vm(), desk.now, power="running")
    assert [(row["power"], row["env"]) for row in rows(desk)] == [("PowerState/running", "dev")]
    desk.wait(40)
    assert [(row["power"], row["env"]) for row in rows(desk)] == [("PowerState/deallocated", "prod")]
    desk.wait(30)
    assert [(row["power"], row["env"]) for row in rows(desk)] == [("PowerState/running", "prod")]


def test_ids_differ_in_case() -> None:
    """With id_case upper Compute writes RG-ONE where Resource Graph writes rg-One, and both ids lead to the VM."""
    desk = Desk(spec(id_case="upper"))
    (listed,) = desk.get(f"/subscriptions/{SUB}/providers/Microsoft.Compute/virtualMachines")["value"]
    (row,) = rows(desk)
    assert "/resourceGroups/RG-ONE/" in listed["id"] and "/resourceGroups/rg-One/" in str(row["id"])
    assert desk.get(listed["id"]) == desk.get(str(row["id"]))
    assert "/resourceGroups/RG-ONE/" in decoded(desk.put())["id"]


def test_a_changed_command_reads_updating_after_its_operation() -> None:
    """With lag the operation of a changed command has succeeded while the resource still reads Updating."""
    desk = Desk(spec(lag=30.0))
    desk.put()
    desk.wait(120)
    url = desk.put(script="other").headers["Azure-AsyncOperation"]
    while desk.get(url)["status"] == "InProgress":
        desk.wait(1)
    assert desk.command()["provisioningState"] == "Updating"
    desk.wait(30)
    assert desk.command()["provisioningState"] == "Succeeded"
