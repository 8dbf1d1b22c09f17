"""Boxes of new classes that are too small for the network, or as large as their image."""

from __future__ import annotations

import pytest

from lst_cli.annotations.read import read_dataset
from lst_cli.extend.box_sizes import BoxSizes, describe_sizes, finest_stride, measure_boxes
from lst_cli.inputs import label_instances
from lst_cli.settings.models import DataSettings, Settings


@pytest.fixture
def measure(few):
    """Measure one box in the image of 96 x 64 pixels, or as many as are given."""

    def call(*boxes, stride=8, **sizes):
        few.document["images"][0].update(width=96, height=64)
        few.document["annotations"] = few.document["annotations"][: len(boxes)]
        for one, box in zip(few.document["annotations"], boxes, strict=True):
            one.update(category_id=3, image_id=1, bbox=box)
        few.save()
        data = DataSettings(**{"min_size_test": 64, "max_size_test": 200, **sizes})
        inputs = label_instances(read_dataset(few.train_json), [3, 40])
        return measure_boxes(inputs, range(2), data, stride)

    return call


@pytest.mark.parametrize(
    ("box", "data", "tiny", "whole"),
    [
        ([5, 5, 7, 9], {}, 1, 0),
        ([5, 5, 8, 8], {}, 0, 0),
        ([5, 5, 2, 40], {}, 0, 0),
        ([5, 5, 8, 8], {"max_size_test": 64}, 1, 0),
        ([5, 5, 4, 4], {"min_size_test": 128}, 0, 0),
        ([0, 0, 96, 57], {}, 0, 0),
        ([0, 0, 96, 58], {}, 0, 1),
        ([-90, 0, 180, 64], {}, 0, 1),
        ([-9, -9, 60, 100], {}, 0, 0),
    ],
)
def test_boxes_are_measured_as_the_network_sees_them(measure, box, data, tiny, whole):
    assert measure(box, **data) == (BoxSizes(1, tiny, whole), BoxSizes(0, 0, 0))


def test_the_finest_level_is_that_of_the_settings():
    key = "MODEL.ROI_HEADS.IN_FEATURES"
    assert finest_stride(Settings()) == 4
    assert finest_stride(Settings(detectron2={key: ["p3", "p4"]})) == 8
    assert finest_stride(Settings(detectron2={key: ["res4"]})) == 4


def test_a_class_is_named_if_more_than_a_tenth_of_its_boxes_are_such():
    sizes = [BoxSizes(20, 3, 2), BoxSizes(1, 0, 1), BoxSizes(0, 0, 0)]
    tiny, whole = describe_sizes(["zebra", "yak", "gnu"], sizes, 8)
    assert tiny.startswith('3 of 20 boxes of "zebra" are smaller than 8 x 8 pixels')
    assert whole.startswith('1 of 1 boxes of "yak" cover the whole image')
