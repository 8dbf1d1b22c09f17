from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lst_cli.display.canvas import DARK, LIGHT, PAPER_WIDTH, Theme, render
from lst_cli.errors import LstError
from lst_cli.figures.attention import (
    Attention,
    Layout,
    attention_caption,
    attention_figure,
    can_lay_out,
    compose_attention,
    lay_out,
    load_attention,
)
from lst_cli.report.plots import _plan_plots
from tests.fixtures.reports import read_csv

HINT = "lst step --mwg"


def _attention(
    weights: Any, names: Sequence[str] = (), left_out: tuple[str, ...] = ()
) -> Attention:
    weights = np.array(weights, dtype=float)
    classes = tuple(names) or tuple(f"class_{row}" for row in range(len(weights)))
    bases = tuple(f"base {row}" for row in range(weights.shape[1]))
    return Attention(2, classes, bases, weights, left_out)


def _drawn(classes: int, base: int = 4, names: Sequence[str] = ()) -> Attention:
    weights = np.random.default_rng(0).dirichlet(np.full(base, 0.3), size=classes)
    return _attention(weights, names)


def _load(folder: Path, values: Any) -> Attention:
    path = folder / "attention.npy"
    if isinstance(values, bytes):
        path.write_bytes(values)
    else:
        np.save(path, np.array(values, dtype=np.float32))
    return load_attention(path, 2, ["yak", "emu"], ["cat", "dog"], HINT)


@pytest.mark.parametrize(
    ("values", "classes", "left_out"),
    [([[0.25, 0.75], [1, 0]], ("yak", "emu"), ()), ([[0.25, 0.75], [0, 0]], ("yak",), ("emu",))],
)
def test_the_file_is_read_with_the_names_of_the_classes(tmp_path, values, classes, left_out):
    found = _load(tmp_path, values)
    assert (found.phase, found.classes, found.base_classes) == (2, classes, ("cat", "dog"))
    assert found.weights.tolist() == values[: len(classes)]
    assert found.left_out == left_out


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[0.5, 0.5]], r"its shape is \(1, 2\), and the split has \(2, 2\)"),
        ([0.5, 0.5], r"its shape is \(2,\)"),
        ([[0.5, 0.5], [0.5, 0.6]], "not every row sums to 1"),
        ([[0.5, 0.5], [np.nan, 0.5]], "not every number is 0 or more"),
        ([[0.5, 0.5], [1.5, -0.5]], "not every number is 0 or more"),
        ([[0, 0], [0, 0]], "every row is zero"),
    ],
)
def test_an_attention_with_wrong_numbers_is_refused_with_its_name(tmp_path, values, reason):
    with pytest.raises(LstError, match=rf"attention\.npy: no attention of phase 2: {reason}") as e:
        _load(tmp_path, values)
    assert e.value.hint == HINT


def _npy(values: Any, write: Any = np.save) -> bytes:
    file = io.BytesIO()
    write(file, values)
    return file.getvalue()


WHOLE = _npy(np.full((2, 2), 0.5, dtype=np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        WHOLE[:-3],
        WHOLE[:60],
        # As long as before, and a promise of terabytes.
        WHOLE.replace(b"(2, 2), }        ", b"(9999999, 99999)}"),
        _npy(np.ones(2), np.savez),
        _npy(np.array([[print, print], [print, print]], dtype=object)),
        _npy(np.ones((2, 2), dtype=np.int64)),
    ],
    ids=["empty", "text", "cut", "cut head", "huge", "npz", "pickle", "integers"],
)
def test_a_damaged_file_is_refused_and_no_pickle_is_loaded(tmp_path, content):
    with pytest.raises(LstError, match=r"attention\.npy: no attention of phase 2: .") as caught:
        _load(tmp_path, content)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("weights", "apart"),
    [
        ([[0.5, 0.5]], [[0]]),
        ([[1.0, 0.0], [0.0, 1.0]], [[0, 2], [2, 0]]),  # nothing in common
        # Roots are (.8, .6, 0), (.6, .8, 0) and (0, 0, 1).
        ([[0.64, 0.36, 0], [0.36, 0.64, 0], [0, 0, 1]], [[0, 0.08, 2], [0.08, 0, 2], [2, 2, 0]]),
    ],
)
def test_up_to_three_classes_keep_their_hellinger_distances(weights, apart):
    layout = lay_out(_attention(weights))
    found = np.linalg.norm(layout.points[:, None] - layout.points, axis=-1)
    assert found == pytest.approx(np.array(apart) ** 0.5)
    assert layout.points.sum(axis=0) == pytest.approx(0)
    assert layout.perplexity is None


def test_similar_classes_lie_together_always_in_the_same_places_around_the_middle():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(1)
    kinds = np.repeat([0, 1, 2], 7)
    weights = rng.dirichlet(np.full(9, 0.5), size=21) * 0.2
    weights[np.arange(21), 3 * kinds] += 0.8
    points = lay_out(_attention(weights)).points
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (kinds[apart.argmin(axis=1)] == kinds).all()
    assert np.array_equal(points, lay_out(_attention(weights)).points)
    assert points.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert points[:, 0].std() >= points[:, 1].std()


@pytest.mark.parametrize("weights", [np.ones((6, 1)), np.full((6, 3), 1 / 3), np.eye(6)])
def test_classes_that_are_all_alike_or_all_apart_have_a_layout_too(weights):
    pytest.importorskip("sklearn")
    points = lay_out(_attention(weights)).points
    assert np.isfinite(points).all()
    assert len(np.unique(points.round(6), axis=0)) == 6


