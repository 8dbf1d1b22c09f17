from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from lst_cli.modeling.episodes import Episodes, FeatureBank, support_boxes
from lst_cli.modeling.weight_generator import WeightGenerator
from tests.fixtures.small_network import targets

NEW = range(3, 5)


def make_episodes(model: Any, **options: Any) -> Any:
    chosen: dict[str, Any] = {"shots": 1, "boxes": "ground-truth", "learn_offsets": False}
    chosen |= options
    places, new = chosen.pop("places", 2), chosen.pop("new", NEW)
    heads = model.roi_heads
    kept = FeatureBank(classes=len(new), places=places, shape=heads.pooled_shape)
    generator = WeightGenerator(
        features=heads.box_predictor.cls_score.weight.shape[1],
        base_classes=2,
        generator=torch.Generator().manual_seed(0),
    )
    return Episodes(generator, new=new, kept=kept if places else None, **chosen)


def test_the_newest_features_of_a_class_push_out_the_oldest():
    kept = FeatureBank(classes=3, places=2, shape=(1,))
    kept.add(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1))
    assert kept.added.tolist() == [0, 0, 0]
    kept.add(torch.tensor([0, 1, 0]), torch.tensor([[1.0], [2.0], [3.0]]))
    kept.add(torch.tensor([0]), torch.tensor([[4.0]]))
    assert kept.pooled[:, :, 0].tolist() == [[4.0, 3.0], [2.0, 0.0], [0.0, 0.0]]
    assert kept.added.tolist() == [3, 1, 0]
    kept.add(torch.tensor([2] * 5), torch.arange(5.0)[:, None])  # more than there are places
    assert sorted(kept.pooled[2, :, 0].tolist()) == [3.0, 4.0]


def test_a_draw_takes_each_box_once_and_no_empty_place():
    kept = FeatureBank(classes=3, places=2, shape=(1,))
    kept.add(torch.tensor([0, 0, 2]), torch.tensor([[1.0], [2.0], [3.0]]))
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        labels, pooled = kept.draw(1)
        assert labels.tolist() == [0, 2]
        seen.add(pooled[0].item())
        assert pooled[1].item() == 3.0
    assert seen == {1.0, 2.0}
    labels, pooled = kept.draw(5)
    assert labels.tolist() == [0, 0, 2]
    assert sorted(pooled[:, 0].tolist()) == [1.0, 2.0, 3.0]


def test_new_rows_score_in_the_place_of_the_stored_ones_and_are_not_stored(five):
    classifier = five.roi_heads.box_predictor.cls_score
    stored = classifier.weight.detach().clone()
    written = torch.randn(2, stored.shape[1], requires_grad=True)
    with classifier.new_rows(written):
        assert torch.equal(classifier.rows[3:5], written)
        assert torch.equal(classifier.rows[:3], stored[:3])
        assert torch.equal(classifier.rows[5], stored[5])
        assert torch.equal(classifier.class_rows, classifier.rows[:5])
        classifier(torch.randn(4, stored.shape[1])).square().sum().backward()
    assert classifier.rows is classifier.weight
    assert torch.equal(classifier.weight, stored)
    assert classifier.weight.grad[3:5].abs().sum() == 0
    assert classifier.weight.grad[:3].abs().sum() > 0


def gradients(module: Any) -> dict[str, float]:
    """Sum of the absolute gradient of each parameter; 0 where none arrived."""
    return {
        name: 0.0 if parameter.grad is None else parameter.grad.abs().sum().item()
        for name, parameter in module.named_parameters()
    }


def test_the_rows_train_the_generator_the_box_head_and_the_base_rows(five):
    episodes = make_episodes(five)
    episodes.kept.add(torch.tensor([0, 1]), torch.rand(2, *five.roi_heads.pooled_shape))
    classifier = five.roi_heads.box_predictor.cls_score
    with episodes.rows_of(five, None):
        # Nothing but the written rows: whatever a loss does with regions is not in it.
        classifier.rows[3:5].sum().backward()
    for module in (episodes.generator, five.roi_heads.box_head):
        assert all(gradients(module).values()), gradients(module)
    # Base rows are attended to; the third old class is none of them.
    touched = classifier.weight.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [True, True, False, False, False, False]
    assert not any(gradients(five.backbone).values())


