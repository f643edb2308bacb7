"""YAML text becomes positioned, validated documents, and every problem is named at once."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from fleet.documents import read
from fleet.documents.read import Document, Keys, Lookalike
from fleet.errors import MOST_LOOKED_FOR, MOST_SHOWN, InvalidInput, Problem


def _even(value: int) -> int:
    if value % 2:
        raise read.refusal("odd", "is odd", expected="an even number", hint="add one")
    return value


class Door(Keys):
    url: str
    port: int = 443


class House(Keys):
    name: str = ""
    rooms: Annotated[int, Field(ge=1, le=9)] = 1
    lit: bool = False
    heat: float = 0.5
    style: Literal["brick", "wood"] = "brick"
    code: Annotated[str, Field(pattern=r"^[a-z]+$")] = "a"
    labels: dict[str, str] = Field(default_factory=dict)
    doors: list[Door] = Field(default_factory=list)
    cloud: Literal["public", "china"] | Door = "public"
    pairs: Annotated[int, AfterValidator(_even)] = 0


def problems(text: str | bytes, model: type[Keys] = House) -> tuple[Problem, ...]:
    with pytest.raises(InvalidInput) as caught:
        read.validated(read.examine(text, file="house.yaml"), model)
    return caught.value.problems


def the_problem(text: str | bytes) -> Problem:
    (only,) = problems(text)
    return only


def data(text: str) -> object:
    return read.read(text, file="x.yaml").data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("y", "y"),
        ("2026-03-01", "2026-03-01"),
        ("1.0.0", "1.0.0"),
        ('"yes"', "yes"),
        ("'0123'", "0123"),
        ("|\n  yes", "yes"),
    ],
)
def test_scalars_follow_the_core_rules(text: str, value: object) -> None:
    """A scalar means what YAML 1.2's core schema says, and quoted text stays text."""
    assert data(f"a: {text}") == {"a": value}


@pytest.mark.parametrize("text", ["yes", "No", "ON", "off", "0123", "0o17", "22:30", "1:30:00", "1_000", "0b1"])
def test_a_lookalike_is_refused_where_text_is_meant(text: str) -> None:
    """An unquoted scalar that YAML readers disagree on is a problem whose hint quotes it."""
    assert data(f"a: {text}") == {"a": Lookalike(text)}
    found = the_problem(f"name: {text}")
    assert (found.code, found.line, found.column, found.found) == ("ambiguous_scalar", 1, 7, text)
    assert found.hint == f'write "{text}"'


def test_a_lookalike_where_true_or_false_is_meant() -> None:
    """`yes` in a boolean's place is answered with the word to write."""
    assert (the_problem("lit: yes").code, the_problem("lit: yes").hint) == ("ambiguous_scalar", "write true")
    assert the_problem("lit: Off").hint == "write false"


def test_a_lookalike_key_is_refused() -> None:
    """A key such as NO must be quoted, too."""
    assert the_problem("labels: {NO: x}").hint == 'write "NO"'


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("name: a\nname: b", "duplicate_key", 2, 1),
        ("name: !!python/object:os.system x", "tag_refused", 1, 7),
        ("name: !x y", "tag_refused", 1, 7),
        ("name: &a x\ncode: *a", "alias_refused", 2, 7),
        ("labels:\n  <<: {a: b}", "merge_refused", 2, 3),
        ("labels: {1: a}", "key_not_text", 1, 10),
        ("labels: {? [a] : b}", "key_not_text", 1, 12),
        ("name: a\n---\nname: b", "several_documents", 2, 1),
        ("name: a\x07", "control_character", 1, 8),
        ('name: "\\0"', "control_character", 1, 7),
        ("name: a\u202eb", "control_character", 1, 8),
        ("name: \ud800", "control_character", 1, 7),
        (f"rooms: {'9' * 1000}", "number_refused", 1, 8),
        ("heat: .inf", "number_refused", 1, 7),
        ("heat: .nan", "number_refused", 1, 7),
        ("heat: 1e999", "number_refused", 1, 7),
        ("name: " + "[" * 80 + "]" * 80, "too_deep", 1, 71),
        ("name: [a, b\ncode: c", "syntax", 2, 5),
        ("name:\n\t- a", "syntax", 2, 1),
        ("", "empty", 1, 1),
        ("# nothing\n", "empty", 1, 1),
        ("name: " + "x" * (1 << 20), "too_large", 1, 1),
        (b"name: a\ncode: \xff", "encoding", 2, 7),
    ],
)
def test_forms_that_are_refused(text: str | bytes, code: str, line: int, column: int) -> None:
    """Each dangerous or surprising feature of YAML is refused by name, where it stands."""
    found = the_problem(text)
    assert (found.code, found.line, found.column, found.file) == (code, line, column, "house.yaml")


