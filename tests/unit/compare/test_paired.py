from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lst_cli.ap.bootstrap import draw_resamples, interval, resampled_class_ap
from lst_cli.ap.lvis_ap import NO_BINS, TrainBins, average_precision, per_class_ap
from lst_cli.compare.paired import (
    AP50_FACTOR,
    ClassAp,
    ClassSet,
    at_lowest_iou,
    choose_class_sets,
    compare_class_ap,
)
from lst_cli.phases.bins import parse_bins

ALL = ClassSet("AP", "all", (0, 1, 2))


def class_ap(ap, noise):
    """AP of each class, and of each resample what it adds to all of them."""
    values = np.array(ap)
    resampled = values[None, :] + noise[:, None]
    return ClassAp(
        ap={"AP": values, "AP50": values / 2},
        resampled={"AP": resampled, "AP50": resampled / 2},
    )


@pytest.fixture
def noise():
    return np.linspace(-0.1, 0.1, 201)


def test_what_is_alike_in_every_resample_cancels_and_the_rest_does_not(noise):
    first, same, alike, unlike = (
        class_ap(np.array([0.2, 0.4, 0.6]) + plus, each)
        for plus, each in ((0, noise), (0, noise), (0.02, noise), (0.02, -noise))
    )
    row = compare_class_ap([first, same, alike, unlike], ALL)
    assert row.estimates[0] == row.estimates[1]
    assert pytest.approx(0.4) == row.estimates[0].AP
    assert row.estimates[0].interval == interval(noise, 0.4)
    # Side by side the two cannot be told apart; on the same images they can.
    assert row.estimates[2].interval is not None
    assert row.estimates[2].interval[0] < 0.4
    expected = [
        (0.0, (0.0, 0.0), False),
        (0.02, (0.02, 0.02), True),
        (0.02, interval(2 * noise, 0.02, -1.0), False),
    ]
    for one, (ap, bounds, clear) in zip(row.differences, expected, strict=True):
        assert pytest.approx(ap) == one.AP
        assert one.interval == pytest.approx(bounds)
        assert one.clear == clear


def test_a_loss_is_as_clear_as_a_gain_and_each_is_held_against_the_first(noise):
    runs = [class_ap([0.5 + plus] * 3, noise) for plus in (0.0, -0.1, 0.2)]
    row = compare_class_ap(runs, ALL)
    assert [one.AP for one in row.differences] == pytest.approx([-0.1, 0.2])
    assert [one.clear for one in row.differences] == [True, True]
    row = compare_class_ap(runs, ClassSet("AP50", "all", (0, 1, 2), "AP50"))
    assert [one.AP for one in row.estimates] == pytest.approx([0.25, 0.2, 0.35])


def test_classes_without_ground_truth_leave_the_mean(noise):
    runs = [class_ap([0.2, np.nan, np.nan], noise), class_ap([0.3, np.nan, np.nan], noise)]
    known = compare_class_ap(runs, ALL)
    assert (known.classes, known.with_ground_truth) == (3, 1)
    assert pytest.approx(0.1) == known.differences[0].AP
    for columns in ((1, 2), ()):
        row = compare_class_ap(runs, ClassSet("=1", "bin", columns))
        assert (row.classes, row.with_ground_truth) == (len(columns), 0)
        assert (row.estimates[0].AP, row.estimates[0].interval) == (None, None)
        [difference] = row.differences
        assert (difference.AP, difference.interval, difference.clear) == (None, None, False)


def test_an_interval_stays_where_a_value_can_be():
    noise = np.linspace(-0.5, 0.5, 201)
    runs = [class_ap([0.9], noise), class_ap([0.1], -noise)]
    row = compare_class_ap(runs, ClassSet("AP", "all", (0,)))
    (low, high), (worst, best) = (
        [center - 1.96 * spread.std(ddof=1), center + 1.96 * spread.std(ddof=1)]
        for center, spread in ((0.1, noise), (-0.8, 2 * noise))
    )
    assert low < 0
    assert worst < -1
    assert row.estimates[1].interval == pytest.approx((0.0, high))
    assert row.estimates[0].interval == pytest.approx((1 - high, 1.0))
    assert row.differences[0].interval == pytest.approx((-1.0, best))


def test_rows_are_all_classes_bins_frequencies_and_groups():
    sets = choose_class_sets(
        (7, 3, 9),
        ("f", "r", ""),
        TrainBins({7: 200, 3: 1}, parse_bins("=1,<5,>=100")),
        {"old": frozenset((7, 1)), "new": frozenset((3, 9))},
    )
    assert [(one.name, one.what, tuple(one.columns)) for one in sets] == [
        ("AP", "all", (0, 1, 2)), ("AP50", "all", (0, 1, 2)),
        ("=1", "bin", (1,)), ("<5", "bin", (1,)), (">=100", "bin", (0,)),
        ("APr", "frequency", (1,)), ("APc", "frequency", ()), ("APf", "frequency", (0,)),
        ("old", "phase", (0,)), ("new", "phase", (1, 2)),
    ]  # fmt: skip
    assert [one.threshold for one in sets[:3]] == ["AP", "AP50", "AP"]
    unknown = choose_class_sets((7, 3), ("", ""), NO_BINS, {})
    assert [one.name for one in unknown] == ["AP", "AP50"]


@pytest.mark.parametrize("seed", range(2))
def test_leaving_only_hits_at_the_lowest_iou_gives_a_tenth_of_ap50(draw, match, seed):
    matches = match(*draw.federated_set(seed))
    images = len(matches.truth.image_ids)
    resamples = draw_resamples(images, 20)
    lowest = AP50_FACTOR * resampled_class_ap(at_lowest_iou(matches), resamples)
    # AP is AP50 where every threshold is that of IoU 0.5.
    repeated = np.repeat(matches.outcome[:, :1], AP50_FACTOR, axis=1)
    expected = resampled_class_ap(replace(matches, outcome=repeated), resamples)
    np.testing.assert_allclose(lowest, expected, atol=1e-6)
    assert np.nanmax(expected) > 0.1
    once = np.ones((images, 1), dtype=np.float32)
    ap50 = per_class_ap(average_precision(matches).precision, "AP50")
    ones = AP50_FACTOR * resampled_class_ap(at_lowest_iou(matches), once)[0]
    np.testing.assert_allclose(ones, ap50, atol=0.01)  # a recall threshold is reached or not
