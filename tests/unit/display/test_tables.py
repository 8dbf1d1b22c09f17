from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.display.tables import (
    Column,
    ReplayBalance,
    Table,
    binned_table,
    class_table,
    format_seconds,
    format_value,
    groups_table,
    sizes_table,
    with_joint,
)
from lst_cli.split.tables import balance_table, training_table

DASH = "\N{EN DASH}"


def test_the_main_table_has_a_row_a_phase_and_the_papers_columns(make_data):
    table = binned_table(make_data().metrics)
    assert [column.heading for column in table.columns] == [
        "phase", "seen", "scored", "=1", "<5", f"10{DASH}99", "≥100", "AP", "AP50", "AP75",
        "box AP", "old", "new",
    ]  # fmt: skip
    assert [row["phase"] for row in table.rows] == [0, 1, 2]
    assert [row["seen"] for row in table.rows] == [2, 4, 6]
    assert [row["scored"] for row in table.rows] == [2, 4, 5]


def test_the_rows_hold_the_numbers_of_the_metrics(make_data):
    last = binned_table(make_data().metrics).rows[-1]
    assert last["AP(>=100)"] == pytest.approx((0.48 + 0.28) / 2)
    assert last["AP(10-99)"] == pytest.approx(0.24)
    assert last["AP(<5)"] == pytest.approx(0.1)
    assert last["AP"] == pytest.approx((0.48 + 0.28 + 0.24 + 0.14 + 0.1) / 5)
    assert last["box AP"] == pytest.approx((0.48 + 0.28 + 0.24 + 0.14 + 0.1) / 10)
    assert last["old"] == pytest.approx((0.48 + 0.28 + 0.24 + 0.14) / 4)
    assert last["new"] == pytest.approx(0.1)


def test_a_bin_never_stands_without_its_number_of_classes(make_data):
    table = binned_table(make_data().metrics)
    assert table.class_line() == ["classes", "", "", "0", "1", "1", "2", *[""] * 6]
    bins = [column for column in table.columns if column.row_classes]
    assert len(bins) == 4
    assert all(column.classes is not None for column in bins)


def test_a_cell_over_fewer_classes_than_its_heading_says_how_many(make_data, make_record):
    record = make_record(1)
    record["segm"]["bins"][3]["with_ground_truth"] = 1
    table = binned_table(make_data(metrics=[make_record(0), record]).metrics)
    at = [column.key for column in table.columns].index("AP(>=100)")
    assert [row[at] for row in table.texts()] == ["40.0 (2)", "39.0"]


def test_a_missing_number_is_a_dash_and_not_a_zero(make_data):
    texts = binned_table(make_data().metrics).texts()
    assert texts[0][3:7] == [DASH, DASH, DASH, "40.0"]
    assert texts[0][-2] == DASH
    assert texts[2][3] == DASH  # yak has no ground truth


def test_bins_of_another_evaluation_keep_their_column(make_data, make_record):
    record = make_record(0)
    for place, (name, high) in {0: ("1-3", 4), 3: (">=1", None)}.items():
        record["segm"]["bins"][place] |= {"bin": name, "low": 1, "high": high}
    table = binned_table(make_data(metrics=[record, make_record(1)]).metrics)
    keys = [c.key for c in table.columns if c.row_classes]
    assert keys == ["AP(=1)", "AP(1-3)", "AP(<5)", "AP(>=1)", "AP(10-99)", "AP(>=100)"]


def test_the_groups_table_shows_what_is_left_of_each_phase(make_data):
    table = groups_table(make_data().metrics)
    assert table.texts() == [
        ["base", "40.0", DASH, DASH, "40.0"],
        ["1", "39.0", "20.0", DASH, "29.5"],
        ["2", "38.0", "19.0", "10.0", "24.8"],
    ]
    assert table.class_line() == ["classes", "2", "2", "1", "5"]


def test_the_class_table_tells_what_was_learned_and_what_is_left(make_data):
    data = make_data()
    rows = class_table(data.classes, data.metrics).texts()
    assert rows[0] == [
        "1", "cat", "11", "base", "400", "200", "50.0", "48.0", "\N{MINUS SIGN}2.0", "24.0",
    ]  # fmt: skip
    assert rows[5][6:] == [DASH] * 4  # no ground truth