@pytest.mark.parametrize(
    ("text", "code", "place", "message", "hint"),
    [
        ("nam: x", "unknown_key", (1, 1), "unknown key 'nam'", "did you mean 'name'?"),
        (
            "doors: [{url: x, prt: 1}]",
            "unknown_key",
            (1, 18),
            "unknown key 'prt' in doors[0]",
            "did you mean 'port'?",
        ),
        ("doors:\n  - port: 1", "missing_key", (2, 5), "the key 'url' is missing in doors[0]", ""),
        ('rooms: "6"', "wrong_type", (1, 8), "rooms must be a whole number, not the text '6'", ""),
        ("name: 1.10", "wrong_type", (1, 7), "name must be text, not the number 1.1", 'quote it: "1.10"'),
        ("doors: {}", "wrong_type", (1, 8), "doors must be a list, not a mapping", ""),
        ("labels:", "wrong_type", (1, 8), "labels must be a mapping of keys, not nothing", ""),
        ("rooms: 10", "out_of_range", (1, 8), "rooms must be at most 9", ""),
        (
            "style: brik",
            "not_allowed",
            (1, 8),
            "style is 'brik', which is none of: brick, wood",
            "did you mean 'brick'?",
        ),
        ("code: A1", "pattern", (1, 7), "code is 'A1', which does not match ^[a-z]+$", ""),
        (
            "cloud: chna",
            "not_allowed",
            (1, 8),
            "cloud is 'chna', which is none of: public, china",
            "did you mean 'china'?",
        ),
        (
            "cloud: {url: x, prt: 1}",
            "unknown_key",
            (1, 17),
            "unknown key 'prt' in cloud",
            "did you mean 'port'?",
        ),
        ("pairs: 3", "odd", (1, 8), "pairs is odd", "add one"),
    ],
)
def test_misfits_become_sentences(text: str, code: str, place: tuple[int, int], message: str, hint: str) -> None:
    """What does not fit the model is said in a plain sentence, with its place and a way out."""
    found = the_problem(text)
    assert (found.code, (found.line, found.column), found.message, found.hint) == (code, place, message, hint)


def test_a_choice_of_kinds_names_them_all() -> None:
    """A value that fits no alternative is answered once, with all alternatives."""
    assert the_problem("cloud: 3").expected == "a mapping of keys or one of public, china"


def test_every_problem_at_once_in_the_order_of_the_text() -> None:
    """Problems of form and of fit are reported together, sorted by place."""
    found = problems("name: yes\nrooms: 10\nname: b\ndoors: [{prt: 1}]\nheat: .nan\nlit: *x\n")
    assert [(item.line, item.code) for item in found] == [
        (1, "ambiguous_scalar"),
        (2, "out_of_range"),
        (3, "duplicate_key"),
        (4, "missing_key"),
        (4, "unknown_key"),
        (5, "number_refused"),
        (6, "alias_refused"),
    ]


def test_a_valid_document_becomes_the_model() -> None:
    """Text that fits gives the model's values."""
    document = read.read("name: x\ndoors: [{url: u}]\ncloud: {url: v}\n", file="f")
    house = read.validated(document, House)
    assert (house.name, house.doors, house.cloud) == ("x", [Door(url="u")], Door(url="v"))


def test_marks_name_keys_values_and_nearest_parents() -> None:
    """A mark counts from 1; an absent path falls back to the nearest parent, without its text."""
    document = read.read("a:\n  - b: héllo\n    c: 2\n", file="f")
    assert document.mark(("a", 0, "c")) == read.Mark(3, 8, "2", "", 3)
    assert document.mark(("a", 0, "c"), key=True) == read.Mark(3, 5, "c")
    assert document.mark(("a", 0, "zzz", 4)) == read.Mark(2, 5)
    assert document.at(("a", 0, "b")) == "héllo"
    assert document.at(("a", 3, "b")) is None


@pytest.mark.parametrize(
    ("text", "offset", "place"),
    [
        ("a: one two", 4, (1, 8)),
        ('a: "one two"', 4, (1, 9)),
        ("a: |\n  one\n    two\n", 6, (3, 5)),
        ("a: >\n  one\n  two\n", 4, (1, 4)),
        ('a: "\\x41 two"', 2, (1, 4)),
        ("a: one\n  two", 4, (1, 4)),
    ],
)
def test_a_place_within_a_text(text: str, offset: int, place: tuple[int, int]) -> None:
    """A character inside a value has its place; where folding or escapes hide it, that of the value."""
    document = read.read(text, file="f")
    assert document.within(("a",), str(document.at(("a",))), offset) == place


