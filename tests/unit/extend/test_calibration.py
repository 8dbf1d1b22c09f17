"""Rows of new classes against known images, on drawn features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lst_cli.extend.calibration import Calibration, KnownImages, OwnRegions

pytestmark = pytest.mark.engine

IMAGES, REGIONS, FEATURES, SCALE = 20, 10, 16, 10.0


def near(direction: Tensor, count: int, seed: int) -> Tensor:
    noise = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))
    return direction + 0.15 * noise


def calibration(*, like_background: float = 0.0, shown: int = 0) -> tuple[Calibration, Tensor]:
    """Two new classes that share much with the background, and their mean features.

    The first class has as much of the background as is said, up to 1: all of it. So many known
    images have an object of the second class, which is not annotated; some look little like it.
    """
    shared, first, second = torch.eye(FEATURES)[:3]
    first = (1 - like_background) * first
    background = near(shared, IMAGES * REGIONS, 0)
    background[: shown * REGIONS : REGIONS] = near(shared + second, shown, 3)
    own = torch.cat([near(shared + first, 4, 1), near(shared + second, 2, 2)])
    labels = torch.tensor([0] * 4 + [1] * 2)
    weight = F.normalize(shared, dim=0)[None]  # an old model that knows the background alone

    def others(features: Tensor) -> Tensor:
        return (SCALE * F.normalize(features, dim=1) @ weight.T).logsumexp(dim=1) - 2

    known = KnownImages(
        background,
        others(background),
        # No two regions of an image overlap.
        torch.arange(REGIONS).repeat(IMAGES)[:, None] * 10 + torch.tensor([0.0, 0.0, 5.0, 5.0]),
        torch.arange(IMAGES).repeat_interleave(REGIONS),
        torch.ones(IMAGES * REGIONS, dtype=torch.bool),
        tuple(range(IMAGES)),
        old_alarms=(2.0, 1.0),
    )
    rows = torch.stack([own[labels == row].mean(dim=0) for row in range(2)])
    boxes = torch.ones(6, dtype=torch.bool)
    regions = OwnRegions(own, others(own), labels, boxes, torch.zeros(2, 1))
    return Calibration(regions, known, SCALE, 0.5), 3 * rows


def test_fitted_rows_raise_no_more_false_alarms_than_the_mean_old_class():
    given, rows = calibration()
    fitted = given.fit(rows)
    assert (given.alarms(rows)[:, 0] > 100).all()
    assert (given.alarms(fitted) <= torch.tensor(given.known.old_alarms)).all()
    assert (given.own_scores(fitted) > 0.5).all()
    torch.testing.assert_close(fitted.norm(dim=1), rows.norm(dim=1))


def test_a_class_that_looks_like_the_background_scores_low_and_leaves_the_other_alone():
    given, rows = calibration(like_background=1.0)
    scores = given.own_scores(given.fit(rows))
    assert scores[0] < 0.3
    assert scores[1] > 0.5


def test_false_alarms_are_counted_in_a_hundred_images_after_suppression():
    given, rows = calibration()
    every = given.alarms(rows)[:, 0]
    boxes = torch.zeros_like(given.known.boxes) + torch.tensor([0.0, 0.0, 5.0, 5.0])
    known = replace(given.known, boxes=boxes)
    given = replace(given, known=known)
    assert (given.alarms(rows)[:, 0] <= 100).all()  # one box an image is left
    assert (every > 100).all()


def test_images_that_likely_show_a_class_are_found_but_for_annotated_objects():
    given, rows = calibration(shown=4)
    assert given.known.images[given.alike(rows)[:, 1]].tolist() == [2, 3]
    assert not given.alike(rows)[:, 0].any()
    unannotated = given.known.unannotated.clone()
    unannotated[2 * REGIONS] = False  # the object of the third image is annotated as an old class
    given = replace(given, known=replace(given.known, unannotated=unannotated))
    assert given.known.images[given.alike(rows)[:, 1]].tolist() == [3]


def test_regions_that_are_spared_do_not_turn_a_row():
    given, rows = calibration(shown=8)
    spared = replace(given, spared=given.alike(rows))
    strict, lenient = (one.own_scores(one.fit(rows)) for one in (given, spared))
    assert lenient[1] > strict[1] + 0.1
