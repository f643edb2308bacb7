"""Values for parameters: typed, complete, and every mistake said in a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.documents.read import Lookalike
from fleet.errors import InvalidInput, Problem
from fleet.playbook.load import load
from fleet.playbook.model import Playbook
from fleet.playbook.parameters import render, resolve, secret_reference
from fleet.playbook.template import read_template
from fleet.targets.model import Os, Target

PLAYBOOK: Playbook = load(
    """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: demo}
parameters:
  scope: {enum: [security, full], default: security}
  days: {type: integer, minimum: 1, maximum: 30, required: false}
  ratio: {type: number, default: 0.5}
  dry: {type: boolean, default: false}
  hosts: {type: list, pattern: "[a-z]+", default: []}
  service: {pattern: "[a-z]+"}
  token: {secret: true, pattern: "[0-9]+"}
steps: [{id: a, run: {inline: x}}]
""",
    file="f",
    read_script=lambda name: "",
)
FULL = "did you mean 'full'?"
NEEDED = {"service": "web", "token": "1"}
TARGET = Target(
    id="/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm1",
    subscription="s",
    subscription_name="prod",
    resource_group="rg",
    name="vm1",
    location="westeurope",
    os=Os.LINUX,
    tags={"Env": "prod", "cost center": "7"},
)


def problems(given: dict[str, object]) -> list[Problem]:
    with pytest.raises(InvalidInput) as caught:
        resolve(PLAYBOOK, given)
    return list(caught.value.problems)


def test_defaults_are_filled_in() -> None:
    """Parameters that are not given have their default, and optional ones without a default are absent."""
    assert resolve(PLAYBOOK, NEEDED) == {
        "scope": "security",
        "ratio": 0.5,
        "dry": False,
        "hosts": (),
        "service": "web",
        "token": "1",
    }


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("scope", "full", "full"),
        ("days", "7", 7),
        ("days", 7, 7),
        ("ratio", "2", 2),
        ("ratio", "2.5", 2.5),
        ("dry", "true", True),
        ("dry", True, True),
        ("hosts", "a, b", ("a", "b")),
        ("hosts", ["a", "b"], ("a", "b")),
        ("hosts", "", ()),
        ("token", "0123", "0123"),
    ],
)
def test_text_and_data_become_typed_values(name: str, given: object, value: object) -> None:
    """A value from the command line or from YAML gets the declared type."""
    found = resolve(PLAYBOOK, {**NEEDED, name: given})[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"scop": "x"}, "there is no parameter 'scop'", "did you mean 'scope'?"),
        ({"scope": "ful"}, "the parameter 'scope' must be one of: security, full, not 'ful'", FULL),
        ({"days": "seven"}, "the parameter 'days' must be a whole number, not 'seven'", ""),
        ({"days": "0"}, "the parameter 'days' must be at least 1, not '0'", ""),
        ({"days": True}, "the parameter 'days' must be a whole number, not 'True'", ""),
        ({"dry": "yes"}, "the parameter 'dry' must be true or false, not 'yes'", ""),
        ({"dry": Lookalike("yes")}, "the parameter 'dry' must be true or false, not 'yes'", ""),
        ({"hosts": "a,B"}, "the parameter 'hosts' does not match the pattern [a-z]+, not 'a,B'", ""),
        ({"service": 5}, "the parameter 'service' must be text, not '5'", ""),
        ({"service": Lookalike("01")}, "the parameter 'service' must be text, not '01'", 'quote it: "01"'),
        ({"ratio": "1e999"}, "the parameter 'ratio' must be a number, not '1e999'", ""),
    ],
)  # fmt: skip
def test_bad_values_are_sentences(given: dict[str, object], message: str, hint: str) -> None:
    """A value that does not fit is one sentence with a way out."""
    (found,) = problems({**NEEDED, **given})
    assert (found.message, found.hint) == (message, hint)
    assert (found.file, found.line) == ("-e", 0)


def test_every_problem_at_once() -> None:
    """Unknown, missing and unfit values are named together."""
    found = problems({"days": "x", "sope": "full"})
    assert [item.code for item in found] == [
        "unknown_parameter",
        "bad_parameter",
        "missing_parameter",
        "missing_parameter",
    ]


def test_a_secret_is_never_shown() -> None:
    """A secret's value is no part of the problem about it."""
    (found,) = problems({**NEEDED, "token": "hunter2"})
    assert found.code == "bad_parameter"
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{ params.scope }}", "security"),
        ("{{params.dry}}-{{ params.ratio }}", "false-0.5"),
        ("{{ params.hosts }}", "a,b"),
        ("{{ params.days }}", ""),
        ("{{ target.name }}.{{ target.location }}", "vm1.westeurope"),
        ("{{ target.os }}", "linux"),
        ("{{ target.tag.env }}", "prod"),
        ('{{ target.tag["cost center"] }}', "7"),
        ("{{ target.tag.none }}", ""),
        ('{{ "{{" }} x }}', "{{ x }}"),
    ],
)
def test_templates_are_rendered(template: str, text: str) -> None:
    """An expression becomes its value, an absent one empty text, and everything else stays."""
    values = resolve(PLAYBOOK, {**NEEDED, "hosts": "a,b"})
    assert render(template, params=values, target=TARGET) == text


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_expressions_stays(text: str) -> None:
    """Rendering changes nothing but expressions."""
    assert render(text, params={}, target=TARGET) == text


@given(st.text())
def test_values_are_not_read_again(value: str) -> None:
    """What a value holds is never taken for an expression."""
    assert render("{{ params.a }}{{ params.a }}", params={"a": value}, target=TARGET) == value * 2


@given(st.text(alphabet="{}params.target name\"'|"))
def test_any_template_is_read(text: str) -> None:
    """Any text is split or named wrong, and mistakes lie inside the text."""
    _, mistakes = read_template(text)
    assert all(text[mistake.offset :].startswith("{{") for mistake in mistakes)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ params.token }}", "token"),
        (" {{params.token}} ", "token"),
        ("x{{ params.token }}", None),
        ("{{ params.scope }}", None),
        ("token", None),
    ],
)
def test_a_secret_must_be_the_whole_value(template: str, name: str | None) -> None:
    """Only a value that is nothing but a secret can travel as a protected parameter."""
    assert secret_reference(template, PLAYBOOK.parameters) == name
