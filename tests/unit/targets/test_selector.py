"""Selectors: what they let in, what they explain, what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import InvalidInput, Problem
from fleet.targets.model import Os, Power
from fleet.targets.selector import EVERYTHING, parse

from .strategies import expressions, make, targets

VM = make(
    "Web-07",
    resource_group="RG-Web",
    location="westeurope",
    size="Standard_D4s_v5",
    image="canonical:ubuntu-24_04-lts:server",
    zone="2",
    os=Os.LINUX,
    power=Power.RUNNING,
    tags={"Env": "prod", "patch-group": "a", "Cost Centre": "4711", "empty": "", "path": 'C:\\x "y"'},
)

TRUE_OF_VM = [
    "",
    "   \n ",
    'name == "web-07"',
    'name != "web-08"',
    'name matches "WEB-*"',
    'name matches "web-0?"',
    'name matches "*-*7"',
    'name in ["db", "web-07"]',
    'name not in ["db"]',
    'location == "West Europe"',
    'location matches "WEST*"',
    'size == "standard_d4s_v5"',
    'image matches "canonical:*:server"',
    'zone == "2"',
    'resource_group == "rg-web"',
    'subscription == "PROD-web"',
    'subscription == "11111111-0000-4000-8000-000000000001"',
    'os == "Linux"',
    'power in ["running", "starting"]',
    'tag.env == "prod"',
    "tag.ENV",
    "tag.empty",
    'tag.empty == ""',
    'tag.patch-group in ["a", "b"]',
    'tag["cost centre"] == "4711"',
    "tag['Cost Centre'] matches '47*'",
    r'tag.path == "C:\\x \"y\""',
    "not tag.freeze",
    'tag.freeze != "x"',
    'tag.freeze not in ["x"]',
    'not (tag.freeze == "")',
    'name == "no" or name == "web-07" and os == "linux"',
    'not name == "no" and os == "linux"',
    'not not os == "linux"',
    'name\n==\n"web-07"',
]
FALSE_OF_VM = [
    'tag.env == "Prod"',
    'tag.env matches "PR*"',
    "tag.freeze",
    'tag.freeze == ""',
    'tag.freeze matches "*"',
    'tag.freeze in [""]',
    'subscription != "prod-web"',
    'name matches "web"',
    'name matches "web-?"',
    'name matches "*0*0*"',
    'name matches "web-07?"',
    '(name == "web-07" or os == "linux") and name == "no"',
    'os == "windows"',
]


@pytest.mark.parametrize("text", TRUE_OF_VM)
def test_lets_in(text: str) -> None:
    """An expression that is true of the VM lets it in."""
    assert parse(text).matches(VM)


@pytest.mark.parametrize("text", FALSE_OF_VM)
def test_keeps_out(text: str) -> None:
    """An expression that is false of the VM keeps it out."""
    assert not parse(text).matches(VM)


def test_letters_do_not_cross_scripts() -> None:
    """The Kelvin sign is no k, as names are compared ordinally."""
    assert not parse('name == "k1"').matches(make("\u212a1"))


def _problems(text: str, **place: object) -> tuple[Problem, ...]:
    with pytest.raises(InvalidInput) as caught:
        parse(text, **place)  # type: ignore[arg-type]
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "code", "column", "hint"),
    [
        ('locaton == "x"', "unknown_field", 1, "did you mean location?"),
        ('rg == "x"', "unknown_field", 1, "did you mean resource_group?"),
        ('tags.env == "x"', "unknown_field", 1, "did you mean tag.env?"),
        ("web01", "unknown_field", 1, 'for a VM of that name write name == "web01"'),
        ('name = "x"', "selector_syntax", 6, 'write "=="'),
        ('name =~ "x"', "selector_syntax", 6, 'write "matches" with a glob, such as name matches "web-*"'),
        ('name == "x" && zone == "1"', "selector_syntax", 13, 'write "and"'),
        ('name == "x" AND zone == "1"', "selector_syntax", 13, 'write "and"'),
        ('name == "x" name', "selector_syntax", 13, ""),
        ("tag.env == prod", "not_quoted", 12, 'write "prod"'),
        ("zone == 1", "not_quoted", 9, 'write "1"'),
        ('os == "linx"', "unknown_value", 7, "did you mean linux?"),
        ('power in ["off"]', "unknown_value", 11, ""),
        ('name matches "^web.*$"', "not_a_glob", 14, "leave out ^ and $, and write * for any text"),
        ('(name == "x"', "selector_syntax", 13, ""),
        ('name == "x', "selector_syntax", 9, ""),
        ("name in []", "selector_syntax", 10, ""),
        ('name in ["a",]', "selector_syntax", 14, ""),
        ("name", "selector_syntax", 5, ""),
        ("tag", "selector_syntax", 4, ""),
        ("not", "selector_syntax", 4, ""),
        ("and", "selector_syntax", 1, ""),
        ('tag.a "x"', "selector_syntax", 7, ""),
    ],
)
def test_says_what_is_wrong_and_where(text: str, code: str, column: int, hint: str) -> None:
    """A mistake is named by code, column and what to do about it."""
    problem = _problems(text)[0]
    assert (problem.code, problem.column, problem.hint) == (code, column, hint)


def test_places_are_those_of_the_file() -> None:
    """A problem's place is where the text begins in its file, moved by where the mistake is in the text."""
    text = 'name == "x" and\n  locaton == "y"'
    assert _problems('zon == "1"', file="p.yml", line=7, column=10)[0].column == 10
    (second,) = _problems(text, file="p.yml", line=7, column=10)
    assert (second.file, second.line, second.column, second.found) == ("p.yml", 8, 3, "locaton")


