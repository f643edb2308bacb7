"""What Azure says, word for word, and the row that a run makes of it: real client, whole run, no clock and no network.

The texts and what is expected of each stand in ``real_texts.yaml``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.plan.model import Plan
from fleet.playbook.model import Script, Transport
from fleet.report import render_json
from fleet.run.model import Cause
from tests.unit.run.factory import plan
from tests.wire.service import COMMAND, DELETE, OPERATION, SUBMIT, Carried, Prepared, carry_out, lost, response

CASES = yaml.safe_load(Path(__file__).with_name("real_texts.yaml").read_text(encoding="utf-8"))


def ways(case: dict[str, Any]) -> list[Transport]:
    """Over which Run Command a case is carried out."""
    over = case.get("over", "managed")
    return [Transport(way) for way in (over if isinstance(over, list) else [over])]


BOTH = [pytest.param(case, way, id=f"{case['id']}-{way}") for case in CASES for way in ways(case)]
AGAIN = [pytest.param(case, way, id=f"{case['id']}-{way}") for case in CASES for way in ways(case) if case.get("again")]


def planned(case: dict[str, Any], way: Transport) -> Plan:
    """One VM, one step."""
    made = plan(1, transport=way, receipts=case.get("receipts", False))
    script = Script(**case["run"]) if "run" in case else made.steps[0].script
    return replace(made, steps=(replace(made.steps[0], script=script),))


def prepared(case: dict[str, Any], way: Transport, times: int = 0) -> list[Prepared]:
    """The answers that the case gives, as often as said."""
    if "fails" in case:
        state = case["fails"].get("state", "Failed")
        error = {name: case["fails"][name] for name in ("code", "message")}
        ended = [Prepared(OPERATION, (response(200, {"status": state, "error": error}),), times)]
        resource = response(200, {"properties": {"provisioningState": state, "instanceView": {}}})
        return [*ended, Prepared(COMMAND, (resource,), times)] if way is Transport.MANAGED else ended
    if "view" in case:
        shown = {"provisioningState": case.get("provisioning", "Succeeded"), "instanceView": case["view"]}
        return [Prepared(COMMAND, (response(200, {"properties": shown}),), times)]
    body = {"error": case["error"]} if "error" in case else case.get("body")
    return [Prepared(case.get("at", SUBMIT), (response(case["status"], body, case.get("headers")),), times)]


def check(wanted: dict[str, Any], cause: Cause) -> None:
    """Hold a cause against what the case says of it."""
    assert cause.code == wanted["cause"], cause
    assert wanted.get("message", "") in cause.message
    assert wanted.get("hint", "") in cause.hint


@pytest.mark.parametrize(("case", "way"), BOTH)
def test_what_azure_says_becomes_this_row(case: dict[str, Any], way: Transport) -> None:
    """Status, cause, exit code, and a hint that names what is missing. Nothing is sent twice unless it is said to pass."""
    carried = carry_out(planned(case, way), *prepared(case, way))
    wanted = case["row"]
    assert carried.row.status == wanted["status"], carried.row
    check(wanted, carried.row.cause)
    assert carried.row.exit_code == wanted.get("exit_code", 0 if wanted["status"] == "succeeded" else None)
    passes = case.get("again") and case.get("at", SUBMIT) == SUBMIT
    assert (carried.asked[SUBMIT] > 1) == bool(passes)
    left = carried.report.leftovers
    if case.get("stays"):
        assert carried.asked[DELETE] == 0, "deleting a command would end a script that may still run"
        assert [item.cause for item in left] == ([None] if way is Transport.MANAGED else [])
    if "leftover" in case:
        assert carried.asked[DELETE] == 1, "what a person must make possible is not tried again"
        assert len(left) == 1 and left[0].cause is not None
        check(case["leftover"], left[0].cause)
        (shown,) = json.loads("".join(render_json.render(carried.report)))["leftovers"]
        assert (shown["cause"]["code"], shown["cause"]["hint"]) == (left[0].cause.code, left[0].cause.hint)
        assert any(left[0].cause.hint in note for note in carried.report.notes)


@pytest.mark.parametrize(("case", "way"), AGAIN)
def test_what_passes_by_itself_is_asked_again(case: dict[str, Any], way: Transport) -> None:
    """The usual second answer ends the run as if the first had never been."""
    carried = carry_out(planned(case, way), *prepared(case, way, times=1))
    assert carried.row.status == ("succeeded" if way is Transport.MANAGED else "unverified"), carried.row
    assert carried.asked[case.get("at", SUBMIT)] >= 2
    assert carried.asked[SUBMIT] == (2 if case.get("at", SUBMIT) == SUBMIT else 1)


def texts(kind: str) -> dict[str, Any]:
    """The case of an id."""
    return next(case for case in CASES if str(case["id"]) == kind)


def test_every_case_has_a_name_of_its_own() -> None:
    """And a sentence."""
    names = [str(case["id"]) for case in CASES]
    assert len(set(names)) == len(names) and all(case["what"] for case in CASES)


def test_a_lost_submission_whose_command_is_missing_is_sent_again() -> None:
    """Azure's words for a missing managed command (seen) are understood when it is looked for."""
    missing = prepared(texts("4.2"), Transport.MANAGED, times=2)
    carried = carry_out(plan(1, receipts=False), Prepared(SUBMIT, (lost("reset"),), 1), *missing)
    assert (carried.row.status, carried.asked[SUBMIT]) == ("succeeded", 2)


