"""The benchmark of speed measures what it says: its service and its clients agree with each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.speed.__main__ import BEGIN, END, main, revived
from tests.bench.speed.figures import Faults, Found, Start, figures
from tests.bench.speed.limits import WRITE, Limits, bound
from tests.bench.speed.picture import draw
from tests.bench.speed.processes import Client, Server, serving, unknown
from tests.bench.speed.rows import MINIMAL, Case, Measured
from tests.bench.speed.virtual import measure

VMS = 5
ROW = Measured(Case(vms=500), 22.0, 20.0, 3.5, 0.5, 1.0, 0, 0, 0, 0, 0, cpu=2.0, rss_mb=100.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a few VMs whose scripts take no time."""
    with serving(tmp_path_factory.mktemp("service") / "tls", VMS, seconds=0.1) as served:
        yield served


@pytest.mark.parametrize(
    ("case", "requests"),
    [
        (Case(client=MINIMAL, later=True), {"graph": 1, "submit": VMS, "operation": VMS}),
        (Case(), {"submit": VMS, "operation": VMS}),
        (Case(transport="managed"), {"submit": VMS, "command": VMS, "delete": VMS}),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_service_and_clients_agree(server: Server, tmp_path: Path, case: Case, requests: dict[str, int]) -> None:
    """Each client finds every VM's own answer by requests that the service knows, and runs no script twice."""
    found = Client(server, tmp_path / "client").run(replace(case, vms=VMS))
    assert (found.wrong, found.twice, found.lost, found.refused_writes, found.refused_reads) == (0, 0, 0, 0, 0)
    assert found.cpu > 0 and found.rss_mb > 10 and found.lag_p50 > 0
    seen = server.ask("figures")
    assert unknown(seen) == []
    assert {name: seen["requests"].get(name, 0) for name in requests} == requests


def test_two_processes_share_the_vms(server: Server, tmp_path: Path) -> None:
    """Two runs at once on one state store have all VMs between them, each its own half."""
    found = Client(server, tmp_path / "client").run_two(Case(vms=VMS))
    assert (found.wrong, found.twice, found.lost) == (0, 0, 0)


def test_a_client_that_leaves_nothing_is_an_error(server: Server, tmp_path: Path) -> None:
    """A client that ends without results is not taken for a quick one: what it said is shown."""
    client = Client(server, tmp_path / "client")
    (tmp_path / "client" / "speed.yaml").write_text("kind: Nothing\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"Fleet, action ended with 2: (?s:.*)speed\.yaml"):
        client.run(Case(vms=VMS))


@pytest.mark.parametrize("transport", ["action", "managed"])
def test_virtual_time(transport: str) -> None:
    """In virtual time too every VM gets its own answer once, and no run is quicker than the bound."""
    first, later = measure(Case(vms=VMS, transport=transport))
    for found in (first, later):
        assert (found.wrong, found.twice, found.lost, found.refused_writes) == (0, 0, 0, 0)
        assert found.ratio >= 1
    assert later.case.later and later.requests < first.requests


def test_limits_refuse_what_is_over() -> None:
    """A bucket holds its burst and refills; the service refuses only where limits are on, and counts in any case."""
    for on in (True, False):
        limits = Limits(on=on)
        waits = [limits.refuse("s", WRITE, 1.0) for _ in range(201)]
        assert waits[:200] == [0.0] * 200 and (waits[200] > 0) is on
        assert limits.over[WRITE] == 1 and limits.remaining("s", WRITE) == 0
        assert limits.refuse("s", WRITE, 1.1) == 0.0


@pytest.mark.parametrize(
    ("vms", "subscriptions", "throttled", "seconds"),
    [
        (500, 4, True, 20.05),
        (2_000, 4, True, 50.05),
        (2_000, 1, True, 200.05),
        (10_000, 1, True, 1_040.1),
        (500, 1, False, 20.05),
    ],
)
def test_the_bound(vms: int, subscriptions: int, throttled: bool, seconds: float) -> None:
    """The bound is that of ARM's documented buckets and Compute's, with one read for each result."""
    lanes = [[20.0] * (vms // subscriptions)] * subscriptions
    assert bound(lanes, throttled) == pytest.approx(seconds, abs=0.06)


def test_figures_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that is missed says so; tables and picture come out of what was kept, without a measurement."""
    good = [ROW, replace(ROW, case=Case(vms=500, later=True), wall=20.9, requests=2.0)]
    bad = replace(ROW, case=Case(vms=500, lengths="20 s", transport="managed"), wall=30.0, lag_p95=6.0)
    found = Found([*good, bad], [replace(ROW, refused_writes=2)], Start(0.1, 0.2, 0.3), Faults(10, 0))
    held = {figure.name: figure.held for figure in figures(found)}
    assert [name for name in held if "makespan" in name and held[name] is False] != []
    assert held["requests per VM, action: first run / later runs"] is True
    assert [held[name] for name in held if name.startswith("429s")] == [False]
    assert [held[name] for name in held if name.startswith("peak RSS")] == [None]
    ElementTree.fromstring(draw(found))
    kept, page, picture = (tmp_path / name for name in ("kept.json", "page.md", "picture.svg"))
    kept.write_text(json.dumps({"found": asdict(found), "machine": "this", "skipped": []}), encoding="utf-8")
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    assert revived(json.loads(kept.read_text(encoding="utf-8"))["found"]) == found
    main(["--from", str(kept), "--page", str(page), "--picture", str(picture)])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| **no** |" in text and "| **no** |" in capsys.readouterr().out
    assert picture.read_text(encoding="utf-8") == draw(found)
