from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.errors import LstError
from lst_cli.figures.attention import (
    Attention,
    can_lay_out,
    choose_perplexity,
    lay_out,
    load_attention,
    top_base_classes,
)

HINT = "lst step --mwg"


def _attention(weights) -> Attention:
    weights = np.array(weights, dtype=float)
    classes = tuple(f"class {row}" for row in range(len(weights)))
    return Attention(1, classes, tuple(f"base {row}" for row in range(weights.shape[1])), weights)


def _drawn(classes: int, base: int, seed: int = 0) -> Attention:
    return _attention(np.random.default_rng(seed).dirichlet(np.full(base, 0.3), size=classes))


def _load(folder: Path, values: Any) -> Attention:
    path = folder / "attention.npy"
    if isinstance(values, bytes):
        path.write_bytes(values)
    else:
        np.save(path, np.array(values, dtype=np.float32))
    return load_attention(path, 2, ["yak", "emu"], ["cat", "dog"], HINT)


def test_the_file_is_read_with_the_names_of_the_classes(tmp_path):
    found = _load(tmp_path, [[0.25, 0.75], [1.0, 0.0]])
    assert (found.phase, found.classes, found.base_classes) == (2, ("yak", "emu"), ("cat", "dog"))
    assert found.weights.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert found.left_out == ()


def test_a_class_without_a_usable_box_is_left_out_by_name(tmp_path):
    found = _load(tmp_path, [[0.25, 0.75], [0, 0]])
    assert (found.classes, found.left_out) == (("yak",), ("emu",))
    assert found.weights.shape == (1, 2)


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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LstError, match=r"gone\.npy: no attention .*No such file"):
        load_attention(tmp_path / "gone.npy", 1, ["yak"], ["cat"], HINT)


def test_the_base_classes_come_largest_first_and_ties_in_class_order():
    attention = _attention([[0.1, 0.2, 0.4, 0.3], [0.25, 0.25, 0.25, 0.25]])
    assert top_base_classes(attention) == [
        [("base 2", 0.4), ("base 3", 0.3), ("base 1", 0.2)],
        [("base 0", 0.25), ("base 1", 0.25), ("base 2", 0.25)],
    ]
    assert top_base_classes(_attention([[1.0]])) == [[("base 0", 1.0)]]


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


@pytest.mark.parametrize(
    ("classes", "perplexity"), [(4, 2.0), (5, 2.0), (7, 2.0), (22, 7.0), (91, 30.0), (1000, 30.0)]
)
def test_the_perplexity_follows_the_number_of_classes(classes, perplexity):
    assert choose_perplexity(classes) == perplexity
    assert perplexity < classes


@settings(deadline=None, max_examples=30)
@given(st.integers(4, 2000))
def test_the_perplexity_is_always_one_that_tsne_takes(classes):
    assert 2 <= choose_perplexity(classes) < classes


def test_similar_classes_lie_together():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(1)
    kinds = np.repeat([0, 1, 2], 7)
    weights = rng.dirichlet(np.full(9, 0.5), size=21) * 0.2
    weights[np.arange(21), 3 * kinds] += 0.8
    points = lay_out(_attention(weights)).points
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (kinds[apart.argmin(axis=1)] == kinds).all()


@pytest.mark.parametrize("classes", [4, 5, 21])
def test_the_same_attention_gives_the_same_layout_around_the_middle(classes):
    pytest.importorskip("sklearn")
    first, second = lay_out(_drawn(classes, 6)), lay_out(_drawn(classes, 6))
    assert np.array_equal(first.points, second.points)
    assert first.points.shape == (classes, 2)
    assert first.points.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert first.points[:, 0].std() >= first.points[:, 1].std()


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
    code = (
        "import sys, lst_cli.cli.commands.report, lst_cli.report.report\n"
        "late = {'sklearn', 'scipy', 'matplotlib', 'torch'} & set(sys.modules)\n"
        "assert not late, late\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
