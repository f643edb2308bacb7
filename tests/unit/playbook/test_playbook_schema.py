"""The table of keys is the one truth: the JSON Schema and the reference page follow it."""

from __future__ import annotations

import os
from pathlib import Path

import jsonschema
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.documents import durations, read
from fleet.playbook.keys import playbook
from fleet.playbook.keys.rollout import amount
from fleet.playbook.model import Amount

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "playbooks").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(playbook.json_schema())


def errors(text: str) -> list[str]:
    data = read.read(text, file="f").data
    return [error.message for error in VALIDATOR.iter_errors(data)]


def models(model: type[pydantic.BaseModel]) -> set[type[pydantic.BaseModel]]:
    """Return a model and every model below it."""
    found = {model}
    for field in model.model_fields.values():
        for part in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(part, type) and issubclass(part, pydantic.BaseModel):
                found |= models(part)
    return found


def test_the_json_schema_is_valid() -> None:
    """The JSON Schema keeps to its own standard."""
    jsonschema.Draft202012Validator.check_schema(playbook.json_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_json_schema_accepts_the_shipped_playbooks(path: Path) -> None:
    """An editor that checks by the schema finds nothing wrong with the shipped playbooks."""
    assert errors(path.read_text()) == []


HEAD = "apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: demo}\n"
STEPS = "steps: [{id: a, run: {inline: x}}]\n"


@pytest.mark.parametrize(
    "text",
    [
        "kind: Playbook\nmetadata: {name: demo}\n" + STEPS,
        HEAD + "steps: []",
        HEAD + STEPS + "stepz: 1",
        HEAD + "rollout: {max_failurs: 2}\n" + STEPS,
        HEAD + "rollout: {max_failures: -1}\n" + STEPS,
        HEAD + "rollout: {max_failures: 101%}\n" + STEPS,
        HEAD + "rollout: {waves: [half]}\n" + STEPS,
        HEAD + "rollout: {soak: 10 minutes}\n" + STEPS,
        HEAD + "report: [pdf]\n" + STEPS,
        HEAD + "parameters: {a: {type: int}}\n" + STEPS,
        HEAD + "steps: [{id: A, run: {inline: x}}]",
        HEAD + "steps: [{id: a}]",
        HEAD + "steps: [{id: a, run: {}}]",
        HEAD + "steps: [{id: a, run: {inline: x, file: y}}]",
        HEAD + "steps: [{id: a, run: {inline: x}, timeout: '600'}]",
        HEAD + "steps: [{id: a, run: {inline: x}, env: {A: 1}}]",
        HEAD.replace("demo", "Not A Name") + STEPS,
    ],
)
def test_the_json_schema_refuses_what_it_can_express(text: str) -> None:
    """Mistakes of form are found by the schema too, before Fleet is asked."""
    assert errors(HEAD + STEPS) == []
    assert errors(text) != []


@pytest.mark.parametrize("model", sorted(models(playbook.PlaybookKeys), key=lambda m: m.__name__))
def test_every_key_explains_itself(model: type[pydantic.BaseModel]) -> None:
    """Every key has a description and an example, and the example is accepted in its place."""
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert field.description and field.examples, f"{model.__name__}.{name}"
        required = {key: (item.examples or [None])[0] for key, item in model.model_fields.items() if item.is_required()}
        model.model_validate(required | {field.alias or name: field.examples[0]})


def test_the_reference_page_is_true() -> None:
    """docs/playbook.md holds exactly the reference made from the table (UPDATE_DOCS=1 writes it)."""
    assert_page(ROOT / "docs" / "playbook.md", playbook.reference())


def assert_page(path: Path, reference: str) -> None:
    before, _, rest = path.read_text().partition("do not edit) -->\n")
    _, end, after = rest.partition("<!-- keys:end -->")
    wanted = f"{before}do not edit) -->\n\n{reference}\n{end}{after}"
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(wanted)
    assert end and path.read_text() == wanted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45m", 2700.0),
        ("1h30m", 5400.0),
        ("90s", 90.0),
        ("2d", 172800.0),
        ("0s", 0.0),
        (90, 90.0),
        (1.5, 1.5),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    """A duration is read as seconds."""
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "5", "1m1h", "-1s", "1.5h", " 1h", "1h ", "٣m", True, None, -1, 1e12, "999d"]
)
def test_what_is_no_duration(text: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="is not"):
        durations.seconds(text)


@given(st.integers(0, int(durations.MAX_DURATION)))
def test_durations_spelled_are_read_back(seconds: int) -> None:
    """Spelling a duration loses nothing."""
    assert durations.seconds(durations.spelled(seconds)) == seconds


@given(st.one_of(st.integers(0, 10**9 - 1).map(str), st.decimals(0, 100, places=2).map(lambda d: f"{d}%")))
def test_amounts_spelled_are_read_back(text: str) -> None:
    """An amount says the same after it was read and spelled."""
    read = amount(text)
    assert amount(str(read)).of(10_000) == read.of(10_000)


@given(st.integers(0, 10_000), st.integers(0, 100_000))
def test_percents_are_exact(hundredths: int, total: int) -> None:
    """A percent of a total is rounded down exactly, however the percent is written."""
    assert Amount(hundredths / 100, percent=True).of(total) == hundredths * total // 10_000


@pytest.mark.parametrize("text", ["101%", "-1", "5 %", "%", "1e2", "five", True, -1, 1.5, None])
def test_what_is_no_amount(text: object) -> None:
    """Anything but a count or a percent up to 100% is refused."""
    with pytest.raises(ValueError, match="is"):
        amount(text)
