from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.evaluation.ground_truth import frequency_of, read_ground_truth
from lst_cli.evaluation.lvis_ap import lvis_ap

BOX, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 30.0, 30.0]


def write(folder: Path, content: Any) -> Path:
    path = folder / "val.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coco_set(draw: types.SimpleNamespace) -> dict[str, Any]:
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


def federated_set(draw: types.SimpleNamespace) -> dict[str, Any]:
    content = coco_set(draw)
    lists = [([3], []), ([1], [2, 3]), ([3, 2], [])]
    for image, (negative, partial) in zip(content["images"], lists, strict=True):
        image["neg_category_ids"], image["not_exhaustive_category_ids"] = negative, partial
    for category, letter in zip(content["categories"], "fcr", strict=True):
        category["frequency"] = letter
    return content


def test_only_the_seen_classes_stay_but_every_image_does(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    truth = read_ground_truth(write(tmp_path, federated_set(draw)), [2, 1], {})
    assert truth["federated"] is True
    assert truth["notes"] == []
    assert [each["id"] for each in truth["annotations"]] == [10, 11, 12]
    assert [each["id"] for each in truth["images"]] == [1, 2, 3]
    assert [each["neg_category_ids"] for each in truth["images"]] == [[], [1], [2]]
    assert [each["not_exhaustive_category_ids"] for each in truth["images"]] == [[], [2], []]
    assert truth["categories"] == [
        {"id": 2, "name": "class 2", "frequency": "c"},
        {"id": 1, "name": "class 1", "frequency": "f"},
    ]
    assert truth["annotations"][0] == draw.annotation(10, 1, 1, BOX) | {"ignore": 0}
    assert truth["images"][0]["file_name"] == "1.jpg"


def test_a_coco_file_is_labelled_everywhere_for_every_seen_class(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    truth = read_ground_truth(write(tmp_path, coco_set(draw)), [1, 2], {1: 101, 2: 10})
    assert truth["federated"] is False
    assert [each["neg_category_ids"] for each in truth["images"]] == [[], [1], [1, 2]]
    assert [each["not_exhaustive_category_ids"] for each in truth["images"]] == [[], [], []]
    assert [each["frequency"] for each in truth["categories"]] == ["f", "r"]
    assert len(truth["notes"]) == 1
    assert "labelled for every class" in truth["notes"][0]


def test_a_coco_file_scores_like_the_federated_file_made_of_it_by_hand(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    by_hand = coco_set(draw)
    negatives = {1: [3], 2: [1], 3: [1, 2, 3]}
    for image in by_hand["images"]:
        image["neg_category_ids"] = negatives[image["id"]]
        image["not_exhaustive_category_ids"] = []
    for category, letter in zip(by_hand["categories"], "rcf", strict=True):
        category["frequency"] = letter
    found = [
        draw.detection(1, 1, 0.4, BOX),
        draw.detection(2, 1, 0.9, BOX),  # wrong: class 1 is absent from image 2
        draw.detection(2, 2, 0.8, BOX),
        draw.detection(3, 2, 0.7, BOX),
        draw.detection(2, 3, 0.6, FAR),
    ]
    truth = read_ground_truth(write(tmp_path, coco_set(draw)), [1, 2, 3], {1: 1, 2: 99, 3: 500})
    ours = lvis_ap(truth, found, iou_type="segm", category_ids=[1, 2, 3])
    theirs = lvis_ap(by_hand, found, iou_type="segm", category_ids=[1, 2, 3])
    assert (ours.precision == theirs.precision).all()
    assert ours.summary == theirs.summary
    assert ours.summary["APr"] == pytest.approx(0.5)  # class 1: one right behind one wrong


def test_crowds_are_left_out_and_detections_on_them_are_not_wrong(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    content = coco_set(draw)
    crowd = draw.annotation(14, 3, 1, BOX) | {"iscrowd": 1}
    crowd["segmentation"] = {"size": [160, 220], "counts": [0, 20, 35180]}
    later = draw.annotation(15, 3, 3, BOX) | {"iscrowd": 1}
    content["annotations"] += [crowd, later]
    truth = read_ground_truth(write(tmp_path, content), [1, 2], {1: 1, 2: 1})
    assert [each["id"] for each in truth["annotations"]] == [10, 11, 12]
    assert truth["images"][2]["neg_category_ids"] == [2]
    assert truth["images"][2]["not_exhaustive_category_ids"] == [1]
    assert truth["notes"][1].startswith("1 crowd annotations are left out")
    found = [draw.detection(1, 1, 0.4, BOX), draw.detection(3, 1, 0.9, BOX)]
    assert lvis_ap(truth, found, iou_type="bbox", category_ids=[1]).summary["AP"] > 0.999


def test_uncompressed_and_compressed_masks_are_kept(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    content = federated_set(draw)
    counts = [0, 20, 35180]
    content["annotations"][0]["segmentation"] = {"size": [160, 220], "counts": counts}
    packed = draw.rle_of(BOX)["counts"].decode()
    content["annotations"][1]["segmentation"] = {"size": [160, 220], "counts": packed}
    truth = read_ground_truth(write(tmp_path, content), [1, 2, 3], {})
    assert truth["annotations"][0]["segmentation"]["counts"] == counts
    assert truth["annotations"][1]["segmentation"]["counts"] == packed
    lvis_ap(truth, [], iou_type="segm", category_ids=[1, 2, 3])


def test_a_seen_class_that_the_file_does_not_list_has_no_ground_truth(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    path = write(tmp_path, federated_set(draw))
    truth = read_ground_truth(path, [1, 77], {77: 11})
    assert truth["categories"][1] == {"id": 77, "name": "", "frequency": "c"}
    assert truth["notes"][0].startswith("1 of the seen classes")
    result = lvis_ap(truth, [draw.detection(1, 77, 0.5, BOX)], iou_type="bbox", category_ids=[77])
    assert result.summary["AP"] == -1


def test_a_file_without_images_has_no_ground_truth(tmp_path: Path) -> None:
    path = write(tmp_path, {"images": [], "annotations": [], "categories": []})
    truth = read_ground_truth(path, [], {})
    assert (truth["images"], truth["annotations"], truth["categories"]) == ([], [], [])


def test_rare_common_and_frequent_are_lviss() -> None:
    assert [frequency_of(n) for n in (0, 10, 11, 100, 101)] == ["r", "r", "c", "c", "f"]


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("images", {"id": 2}, "the image id 2 stands twice"),
        ("annotations", {"id": 12}, "the annotation id 12 stands twice"),
        ("categories", {"id": 3}, "the category id 3 stands twice"),
        ("annotations", {"image_id": 9}, "annotation 10 names the unknown image 9"),
        ("annotations", {"category_id": 9}, "annotation 10 names the unknown class 9"),
        ("annotations", {"segmentation": [[1, 1, 5, 5]]}, "annotation 10 has a polygon of 4"),
        ("annotations", {"segmentation": [[1, 1, 5, 5, 1, 5, 9]]}, "has a polygon of 7 numbers"),
        ("annotations", {"segmentation": []}, "annotation 10 has an empty segmentation"),
        ("annotations", {"segmentation": None}, "annotation 10 has an unreadable segmentation"),
        (
            "annotations",
            {"segmentation": {"size": [220, 160], "counts": "n2"}},
            r"annotation 10 has a mask of size \[220, 160\] in an image of size \[160, 220\]",
        ),
        ("annotations", {"area": "big"}, r"is not an annotation file: .*\$.annotations\[0\].area"),
        ("annotations", {"bbox": [float("nan")] * 4}, "is not an annotation file"),
        ("categories", {"frequency": "x"}, "class 1 has the frequency 'x', not r, c or f"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    draw: types.SimpleNamespace,
    tmp_path: Path,
    where: str,
    change: dict[str, Any],
    message: str,
) -> None:
    content = federated_set(draw)
    content[where][0].update(change)
    path = write(tmp_path, content)
    with pytest.raises(LstError, match=message) as error:
        read_ground_truth(path, [1, 2, 3], {})
    assert str(path) in error.value.message
    assert "\n" not in error.value.message
    assert error.value.hint


def test_federated_lists_in_some_images_only_are_refused(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    content = federated_set(draw)
    del content["images"][1]["not_exhaustive_category_ids"]
    with pytest.raises(LstError, match="image 2 lacks neg_category_ids or not_exh"):
        read_ground_truth(write(tmp_path, content), [1], {})


@pytest.mark.parametrize("text", ["", '{"images": [', "[]", '{"images": [], "categories": []}'])
def test_a_cut_or_foreign_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LstError, match=r"val\.json is not an annotation file"):
        read_ground_truth(write(tmp_path, text), [1], {})


def test_a_missing_file_and_a_file_of_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LstError, match=r"cannot read .*none\.json: No such file"):
        read_ground_truth(tmp_path / "none.json", [1], {})
    (tmp_path / "raw.json").write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(LstError, match=r"raw\.json is not an annotation file"):
        read_ground_truth(tmp_path / "raw.json", [1], {})


def test_a_class_without_a_known_image_count_is_named(
    draw: types.SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(LstError, match="training images of class 2 is not known"):
        read_ground_truth(write(tmp_path, coco_set(draw)), [1, 2], {1: 5})
