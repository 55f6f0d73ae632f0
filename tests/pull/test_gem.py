"""The order of versions and what a constraint lets through, as RubyGems has them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pull.catalogs.gem import Version, constraints, satisfies

# Each is older than the next.
ORDERED = [
    "", "0.0.1", "0.1.a", "0.1", "1.0.a", "1.0.b1", "1.0.0-alpha.1", "1.0.0-beta", "1.0.pre.rc1",
    "1.0", "1.0.0.1", "1.0.1", "1.1.a.0.b", "1.1.a", "1.1", "6.4-20131122", "6.4", "8.9.511",
    "8.10.694", "8.10.695", "8.10.696", "2014", "20190514.0.0", "20190514.0.1",
]  # fmt: skip
EQUAL = [("1.0", "1.0.0"), ("1", "1.0.0.0"), ("1.0.a", "1.a"), ("", "0"), ("1.0-1", "1.0.pre.1")]
MALFORMED = [
    "v1.0", "1_0", "2.0.0+x", "1.", "1..2", "1.0-", ".1", "a", "ContainerHost.20191112",
    "kubeadm.20191112", "1 0", "1.0\nx", "../1", "\N{ARABIC-INDIC DIGIT ONE}.0", "1" * 129, "1.é",
]  # fmt: skip
HOLDS = [
    (">= 0", "1.0.pre"), ("= 1.0", "1.0.0"), ("1.0", "1.0"), ("!= 1.0", "1.0.1"),
    ("~> 1.1.5", "1.1.9"), ("~> 1.1.5", "1.1.5"), ("~> 1", "1.99"), ("~> 1.0", "1.9.9"),
    ("> 1, < 2", "1.5"), (">1,<2", "1.5"), ("~> 1.1.a", "1.1.b"), ("<= 8.10.695", "8.9.511"),
    ("< 1.0", "1.0.rc1"), (">= 20190101, != 20190514.0.0", "20190515"),
]  # fmt: skip
FAILS = [
    ("~> 1.1.5", "1.2"), ("~> 1.1.5", "1.1.4"), ("~> 1", "2.0"), ("~> 1", "2.0.pre"),
    ("> 1, < 2", "2"), ("> 1, < 2", "1"), ("= 1.0", "1.0.1"), ("!= 1.0", "1.0.0"),
    ("~> 2.0", "2.0.rc1"), (">= 1.0", "1.0.rc1"), ("<= 1.0", "1.0.1"),
]  # fmt: skip

NUMBERS = st.sampled_from(["0", "00", "1", "2", "10", "696", "a", "b", "rc1", "pre", "B"])
FIRST = st.integers(0, 12).map(str)
ENDS = st.sampled_from(["", "", "-1", "-rc.1", "-a-b"])
VERSIONS = st.tuples(FIRST, st.lists(NUMBERS, max_size=4), ENDS).map(
    lambda parts: ".".join([parts[0], *parts[1]]) + parts[2]
)
OPERATORS = st.sampled_from(["", "=", "!=", ">", "<", ">=", "<=", "~>"])


def holds(wanted: str, version: str) -> bool:
    return satisfies(Version.parse(version), constraints(wanted))


def test_versions_sort_by_number_and_words_sort_below_numbers() -> None:
    for older, newer in itertools.combinations(map(Version.parse, ORDERED), 2):
        assert older < newer, (older.text, newer.text)
        assert not newer < older, (older.text, newer.text)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_zeros_that_say_nothing_do_not_count(one: str, other: str) -> None:
    assert Version.parse(one).canonical == Version.parse(other).canonical
    assert holds(f"= {other or 0}", one)


@pytest.mark.parametrize("text", MALFORMED)
def test_what_rubygems_does_not_take_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        Version.parse(text)


@pytest.mark.parametrize(("wanted", "version"), HOLDS)
def test_a_constraint_lets_through(wanted: str, version: str) -> None:
    assert holds(wanted, version)


@pytest.mark.parametrize(("wanted", "version"), FAILS)
def test_a_constraint_shuts_out(wanted: str, version: str) -> None:
    assert not holds(wanted, version)


@pytest.mark.parametrize(
    "text", ["", "=", "=> 1", "== 1", "1 2", ">= 1,", "~ 1", "> v1", "> 1 < 2"]
)
def test_a_constraint_that_vagrant_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be versions with"):
        constraints(text)


@given(VERSIONS, VERSIONS, OPERATORS)
def test_of_two_versions_exactly_one_of_less_equal_and_greater_holds(
    one: str, other: str, operator: str
) -> None:
    assert [holds(f"{sign} {other}", one) for sign in ("<", "=", ">")].count(True) == 1
    assert holds(f"!= {other}", one) != holds(f"= {other}", one)
    if holds(f"~> {other}", one):
        assert holds(f">= {other}", one)
    assert isinstance(holds(f"{operator}{other}", one), bool)
