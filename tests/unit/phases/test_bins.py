from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.errors import LstError
from lst_cli.phases.bins import DEFAULT_BINS, Bin, parse_bins


def test_the_default_bins_are_the_papers_six():
    assert [each.name for each in DEFAULT_BINS] == [
        "=1", "<5", "<10", "10-99", "100-999", ">=1000",
    ]  # fmt: skip
    inside = [[n for n in (1, 4, 5, 9, 10, 99, 100, 999, 1000, 10**6) if each.contains(n)]
              for each in DEFAULT_BINS]  # fmt: skip
    assert inside == [[1], [1, 4], [1, 4, 5, 9], [10, 99], [100, 999], [1000, 10**6]]


def test_one_meaning_has_one_spelling():
    bins = parse_bins(" <2, 1-9 ,7-7,010-20")
    assert [each.name for each in bins] == ["=1", "<10", "=7", "10-20"]


@settings(deadline=None)
@given(st.integers(1, 2000), st.none() | st.integers(1, 2000))
def test_what_is_written_reads_back(low, size):
    each = Bin(low, None if size is None else low + size)
    assert parse_bins(each.name) == (each,)


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
        ("<1", "cannot use the bin '<1': classes have"),
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