def test_tells_several_mistakes_at_once() -> None:
    """Mistakes that leave the rest readable are told together, in the order of the text."""
    found = _problems('tag.env == prod and os == "linx" or nam == "x"')
    assert [problem.code for problem in found] == ["not_quoted", "unknown_value", "unknown_field"]


@pytest.mark.parametrize("deep", ["(" * 5_000, "not " * 2_000, "(not " * 90, "((" * 51])
def test_nesting_is_bounded(deep: str) -> None:
    """Text nested deeper than the bound is a problem and no crash."""
    assert _problems(deep + "tag.a")[0].code == "selector_too_deep"


def test_nesting_within_the_bound_works() -> None:
    """Nesting up to nearly the bound is read, matched, explained and translated."""
    text = "(" * 99 + "tag.a" + ")" * 99
    assert not parse(text).explain(VM).truth
    assert parse("not " * 98 + "tag.env").matches(VM)


def test_length_is_bounded() -> None:
    """Overlong text is a problem."""
    assert _problems(" " * 10_001)[0].code == "selector_too_long"


@given(st.one_of(st.text(), st.lists(st.sampled_from([*"\"'\\()[],=! \n", "tag.a", "and", "in"])).map("".join)))
def test_no_text_raises_anything_else(text: str) -> None:
    """Whatever the text, it is a selector or an InvalidInput with a place in the text."""
    try:
        selector = parse(text)
    except InvalidInput as invalid:
        assert invalid.problems
        assert all(problem.column >= 1 for problem in invalid.problems)
    else:
        selector.explain(VM)


@given(expressions, targets)
def test_explain_agrees_with_matches(text: str, target: object) -> None:
    """The explanation comes to the same verdict, and its deciding clauses alone bring it about."""
    selector = parse(text)
    explanation = selector.explain(target)  # type: ignore[arg-type]
    assert explanation.truth == selector.matches(target)  # type: ignore[arg-type]
    assert explanation.deciding()


@given(expressions, expressions, targets)
def test_laws_of_logic(a: str, b: str, target: object) -> None:
    """not, and, or are those of logic, De Morgan and double negation included."""

    def true(text: str) -> bool:
        return parse(text).matches(target)  # type: ignore[arg-type]

    assert true(f"not ({a})") == (not true(a))
    assert true(f"({a}) and ({b})") == (true(a) and true(b))
    assert true(f"({a}) or ({b})") == (true(a) or true(b))
    assert true(f"not (({a}) and ({b}))") == true(f"not ({a}) or not ({b})")
    assert true(f"not not ({a})") == true(a)


def test_explains_the_clause_that_decided() -> None:
    """People see which clause kept a VM out, and what the VM has there."""
    explanation = parse('os == "linux" and (tag.env == "dev" or tag.team)').explain(VM)
    assert [str(clause) for clause in explanation.deciding()] == [
        'tag.env == "dev" is false (tag env is "prod")',
        "tag.team is false (no tag team)",
    ]


def test_everything_lets_everything_in() -> None:
    """Without an expression nothing is kept out, and the explanation says so."""
    assert EVERYTHING.matches(VM)
    assert str(EVERYTHING.explain(VM)) == "everything is true"


def test_equal_expressions_are_equal_selectors() -> None:
    """Selectors compare by what they ask."""
    assert parse('name == "a"') == parse('  name == "a" ')
    assert parse('name == "a"') != parse('name == "b"')
