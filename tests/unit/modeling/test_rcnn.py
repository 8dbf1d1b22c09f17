from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.layers import paste_masks_in_image
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from lst_cli.modeling.distillation import Teacher
from lst_cli.modeling.grow import grow_state, random_rows
from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.heads.roi_heads import FUTURE, IGNORED
from lst_cli.modeling.rcnn import LstRPN
from lst_cli.phases.partial_labels import NEVER
from tests.fixtures.small_network import targets

pytestmark = pytest.mark.engine


def losses_of(call: Callable[[], Any]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    with EventStorage():
        losses: dict[str, torch.Tensor] = call()
    return losses


def test_without_a_teacher_the_losses_are_detectron2s(five, make_batch):
    batch = make_batch((0, 1), (2, 3))
    ours = losses_of(lambda: five.losses(batch))
    theirs = losses_of(lambda: five(batch))
    assert ours.keys() == theirs.keys()
    assert {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"} == set(ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_images_of_bytes_are_normalised_as_floats_are_to_the_bit(five):
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)
    ours, theirs = (five.preprocess_image([{"image": x}]).tensor for x in (image, image.float()))
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("label", [0, FUTURE])
def test_the_proposal_network_looks_for_the_future_only_where_there_is_some(
    five, make_batch, label
):
    asked: list[bool] = []
    five.proposal_generator.register_forward_pre_hook(
        lambda _, given: asked.extend(one.has("gt_labels") for one in given[2])
    )
    losses_of(lambda: five.losses(make_batch((0, 1), (2, 3), labels=(label, 1))))
    assert asked == [label == FUTURE] * 2


@pytest.mark.parametrize("class_loss", ["sigmoid", "gumbel"])
def test_what_an_image_is_not_annotated_for_does_not_reach_the_loss(
    class_loss, make_model, make_batch
):
    model = make_model(5, model={"class_loss": class_loss})
    batch = make_batch((0, 1), (2, 3))
    for item in batch:
        item["negatives"] = torch.full((5,), NEVER, dtype=torch.int8)
    classifier = model.roi_heads.box_predictor.cls_score
    model.roi_heads.box_predictor.class_loss.instances = torch.ones(5, dtype=torch.int64)
    losses_of(lambda: model.losses(batch))["loss_cls"].backward()
    assert classifier.weight.grad is not None
    assert (classifier.weight.grad[:4] != 0).any(dim=1).all()
    assert (classifier.weight.grad[4:] == 0).all()  # no object is of class 4
    assert classifier.bias.grad < 0  # all that counts is of a class


@pytest.mark.parametrize("class_loss", ["sigmoid", "gumbel"])
def test_a_grown_student_that_is_its_teacher_is_not_distilled(class_loss, make_model, make_batch):
    kind = {"class_loss": class_loss}
    previous, student = make_model(5, model=kind), make_model(6, model=kind)
    generator = torch.Generator().manual_seed(0)
    rows = random_rows(1, 32, 0.01, generator)
    state = grow_state(previous.state_dict(), rows, generator, class_agnostic_boxes=True)
    student.load_state_dict(state)
    batch = make_batch((5, 1), (2, 5))
    same, _ = distilled(student, previous, batch, regions="seen")
    assert same["loss_distill"].item() == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        student.roi_heads.box_predictor.cls_score.bias += 0.1
    other, _ = distilled(student, previous, batch, regions="seen")
    assert other["loss_distill"] > 1e-5


REGIONS = ("new", "seen", "sampled")


def distilled(
    student: Any, previous: Any, batch: list[dict[str, Any]], **options: Any
) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Losses of a batch, and the regions that its heads were trained on."""
    teacher = Teacher(previous.backbone, previous.roi_heads, student.backbone, **options)
    sampled: list[Any] = []
    handle = student.roi_heads.register_forward_hook(
        lambda _, __, output: sampled.extend(one.proposal_boxes for one in output[0])
    )
    losses = losses_of(lambda: student.losses(batch, teacher))
    handle.remove()
    return losses, sampled


def predicted(model: Any, batch: list[dict[str, Any]], boxes: list[Any]) -> Any:
    """Cosines of boxes with all rows."""
    features = model.backbone(model.preprocess_image(batch).tensor)
    region = model.roi_heads.box_features(features, boxes)
    return cosines(region, model.roi_heads.box_predictor.cls_score.weight)


@pytest.mark.parametrize("regions", REGIONS)
def test_the_chosen_regions_are_distilled_and_no_other_loss_depends_on_them(
    make_model, make_batch, regions
):
    student, previous = make_model(5, seed=1), make_model(3, seed=2)
    batch = make_batch((3, 1), (IGNORED, 4), (IGNORED, IGNORED))
    batch[1]["instances"].gt_labels[0] = 2  # an old object that does not count
    batch[2]["instances"].gt_labels[0] = 4  # a new one that does not count, and a later one
    assert batch[2]["instances"].gt_labels.tolist() == [4, FUTURE]
    plain = losses_of(lambda: student.losses(batch))
    losses, sampled = distilled(student, previous, batch, regions=regions, weight=0.5)
    assert losses.keys() - plain.keys() == {"loss_distill"}
    assert all(torch.equal(losses[name], plain[name]) for name in plain)
    chosen = {"new": ([0], [1], [0]), "seen": ([0, 1], [0, 1], [0])}
    boxes = sampled
    if regions != "sampled":
        boxes = [
            one["instances"].gt_boxes[places]
            for one, places in zip(batch, chosen[regions], strict=True)
        ]
    count = sum(len(one) for one in boxes)
    assert count == {"new": 3, "seen": 5}.get(regions, count) > 0
    ours, theirs = predicted(student, batch, boxes), predicted(previous, batch, boxes)
    cosine = (ours[:, :3] - theirs[:, :3]).square().sum() / count
    torch.testing.assert_close(losses["loss_distill"], 0.5 * cosine)


def test_distillation_reaches_old_rows_and_neither_new_ones_nor_the_background(
    make_model, make_batch
):
    student, previous = make_model(5, seed=1), make_model(3, seed=2)
    losses, _ = distilled(student, previous, make_batch((3, 1)))
    losses["loss_distill"].backward()
    gradient = student.roi_heads.box_predictor.cls_score.weight.grad
    assert (gradient.abs().sum(1) > 0).tolist() == [True, True, True, False, False, False]
    assert student.roi_heads.box_predictor.cls_score.scale.grad is None


def test_a_batch_without_new_classes_distils_nothing_and_trains(five, make_model, make_batch):
    losses, _ = distilled(five, make_model(3), make_batch((0, IGNORED), (2, 1)))
    assert losses["loss_distill"].item() == 0.0
    torch.stack(list(losses.values())).sum().backward()


def test_an_image_without_any_object_trains(five, make_batch):
    batch = make_batch((0, 1))
    empty = batch[0]["instances"][torch.zeros(2, dtype=torch.bool)]
    empty.remove("gt_masks")  # as the mapper makes it
    losses = losses_of(lambda: five.losses([{**batch[0], "instances": empty}]))
    assert losses["loss_mask"].item() == losses["loss_box_reg"].item() == 0.0
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in five.parameters() if p.grad is not None)


@torch.no_grad()
def test_it_detects_what_detectron2_does_but_leaves_masks_small(five, make_batch):
    batch = [{**one, "height": 90, "width": 70} for one in make_batch((0, 1), (2, 3))]
    five.eval()
    assert five.classes == 5
    five.roi_heads.box_predictor.bbox_pred.weight.normal_(std=0.2)
    ours, theirs = five.detect(batch), [one["instances"] for one in five(batch)]
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert 0 < len(one) == len(other)
        assert one.image_size == other.image_size == (90, 70)
        torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor)
        torch.testing.assert_close(one.scores, other.scores)
        assert torch.equal(one.pred_classes, other.pred_classes)
        assert one.box_masks.shape == (len(one), 28, 28)
        assert not one.has("pred_masks")
        drawn = paste_masks_in_image(one.box_masks, one.pred_boxes, (90, 70), threshold=0.5)
        assert torch.equal(drawn, other.pred_masks)
        assert drawn.any()


# --- the region proposal network -----------------------------------------------------------------

SEEN, LATER, SMALL = [4.0, 6.0, 40.0, 42.0], [24.0, 10.0, 60.0, 46.0], [50.0, 50.0, 54.0, 53.0]
BACKGROUND_IOU = 0.3


@pytest.fixture
def network(five: Any) -> Any:
    """The proposal network; by default it uses every anchor there is."""
    network = five.proposal_generator
    network.batch_size_per_image, network.positive_fraction = 10_000, 1.0
    return network


@pytest.fixture
def anchors(five: Any) -> list[Boxes]:
    features = five.backbone(torch.zeros(1, 3, 64, 64))
    network = five.proposal_generator
    found: list[Boxes] = network.anchor_generator([features[name] for name in network.in_features])
    return found


def label(network: Any, anchors: list[Boxes], found: list[Instances], by: Any = LstRPN) -> Any:
    torch.manual_seed(3)
    return by.label_and_sample_anchors(network, anchors, found)


def overlaps(anchors: list[Boxes], box: list[float]) -> torch.Tensor:
    iou: torch.Tensor = pairwise_iou(Boxes(torch.tensor([box])), Boxes.cat(anchors))[0]
    return iou


@pytest.mark.parametrize("used", [16, 10_000])
def test_without_objects_of_the_future_labels_are_detectron2s(network, anchors, used):
    network.batch_size_per_image = used
    plain = targets([0, 3], [SEEN, LATER])
    plain.remove("gt_labels")
    for batch in ([targets([0, 3], [SEEN, LATER]), targets([], [])], [plain]):
        ours, theirs = (label(network, anchors, batch, by) for by in (LstRPN, RPN))
        for mine, other in zip(ours, theirs, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    assert (ours[0][0] == 1).any()


@pytest.mark.parametrize("later", [LATER, SMALL], ids=["large", "small"])
def test_an_anchor_on_an_object_of_the_future_is_never_background(network, anchors, later):
    [ours], _ = label(network, anchors, [targets([2, FUTURE], [SEEN, later])])
    [unaware], _ = label(network, anchors, [targets([2], [SEEN])], RPN)
    iou = overlaps(anchors, later)
    # The best anchor would be a positive of a known object, however little it overlaps.
    on_it = (iou >= BACKGROUND_IOU) | (iou == iou.max())
    assert (unaware[on_it] == 0).any(), "nothing to be taken out proves nothing"
    assert not (ours[on_it] == 0).any()
    assert torch.equal(ours[~on_it], unaware[~on_it])
    assert torch.equal(ours[unaware != 0], unaware[unaware != 0])


def test_labels_and_boxes_of_seen_objects_are_detectron2s(network, anchors):
    network.batch_size_per_image = 16
    # The object of the future comes first: what is matched is no place in the whole list.
    [ours], [boxes] = label(network, anchors, [targets([FUTURE, 2], [LATER, SEEN])])
    [theirs], [expected] = label(network, anchors, [targets([2], [SEEN])], RPN)
    assert torch.equal(ours == 1, theirs == 1)
    assert (ours == 1).any()
    assert torch.equal(boxes, expected)
    assert boxes[ours == 1].unique(dim=0).tolist() == [SEEN]


def test_an_image_of_nothing_but_the_future_has_background_elsewhere_and_no_object(
    network, anchors
):
    [first, second], boxes = label(
        network, anchors, [targets([FUTURE], [LATER]), targets([1], [SEEN])]
    )
    on_it = overlaps(anchors, LATER) >= BACKGROUND_IOU
    assert (first[on_it] == -1).all()
    assert (first[~on_it] == 0).all()
    assert len(boxes[0]) == len(first)
    [alone], _ = label(network, anchors, [targets([1], [SEEN])], RPN)
    assert torch.equal(second, alone)  # another image's future is not its own
