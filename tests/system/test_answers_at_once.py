"""An action that is answered at once, with 200 and its result, or with a status that says failed, at the command line."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.system.between import Passing, between
from tests.system.cli import Here, LabUp, Machine, wait_for
from tests.system.test_earned_green import play, rows

Result = dict[str, Any]


def at_once(lab: LabUp, change: Callable[[Result], Result]) -> Callable[[Passing], None]:
    """Wait for the operation of each action that the lab accepted, and answer its POST with the result."""

    def rewrite(passing: Passing) -> None:
        if passing.method != "POST" or not passing.path.partition("?")[0].endswith("/runCommand"):
            return
        kept = {name.lower(): value for name, value in passing.headers.items()}
        link = urlsplit(kept.pop("azure-asyncoperation"))
        kept.pop("location", None)
        found: Result = {}

        def ended() -> bool:
            asked = http.client.HTTPConnection(urlsplit(lab.url).netloc, timeout=30)
            asked.request("GET", f"{link.path}?{link.query}", headers={"Authorization": "Bearer lab"})
            found.update(json.loads(asked.getresponse().read()))
            asked.close()
            return bool(found.get("properties"))

        wait_for(ended)
        passing.status, passing.headers = 200, kept
        passing.body = change(found["properties"]["output"])

    return rewrite


def run(here: Here, machine: Machine, lab: LabUp, receipts: bool, change: Callable[[Result], Result]) -> Any:
    """Run one step on one VM through a service that answers at once; return what happened and the POSTs."""
    file = play(machine.cwd, "echo hi")
    (machine.cwd / "config.yaml").write_text(f"run: {{receipts: {json.dumps(receipts)}}}\n")
    with between(lab.url, at_once(lab, change)) as door:
        done = here("run", file, door.flag, "-y", "-o", "json", "-l", "web01", "--transport", "action")
    sent = [
        each for each in door.passed if each.method == "POST" and each.path.partition("?")[0].endswith("runCommand")
    ]
    followed = [each for each in door.passed if "/operations/" in each.path.lower()]
    return done, len(sent), len(followed)


@pytest.mark.parametrize(
    ("receipts", "row"), [(True, ("succeeded", "completed")), (False, ("unverified", "no_exit_code"))]
)
def test_a_result_that_comes_at_once_is_the_result(
    here: Here, machine: Machine, lab: LabUp, receipts: bool, row: tuple[str, str]
) -> None:
    """One POST, no read of an operation, and the row, its output and the kept journal are as after any other answer."""
    before = lab.executions()
    done, sent, followed = run(here, machine, lab, receipts, lambda result: result)
    assert (sent, followed, list(lab.executions(before).values())) == (1, 0, [1])
    assert rows(done.report) == [row], done.err
    assert done.report["jobs"][0]["stdout"].strip() == "hello from web01"
    again = here("show", "last", "-o", "json")
    assert rows(again.report) == [row]


@pytest.mark.parametrize("receipts", [True, False])
@pytest.mark.parametrize("empty", [{"value": []}, {}])
def test_a_result_without_a_status_is_sent_once(
    here: Here, machine: Machine, lab: LabUp, receipts: bool, empty: Result
) -> None:
    """The service says that the command ended, and nothing proves how: that is said, and the script is not sent again."""
    done, sent, followed = run(here, machine, lab, receipts, lambda result: empty)
    assert (sent, followed) == (1, 0)
    assert rows(done.report) == [("unverified", "no_receipt" if receipts else "no_exit_code")], done.err


@pytest.mark.parametrize("receipts", [True, False])
def test_a_status_that_says_failed_fails_the_row(here: Here, machine: Machine, lab: LabUp, receipts: bool) -> None:
    """Its words are the cause, and no sentence says that the script ended."""
    failed = {"code": "ProvisioningState/failed/1", "level": "Error", "message": "Enable failed: boom"}
    done, sent, _ = run(here, machine, lab, receipts, lambda result: {"value": [failed]})
    assert (sent, rows(done.report)) == (1, [("failed", "handler_error")]), done.err
    message = done.report["jobs"][0]["cause"]["message"]
    assert "Enable failed: boom" in message and "the script ended" not in message
    assert done.code == 3
