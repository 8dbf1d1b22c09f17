from __future__ import annotations

import copy

import numpy as np
import pytest

from lst_cli.ap.ground_truth import truth_notes
from lst_cli.errors import LstError

BOX, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 30.0, 30.0]


@pytest.fixture
def coco(draw):
    """Image 1 holds classes 1 and 2, image 2 class 2 and later class 3, image 3 nothing."""
    images = [
        {"id": key, "height": 160, "width": 220, "file_name": f"{key}.jpg"} for key in (1, 2, 3)
    ]
    annotations = [
        draw.annotation(10, 1, 1, BOX),
        draw.annotation(11, 1, 2, FAR),
        draw.annotation(12, 2, 2, BOX),
        draw.annotation(13, 2, 3, FAR),
    ]
    categories = [{"id": key, "name": f"class {key}"} for key in (1, 2, 3)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def federated(coco):
    content = copy.deepcopy(coco)
    lists = [([3], []), ([1], [2, 3]), ([3, 2], [])]
    for image, (negative, partial) in zip(content["images"], lists, strict=True):
        image["neg_category_ids"], image["not_exhaustive_category_ids"] = negative, partial
    for category, letter in zip(content["categories"], "fcr", strict=True):
        category["frequency"] = letter
    return content


def named(truth, pairs):
    """Image id and category id of each pair."""
    rows, columns = np.divmod(pairs, len(truth.category_ids))
    ids = [truth.category_ids[column] for column in columns.tolist()]
    return list(zip(truth.image_ids[rows].tolist(), ids, strict=True))


def test_notes_are_made_of_any_number_of_masks(federated, draw, build):
    federated["annotations"] = [draw.annotation(number, 1, 1, BOX) for number in range(1, 301)]
    *_, surplus = truth_notes(build(federated, [1], {}), 100)
    assert "200" in surplus


def test_only_the_seen_classes_stay_but_every_image_does(federated, draw, build):
    truth = build(federated, [2, 1], {})
    assert truth.federated is True
    assert truth.layout == "lvis-v0.5"
    assert truth.notes == ()
    assert len(truth.image) == 3
    assert truth.image_ids.tolist() == [1, 2, 3]
    assert truth.sizes.tolist() == [[160, 220]] * 3
    assert named(truth, truth.negative) == [(2, 1), (3, 2)]
    assert named(truth, truth.partial) == [(2, 2)]
    assert truth.category_ids == (2, 1)
    assert truth.frequencies == ("c", "f")
    assert truth.known_category_ids == {1, 2, 3}  # 3 still takes part in the cap
    assert named(truth, truth.pair_keys(truth.image, truth.category)) == [(1, 1), (1, 2), (2, 2)]
    assert truth.boxes.tolist() == [BOX, FAR, BOX]
    assert truth.areas.tolist() == [400.0, 900.0, 400.0]
    assert truth.ignore.tolist() == [False] * 3
    assert truth.rles == [draw.rle_of(BOX), draw.rle_of(FAR), draw.rle_of(BOX)]


def test_by_default_all_classes_are_scored_in_lvis_apis_order(federated, build):
    federated["categories"].reverse()
    truth = build(federated)
    assert truth.category_ids == (1, 2, 3)
    assert truth.frequencies == ("f", "c", "r")
    assert len(truth.image) == 4


def test_images_stand_by_id_and_annotations_as_in_the_file(federated, build):
    federated["images"] = [federated["images"][row] | {"width": 220 + row} for row in (2, 0, 1)]
    federated["annotations"].reverse()
    federated["annotations"] = [one for one in federated["annotations"] if one["id"] != 13]
    truth = build(federated, masks=False)
    assert truth.image_ids.tolist() == [1, 2, 3]
    assert truth.sizes[:, 1].tolist() == [220, 221, 222]
    assert truth.image.tolist() == [1, 0, 0]
    assert truth.rles is None
    assert named(truth, truth.negative) == [(1, 3), (2, 1), (3, 2), (3, 3)]
    assert named(truth, truth.partial) == [(2, 2), (2, 3)]


def test_a_coco_file_is_labelled_everywhere_for_every_seen_class(coco, build):
    truth = build(coco, [1, 2], {1: 101, 2: 10})
    assert truth.federated is False
    assert truth.layout == "coco"
    assert truth.negative.tolist() == []
    assert truth.labelled_absent(np.arange(6)).all()
    assert truth.partial.tolist() == []
    assert truth.frequencies == ("f", "r")
    assert len(truth.notes) == 1
    assert "labelled for every class" in truth.notes[0]


def test_crowds_are_left_out_and_detections_on_them_are_not_wrong(coco, draw, build, score):
    crowd = draw.annotation(14, 3, 1, BOX) | {"iscrowd": 1}
    crowd["segmentation"] = {"size": [160, 220], "counts": [0, 20, 35180]}
    later = draw.annotation(15, 3, 3, BOX) | {"iscrowd": 1}
    coco["annotations"] += [crowd, later]
    truth = build(coco, [1, 2], {1: 1, 2: 1})
    assert len(truth.image) == 3
    assert truth.labelled_absent(np.arange(6)).tolist() == [True] * 4 + [False, True]
    assert named(truth, truth.partial) == [(3, 1)]
    assert truth.notes[1].startswith("1 crowd annotation is left out")
    found = [draw.detection(1, 1, 0.4, BOX), draw.detection(3, 1, 0.9, BOX)]
    assert score(coco, found, "bbox", [1]).summary["AP"] > 0.999


def test_masks_nobody_wants_are_not_looked_at(federated, build):
    federated["annotations"][3]["segmentation"] = "nonsense"
    assert build(federated, [1, 2]).rles is not None  # it is of class 3
    federated["annotations"][0]["segmentation"] = "nonsense"
    assert build(federated, masks=False).rles is None


@pytest.mark.parametrize(
    ("flag", "ignored"), [(0, False), (1, True), (True, True), (None, False), (2, True)]
)
def test_ignore_is_read_as_lvis_api_does(federated, build, flag, ignored):
    federated["annotations"][1]["ignore"] = flag
    assert build(federated).ignore.tolist() == [False, ignored, False, False]
    assert build(federated, masks=False).ignore.tolist() == [False, ignored, False, False]


def test_a_seen_class_that_the_file_does_not_list_has_no_ground_truth(
    federated, draw, build, score
):
    truth = build(federated, [1, 77], {77: 11})
    assert truth.frequencies == ("f", "c")
    assert truth.notes[0].startswith("1 of the classes to score")
    found = [draw.detection(1, 77, 0.5, BOX)]
    assert score(federated, found, "bbox", [77]).summary["AP"] == -1


def test_a_file_without_images_has_no_ground_truth(build):
    truth = build({"images": [], "annotations": [], "categories": []}, [], {})
    assert (len(truth.image_ids), len(truth.image), truth.category_ids) == (0, 0, ())
    assert (truth.boxes.shape, truth.sizes.shape, truth.rles) == ((0, 4), (0, 2), [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": [[1, 1, 5, 5]]}, "annotation 10 has no polygon of three"),
        (
            {"segmentation": "x"},
            "10 has a segmentation that is neither polygons nor an RLE",
        ),
        (
            {"segmentation": {"size": [160, 220], "counts": "n2"}},
            "annotation 10 has an RLE whose runs do not fill the image",
        ),
    ],
)
def test_a_mask_that_cannot_be_drawn_is_named(federated, build, tmp_path, change, message):
    federated["annotations"][0].update(change)
    with pytest.raises(LstError, match=message) as error:
        build(federated)
    assert str(tmp_path) in error.value.message
    assert "\n" not in error.value.message
    assert error.value.hint


def test_a_scrap_beside_a_whole_polygon_is_left_out_as_in_training(federated, draw, build):
    for scrap in ([30, 30, 90, 90], [5.0], [], [1, 2, 3, 4, 5, 6, 7]):
        federated["annotations"][0]["segmentation"] = [[0, 0, 20, 0, 20, 20, 0, 20], scrap]
        truth = build(federated)
        assert truth.rles is not None
        assert truth.rles[0] == draw.rle_of(BOX)
        assert "1 annotation has some polygons of fewer than three points" in truth.notes[0]


@pytest.mark.parametrize("frequency", ["x", "R", "rare", ""])
def test_a_frequency_that_is_none_counts_as_not_stated(federated, build, frequency):
    federated["categories"][0]["frequency"] = frequency
    assert build(federated, [1], {1: 4}).frequencies == ("r",)
    assert build(federated, [1]).frequencies == ("",)


@pytest.mark.parametrize("value", [..., None])
@pytest.mark.parametrize("key", ["not_exhaustive_category_ids", "neg_category_ids"])
def test_federated_lists_that_only_other_images_have_count_as_empty(federated, build, key, value):
    empty, without = federated, copy.deepcopy(federated)
    empty["images"][1][key] = []
    without["images"][1][key] = value
    if value is ...:
        del without["images"][1][key]
    by_hand, ours = build(empty, [1, 2]), build(without, [1, 2])
    assert by_hand.notes == ()
    assert ours.notes[0].startswith("1 image has no neg_category_ids or")
    assert ours.negative.tolist() == by_hand.negative.tolist()
    assert ours.partial.tolist() == by_hand.partial.tolist()
    assert ours.federated


def test_a_class_without_a_known_image_count_is_named_before_masks_are_read(coco, build):
    calls: list[int] = []
    with pytest.raises(LstError, match="training images of class 2 is not known"):
        build(coco, [1, 2], {1: 5}, progress=lambda what, done, total: calls.append(done))
    assert not calls
    assert build(coco, [1, 2]).frequencies == ("", "")


def test_a_class_that_is_scored_twice_is_refused(coco, build):
    with pytest.raises(LstError, match="listed twice"):
        build(coco, [1, 2, 1])


def test_progress_counts_the_bytes_of_the_file(federated, build, tmp_path):
    calls: list[tuple[int, int | None]] = []
    build(federated, progress=lambda what, done, total: calls.append((done, total)))
    size = (tmp_path / "annotations.json").stat().st_size
    assert calls[-1] == (size, size)