def test_a_part_can_be_checked_alone() -> None:
    """A part is held against its own model, and a partial one drops only the keys that do not fit."""
    document = read.examine("doors:\n  - {url: u, port: x}\n  - {port: 1}\n", file="f")
    door, found = read.checked(document, Door, ("doors", 0))
    assert door is None
    assert [(item.line, item.column, item.message) for item in found] == [
        (2, 20, "doors[0].port must be a whole number, not the text 'x'")
    ]
    assert read.partial(document, Door, ("doors", 0)) == Door(url="u")
    assert read.partial(document, Door, ("doors", 1)) is None


def test_shown_text_is_one_printable_line() -> None:
    """Text from a document never brings control characters or great length into a message."""
    assert read.shown("a\n\x1b[31m") == "a\\n\\x1b[31m"
    assert len(read.shown("x" * 500)) == 80


_yamlish = st.text(alphabet=st.sampled_from("ab01:-[]{},&*!|>'\"#%@\n \t\\?~<yes\0é\ud800"), max_size=60)


@given(st.one_of(st.text(max_size=80), _yamlish, st.binary(max_size=60), _yamlish.map(lambda t: f"name: {t}")))
def test_no_text_gives_a_traceback(text: str | bytes) -> None:
    """Whatever is read, the answer is a document or positioned problems, and nothing else is raised."""
    try:
        document = read.examine(text, file="f")
        read.validated(document, House)
    except InvalidInput as error:
        assert error.problems
        assert all(item.line >= 1 and item.column >= 1 and item.code for item in error.problems)
    else:
        assert isinstance(document, Document)


@given(st.dictionaries(st.text("abc ", min_size=1), st.text("abc:#{}[]\"'yesno \n01", max_size=12)))
def test_quoted_text_survives(mapping: dict[str, str]) -> None:
    """Text in double quotes comes back as it was written."""
    import json

    assert data(json.dumps(mapping)) == mapping


@pytest.mark.parametrize("unit", ["- yes\n", "- *a\n", '- "\\x01"\n', "- !!x y\n"])
def test_a_text_of_mistakes_is_bounded(unit: str) -> None:
    """Of ever so many mistakes the first hundred are told, and how many more are known of."""
    text = "name: a\ncode: x\ndoors:\n" + unit * 9_000
    with pytest.raises(InvalidInput) as caught:
        read.validated(read.examine(text, file="f"), House)
    problems = caught.value.problems
    count = MOST_LOOKED_FOR - MOST_SHOWN
    assert (problems[-1].code, problems[-1].message) == ("more_problems", f"and at least {count} more, not shown")
    assert [item.line for item in problems[:-1]] == list(range(4, 4 + MOST_SHOWN))


def test_few_mistakes_are_all_told() -> None:
    """A hundred mistakes are told one by one; of one more there is a count."""
    some = [Problem("x", "wrong", "f", line, 1) for line in range(1, 102)]
    assert InvalidInput(some[:100]).problems == tuple(some[:100])
    assert InvalidInput(some).problems[-1].message == "and 1 more, not shown"


@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1), st.text('a\\😀\ue83d𝄞é"u'), max_size=5
    )
)
@example({"\ub800": "\ue83d", "\ua800\uc800\U00010000": ""})
@example({"\ub800": "\ue83d", "\ua800\uc800\u9800\u8800\U0001f600": "\u2800"})
def test_what_json_writes_is_read(mapping: dict[str, str]) -> None:
    """JSON as programs write it, with characters beyond U+FFFF as pairs of escapes, is read as it was meant."""
    assert read.read(json.dumps(mapping), file="values.json").data == mapping


def test_pairs_of_escapes_move_nothing() -> None:
    """Places behind a pair are the text's own; outside double quotes letters are letters; half a pair is refused."""
    document = read.read('{"a": "\\ud83d\\uDE00", "b": 2}', file="x")
    assert (document.data, document.mark(("b",)).column) == ({"a": "😀", "b": 2}, 28)
    plain = "a: '\\ud83d\\uDE00'\nb: \\uD83D\\ude00\nc: \"\\\\ud83d\\\\ude00 \\uD83D\\ude00\"\n"
    found = read.read(plain, file="x").data
    assert found == {"a": r"\ud83d\uDE00", "b": r"\uD83D\ude00", "c": r"\ud83d\ude00 😀"}
    with pytest.raises(InvalidInput, match="escape"):
        read.read('{"a": "\\ud83d"}', file="x")