def test_without_scikit_learn_the_user_hears_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(LstError, match="needs scikit-learn") as caught:
        lay_out(_drawn(4, 3))
    assert caught.value.hint == "pip install scikit-learn"
    lay_out(_drawn(3, 3))  # too few for t-SNE: nothing is missing


def test_scikit_learn_is_looked_for_and_not_imported(monkeypatch):
    few, many = _drawn(3, 3), _drawn(4, 3)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert can_lay_out(few)
    assert not can_lay_out(many)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert can_lay_out(many)


# --- the figure ------------------------------------------------------------------------------


def _plot(attention: Attention, layout: Layout, theme: Theme = LIGHT, width: int = 1080) -> bytes:
    return render(compose_attention(attention, layout, theme, 1, width))


def _open(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


@pytest.mark.parametrize(("theme", "corner"), [(LIGHT, (255, 255, 255)), (DARK, (23, 28, 36))])
def test_the_plot_has_its_size_and_theme_and_the_same_bytes_twice(theme, corner):
    layout = Layout(np.random.default_rng(1).normal(size=(12, 2)), 5.0)
    first, second = (_plot(_drawn(12), layout, theme, width=PAPER_WIDTH) for _ in range(2))
    assert _open(first).size == (720, 396)
    assert _open(first).getpixel((0, 0)) == corner
    assert first == second


def test_every_point_is_drawn_where_it_lies():
    layout = Layout(np.array([[-10.0, 4.0], [-10.0, -4.0], [10.0, 4.0], [10.0, -4.0]]), 2.0)
    pixels = np.asarray(_open(_plot(_drawn(4), layout)))
    orange = (np.abs(pixels.astype(int) - (217, 101, 11)) < 12).all(axis=-1)
    quarters = [
        part.sum() for half in np.array_split(orange, 2) for part in np.array_split(half, 2, 1)
    ]
    assert min(quarters) > 15


def test_names_like_formulas_and_in_foreign_letters_are_drawn_without_a_warning():
    names = (r"$\nonsense{$", "犬", "", "a" * 80, "two\nlines")
    layout = Layout(np.random.default_rng(1).normal(size=(5, 2)), 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _plot(_drawn(5, names=names), layout)


def test_the_caption_counts_classes_and_names_those_left_out():
    one = _attention([[1.0]], left_out=("yak",))
    caption = attention_caption(one, lay_out(one))
    assert caption.startswith("What the 1 class of phase 2 resembles: attention m")
    assert "over the 1 base class." in caption
    assert "Principal components" in caption
    assert caption.endswith("Without a box that could be used: yak.")
    caption = attention_caption(_drawn(21), Layout(np.zeros((21, 2)), 20 / 3))
    assert "t-SNE with the Hellinger distance, perplexity 6.7" in caption


@pytest.mark.parametrize(
    ("weights", "texts", "each"),
    [
        ([0.1, 0.2, 0.4, 0.3], ["base 2", "0.40", "base 3", "0.30", "base 1", "0.20"], "0.25"),
        ([0.25, 0.75], ["base 1", "0.75", "base 0", "0.25"], "0.5"),
        ([0.25] * 4, ["base 0", "0.25", "base 1", "0.25", "base 2", "0.25"], "0.25"),
    ],
)
def test_the_table_has_the_three_largest_coefficients_and_equal_ones_in_class_order(
    weights, texts, each
):
    table = attention_figure(_attention([weights])).table
    assert table.texts() == [["class_0", *texts]]
    assert f"without any preference each has {each}." in table.remark


def test_a_figure_has_its_numbers_as_csv_and_the_same_as_json():
    weights = [[0.64, 0.36, 0.0], [0.36, 0.64, 0.0], [0.0, 0.0, 1.0]]
    names = ("a, b", 'c "d"', "e")
    figure = attention_figure(_attention(weights, names))
    assert figure.picture.get_size_inches() == pytest.approx((7.2, 3.96))
    assert figure.picture.dpi == 400
    rows = read_csv(figure.csv)
    assert list(rows[0]) == ["class", "x", "y", "base_1", "m_1", "base_2", "m_2", "base_3", "m_3"]
    top = [rows[0][key] for key in ("base_1", "m_1", "base_2", "m_2")]
    assert top == ["base 0", "0.64", "base 1", "0.36"]
    found = json.loads(json.dumps(figure.numbers, allow_nan=False))
    assert {key: found[key] for key in ("phase", "base_classes", "method", "perplexity")} == {
        "phase": 2, "base_classes": 3, "method": "principal components", "perplexity": None,
    }  # fmt: skip
    assert found["classes"][1]["top"][0] == {"class": "base 1", "m": 0.64}
    for row, name, one in zip(rows, names, found["classes"], strict=True):
        assert row["class"] == one["class"] == name
        numbers = [float(row[axis]) for axis in "xy"]
        assert numbers == pytest.approx([one["x"], one["y"]], rel=1e-5, abs=1e-12)


def test_the_report_has_the_plot_where_there_is_attention(make_data):
    plans = [name for name, *_ in _plan_plots(make_data(attention=_drawn(3)))]
    assert "attention" in plans
    assert "attention" not in [name for name, *_ in _plan_plots(make_data())]