def test_a_class_learned_in_a_phase_that_was_not_evaluated_has_no_change(make_data):
    data = make_data(phases=(0, 2))
    assert class_table(data.classes, data.metrics).texts()[2][6:9] == [DASH, "24.0", DASH]


def test_the_training_table_counts_entries_and_time(make_data):
    assert training_table(make_data().phases).texts() == [
        ["base", "2", "290", "0", "100", DASH, "1 min 01 s"],
        ["1", "2", "25", "6", "20", DASH, "1 h 02 min"],
        ["2", "2", "9", "5", "10", DASH, DASH],
    ]


def test_the_training_table_adds_up_image_passes_where_all_are_known(make_data):
    phases = make_data().phases
    shown = [replace(one, image_passes=800 * (one.phase + 1)) for one in phases]
    table = training_table(shown)
    assert [row[5] for row in table.texts()] == ["800", "1,600", "2,400"]
    assert table.remark.startswith("4,800 image passes in all")
    assert training_table([*shown[:2], phases[2]]).remark == ""
    assert training_table([]).remark == ""


def test_phase_0_of_joint_training_is_called_so_and_keeps_its_numbers(make_data):
    table = binned_table(make_data(phases=(0,)).metrics)
    # All but those of old and new classes, of which there are none.
    assert [column.key for column in table.columns[-2:]] == ["old", "new"]
    assert with_joint(table, joint=True).texts() == [["joint", *table.texts()[0][1:-2]]]
    assert with_joint(table, joint=False) is table


def test_a_note_gets_a_column_only_where_there_is_one(make_data):
    phases = make_data().phases
    assert "note" not in [column.key for column in training_table(phases).columns]
    noted = [*phases[:2], type(phases[2])(2, 2, 9, 5, 10, None, "resumed")]
    assert training_table(noted).texts()[2][-1] == "resumed"


def test_the_balance_table_compares_old_and_new_before_and_after(balance):
    assert balance_table([balance]).texts() == [
        ["1", "2", "2", "260.0", "10.5", "24.8", "12.0", "10.5", "1.1"]
    ]


def test_a_balance_without_new_instances_has_no_ratio():
    row = balance_table([ReplayBalance(1, [5, 0], [5, 0], old=1)]).rows[0]
    assert row["ratio before"] is None
    row = balance_table([ReplayBalance(1, [5], [5], old=1)]).rows[0]
    assert row["new before"] is None


def test_the_sizes_table_keeps_frequencies_that_are_not_there_empty(make_data):
    row = sizes_table(make_data().metrics).rows[0]
    assert row["APr"] is None
    assert row["APf"] == 0.4


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("ap", 0.0, "0.0"), ("ap", 1.0, "100.0"), ("change", 0.0004, "0.0"),
        ("change", -0.0004, "0.0"), ("change", 0.021, "+2.1"),
        ("change", -0.021, "\N{MINUS SIGN}2.1"), ("integer", 693958, "693,958"),
        ("id", 1230, "1230"), ("phase", 0, "base"), ("phase", 6, "6"),
        ("number", 1234.56, "1,234.6"), ("seconds", None, DASH),
    ],
)  # fmt: skip
def test_values_are_printed_by_their_kind(kind, value, text):
    assert format_value(kind, value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"),
        (90000, "25 h 00 min"),
    ],
)  # fmt: skip
def test_durations_are_printed_in_two_units(seconds, text):
    assert format_seconds(seconds) == text


@settings(deadline=None, max_examples=50)
@given(
    ap=st.one_of(st.none(), st.floats(0, 1)),
    own=st.one_of(st.none(), st.integers(0, 2000)),
    heading=st.one_of(st.none(), st.integers(0, 2000)),
)
def test_whenever_a_cell_has_a_number_its_classes_can_be_read(ap, own, heading):
    column = Column("AP", "=1", classes=heading, row_classes=Column("n", ""))
    [[text]] = Table("t", (column,), ({"AP": ap, "n": own},)).texts()
    if ap is None:
        assert text == DASH
    elif own is not None and own != heading:
        assert text.endswith(f" ({own:,})")
    else:
        assert "(" not in text


def test_a_table_without_counted_columns_has_no_line_of_classes():
    table = Table("t", (Column("a", "a"), Column("b", "b")), ({"a": 0.1},))
    assert table.class_line() == []
    assert table.texts() == [["10.0", DASH]]
