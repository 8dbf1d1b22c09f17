from __future__ import annotations

from dataclasses import replace

import pytest

from lst_cli.ap.metrics import InstantMetrics
from lst_cli.display.tables import ReportPhase
from lst_cli.extend.tables import TITLE, instant_table
from lst_cli.report.plots import Artwork
from lst_cli.report.write import render_html, report_json, report_latex, report_markdown
from lst_cli.split.tables import training_table

DASH = "\N{EN DASH}"


@pytest.fixture
def make_instant(make_record):
    """Metrics of a phase at iteration 0, with the AP of the new classes by way."""

    def make(phase, **new):
        rows = {}
        for way, value in new.items():
            record = make_record(phase)
            record["segm"]["new"] = value
            rows[way.replace("_", "-")] = record
        return InstantMetrics.model_validate({"format": 1, "phase": phase, "rows": rows})

    return make


def test_a_row_has_the_three_ways_and_what_training_made_of_them(make_data, make_instant):
    instant = [
        make_instant(2, random=0.0, mean_feature=0.04, generated=0.06),
        make_instant(1, random=None, mean_feature=0.125),
    ]
    table = instant_table(instant, make_data().metrics)
    assert [column.heading for column in table.columns] == [
        "phase", "new classes", "with ground truth", "random rows", "mean feature rows",
        "generated rows", "after training",
    ]  # fmt: skip
    assert table.texts() == [
        ["1", "2", "2", DASH, "12.5", DASH, "20.0"],
        ["2", "2", "1", "0.0", "4.0", "6.0", "10.0"],
    ]


def test_a_phase_that_was_not_evaluated_or_trained_nothing_has_no_last_number(
    make_data, make_instant
):
    data = make_data(phases=(0, 1))
    instant = [make_instant(1, random=0.1), make_instant(2, random=0.1)]
    untrained = [*data.phases[:1], replace(data.phases[1], iterations=0)]
    table = instant_table(instant, data.metrics, untrained)
    assert [row["trained"] for row in table.rows] == [None, None]
    table = instant_table(instant, data.metrics, data.phases)
    assert [row["trained"] for row in table.rows] == [pytest.approx(0.2), None]


def test_every_format_of_the_report_has_the_table_and_only_if_there_is_one(make_data, make_instant):
    art = Artwork((), ())
    for data, there in (
        (make_data(instant=[make_instant(2, generated=0.06)]), True),
        (make_data(), False),
    ):
        assert (f"## {TITLE}" in report_markdown(data, art)) == there
        assert (f"<h2>{TITLE}</h2>" in render_html(data, art)) == there
        latex = report_latex(data)
        assert ("tab:lst-instant" in latex) == there
        assert len(report_json(data)["instant"]) == there
    [row] = report_json(make_data(instant=[make_instant(2, generated=0.06)]))["instant"]
    assert row == {
        "phase": 2, "classes": 2, "with_ground_truth": 1, "random": None, "mean-feature": None,
        "generated": 0.06, "trained": pytest.approx(0.1),
    }  # fmt: skip


def test_no_row_of_its_latex_table_is_bold(make_data, make_instant):
    data = make_data(instant=[make_instant(1, random=0.1), make_instant(2, random=0.1)])
    latex = report_latex(data)
    assert r"\textbf" in latex.split("tab:lst-instant")[0]
    assert r"\textbf" not in latex.split("tab:lst-instant")[1]


def test_the_training_table_says_how_the_first_rows_came_about_where_it_is_known(make_data):
    phases = make_data().phases
    assert "first rows" not in [column.heading for column in training_table(phases).columns]
    known = [
        phases[0],
        replace(phases[1], new_rows="mean-feature"),
        ReportPhase(2, 2, 9, 5, 10, None, "a note", "generated"),
    ]
    table = training_table(known)
    assert [column.heading for column in table.columns][-2:] == ["first rows", "note"]
    assert [row[-2] for row in table.texts()] == [DASH, "mean feature", "generated"]
