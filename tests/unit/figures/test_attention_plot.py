from __future__ import annotations

import csv
import io
import json
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lst_cli.display.canvas import DARK, LIGHT, PAPER_WIDTH, Theme, render
from lst_cli.figures.attention import (
    Attention,
    Layout,
    attention_caption,
    attention_figure,
    attention_size,
    compose_attention,
    lay_out,
)
from lst_cli.report.write import write_report


def _attention(count: int, base: int = 4, **changes: Any) -> Attention:
    content: dict[str, Any] = {
        "phase": 2,
        "classes": tuple(f"class_{row}" for row in range(count)),
        "base_classes": tuple(f"base {row}" for row in range(base)),
        "weights": np.random.default_rng(0).dirichlet(np.full(base, 0.5), size=count),
    }
    return Attention(**{**content, **changes})


def _layout(classes: int) -> Layout:
    return Layout(np.random.default_rng(1).normal(size=(classes, 2)), 5.0)


def _plot(attention: Attention, layout: Layout, theme: Theme = LIGHT, width: int = 1080) -> bytes:
    return render(compose_attention(attention, layout, theme, 1, width))


def _open(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.convert("RGB")


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes_are_drawn_by_principal_components_and_say_so(classes):
    attention = _attention(classes)
    layout = lay_out(attention)
    assert "Principal components" in attention_caption(attention, layout)
    assert _open(_plot(attention, layout)).size == (1080, 594)


@pytest.mark.parametrize(
    ("classes", "width", "size"),
    [(1, 1080, (1080, 594)), (160, 720, (720, 900)), (1000, 1080, (1080, 1350))],
)
def test_the_plot_grows_with_the_names_up_to_a_page(classes, width, size):
    assert attention_size(classes, width) == size


@pytest.mark.parametrize(("theme", "corner"), [(LIGHT, (255, 255, 255)), (DARK, (23, 28, 36))])
def test_the_plot_has_its_size_and_theme_and_the_same_bytes_twice(theme, corner):
    first, second = (_plot(_attention(12), _layout(12), theme, width=PAPER_WIDTH) for _ in range(2))
    assert _open(first).size == (720, 396)
    assert _open(first).getpixel((0, 0)) == corner
    assert first == second


def test_every_point_is_drawn_where_it_lies():
    layout = Layout(np.array([[-10.0, 4.0], [-10.0, -4.0], [10.0, 4.0], [10.0, -4.0]]), 2.0)
    pixels = np.asarray(_open(_plot(_attention(4), layout)))
    orange = (np.abs(pixels.astype(int) - (217, 101, 11)) < 12).all(axis=-1)
    quarters = [
        part.sum() for half in np.array_split(orange, 2) for part in np.array_split(half, 2, 1)
    ]
    assert min(quarters) > 15


def test_names_like_formulas_and_in_foreign_letters_are_drawn_without_a_warning():
    names = (r"$\nonsense{$", "犬", "", "a" * 80, "two\nlines")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _open(_plot(_attention(5, classes=names), _layout(5)))


def test_the_caption_counts_classes_and_names_those_left_out():
    one = _attention(1, base=1, weights=np.ones((1, 1)), left_out=("yak",))
    caption = attention_caption(one, lay_out(one))
    assert caption.startswith("What the 1 class of phase 2 resembles: attention m")
    assert "over the 1 base class." in caption
    assert caption.endswith("Without a box that could be used: yak.")
    caption = attention_caption(_attention(21), Layout(np.zeros((21, 2)), 20 / 3))
    assert "t-SNE with the Hellinger distance, perplexity 6.7" in caption


@pytest.mark.parametrize(
    ("weights", "texts", "each"),
    [
        ([0.1, 0.2, 0.4, 0.3], ["base 2", "0.40", "base 3", "0.30", "base 1", "0.20"], "0.25"),
        ([0.25, 0.75], ["base 1", "0.75", "base 0", "0.25"], "0.5"),
    ],
)
def test_the_table_has_the_three_largest_coefficients(weights, texts, each):
    attention = _attention(1, base=len(weights), weights=np.array([weights]))
    table = attention_figure(attention).table
    assert table.texts() == [["class_0", *texts]]
    assert f"without any preference each has {each}." in table.remark


def test_a_figure_has_its_numbers_as_csv_and_the_same_as_json():
    weights = np.array([[0.64, 0.36, 0.0], [0.36, 0.64, 0.0], [0.0, 0.0, 1.0]])
    names = ("a, b", 'c "d"', "e")
    figure = attention_figure(_attention(3, base=3, weights=weights, classes=names))
    assert figure.picture.get_size_inches() == pytest.approx((7.2, 3.96))
    assert figure.picture.dpi == 400
    rows = list(csv.DictReader(io.StringIO(figure.csv)))
    assert list(rows[0]) == ["class", "x", "y", "base_1", "m_1", "base_2", "m_2", "base_3", "m_3"]
    assert [row["class"] for row in rows] == list(names)
    top = [rows[0][key] for key in ("base_1", "m_1", "base_2", "m_2")]
    assert top == ["base 0", "0.64", "base 1", "0.36"]
    found = json.loads(json.dumps(figure.numbers, allow_nan=False))
    assert {key: found[key] for key in ("phase", "base_classes", "method", "perplexity")} == {
        "phase": 2, "base_classes": 3, "method": "principal components", "perplexity": None,
    }  # fmt: skip
    assert [one["class"] for one in found["classes"]] == list(names)
    assert found["classes"][1]["top"][0] == {"class": "base 1", "m": 0.64}
    for row, one in zip(rows, found["classes"], strict=True):
        assert float(row["x"]) == pytest.approx(one["x"], rel=1e-5)
        assert float(row["y"]) == pytest.approx(one["y"], rel=1e-5, abs=1e-12)


def test_the_report_has_the_plot_where_there_is_attention_and_drops_an_old_one(make_data, tmp_path):
    files = write_report(make_data(attention=_attention(3)), tmp_path)
    assert files["plot:attention"] == tmp_path / "plots" / "attention.png"
    assert "plots/attention.png" in files["markdown"].read_text(encoding="utf-8")
    write_report(make_data(), tmp_path)
    assert not files["plot:attention"].exists()
