"""Data that is wrong without being broken: said by check, split and eval, each in a line."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest


def problems(lst: Any, small_lvis: Any) -> dict[str, dict[str, Any]]:
    small_lvis.save()
    files = ["--train", small_lvis.train_json, "--val", small_lvis.val_json]
    outcome = lst("check", *files, "--images", small_lvis.images, "--json")
    return {one["kind"]: one for one in outcome.json["problems"]}


def shares(box: list[float]) -> list[float]:
    return [box[0] / 80, box[1] / 60, box[2] / 80, box[3] / 60]


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


@pytest.mark.parametrize(
    ("change", "look"),
    [
        (shares, "boxes in shares of the image"),
        (corners, "boxes as corners"),
        (lambda box: [box[1], box[0] + 70, box[3], box[2]], "its mask: ["),
        (lambda box: [value * 12.5 for value in box], "look like boxes"),
        (lambda box: [box[0] + 80, *box[1:]], "boxes moved by 80 across and 0 down"),
    ],
)
def test_boxes_of_another_meaning_stop_split_and_check_and_come_before_what_they_cause(
    small_lvis, lst, tmp_path, change, look
):
    for annotation in small_lvis.train["annotations"]:
        annotation["bbox"] = change(annotation["bbox"])
    found = problems(lst, small_lvis)
    assert next(iter(found)) == "box-not-of-mask"
    assert found["box-not-of-mask"]["severity"] == "error"
    assert not {"annotated-twice", "two-classes"} & set(found)
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "runs")
    assert f"{small_lvis.train_json}: " in outcome.error
    assert "from the extent of their masks" in outcome.error
    assert look in outcome.error
    assert "for instance annotation " in outcome.error
    assert ("(and 1 more kind of error)" in outcome.error) == ("box-outside" in found)
    assert "--skip-unusable" not in outcome.err


def test_a_file_given_twice_is_named_and_counted_once(small_lvis, lst):
    small_lvis.save()
    file = small_lvis.train_json
    outcome = lst("check", "--train", file, "--val", file, "--images", small_lvis.images).ok()
    assert f"no errors in {file}, 24 images" in outcome.err
    assert f"{file} and {file}" not in outcome.err + outcome.out


def test_boxes_and_masks_that_are_both_shares_stop_check(small_lvis, lst):
    for annotation in small_lvis.train["annotations"]:
        annotation["bbox"] = shares(annotation["bbox"])
        points = annotation["segmentation"][0]
        annotation["segmentation"] = [
            [value / (60 if at % 2 else 80) for at, value in enumerate(points)]
        ]
    found = problems(lst, small_lvis)
    assert found["box-layout"]["severity"] == "error"
    assert "shares of the image" in found["box-layout"]["message"]
    assert found["no-pixel"]["count"] == len(small_lvis.train["annotations"])


def test_an_exchanged_width_and_height_stops_check(small_lvis, lst):
    for image in small_lvis.train["images"]:
        image["width"], image["height"] = 20, 80
    found = problems(lst, small_lvis)
    assert "if width and height of the images were exchanged" in found["box-layout"]["message"]


def test_shared_images_and_doubled_objects_are_warnings_of_check_and_split(
    small_lvis, lst, tmp_path
):
    train, val = small_lvis.train, small_lvis.val
    val["images"][0]["coco_url"] = train["images"][3]["coco_url"]
    (small_lvis.images / "val" / "001002.png").write_bytes(
        (small_lvis.images / "train" / "000007.png").read_bytes()
    )
    train["annotations"].append({**train["annotations"][5], "id": 999})
    train["images"].append({**train["images"][8], "id": 998})
    found = problems(lst, small_lvis)
    for kind, count in (("shared-images", 2), ("annotated-twice", 1), ("image-listed-twice", 1)):
        assert (found[kind]["severity"], found[kind]["count"]) == ("warning", count)
    assert "(1 by name, 1 byte for byte)" in found["shared-images"]["message"]
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "runs").ok()
    assert "warning: " in outcome.err
    assert "1 of 8 validation images (12.5%) is a training image too (1 by name)" in outcome.err
    assert "1 annotation repeats another" in outcome.err
    assert "1 image is listed again under another id" in outcome.err


def test_the_parts_of_a_hold_out_never_share_an_image(small_lvis, lst, tmp_path):
    train = small_lvis.train
    for image in copy.deepcopy(train["images"]):
        train["images"].append({**image, "id": image["id"] + 500})
    for annotation in train["annotations"][::2]:
        annotation["image_id"] += 500
    small_lvis.save()
    words = ["--train", small_lvis.train_json, "--out", tmp_path / "cut", "--share", "0.3"]
    assert lst("hold-out", *words).code == 0
    parts = [
        json.loads((tmp_path / "cut" / f"{part}.json").read_text()) for part in ("train", "val")
    ]
    urls = [{image["coco_url"] for image in part["images"]} for part in parts]
    assert all(urls)
    assert not urls[0] & urls[1]


def scored(lst: Any, small_lvis: Any, change: Any = None) -> Any:
    small_lvis.save()
    boxes = [
        {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for one in small_lvis.val["annotations"]
    ]
    for box in boxes:
        box["bbox"] = change(box["bbox"]) if change else box["bbox"]
    results = small_lvis.folder / "results.json"
    results.write_text(json.dumps(boxes))
    files = [results, "--annotations", small_lvis.val_json]
    return lst("score", *files, "--iou-type", "bbox")


def test_score_says_what_no_detection_can_match_and_leaves_ap_as_it_is(small_lvis, lst):
    plain = scored(lst, small_lvis).ok()
    assert "missed whatever" not in plain.err
    first = small_lvis.val["annotations"][0]
    small_lvis.val["annotations"] += [
        {**first, "id": 9001},
        {**first, "id": 9002, "bbox": [70.0, 50.0, 40.0, 40.0]},
    ]
    noted = scored(lst, small_lvis)
    assert (
        "val.json: 2 of 22 annotations count as missed whatever is detected: 1 with a box that "
        "lies more outside the image than inside, 1 with the same object as another."
    ) in noted.err


def test_eval_says_that_boxes_of_detections_are_shares_or_corners(small_lvis, lst):
    assert "shares of the image" in scored(lst, small_lvis, shares).err
    outside = scored(lst, small_lvis, lambda box: [box[0] * 3 + 30, box[1] * 3 + 20, 30, 30])
    assert "detections reach out of their images" in outside.err


def test_eval_says_that_boxes_of_annotations_are_shares(small_lvis, lst):
    for annotation in small_lvis.val["annotations"]:
        annotation["bbox"] = shares(annotation["bbox"])
    assert "boxes hold no number above 1" in scored(lst, small_lvis).err
