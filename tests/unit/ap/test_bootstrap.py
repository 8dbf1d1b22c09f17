from __future__ import annotations

import numpy as np
import pytest

from lst_cli.ap import bootstrap
from lst_cli.ap.bootstrap import (
    RESAMPLES,
    draw_resamples,
    interval,
    mean_over,
    resampled_class_ap,
    tells,
)
from lst_cli.ap.lvis_ap import average_precision, per_class_ap

BOX, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0]


def without_ties(draw, seed):
    """A drawn set whose scores are all different."""
    content, found = draw.federated_set(seed)
    order = np.random.default_rng(seed).permutation(len(found)).tolist()
    for score, one in zip(order, found, strict=True):
        one["score"] = (one["score"] * 8 + score / len(found)) / 9
    return content, found


def copied(content, found, times):
    """The set with each image as often as wanted, under new ids in the old order."""

    def copies(records, key):
        return [
            record | {key: record[key] * 1000 + copy}
            for record in records
            for copy in range(times[record[key]])
        ]

    annotations = copies(content["annotations"], "image_id")
    numbered = [one | {"id": number} for number, one in enumerate(annotations, start=1)]
    images = copies(content["images"], "id")
    return content | {"images": images, "annotations": numbered}, copies(found, "image_id")


def assert_same_ap(matches, ours):
    """Hold one resample against the real AP of every class; how many classes were held.

    lvis-api's recall thresholds are rounded: with 10 objects, 7 found are not quite 0.7. Such
    classes may differ by a threshold and are left out.
    """
    truth = matches.truth
    objects = np.bincount(truth.category[~matches.ignore[0]], minlength=len(truth.category_ids))
    theirs = per_class_ap(average_precision(matches).precision)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    held = (objects % 10 != 0) & (objects > 0)
    np.testing.assert_allclose(ours[held], theirs[held], rtol=0, atol=1e-6)
    return int(held.sum())


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [3, 4])
def test_a_resample_is_the_evaluation_of_a_file_with_each_image_as_often_as_drawn(
    draw, match, seed, iou_type
):
    content, found = without_ties(draw, seed)
    matches = match(content, found, iou_type)
    drawn = np.insert(draw_resamples(14, 6, seed), [0, 0], [[1, 3]], axis=1)
    resampled = resampled_class_ap(matches, drawn)
    assert resampled.shape == (8, 9)
    held = 0
    for weights, ours in zip(drawn.T, resampled, strict=True):
        times = dict(zip(matches.truth.image_ids.tolist(), weights.astype(int), strict=True))
        held += assert_same_ap(match(*copied(content, found, times), iou_type), ours)
    assert held > 25
    assert resampled[:, :7].std(axis=0).max() > 0.01