def test_a_busy_vm_is_asked_again_after_a_second() -> None:
    """A conflict that passes at once costs 1 to 2 seconds; the next pauses are longer."""
    for times, shortest, longest in ((1, 1.0, 2.0), (2, 4.5, 6.5), (4, 25.0, 35.0)):
        carried = carry_out(plan(1, receipts=False), *prepared(texts("1.3"), Transport.MANAGED, times=times))
        sent = [at for kind, at in carried.moments if kind == SUBMIT]
        assert len(sent) == times + 1 and shortest < sent[-1] - sent[0] < longest


def looks(carried: Carried, kind: str) -> list[float]:
    """When something was asked, in seconds of the run."""
    return [at for asked, at in carried.moments if asked == kind]


def test_a_second_look_comes_before_a_missing_command_is_believed() -> None:
    """Within seconds of its acceptance; later, one look is enough."""
    soon = carry_out(plan(1, receipts=False), *prepared(texts("4.2"), Transport.MANAGED))
    assert len(looks(soon, COMMAND)) == 2 and looks(soon, COMMAND)[1] - looks(soon, COMMAND)[0] >= 4.9
    running = response(200, {"properties": {"provisioningState": "Creating"}})
    (gone,) = prepared(texts("4.2"), Transport.MANAGED)
    late = carry_out(plan(1, receipts=False), Prepared(COMMAND, (*[running] * 20, *gone.answers)))
    assert len(looks(late, COMMAND)) == 21 and late.row.cause.code == "operation_gone"


def test_an_accepted_command_is_looked_at_before_it_is_given_up() -> None:
    """Azure asks to wait beyond the end of the job's time; its result is read all the same."""
    made = plan(1, receipts=False)
    short = replace(
        made,
        steps=(replace(made.steps[0], timeout=10.0),),
        limits=replace(made.limits, answer_grace=25.0),
    )
    accepted = response(201, {"properties": {}}, {"Retry-After": "120"})
    carried = carry_out(short, Prepared(SUBMIT, (accepted,)))
    assert carried.row.status == "succeeded"
    assert [round(at) for at in looks(carried, COMMAND)] == [35]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            response(500, {"error": {"code": "InternalServerError", "message": "boom"}}),
            "HTTP 500 InternalServerError boom",
        ),
        (response(429, {"error": {"code": "TooManyRequests", "message": "slow"}}), "HTTP 429 TooManyRequests: slow"),
        (lost("the body was cut short"), "the body was cut short"),
        (lost("connection refused"), "connection refused"),
        (lost(""), "reset"),
    ],
)
@pytest.mark.parametrize("way", [Transport.MANAGED, Transport.ACTION])
def test_a_row_says_why_its_answer_could_not_be_read(answer: Any, why: str, way: Transport) -> None:
    """Every look fails: the row names the last failure."""
    place = COMMAND if way is Transport.MANAGED else OPERATION
    carried = carry_out(plan(1, receipts=False, transport=way), Prepared(place, (answer,)))
    said = f"no answer in time; last: the operation could not be read ({why})"
    assert (carried.row.status, carried.row.cause.message) == ("unknown", said)
