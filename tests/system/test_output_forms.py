"""Each form that a verb offers with ``-o`` is the form that it prints, or is refused by name."""

from __future__ import annotations

import csv
import getpass
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from fleet.cli.main import VERBS, cli
from fleet.cli.probe_pages import freeings, probes
from tests.system.cli import PLAYBOOKS, Done, Here, LabUp
from tests.system.cli_page import commands

GATED = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: gated}
rollout:
  waves: [1, 100%]
  gates: [{before_wave: 2, approve: [NAMES]}]
steps:
  - {id: hello, run: {inline: echo hello}}
"""


def is_json(text: str) -> bool:
    json.loads(text)
    return text.lstrip()[:1] in ("{", "[")


def is_jsonl(text: str) -> bool:
    return all(isinstance(json.loads(line), dict) for line in text.splitlines())


def is_csv(text: str) -> bool:
    head, *rows = csv.reader(io.StringIO(text))
    return len(head) > 2 and all(len(row) == len(head) for row in rows) and "  " not in text.splitlines()[0]


def is_markdown(text: str) -> bool:
    return text.startswith("#") or "\n|---" in text


def is_ids(text: str) -> bool:
    return all(line.startswith("/subscriptions/") and " " not in line for line in text.splitlines())


def is_names(text: str) -> bool:
    return " " not in text and "/" not in text


def is_text(text: str) -> bool:
    return text.lstrip()[:1] not in ("{", "[")


LOOKS: dict[str, Callable[[str], bool]] = {
    "json": is_json,
    "jsonl": is_jsonl,
    "csv": is_csv,
    "md": is_markdown,
    "ids": is_ids,
    "names": is_names,
    "table": is_text,
}

FEW = ("-l", "web01", "-l", "web02")
HELLO = PLAYBOOKS / "hello.yaml"

CALLS: dict[str, tuple[tuple[object, ...], ...]] = {
    "run": ((HELLO, *FEW, "-y", "LAB"), (HELLO, *FEW, "--dry-run", "LAB")),
    "plan": ((HELLO, *FEW, "LAB"), (HELLO, *FEW, "--diff", "a.plan", "LAB")),
    "apply": (("a.plan", "-y", "LAB"),),
    "exec": (('name == "web01"', "-y", "LAB", "--", "echo hi"),),
    "resume": (("last", "LAB"),),
    "rerun": (("last:succeeded", "-y", "LAB"),),
    "commands list": (("all", "LAB"),),
    "commands show": (("all", "LAB"),),
    "commands delete": (("all", "--all", "--dry-run", "LAB"), ("all", "--all", "-y", "LAB")),
    "commands update": (("all", "--name", "x*", "--tag", "a=b", "--dry-run", "LAB"),),
    "targets": (("all", "LAB"), ("all", "--explain", "LAB")),
    "doctor": ((HELLO, *FEW, "LAB"),),
    "rbac": ((HELLO,),),
    "runs": ((),),
    "show": (("last",), ("last", "--all")),
    "report": (("last",),),
    "diff": (("last",), ("last", "last")),
    "sim": ((HELLO, "--vms", "2"),),
    "config show": ((), ("--origin",)),
}
"""Ways to call each verb that offers forms. ``LAB`` is the flag of the lab; ``a.plan`` is a plan file."""

ELSEWHERE = {"approve", "probe", "unstick"}
"""What they print needs a run in progress; see the tests below."""


def offers() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each verb that has ``-o`` with the forms that it offers."""
    context = click.Context(cli, info_name="fleet")
    for name in VERBS:
        for found in commands(name, context):
            for option in found.command.params:
                if option.name == "form" and isinstance(option.type, click.Choice):
                    yield found.command_path.removeprefix("fleet "), tuple(map(str, option.type.choices))


FORMS = dict(offers())


def test_each_verb_with_forms_is_called() -> None:
    """A verb that offers a form is in one of the lists above."""
    assert FORMS.keys() == CALLS.keys() | ELSEWHERE


def check(done: Done, form: str) -> None:
    """The form that was asked for, or a usage error that names it, and nothing on stdout."""
    if done.code == 2:
        assert done.out == ""
        assert f"has no form {form}" in done.err or "-o is the form of" in done.err, done.err
    else:
        assert not done.out or LOOKS[form](done.out), done.out[:500]


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "form"), [(verb, form) for verb in CALLS for form in FORMS[verb]])
def test_each_form_of_each_verb_is_that_form(here: Here, lab: LabUp, verb: str, form: str) -> None:
    """Asked for one form, a verb never gives another."""
    here("plan", HELLO, *FEW, lab.flag, "--out", "a.plan", "-o", "json")
    if verb in ("resume", "rerun", "show", "report", "diff", "runs"):
        here("run", HELLO, *FEW, "-y", lab.flag)
    for words in CALLS[verb]:
        given = [lab.flag if word == "LAB" else word for word in words]
        at = given.index("--") if "--" in given else len(given)
        check(here(*verb.split(), *given[:at], "-o", form, *given[at:]), form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS["approve"])
def test_a_run_that_an_approval_continues_prints_that_form(here: Here, lab: LabUp, tmp_path: Path, form: str) -> None:
    """The report after ``approve`` is in the form asked for."""
    file = tmp_path / "gated.yaml"
    file.write_text(GATED.replace("NAMES", getpass.getuser()))
    here("run", file, *FEW, "-y", "--no-wait", lab.flag)
    done = here("approve", "last", lab.flag, "-o", form)
    assert done.code == 0 and done.out
    check(done, form)


@pytest.mark.parametrize("form", ["table", "json"])
def test_what_is_seen_in_a_vm_is_that_form(form: str) -> None:
    """The pages of probe and unstick."""
    assert set(FORMS["probe"]) == set(FORMS["unstick"]) == {"table", "json"}
    for page in (probes([], form), freeings([], form)):
        assert not page or LOOKS[form](page)


def test_an_explanation_as_csv_has_the_columns_of_the_table(here: Here, lab: LabUp) -> None:
    """``targets --explain -o csv`` has a row for each VM; ids and names are refused by a sentence."""
    rows = list(csv.DictReader(io.StringIO(here("targets", 'name == "web01"', "--explain", "-o", "csv", lab.flag).out)))
    assert len(rows) == 14
    assert [row["name"] for row in rows if row["selected"] == "in"] == ["web01"]
    assert {"resource group", "why"} <= rows[0].keys()
    for form in ("ids", "names"):
        refused = here("targets", "all", "--explain", "-o", form, lab.flag)
        assert (refused.code, refused.out) == (2, "")
        assert f"--explain, which is about every VM, has no form {form}; it has table, json and csv" in refused.err


def test_what_differs_from_a_plan_is_json_where_it_was_asked_for(here: Here, lab: LabUp) -> None:
    """``plan --diff -o json`` is a list of differences, as a program reads it."""
    here("plan", HELLO, *FEW, lab.flag, "--out", "a.plan")
    found = here("plan", HELLO, "-l", "web01", "--diff", "a.plan", "-o", "json", lab.flag).report
    assert {"change": "removed", "kind": "target", "name": "web02"}.items() <= found[0].items()