@pytest.mark.parametrize("loss", ["loss_cls", "loss_mask"])
def test_an_episode_trains_the_generator_by_classes_and_by_masks(five, make_batch, loss):
    five.episodes = make_episodes(five)
    kept = five.episodes.kept
    kept.add(torch.tensor([0, 1]), torch.rand(2, *five.roi_heads.pooled_shape))
    torch.manual_seed(0)
    with EventStorage():
        losses = five.losses(make_batch((3, 4), (0, 3)))
    losses[loss].backward()
    found = gradients(five.episodes.generator)
    assert all(found.values()), found
    # The stored rows of new classes, which the written ones stand for, play no part.
    assert five.roi_heads.box_predictor.cls_score.weight.grad[3:5].abs().sum() == 0
    # The batch showed objects of both new classes: three boxes join the two that were there.
    assert kept.added.tolist() == [1, 1]  # not before the weights are updated
    five.episodes.keep()
    assert kept.added.tolist() == [3, 2]


def test_each_row_is_the_average_of_what_is_written_for_the_boxes_of_its_class(five):
    pooled, heads = torch.rand(3, *five.roi_heads.pooled_shape), five.roi_heads
    episodes = make_episodes(five, shots=2)
    episodes.kept.add(torch.tensor([1, 0, 1]), pooled)
    with torch.no_grad(), episodes.rows_of(five, None):
        weight = heads.box_predictor.cls_score.weight
        written = episodes.generator(heads.box_head(pooled), weight[:2], weight[-1])
        rows = heads.box_predictor.cls_score.rows[3:5]
    torch.testing.assert_close(rows, torch.stack([written[1], written[[0, 2]].mean(dim=0)]))


def test_kept_and_exact_support_write_the_same_rows_from_the_same_boxes(five, make_batch):
    five.backbone.requires_grad_(False)
    batch = make_batch((3, 4))
    episodes = make_episodes(five)
    exact = make_episodes(five, places=0)
    exact.load_state_dict(episodes.generator.state_dict(prefix="generator."))
    with torch.no_grad():
        images = five.preprocess_image(batch)
        found = [item["instances"] for item in batch]
        features = five.backbone(images.tensor)
        none = [Boxes(torch.zeros(0, 4))]
        episodes.refresh(five.roi_heads, features, found, none)
        episodes.keep()
    classifier = five.roi_heads.box_predictor.cls_score
    rows = []
    for one in (episodes, exact):
        with one.rows_of(five, batch):
            rows.append(classifier.rows[3:5].clone())
    torch.testing.assert_close(rows[0], rows[1])


@pytest.mark.parametrize("other", [-1, 5], ids=["ignored", "background"])
def test_exact_support_is_of_the_class_of_its_entry_only(five, make_batch, other):
    # Both objects are of new classes; in the entry the second does not count. K is 5.
    batch = make_batch((3, other), labels=(3, 4))
    episodes = make_episodes(five, places=0)
    labels, pooled = episodes._compute(five, batch)
    assert labels.tolist() == [0]
    assert len(pooled) == 1


def test_offsets_are_added_to_the_written_rows(five):
    episodes = make_episodes(five, learn_offsets=True)
    episodes.kept.add(torch.tensor([0, 1]), torch.rand(2, *five.roi_heads.pooled_shape))
    classifier = five.roi_heads.box_predictor.cls_score
    with episodes.rows_of(five, None):
        without = classifier.rows[3:5].detach().clone()
    with torch.no_grad():
        episodes.offsets[1] += 0.25
    with episodes.rows_of(five, None):
        change = classifier.rows[3:5].detach() - without
    torch.testing.assert_close(change[0], torch.zeros_like(change[0]))
    torch.testing.assert_close(change[1], torch.full_like(change[1], 0.25))


def test_only_objects_of_new_classes_are_support(five):
    episodes = make_episodes(five)
    found = [
        targets([0, 4, 3], [[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]]),
        targets([], []),
        targets([5, 4], [[0, 0, 5, 5], [3, 3, 6, 6]]),
    ]
    labels, boxes = episodes.choose(found, [Boxes(torch.zeros(0, 4))] * 3)
    assert labels.tolist() == [1, 0, 1]
    assert [box.tensor.tolist() for box in boxes] == [
        [[1, 1, 8, 8], [2, 2, 7, 7]],
        [],
        [[3, 3, 6, 6]],
    ]


