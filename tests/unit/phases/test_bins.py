from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lst_cli.errors import LstError
from lst_cli.phases.bins import DEFAULT_BINS, Bin, format_bins, frequency_of, parse_bins


def test_the_default_bins_are_the_papers_six():
    assert [(each.name, each.low, each.high) for each in DEFAULT_BINS] == [
        ("=1", 1, 2),
        ("<5", 1, 5),
        ("<10", 1, 10),
        ("10-99", 10, 100),
        ("100-999", 100, 1000),
        (">=1000", 1000, None),
    ]


def test_bins_are_half_open():
    inside = [[n for n in (1, 4, 5, 9, 10, 99, 100, 999, 1000, 10**6) if each.contains(n)]
              for each in DEFAULT_BINS]  # fmt: skip
    assert inside == [[1], [1, 4], [1, 4, 5, 9], [10, 99], [100, 999], [1000, 10**6]]


def test_one_meaning_has_one_spelling():
    assert format_bins(parse_bins(" <2, 1-9 ,7-7,010-20")) == "=1,<10,=7,10-20"
    assert format_bins([Bin(name="tail", low=1, high=10)]) == "<10"
    assert format_bins([]) == ""


BIN = st.tuples(st.integers(1, 2000), st.none() | st.integers(1, 2000)).map(
    lambda pair: Bin(name="any", low=pair[0], high=None if pair[1] is None else pair[0] + pair[1])
)


@settings(deadline=None)
@given(st.lists(BIN, min_size=1, unique_by=lambda each: (each.low, each.high)))
def test_what_is_written_reads_back(bins):
    text = format_bins(bins)
    again = parse_bins(text)
    assert [(each.low, each.high) for each in again] == [(each.low, each.high) for each in bins]
    assert format_bins(again) == text
    assert [each.name for each in again] == text.split(",")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the bin ''"),
        ("=1,,<5", "cannot read the bin ''"),
        ("5", "cannot read the bin '5'"),
        ("<=5", "cannot read the bin '<=5'"),
        ("=-1", "cannot read the bin '=-1'"),
        ("<1e3", "cannot read the bin '<1e3'"),
        ("=٣", "cannot read the bin"),
        (">=" + "9" * 5000, "cannot read the bin"),
        ("9-5", "cannot use the bin '9-5': it is empty"),
        ("=0", "cannot use the bin '=0': classes have 1 training instance or more"),
        ("<1", "cannot use the bin '<1': classes have 1 training instance or more"),
        ("<0", "cannot use the bin '<0': classes have"),
        ("0-5", "cannot use the bin '0-5': classes have"),
        (">=0", "cannot use the bin '>=0': classes have"),
        ("<5,1-4", "'1-4' is written twice"),
    ],
)
def test_a_bad_bin_is_named(text, message):
    with pytest.raises(LstError) as error:
        parse_bins(text)
    assert message in error.value.message
    assert error.value.hint == "write bins as in '=1,<5,<10,10-99,100-999,>=1000'"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x", "low": 0},
        {"name": "x", "low": 5, "high": 5},
        {"name": "", "low": 1},
        {"name": "x", "low": 1, "up": 2},
    ],
)
def test_a_bin_that_holds_nothing_or_says_too_much_is_refused(fields):
    with pytest.raises(ValidationError):
        Bin.model_validate(fields)


def test_rare_common_and_frequent_are_lviss():
    assert [frequency_of(n) for n in (0, 10, 11, 100, 101)] == ["r", "r", "c", "c", "f"]
