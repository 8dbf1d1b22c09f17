from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances
from torch.utils._python_dispatch import TorchDispatchMode

from lst_cli.modeling.transfer import to_device

pytestmark = pytest.mark.engine


class Copies(TorchDispatchMode):
    """Whether each copy that is made waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[bool] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if call is torch.ops.aten._to_copy.default:
            self.waits.append(not kwargs.get("non_blocking", False))
        return call(*args, **(kwargs or {}))


def test_instances_are_moved_field_by_field_and_nothing_waits():
    one = Instances((4, 4))
    one.gt_boxes = Boxes(torch.zeros(2, 4))
    one.gt_masks = BitMasks(torch.zeros(2, 4, 4))
    one.gt_classes = torch.zeros(2, dtype=torch.int64)
    with Copies() as copies:
        moved = to_device(one, torch.device("meta"))
    assert copies.waits == [False] * 3
    assert moved.image_size == (4, 4)
    assert isinstance(moved.gt_boxes, Boxes)
    fields = (moved.gt_boxes.tensor, moved.gt_masks.tensor, moved.gt_classes)
    assert {field.device.type for field in fields} == {"meta"}
