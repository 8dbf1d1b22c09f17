from __future__ import annotations

import csv
import io

import pytest

from lst_cli.display.class_plots import compose_replay_balance
from lst_cli.display.records import ReplayBalance, ReportClass
from lst_cli.figures.figures import balance_figure
from lst_cli.split.tables import balance_table

CLASSES = [
    ReportClass(7, "cat", 300, 100, 0),
    ReportClass(3, "owl", 100, 50, 0),
    ReportClass(9, "yak", 10, 9, 1),
]
BALANCE = ReplayBalance(1, [300, 100, 10], [11, 9, 10], old=2)


def test_the_csv_has_every_class_of_every_phase():
    figure = balance_figure([BALANCE], CLASSES, "Mark this.")
    assert figure.caption.endswith(" Mark this.")
    rows = list(csv.DictReader(io.StringIO(figure.csv)))
    assert [(row["class"], row["kind"], row["all_data"], row["D_t"]) for row in rows] == [
        ("cat", "old", "300", "11"),
        ("owl", "old", "100", "9"),
        ("yak", "new", "10", "10"),
    ]
    assert (rows[2]["phase"], rows[2]["rank"], rows[2]["category_id"]) == ("1", "3", "9")


def test_the_table_says_how_far_old_and_new_classes_are_apart():
    [row] = balance_table([BALANCE]).rows
    assert (row["old"], row["new"]) == (2, 1)
    assert (row["old before"], row["ratio before"]) == (200, 20)
    assert (row["old after"], row["ratio after"]) == (10, 1)


def test_a_phase_without_an_instance_has_no_ratio():
    [row] = balance_table([ReplayBalance(1, [3, 0], [3, 0], old=1)]).rows
    assert row["ratio after"] is None


@pytest.mark.parametrize("phases", [1, 2, 4, 7])
def test_letters_are_large_enough_for_print_and_none_is_cut_off(phases, check_letters):
    wide = ReplayBalance(1, [1200.0] * 1230, [30.0] * 1230, old=1070)
    figure = compose_replay_balance([wide] * phases, scale=1)
    check_letters(figure)
    assert sum(axes.axison for axes in figure.axes) == phases
