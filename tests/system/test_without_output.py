"""An action that succeeded and whose operation holds no output: where the answer comes from, at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.system.between import Passing, between
from tests.system.cli import Machine
from tests.system.conftest import Labs
from tests.system.odd_answers import PLAYBOOK

RUN = ("run", "hello.yaml", "-l", 'name == "web1"', "--transport", "action", "-y", "-o", "json")


def silent_operation(passing: Passing) -> None:
    """Let an operation that ended tell nothing but that."""
    if passing.method == "GET" and "/operations/" in passing.path and "monitor=true" not in passing.path:
        passing.body.pop("properties", None)


def nameless_place(passing: Passing) -> None:
    """Let the first submission name no place for its result either, as where an earlier process heard of it alone."""
    silent_operation(passing)
    if passing.method == "POST" and passing.path.partition("?")[0].endswith("/runCommand"):
        passing.headers.pop("Location", None)


def first_only(rewrite: Callable[[Passing], None]) -> Callable[[Passing], None]:
    """Change what belongs to the first submission, and leave later ones alone."""
    submissions: list[str] = []

    def once(passing: Passing) -> None:
        if passing.method == "POST" and passing.path.partition("?")[0].endswith("/runCommand"):
            submissions.append(passing.path)
        if len(submissions) == 1:
            rewrite(passing)

    return once


def run(machine: Machine, labs: Labs, rewrite: Callable[[Passing], None], **settings: bool) -> tuple[Any, int]:
    """Run on one VM behind the rewrite; return the report, and how often the script was submitted."""
    (machine.cwd / "hello.yaml").write_text(PLAYBOOK)
    (machine.cwd / "config.yaml").write_text(json.dumps({"run": settings}))
    with between(labs("answers").url, rewrite) as door:
        done = machine.run(*RUN, door.flag)
    return done.report, len(door.bodies("POST", "/runCommand?"))


def test_the_place_of_the_result_is_asked_while_it_is_known(machine: Machine, labs: Labs) -> None:
    """One more read tells the result; nothing is sent again."""
    report, sent = run(machine, labs, silent_operation)
    assert (report["jobs"][0]["status"], sent) == ("succeeded", 1)


def test_the_guest_is_asked_for_the_answer_that_it_keeps(machine: Machine, labs: Labs) -> None:
    """With receipts the same delivery is sent again, which runs nothing a second time and proves how the first ended."""
    report, sent = run(machine, labs, first_only(nameless_place))
    assert (report["jobs"][0]["status"], sent) == ("succeeded", 2)
    assert "1 answer is a kept one: the script ran at an earlier delivery, not again" in report["notes"]


def test_without_receipts_the_row_is_unknown_and_says_so(machine: Machine, labs: Labs) -> None:
    """Nothing is sent a second time, and nothing is guessed."""
    report, sent = run(machine, labs, nameless_place, receipts=False)
    [row] = report["jobs"]
    assert (row["status"], row["cause"]["code"], sent) == ("unknown", "no_answer", 1)
    assert "Azure has no result of it" in row["cause"]["message"]
