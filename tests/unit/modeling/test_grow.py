from __future__ import annotations

from typing import Any

import pytest
import torch

from lst_cli.modeling.grow import (
    BOX_BIAS,
    BOX_WEIGHT,
    CLASSIFIER,
    grow_state,
    mean_feature_rows,
    random_rows,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_state(boxes: int) -> dict[str, torch.Tensor]:
    return {
        CLASSIFIER: torch.arange(6.0).view(3, 2),  # two classes and the background
        BOX_WEIGHT: torch.ones(boxes, 2),
        BOX_BIAS: torch.ones(boxes),
        "backbone.weight": torch.ones(1),
    }


def test_box_regressors_of_new_classes_go_last():
    state = small_state(8)
    grown = grow_state(state, torch.zeros(3, 2), seeded(), class_agnostic_boxes=False)
    assert grown[CLASSIFIER].tolist() == [[0, 1], [2, 3], [0, 0], [0, 0], [0, 0], [4, 5]]
    assert grown[BOX_WEIGHT].shape == (20, 2)
    assert torch.equal(grown[BOX_WEIGHT][:8], state[BOX_WEIGHT])
    assert grown[BOX_BIAS].tolist() == [1.0] * 8 + [0.0] * 12
    assert grown["backbone.weight"] is state["backbone.weight"]
    assert len(state[CLASSIFIER]) == 3  # the given state is as it was


def test_box_regressors_may_be_the_average_of_the_old_classes():
    state = {
        **small_state(8),
        BOX_WEIGHT: torch.arange(16.0).view(8, 2),  # four rows each of two classes
        BOX_BIAS: torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0, 21.0, 32.0, 43.0]),
    }
    grown = grow_state(
        state, torch.zeros(2, 2), seeded(), class_agnostic_boxes=False, average_boxes=True
    )
    assert torch.equal(grown[BOX_WEIGHT][:8], state[BOX_WEIGHT])
    assert grown[BOX_WEIGHT][8:].tolist() == [[4, 5], [6, 7], [8, 9], [10, 11]] * 2
    assert torch.equal(grown[BOX_BIAS][:8], state[BOX_BIAS])
    assert grown[BOX_BIAS][8:].tolist() == [5.0, 11.0, 17.0, 23.0] * 2
    assert len(grown[CLASSIFIER]) == 5


@pytest.mark.parametrize("average", [True, False])
def test_one_regressor_for_all_classes_does_not_grow(average):
    state = small_state(4)
    grown = grow_state(
        state, torch.zeros(3, 2), seeded(), class_agnostic_boxes=True, average_boxes=average
    )
    assert grown[BOX_WEIGHT] is state[BOX_WEIGHT]
    assert grown[BOX_BIAS] is state[BOX_BIAS]
    assert len(grown[CLASSIFIER]) == 6


def box_regressors(seed: int) -> torch.Tensor:
    state = {**small_state(8), BOX_WEIGHT: torch.zeros(8, 100)}
    rows = torch.zeros(50, 2)
    return grow_state(state, rows, seeded(seed), class_agnostic_boxes=False)[BOX_WEIGHT][8:]


@pytest.mark.parametrize(
    ("draw", "deviation"),
    [(lambda seed: random_rows(200, 100, 0.01, seeded(seed)), 0.01), (box_regressors, 0.001)],
)
def test_new_rows_and_box_regressors_are_drawn_from_the_seed(draw, deviation):
    drawn = draw(3)
    assert drawn.mean().abs().item() < 0.03 * deviation
    assert drawn.std().item() == pytest.approx(deviation, rel=0.03)
    assert torch.equal(drawn, draw(3))
    assert not torch.equal(drawn, draw(4))


def test_mean_feature_rows_point_at_the_mean_and_are_as_long_as_the_old_ones():
    old = torch.tensor([[3.0, 4.0], [0.0, 1.0]])  # lengths 5 and 1, mean 3
    sums = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, 0.0]])
    rows = mean_feature_rows(sums, torch.tensor([2, 5, 0]), old)
    half = 3 / 2**0.5
    torch.testing.assert_close(rows, torch.tensor([[3.0, 0.0], [half, half], [0.0, 0.0]]))


@pytest.mark.engine
@pytest.mark.parametrize(
    ("agnostic", "class_loss"), [(True, "softmax"), (False, "softmax"), (True, "sigmoid")]
)
@torch.no_grad()
def test_growing_keeps_every_old_output_of_a_real_network(
    agnostic, class_loss, make_model, make_batch
):
    from detectron2.structures import Boxes

    kind = {"class_agnostic_boxes": agnostic, "class_loss": class_loss}
    before = make_model(5, seed=1, model=kind).eval()
    after = make_model(8, seed=2, model=kind).eval()
    before.roi_heads.box_predictor.cls_score.scale.fill_(7.0)  # as if it had been trained
    rows = random_rows(3, 32, 0.01, seeded())
    state = grow_state(before.state_dict(), rows, seeded(), class_agnostic_boxes=agnostic)
    after.load_state_dict(state)

    batch = make_batch((0, 1), (2, 3))
    boxes = [Boxes(torch.tensor([[2.0, 3.0, 30.0, 40.0], [10, 10, 60, 50]])) for _ in batch]
    classes = torch.tensor([0, 1, 3, 4])

    def outputs(model: Any) -> tuple[torch.Tensor, ...]:
        features = model.backbone(model.preprocess_image(batch).tensor)
        region = model.roi_heads.box_features(features, boxes)
        logits, deltas = model.roi_heads.box_predictor(region)
        maps = [features[name] for name in model.roi_heads.mask_in_features]
        pooled = model.roi_heads.mask_pooler(maps, boxes)
        rows = model.roi_heads.box_predictor.cls_score.class_rows
        masks = model.roi_heads.mask_head.mask_logits(pooled, classes, rows)
        return logits, deltas, masks, model.roi_heads.box_predictor.cls_score.scale

    old_logits, old_deltas, old_masks, old_scale = outputs(before)
    logits, deltas, masks, scale = outputs(after)
    same: Any = {"atol": 1e-6, "rtol": 0.0}
    kept = [0, 1, 2, 3, 4, 8]  # labels stay, the background is last again
    torch.testing.assert_close(logits[:, kept], old_logits, **same)
    torch.testing.assert_close(logits[:, kept] / scale, old_logits / old_scale, **same)
    torch.testing.assert_close(deltas[:, : old_deltas.shape[1]], old_deltas, **same)
    assert deltas.shape[1] == (4 if agnostic else 32)
    torch.testing.assert_close(masks, old_masks, **same)
    assert old_masks.std() > 0
    assert after.roi_heads.num_classes == after.roi_heads.box_predictor.num_classes == 8
