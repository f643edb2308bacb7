"""Folded names: shorter for people, and nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.errors import InvalidInput
from fleet.targets.folding import MAX_NAMES, fold, unfold
from fleet.targets.natural import natural_key


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], ""),
        (["web1"], "web1"),
        ([f"web{n:03}" for n in range(1, 41)] + ["web042"], "web[001-040,042]"),
        (["web2", "web10", "web9", "web11"], "web[2,9-11]"),
        (["web1", "web01", "web001"], "web[1,01,001]"),
        (["w08", "w09", "w10", "w9", "w8"], "w[8-9,08-10]"),
        (["r1-n1", "r1-n2", "r2-n1", "r2-n2"], "r[1-2]-n[1-2]"),
        (["r1-n1", "r1-n2", "r2-n1"], "r1-n[1-2],r2-n1"),
        (["web-1-eu", "web-2-eu", "db-1"], "db-1,web-[1-2]-eu"),
        (["web1", "web1", "WEB2"], "web1,WEB2"),
        (["a,b", "c[1]", "", "x y"], '"","a,b","c[1]","x y"'),
        (["1", "2", "3"], "[1-3]"),
        (["v12345678901234567890-1", "v12345678901234567890-2"], "v12345678901234567890-[1-2]"),
    ],
)
def test_folds(names: list[str], folded: str) -> None:
    """Names are folded by their numbers, digits kept as written, in natural order."""
    assert fold(names) == folded
    assert unfold(folded) == tuple(sorted(set(names), key=natural_key))


hosts = st.from_regex(r"(web|db|r)[0-9]{1,3}(-n?[0-9]{1,2})?(-[0-9]+)?", fullmatch=True)
awkward = st.text(alphabet='ab01,[]"\\ -é²٣\n*', max_size=6)


@given(st.lists(st.one_of(hosts, awkward, st.text())))
@example(["0", "00", "000", "1", "01"])
@example(["9" * 5_000 + "a1", "9" * 5_000 + "a2"])
@example(["web099", "web100", "web98", "web99"])
def test_unfolding_gives_back_what_was_folded(names: list[str]) -> None:
    """Whatever the names, unfolding their fold gives each of them once, sorted."""
    assert unfold(fold(names)) == tuple(sorted(set(names), key=natural_key))


@given(st.lists(hosts), st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_matter(names: list[str], random: object) -> None:
    """A set of names has one fold."""
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(shuffled) == fold(names)


def test_unfolds_what_people_write() -> None:
    """Spaces around commas and overlapping ranges are fine; each name comes once."""
    assert unfold(" web[1-2, 2-3] , db1,web3 ") == ("db1", "web1", "web2", "web3")
    assert unfold("web-*,vm?") == ("vm?", "web-*")
    assert unfold("  ") == ()


@pytest.mark.parametrize(
    "text",
    [
        *("web[", "web]", "web[]", "web[a]", "web[3-1]", "web[01-9]", "web[1-]"),
        *("a,,b", "a,", ",", 'a"b', '"a', "a b"),
        *("w[1-100001]", "w[1-99][1-99][1-99]", "w[0-999999999999999]", "w[1-90000],v[1-20000]"),
        "[0-9]" * 30,
        "[" * 9_999,
    ],
)
def test_refuses_what_cannot_be_unfolded(text: str) -> None:
    """Text that is no list of names, or stands for too many, is a problem with its place, told at once."""
    with pytest.raises(InvalidInput) as caught:
        unfold(text)
    (problem,) = caught.value.problems
    assert problem.code == "bad_names"
    assert 1 <= problem.column <= len(text) + 1


def test_unfolds_up_to_the_bound() -> None:
    """The most names that a text may stand for are given."""
    assert len(unfold(f"w[1-{MAX_NAMES}]")) == MAX_NAMES


@given(st.text(alphabet='w01[]-,"\\ ', max_size=12))
def test_no_text_raises_anything_else(text: str) -> None:
    """Whatever the text, unfolding gives names or an InvalidInput."""
    try:
        names = unfold(text)
    except InvalidInput:
        return
    assert unfold(fold(names)) == names


@given(st.lists(hosts, unique=True))
def test_natural_order_goes_by_number(names: list[str]) -> None:
    """No two names are equal in order, and numbers go by value."""
    assert len({str(natural_key(name)) for name in names}) == len(names)
    assert sorted(["w10", "w9", "W1"], key=natural_key) == ["W1", "w9", "w10"]
