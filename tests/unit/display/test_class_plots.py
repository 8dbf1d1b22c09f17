from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import lst_cli
from lst_cli.display.canvas import DARK, LIGHT, count_in_whole_numbers, ramp_colours
from lst_cli.display.class_plots import (
    compose_replay_balance,
    phase_sizes,
    plot_class_counts,
    plot_replay_balance,
    replay_size,
)
from lst_cli.display.tables import ReplayBalance
from lst_cli.report.plots import plot_ap_by_bin, plot_class_ap, plot_old_new


def _open(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png), formats=["PNG"])


def test_every_plot_is_a_png_of_the_size_it_states(make_data, balance):
    data = make_data()
    metrics = data.metrics
    assert _open(plot_ap_by_bin(metrics)).size == (1280, 800)
    assert _open(plot_ap_by_bin(metrics, scale=1)).size == (640, 400)
    assert _open(plot_old_new(metrics, scale=1)).size == (440, 400)
    assert _open(plot_class_ap(data.classes, metrics, scale=1)).size == (1080, 360)
    assert _open(plot_class_counts(data.classes, scale=1)).size == (1080, 360)
    # A class that replay leaves out has its place on the log scale too.
    without = ReplayBalance(1, [9, 2], [0, 2], old=1)
    assert _open(plot_replay_balance([without], scale=1)).size == replay_size(1)
    assert _open(plot_replay_balance([balance] * 4, scale=1)).size == replay_size(4)


@pytest.mark.parametrize(("theme", "corner"), [(LIGHT, (255, 255, 255)), (DARK, (23, 28, 36))])
def test_a_plot_lies_on_the_background_of_its_theme(make_data, theme, corner):
    image = _open(plot_class_counts(make_data().classes, theme, scale=1)).convert("RGB")
    assert image.getpixel((0, 0)) == corner


def test_a_single_phase_and_metrics_without_a_number_can_be_plotted(make_data, make_record):
    record = make_record(0)
    for part in ("segm", "bbox"):
        record[part]["per_class"] = {}
        for name in ("AP", "old", "new", "all"):
            record[part][name] = None
        for entry in [*record[part]["bins"], *record[part]["groups"]]:
            entry["AP"] = None
    data = make_data(metrics=[record])
    _open(plot_ap_by_bin(data.metrics, scale=1))
    _open(plot_old_new(data.metrics, scale=1))
    _open(plot_class_ap(data.classes, data.metrics, scale=1))


def test_a_bin_without_a_point_does_not_push_the_axes_aside(make_data, make_record):
    # Phase 0 has no old classes; with a value for them the axes have the same width.
    def left_of_axis(old):
        record = make_record(0)
        record["segm"]["old"] = old
        image = _open(plot_old_new(make_data(metrics=[record]).metrics, scale=1))
        dark = np.asarray(image.convert("L")) < 140
        longest_row = dark.sum(axis=1).argmax()  # the line below the axes
        return int(dark[longest_row].argmax()), int(dark[longest_row].sum())

    assert left_of_axis(None) == left_of_axis(0.1)


def test_phase_sizes_count_the_classes_of_each_phase(make_data):
    assert phase_sizes(make_data().classes) == [2, 2, 2]
    assert phase_sizes([]) == []


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("count", range(12))
def test_every_bin_has_its_own_colour_the_rarest_a_warm_and_the_most_frequent_a_cool_one(
    count, theme
):
    colours = ramp_colours(theme, count)
    assert len(set(colours)) == count
    if count > 1:
        (red, _, blue), (other_red, _, other_blue) = (
            bytes.fromhex(colours[n][1:]) for n in (0, -1)
        )
        assert red > blue
        assert other_red < other_blue


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 11, 28, 1203])
def test_ranks_are_ticked_at_whole_numbers_only(count):
    axes = Figure(figsize=(6, 3)).subplots()
    axes.set_xlim(0.5, count + 0.5)
    count_in_whole_numbers(axes.xaxis)
    inside = [tick for tick in axes.get_xticks() if 0.5 <= tick <= count + 0.5]
    assert inside
    assert all(tick == round(tick) for tick in inside)


def test_every_plot_with_ranks_uses_them():
    """An axis of the class order is labelled with RANK or says "(rank)"."""
    for file in Path(str(lst_cli.__path__[0])).rglob("*.py"):
        text = file.read_text()
        if "(rank)" in text or "RANK," in text:
            assert "count_in_whole_numbers(" in text, file


def test_the_legend_of_the_balance_names_the_lines_of_every_panel():
    base = ReplayBalance(0, [9, 2], [9, 2], old=0, pasted=[9, 4])
    step = ReplayBalance(1, [9, 2, 1], [2, 2, 1], old=2)
    [legend] = compose_replay_balance([base, step], scale=1).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "all images of the seen classes", "in Dₜ, old classes", "in Dₜ, new classes",
        "in Dₜ, with pasted objects",
    ]  # fmt: skip


@pytest.mark.parametrize("phases", [1, 2, 4, 7])
def test_letters_are_large_enough_for_print_and_none_is_cut_off(phases, check_letters):
    wide = ReplayBalance(1, [1200.0] * 1230, [30.0] * 1230, old=1070)
    figure = compose_replay_balance([wide] * phases, scale=1)
    check_letters(figure)
    assert sum(axes.axison for axes in figure.axes) == phases