def test_a_recall_that_is_a_threshold_but_for_rounding_costs_less_than_one_threshold(draw, match):
    boxes = [[20.0 * (n % 10), 40.0 * (n // 10), 15.0, 15.0] for n in range(20)]
    content = {
        "images": [draw.image(1, [], [])],
        "annotations": [draw.annotation(n + 1, 1, 1, box) for n, box in enumerate(boxes[:10])],
        "categories": [{"id": 1}],
    }
    # 7 of 10 found, then wrong ones, then the rest
    ranked = [*boxes[:7], *boxes[10:], *boxes[7:10]]
    found = [draw.detection(1, 1, 1 - n / 50, box) for n, box in enumerate(ranked)]
    matches = match(content, found)
    (ap,) = per_class_ap(average_precision(matches).precision)
    ((ours,),) = resampled_class_ap(matches, np.ones((1, 1), dtype=np.float32))
    assert 1e-6 < ours - ap < 1 / 101


def test_a_class_that_a_resample_does_not_hold_has_no_ap_there(draw, match):
    content = {
        "images": [draw.image(1, [2], []), draw.image(2, [1], []), draw.image(3, [1, 2], [])],
        "annotations": [draw.annotation(1, 1, 1, BOX), draw.annotation(2, 2, 2, BOX)],
        "categories": [{"id": 1}, {"id": 2}, {"id": 3}],
    }
    found = [draw.detection(1, 1, 0.5, BOX), draw.detection(3, 1, 0.9, FAR)]
    weights = np.array([[1, 2, 0, 0], [1, 0, 2, 0], [1, 1, 1, 3]], dtype=np.float32)
    resampled = resampled_class_ap(match(content, found), weights)
    nan = pytest.approx(np.nan, nan_ok=True)
    assert resampled[0].tolist() == [pytest.approx(0.5), 0.0, nan]
    assert resampled[1].tolist() == [pytest.approx(2 / 3), nan, nan]  # 2 right behind 1 wrong
    assert resampled[2].tolist() == [nan, 0.0, nan]
    assert resampled[3].tolist() == [nan, nan, nan]


@pytest.mark.parametrize("numbers", [1, 500, 2000])
def test_the_result_does_not_depend_on_how_much_is_computed_at_once(
    draw, match, monkeypatch, numbers
):
    matches = match(*draw.federated_set(5))
    drawn = draw_resamples(14, 40)
    whole = resampled_class_ap(matches, drawn)
    monkeypatch.setattr(bootstrap, "_NUMBERS_AT_ONCE", numbers)
    np.testing.assert_allclose(resampled_class_ap(matches, drawn), whole, rtol=0, atol=1e-6)


def test_without_classes_images_or_detections(draw, match):
    nothing = match({"images": [], "annotations": [], "categories": []}, [])
    assert resampled_class_ap(nothing, draw_resamples(0, 4)).shape == (4, 0)
    assert np.isnan(mean_over(np.zeros((4, 0)), [])).all()
    content, _ = draw.federated_set(5)
    silent = resampled_class_ap(match(content, []), np.ones((14, 2), dtype=np.float32))
    assert (silent[:, :7] == 0).all()
    assert np.isnan(silent[:, 7:]).all()


# --- images drawn with replacement ---------------------------------------------------------------


def test_as_many_images_are_drawn_as_there_are_with_replacement():
    drawn = draw_resamples(50)
    assert drawn.shape == (50, RESAMPLES)
    assert (drawn.sum(axis=0) == 50).all()
    assert drawn.max() > 2
    # Each image is drawn once on average; e^-1 of them are missing.
    assert drawn.mean(axis=1) == pytest.approx(np.ones(50), abs=0.35)
    assert (drawn == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.02)


def test_the_same_seed_draws_the_same_images():
    assert (draw_resamples(9, 20, 1) != draw_resamples(9, 20, 2)).any()
    assert (draw_resamples(9, 20, 1) == draw_resamples(9, 30, 1)[:, :20]).all()


# --- means and intervals -------------------------------------------------------------------------


def test_a_mean_is_over_the_classes_that_a_resample_holds():
    nan = np.nan
    class_ap = np.array([[0.2, nan, 0.6], [nan, nan, 0.5], [0.1, nan, nan]])
    assert mean_over(class_ap, range(3)).tolist() == pytest.approx([0.4, 0.5, 0.1])
    assert mean_over(class_ap, [2, 1])[:2].tolist() == [0.6, 0.5]
    assert np.isnan(mean_over(class_ap, [1])).all()
    assert np.isnan(mean_over(class_ap, [])).all()


def test_an_interval_lies_around_the_real_value_and_is_as_wide_as_the_resamples_spread():
    values = np.array([0.1, 0.3, np.nan, 0.2, 0.4])
    spread = 1.96 * np.std([0.1, 0.3, 0.2, 0.4], ddof=1)
    assert interval(values, 0.5) == pytest.approx((0.5 - spread, 0.5 + spread))
    assert interval(values - 7, 0.5) == pytest.approx((0.5 - spread, 0.5 + spread))
    assert interval(np.full(9, 0.25), 0.25) == (0.25, 0.25)
    assert interval(values, None) is None
    for few in (np.array([0.4, np.nan]), np.full(9, np.nan), np.zeros(0)):
        assert interval(few, 0.4) is None
        assert not tells(few)
    assert tells(values)
    assert not tells(np.full(9, 0.25))
