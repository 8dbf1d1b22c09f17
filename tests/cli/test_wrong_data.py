"""Data that is wrong without being broken, and names of other people: said in a line."""

from __future__ import annotations

import copy
import json
import unicodedata
from itertools import cycle
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


def test_score_says_that_boxes_of_detections_or_annotations_are_shares(small_lvis, lst):
    assert "shares of the image" in scored(lst, small_lvis, shares).err
    outside = scored(lst, small_lvis, lambda box: [box[0] * 3 + 30, box[1] * 3 + 20, 30, 30])
    assert "detections reach out of their images" in outside.err
    for annotation in small_lvis.val["annotations"]:
        annotation["bbox"] = shares(annotation["bbox"])
    assert "boxes hold no number above 1" in scored(lst, small_lvis).err


# --- text of other people ------------------------------------------------------------------------


NAMES = [
    '=HYPERLINK("http://x","y")',
    "\x1b[31mred\x1b]0;title\x07",
    "a\u202eb",
    "[red]markup[/red]",
    "c\nd\u2028e",
]


def shown(outcome: Any) -> str:
    text = str(outcome.out + outcome.err)
    assert not [c for c in text if c not in "\n" and unicodedata.category(c) in {"Cc", "Cs", "Cf"}]
    return text


def test_class_and_file_names_reach_the_terminal_in_plain_letters(lst, small_lvis, tmp_path):
    content = copy.deepcopy(small_lvis.train)
    for name, image in zip(cycle(NAMES), content["images"], strict=False):
        image["file_name"] = f"{name}{image['id']}.jpg"
        image.pop("coco_url", None)
    for name, category in zip(cycle(NAMES), content["categories"], strict=False):
        category["name"] = f"{name}{category['id']}"
    bad = tmp_path / "train.json"
    bad.write_text(json.dumps(content), encoding="utf-8")
    words = ("--train", bad, "--val", bad, "--images", tmp_path)
    checked = lst("check", *words)
    assert checked.code != 0
    shown(checked)
    as_json = lst("check", *words, "--json")
    assert json.loads(as_json.out)
    shown(as_json)
    shown(lst("split", *words, "--b", 2, "--phases", 1, "-w", tmp_path / "w"))
    shown(lst("hold-out", "--train", bad, "--out", tmp_path / "out"))


@pytest.mark.parametrize(
    "words",
    [
        ("status", "-w", "no\x1b[31m"),
        ("x\x1b[31m",),
        ("split", "--\x1b[31m"),
        ("split", "--b", "\x1b[31m"),
        ("init", "--print", "--set", "base.lr=\x1b[31m"),
        ("init", "--print", "--set", "\u202e=1"),
        ("init", "--print", "--set", 'model.config="\\u202e\\u009b"'),
        ("sweep", "\x9b31m.toml"),
        ("check", "--train", "\x1b[31m.json", "--val", "b.json"),
        ("check", "--train", "byte\udcff.json", "--val", "b.json"),
        ("init", "-w", "byte\udcff"),
    ],
    ids=lambda words: words[0],
)
def test_words_of_the_command_line_reach_the_terminal_in_plain_letters(
    words, lst, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    outcome = lst(*words)
    assert "Traceback" not in shown(outcome)
    if any("\udcff" in word for word in words):
        assert "not UTF-8 text" in outcome.err
        assert outcome.code == 1
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("row", "part"),
    [("1," + "9" * 5000, "line 2"), ("1," + "9" * 20, "line 2"), ("1\0,3", "line"),
     ("=1+1,3", "line 2"), ("1,nan", "line 2"), ("1,1e400", "line 2"), ("\ud83d", "not UTF-8")],
    ids=range(7),
)  # fmt: skip
def test_counts_of_any_size_are_refused_by_line(row, part, lst, small_lvis, tmp_path):
    counts, results = tmp_path / "counts.csv", tmp_path / "r.json"
    content = f"category_id,train_instance_count\n{row}"
    counts.write_bytes(content.encode("utf-8", "surrogatepass"))
    results.write_text("[]", encoding="utf-8")
    words = ("--annotations", small_lvis.val_json, "--train-counts", counts)
    outcome = lst("score", results, *words)
    assert outcome.code == 1
    assert "counts.csv" in shown(outcome)
    assert part in outcome.err
    assert len(outcome.err) < 1000


@pytest.mark.parametrize("command", ["train-base", "train-joint"])
def test_weights_that_are_no_file_are_refused_before_anything_is_read(
    command, lst, small_lvis, tmp_path
):
    work = ("-w", tmp_path / "work")
    words = small_lvis.joint_words if command == "train-joint" else small_lvis.split_words
    assert lst(*words(), *work).code == 0
    small_lvis.train_json.unlink()
    for weights in ("nothing.pth", "s3://b/w.pth", "~/w", __file__, "/dev/zero", "x" * 300):
        for more in ((), ("--dry-run",)):
            outcome = lst(command, *work, "--weights", weights, *more)
            assert outcome.code == 1
            assert f"error: --weights {weights}: " in shown(outcome)
