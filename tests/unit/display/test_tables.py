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
    format_value,
    with_joint,
)
from lst_cli.split.tables import balance_table, training_table

DASH = "\N{EN DASH}"


def test_bins_of_another_evaluation_keep_their_column(make_data, make_record):
    record = make_record(0)
    for place, (name, high) in {0: ("1-3", 4), 3: (">=1", None)}.items():
        record["segm"]["bins"][place] |= {"bin": name, "low": 1, "high": high}
    table = binned_table(make_data(metrics=[record, make_record(1)]).metrics)
    keys = [c.key for c in table.columns if c.row_classes]
    assert keys == ["AP(=1)", "AP(1-3)", "AP(<5)", "AP(>=1)", "AP(10-99)", "AP(>=100)"]


def test_the_class_table_tells_what_was_learned_and_what_is_left(make_data):
    data = make_data()
    rows = class_table(data.classes, data.metrics).texts()
    assert rows[0] == [
        "1", "cat", "11", "base", "400", "200", "50.0", "48.0", "\N{MINUS SIGN}2.0", "24.0",
    ]  # fmt: skip
    assert rows[5][6:] == [DASH] * 4  # no ground truth
    data = make_data(phases=(0, 2))  # phase 1, where it was learned, was not evaluated
    assert class_table(data.classes, data.metrics).texts()[2][6:9] == [DASH, "24.0", DASH]


def test_the_training_table_adds_up_image_passes_where_all_are_known_and_shows_notes(make_data):
    phases = make_data().phases
    assert training_table(phases).texts()[1] == ["1", "2", "25", "6", "20", DASH, "1 h 02 min"]
    shown = [replace(one, image_passes=800 * (one.phase + 1)) for one in phases]
    table = training_table(shown)
    assert [row[5] for row in table.texts()] == ["800", "1,600", "2,400"]
    assert table.remark.startswith("4,800 image passes in all")
    noted = [*shown[:2], replace(phases[2], note="resumed")]
    assert training_table(noted).texts()[2][-1] == "resumed"
    assert training_table(noted).remark == training_table([]).remark == ""


def test_phase_0_of_joint_training_is_called_so_and_keeps_its_numbers(make_data):
    table = binned_table(make_data(phases=(0,)).metrics)
    # All but those of old and new classes, of which there are none.
    assert [column.key for column in table.columns[-2:]] == ["old", "new"]
    assert with_joint(table, joint=True).texts() == [["joint", *table.texts()[0][1:-2]]]
    assert with_joint(table, joint=False) is table


def test_a_balance_without_new_instances_has_no_ratio():
    row = balance_table([ReplayBalance(1, [5, 0], [5, 0], old=1)]).rows[0]
    assert row["ratio before"] is None
    row = balance_table([ReplayBalance(1, [5], [5], old=1)]).rows[0]
    assert row["new before"] is None


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("ap", 0.0, "0.0"), ("ap", 1.0, "100.0"), ("change", 0.0004, "0.0"),
        ("change", -0.0004, "0.0"), ("change", 0.021, "+2.1"),
        ("change", -0.021, "\N{MINUS SIGN}2.1"), ("integer", 693958, "693,958"),
        ("id", 1230, "1230"), ("phase", 0, "base"), ("phase", 6, "6"),
        ("number", 1234.56, "1,234.6"), ("seconds", None, DASH), ("seconds", 0, "0 s"),
        ("seconds", 59.4, "59 s"), ("seconds", 59.6, "1 min 00 s"),
        ("seconds", 3599, "59 min 59 s"), ("seconds", 90000, "25 h 00 min"),
    ],
)  # fmt: skip
def test_values_are_printed_by_their_kind(kind, value, text):
    assert format_value(kind, value) == text


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