def refreshed(found: list[Instances], *, places: int, seed: int = 0) -> tuple[Any, ...]:
    """Refresh kept features that other images filled with -1; a box is known by its left edge."""
    kept = FeatureBank(classes=len(NEW), places=places, shape=(1,))
    kept.add(torch.tensor([0, 1]).repeat(places), torch.full((2 * places, 1), -1.0))
    episodes = Episodes(
        WeightGenerator(features=2, base_classes=2),
        new=NEW,
        shots=1,
        boxes="ground-truth",
        kept=kept,
        learn_offsets=False,
    )
    heads: Any = SimpleNamespace(
        pooled_boxes=lambda _, boxes: torch.cat([one.tensor[:, :1] for one in boxes])
    )
    torch.manual_seed(seed)
    episodes.refresh(heads, {}, found, [one.gt_boxes for one in found])
    episodes.keep()
    return tuple(sorted(of_class) for of_class in kept.pooled[:, :, 0].tolist())


def crowd(labels: list[int], first: int = 0) -> Instances:
    boxes = [[first + i, 0.0, first + i + 9, 9] for i in range(len(labels))]
    return targets(labels, boxes)


def test_a_crowd_in_one_image_leaves_half_of_the_places_to_other_images():
    drawn = set()
    for seed in range(30):
        # Six of class 3, one of class 4, and nine of an old class.
        first, second = refreshed([crowd([3] * 6 + [4] + [0] * 9)], places=4, seed=seed)
        assert first[:2] == [-1.0, -1.0]
        assert set(first[2:]) <= set(range(6))
        assert len(set(first[2:])) == 2
        assert second == [-1.0, -1.0, -1.0, 6.0]
        drawn.add(tuple(first[2:]))
    assert {box for pair in drawn for box in pair} == set(range(6))
    assert len(drawn) > 5


@pytest.mark.parametrize(("places", "left"), [(1, 0), (2, 1), (3, 2), (5, 3)])
def test_half_of_the_places_are_rounded_down_to_one_at_the_least(places, left):
    first, second = refreshed([crowd([3] * 9)], places=places)
    assert first.count(-1.0) == left
    assert second == [-1.0] * places


def test_each_image_has_its_own_half_and_few_objects_are_all_kept():
    first, _ = refreshed([crowd([3, 3]), crowd([]), crowd([3], first=50)], places=4)
    assert first == [-1.0, 0.0, 1.0, 50.0]
    first, _ = refreshed([crowd([3] * 9), crowd([3] * 9, first=50)], places=4)
    assert [value >= 50 for value in first] == [False, False, True, True]
    assert first[0] >= 0


def test_jittered_boxes_stay_near_the_annotated_ones():
    truth = Boxes(torch.tensor([[10.0, 20.0, 30.0, 60.0]] * 200))
    shaken = support_boxes(truth, Boxes(torch.zeros(0, 4)), "jittered").tensor
    off = (shaken - truth.tensor).abs()
    assert off[:, [0, 2]].max() <= 2.0
    assert off[:, [1, 3]].max() <= 4.0
    assert off.max() > 3.0


@pytest.mark.parametrize(
    ("proposals", "good"),
    [
        ([], [(0.0, 0.0, 10.0, 10.0)]),  # the annotated box
        ([(100.0, 100.0, 120.0, 120.0)], [(0.0, 0.0, 10.0, 10.0)]),
        ([(0.0, 0.0, 10.0, 9.0), (1.0, 0.0, 10.0, 10.0), (0.0, 0.0, 4.0, 4.0)],
         [(0.0, 0.0, 10.0, 9.0), (1.0, 0.0, 10.0, 10.0)]),
    ],
)  # fmt: skip
def test_proposals_that_overlap_by_half_are_drawn(proposals, good):
    truth = Boxes(torch.tensor([[0.0, 0.0, 10.0, 10.0]]))
    regions = Boxes(torch.tensor(proposals).reshape(-1, 4))
    drawn = set()
    for seed in range(30):
        torch.manual_seed(seed)
        [box] = support_boxes(truth, regions, "proposals").tensor.tolist()
        drawn.add(tuple(box))
    assert drawn == set(good)


@pytest.mark.parametrize("choice", ["ground-truth", "jittered", "proposals"])
def test_no_objects_need_no_boxes(choice):
    none = Boxes(torch.zeros(0, 4))
    assert len(support_boxes(none, none, choice)) == 0
