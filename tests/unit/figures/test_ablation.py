from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from lst_cli.display.canvas import COLUMN_WIDTH, MOST_LINES, PAPER_WIDTH, render
from lst_cli.figures.ablation import (
    ablation_caption,
    ablation_figure,
    ablation_table,
    compose_ablation,
)
from lst_cli.figures.ablation_data import (
    Ablation,
    AblationPoint,
    AblationRun,
    _without_unused,
    name_runs,
)
from tests.fixtures.reports import read_csv

INSTANT = {"random": 0.0, "mean-feature": 0.125, "generated": 0.25}


def _point(phase: int, ap: float, **more: Any) -> AblationPoint:
    counts = {"old": 10 * phase, "new": 4, "all": 10 * phase + 4}
    return AblationPoint(phase, ap, ap / 2, 0.75 * ap, counts, **more)


def _ablation(figure: Any = "distill", runs=2, phases=3, name="run {}", **more: Any) -> Ablation:
    made = []
    for number in range(runs):
        points = [_point(t, 0.5 - 0.02 * t - 0.01 * number, **more) for t in range(1, phases + 1)]
        made.append(AblationRun(name.format(number), f"there/{number}", points))
    return Ablation(figure, made)


def _of_one_phase(*aps: float) -> Ablation:
    return Ablation("replay", [AblationRun(f"{ap}", "x", [_point(1, ap)]) for ap in aps])


def test_the_csv_has_a_row_for_each_run_and_phase_with_the_classes_it_is_over():
    rows = read_csv(ablation_figure(_ablation(phases=2)).csv)
    assert [(row["run"], row["phase"]) for row in rows] == [
        ("run 0", "1"), ("run 1", "1"), ("run 0", "2"), ("run 1", "2"),
    ]  # fmt: skip
    assert rows[1]["old"] == "47.0000"
    assert (rows[3]["classes(old)"], rows[3]["classes(all)"]) == ("20", "24")
    assert rows[0]["source"] == "there/0"
    assert "few" not in rows[0]


@pytest.mark.parametrize(("figure", "shown"), [("mwg", True), ("distill", False)])
def test_what_was_evaluated_before_training_is_shown_in_mwg_alone(figure, shown):
    ablation = _ablation(figure, instant=INSTANT)
    table = ablation_table(ablation)
    assert any(c.key == "iteration 0 (generated)" for c in table.columns) == shown
    assert ("mean feature" in ablation_caption(ablation)) == shown
    width = compose_ablation(ablation, scale=1).get_size_inches()[0]
    assert width == pytest.approx((PAPER_WIDTH if shown else COLUMN_WIDTH) / 100)


def test_the_caption_of_mwg_has_the_few_shot_classes_of_the_last_phase():
    ablation = _ablation("mwg", few=0.08, few_classes=57)
    assert (
        "New classes of phase 3 with fewer than 5 training instances (57 with ground truth): "
        "run 0 8.0; run 1 8.0." in ablation_caption(ablation)
    )
    assert "fewer than" not in ablation_caption(_ablation("mwg"))
    assert "fewer than" not in ablation_caption(_ablation("distill", few=0.08, few_classes=57))


def test_a_run_has_a_line_over_its_own_phases_in_each_panel():
    ablation = _ablation(phases=3)
    short = AblationRun("short", "s", [_point(2, 0.1)])
    figure = compose_ablation(Ablation("replay", [*ablation.runs, short]), scale=1)
    for axes, part in zip(figure.axes, ("old", "new", "all"), strict=True):
        assert [len(line.get_xdata()) for line in axes.lines] == [3, 3, 1]
        ap = 100 * getattr(ablation.runs[1].points[2], part)
        assert axes.lines[1].get_ydata()[2] == pytest.approx(ap)
        low, high = axes.get_ylim()
        assert low <= 100 * getattr(short.points[0], part)
        assert ap < high


def test_runs_with_nearly_the_same_ap_do_not_hide_each_other_and_noise_fills_no_panel():
    axes = compose_ablation(_of_one_phase(0.300, 0.301), scale=1).axes[0]
    assert abs(axes.lines[0].get_xdata()[0] - axes.lines[1].get_xdata()[0]) > 0.1
    low, high = axes.get_ylim()
    assert high - low >= 2


def test_runs_without_any_number_are_drawn_too():
    empty = AblationPoint(1, None, None, None, {"old": 0, "new": 0, "all": 0})
    ablation = Ablation("distill", [AblationRun(name, name, [empty]) for name in "ab"])
    assert ablation_table(ablation).rows[0]["old"] is None
    low, high = compose_ablation(ablation, scale=1).axes[0].get_ylim()
    assert low < high


@pytest.mark.parametrize(
    "ablation",
    [
        _ablation(),
        _ablation("mwg", runs=MOST_LINES, phases=12, instant=INSTANT),
        _ablation("replay", phases=20, name="$all$ {}, a = 1, " + "b.c = 0.5, " * 6),
    ],
)
def test_letters_are_large_enough_for_print_and_none_is_cut_off(ablation, check_letters):
    check_letters(compose_ablation(ablation, scale=1))


def test_the_picture_is_as_wide_as_a_column_of_print():
    png = render(ablation_figure(_ablation()).picture)
    assert Image.open(io.BytesIO(png)).size[0] == 4 * COLUMN_WIDTH


@pytest.mark.parametrize(
    ("figure", "values", "others", "names"),
    [
        ("distill", [1.0, 0.0], [{}, {}], ["with distillation", "without distillation"]),
        ("distill", [1.0, 0.0, 0.5], [{}, {}, {}],
         ["distillation, weight 1", "without distillation", "distillation, weight 0.5"]),
        ("distill", [1.0, 2.0], [{}, {}], ["distillation, weight 1", "distillation, weight 2"]),
        ("replay", ["balanced", "all", "none"], [{}, {}, {}],
         ["balanced replay", "all old data", "no replay"]),
        # What else differs is named; what does not, or only one run uses, is not.
        ("mwg", [True, False, True],
         [{"mwg.shots": "1", "seed": "0"}, {"seed": "0"}, {"mwg.shots": "2", "seed": "0"}],
         ["with MWG, mwg.shots = 1", "without MWG", "with MWG, mwg.shots = 2"]),
        ("mwg", [True, False], [{"mwg.shots": "1", "seed": "0"}, {"seed": "1"}],
         ["with MWG, seed = 0", "without MWG, seed = 1"]),
    ],
)  # fmt: skip
def test_runs_are_named_by_what_differs(figure, values, others, names):
    assert name_runs(figure, values, others) == names


@pytest.mark.parametrize(
    ("mwg", "sampler", "used"),
    [
        (False, "uniform", ["step.new_rows", "seed"]),
        (True, "repeat-factor", ["mwg.shots", "base.repeat_threshold", "seed"]),
    ],
)
def test_settings_without_effect_are_ignored(mwg, sampler, used):
    keys = ("mwg.shots", "step.new_rows", "base.repeat_threshold", "seed")
    settings = {"step.mwg": mwg, "base.sampler": sampler}
    assert list(_without_unused(dict.fromkeys(keys, "1"), settings)) == used
