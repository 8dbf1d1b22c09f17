"""Rows of new classes against known images, on drawn features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from detectron2.structures import Boxes
from torch import Tensor
from torch.nn import functional as F

from lst_cli.annotations.read import read_dataset
from lst_cli.extend import calibration as calibrating
from lst_cli.extend.calibration import (
    Calibration,
    KnownImages,
    OwnRegions,
    read_known_images,
    read_own_regions,
)
from lst_cli.extend.instant import labels_with_crowds
from lst_cli.inputs import label_instances
from lst_cli.modeling.heads.class_losses import ClassLoss, GumbelLoss, SigmoidLoss

pytestmark = pytest.mark.engine

IMAGES, REGIONS, FEATURES, SCALE = 20, 10, 16, 10.0


def near(direction: Tensor, count: int, seed: int) -> Tensor:
    noise = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))
    return direction + 0.15 * noise


def calibration(
    *, like_background: float = 0.0, shown: int = 0, class_loss: ClassLoss | None = None
) -> tuple[Calibration, Tensor]:
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
    given = Calibration(regions, known, SCALE, 0.5)
    if class_loss is not None:
        given = replace(given, class_loss=class_loss, bias=class_loss.first_bias or 0.0)
    return given, 3 * rows


@pytest.mark.parametrize("class_loss", [None, SigmoidLoss(0), GumbelLoss(0)])
def test_fitted_rows_raise_no_more_false_alarms_than_the_mean_old_class(class_loss):
    given, rows = calibration(class_loss=class_loss)
    fitted = given.fit(rows)
    assert (given.alarms(rows)[:, 0] > 100).all()
    assert (given.alarms(fitted) <= torch.tensor(given.known.old_alarms)).all()
    assert (given.own_scores(fitted) > 0.5).all()
    torch.testing.assert_close(fitted.norm(dim=1), rows.norm(dim=1))
    assert given.fit(rows, once=given.fit_once(rows)).equal(fitted)


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


def test_boxes_of_many_classes_in_many_images_suppress_only_their_own():
    classes = images = 200
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0], [2.5, 0.0, 10.5, 8.0]])  # IoU 0.52
    each = torch.arange(images).repeat_interleave(2)
    none = torch.full((2 * images,), -20.0)
    known = KnownImages(
        torch.eye(classes)[each], none, box.repeat(images, 1), each,
        torch.ones(2 * images, dtype=torch.bool), tuple(range(images)), old_alarms=(0.0, 0.0),
    )  # fmt: skip
    own = OwnRegions(torch.eye(classes), none[:classes], torch.arange(classes), none[:classes] < 0,
                     torch.zeros(classes, 1))  # fmt: skip
    counts = Calibration(own, known, SCALE, 0.5).alarms(torch.eye(classes))
    assert (counts == 0.5).all()  # one box of each class in one image


def test_an_image_without_a_proposal_is_known_too(five, monkeypatch):
    found = [torch.zeros(0, 4), torch.tensor([[4.0, 6.0, 40.0, 42.0]])]
    monkeypatch.setattr(calibrating, "regions_of", lambda *_: [Boxes(found.pop(0))])
    item = {"image": torch.zeros(3, 64, 64), "height": 64, "width": 64, "image_id": 7}
    known = read_known_images(five.eval(), [(item, [0], torch.zeros(0, 4))] * 2)
    assert known is not None
    assert known.images.tolist() == [1]
    assert known.ids == (7, 7)


def test_a_proposal_belongs_to_the_object_that_it_overlaps_most(five, make_batch, monkeypatch):
    [item] = make_batch((0, 5))
    objects = item["instances"]
    objects.gt_boxes = Boxes(torch.tensor([[10.0, 6.0, 46.0, 42.0], [4.0, 6.0, 40.0, 42.0]]))
    # The first is of the old object, although it overlaps the new one by more than half.
    found = torch.tensor([[11.0, 6.0, 47.0, 42.0], [3.0, 6.0, 39.0, 42.0]])
    views = [Boxes(found), Boxes(found[:0])]
    monkeypatch.setattr(calibrating, "regions_of", lambda *_: [views.pop(0)])
    own = read_own_regions(five.eval(), [item], range(5, 6))
    assert own.annotated.tolist() == [False, True, True]
    assert own.labels.tolist() == [0, 0, 0]
    assert own.boxes.tolist() == [1]


def test_boxes_of_a_new_class_score_as_the_old_class_that_they_look_like(five, make_batch):
    [item] = make_batch((5, 6))
    [feature, _] = read_own_regions(five.eval(), [item], range(5, 7)).features[:2]
    with torch.no_grad():
        five.roi_heads.box_predictor.cls_score.weight[3] = feature
    own = read_own_regions(five, [item], range(5, 7))
    assert own.old_scores.shape == (2, 5)
    assert own.old_scores.argmax(dim=1)[0] == 3
    assert own.old_scores[0, 3] > 0.5


def test_a_crowd_shows_its_class(small_lvis):
    crowd = next(one for one in small_lvis.train["annotations"] if one["category_id"] == 2)
    crowd["iscrowd"] = 1
    small_lvis.save()
    inputs = label_instances(read_dataset(small_lvis.train_json), [2, 4])
    row = small_lvis.train["annotations"].index(crowd)
    assert inputs.labels[row] == -1
    labels = labels_with_crowds(inputs)
    assert labels[row] == 0
    assert sorted(set(labels.tolist())) == [-1, 0, 1]


def test_images_that_likely_show_a_class_are_found_but_for_annotated_objects():
    given, rows = calibration(shown=4)
    assert given.known.images[given.alike(given.fit_once(rows))[:, 1]].tolist() == [2, 3]
    assert not given.alike(given.fit_once(rows))[:, 0].any()
    unannotated = given.known.unannotated.clone()
    unannotated[2 * REGIONS] = False  # the object of the third image is annotated as an old class
    given = replace(given, known=replace(given.known, unannotated=unannotated))
    assert given.known.images[given.alike(given.fit_once(rows))[:, 1]].tolist() == [3]


def test_regions_that_are_spared_do_not_turn_a_row():
    given, rows = calibration(shown=8)
    spared = replace(given, spared=given.alike(given.fit_once(rows)))
    strict, lenient = (one.own_scores(one.fit(rows)) for one in (given, spared))
    assert lenient[1] > strict[1] + 0.1
