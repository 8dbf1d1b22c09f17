from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lst_cli.annotations import json_stream, read
from lst_cli.annotations.read import Dataset, read_dataset, read_segmentations
from lst_cli.errors import LstError


def read_like_json(path: Path) -> Dataset:
    """Read a file; its columns must hold what the standard library reads from it."""
    dataset = read_dataset(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    images, categories = content["images"], content["categories"]
    annotations = content["annotations"]
    row_of_image = {image["id"]: row for row, image in enumerate(images)}
    row_of_category = {category["id"]: row for row, category in enumerate(categories)}
    assert (len(dataset.images), len(dataset.categories)) == (len(images), len(categories))
    assert (dataset.images.ids.dtype, dataset.images.heights.dtype) == (np.int64, np.int32)
    assert dataset.images.ids.tolist() == [image["id"] for image in images]
    assert dataset.images.heights.tolist() == [image["height"] for image in images]
    assert dataset.images.widths.tolist() == [image["width"] for image in images]
    assert dataset.images.file_names == [image.get("file_name", "") for image in images]
    assert dataset.images.coco_urls == [image.get("coco_url", "") for image in images]
    for key in ("neg_category_ids", "not_exhaustive_category_ids"):
        assert getattr(dataset.images, key) == [tuple(image.get(key, ())) for image in images]
    assert dataset.categories.ids.tolist() == [category["id"] for category in categories]
    assert dataset.categories.names == [category["name"] for category in categories]
    stated = [c.get("frequency", "") for c in categories]
    assert dataset.categories.frequencies == [
        one if one in ("r", "c", "f") else "" for one in stated
    ]
    instances = dataset.instances
    assert instances.ids.tolist() == [a["id"] for a in annotations]
    assert instances.image_index.tolist() == [row_of_image[a["image_id"]] for a in annotations]
    assert instances.category_index.tolist() == [
        row_of_category[a["category_id"]] for a in annotations
    ]
    assert instances.image_index.dtype == np.int32
    assert instances.boxes.shape == (len(annotations), 4)
    assert instances.boxes.tolist() == [a["bbox"] for a in annotations]
    assert instances.areas.tolist() == [a["area"] for a in annotations]
    assert instances.crowd.tolist() == [bool(a.get("iscrowd", 0)) for a in annotations]
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    raw = read_segmentations(path, np.arange(len(annotations)))
    assert [json.loads(text) for text in raw] == [a["segmentation"] for a in annotations]
    return dataset


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["}, {", '"}],', "]}", "\\", '\\"', "},\n{", '{"id": 1}']
)
NUMBER = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
EXTRA = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """The text of some annotation file, in some order and spelling."""
    image_ids = draw(st.lists(st.integers(-5, 10**12), unique=True, max_size=5))
    category_ids = draw(st.lists(st.integers(-5, 3000), unique=True, max_size=4))

    def record(number: int, *optional: str, **fields: Any) -> dict[str, Any]:
        """Fields in some order; values that are strategies are drawn."""
        left_out = draw(st.lists(st.sampled_from(optional), unique=True)) if optional else []
        fields |= {"id": st.just(number)} | ({"extra": EXTRA} if draw(st.booleans()) else {})
        order = draw(st.permutations([key for key in fields if key not in left_out]))
        return {key: draw(fields[key]) for key in order}

    ids = st.lists(st.integers(0, 3000), max_size=3)
    lists = {"neg_category_ids": ids, "not_exhaustive_category_ids": ids}
    texts = {"file_name": TEXT, "coco_url": TEXT}
    sizes = {"height": st.integers(1, 2**31 - 1), "width": st.integers(1, 5000)}
    images = [record(n, *lists, *texts, **sizes, **lists, **texts) for n in image_ids]
    letters = {"frequency": st.sampled_from("rcf") | TEXT, "def": TEXT}
    categories = [record(n, *letters, name=TEXT, **letters) for n in category_ids]
    count = draw(st.integers(0, 8)) if image_ids and category_ids else 0
    polygons = st.lists(st.lists(NUMBER, max_size=8), max_size=2)
    runs = st.fixed_dictionaries({"size": st.just([4, 5]), "counts": st.just("62O1")})
    annotations = [
        record(
            100 + row,
            "iscrowd",
            image_id=st.sampled_from(image_ids),
            category_id=st.sampled_from(category_ids),
            bbox=st.lists(NUMBER, min_size=4, max_size=4).filter(any),
            area=NUMBER,
            segmentation=polygons | runs,
            iscrowd=st.sampled_from([0, 1, True, False]),
        )
        for row in range(count)
    ]
    top: dict[str, Any] = {"images": images, "categories": categories, "annotations": annotations}
    for name in draw(st.lists(st.sampled_from(["info", "licenses", "videos"]), unique=True)):
        top[name] = draw(EXTRA)
    ordered = dict(draw(st.permutations(list(top.items()))))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n\t", " : ")]))
    text = json.dumps(
        ordered,
        indent=draw(st.sampled_from([None, 0, 1, "\t"])),
        separators=separators,
        ensure_ascii=draw(st.booleans()),
    )
    return draw(st.sampled_from(["", " ", "\n"])) + text + draw(st.sampled_from(["", "\n \n"]))


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=files(), block_size=st.integers(3, 300) | st.just(512 * 1024))
def test_streaming_reads_what_json_load_reads(write, text, block_size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK_SIZE", block_size)
        read_like_json(write(text))


@pytest.mark.parametrize(
    "name",
    ["cutouts/train.json", "cutouts/val.json", "coco-photos/train.json", "lvis_v0.5_val_100.json"],
)
def test_real_files_equal_json_load(shared_data, name, monkeypatch):
    dataset = read_like_json(shared_data / name)
    assert (dataset.layout, dataset.federated) == ("lvis-v0.5", True)
    monkeypatch.setattr(json_stream, "BLOCK_SIZE", 4096)
    read_like_json(shared_data / name)


def test_the_layout_is_seen_from_file_names_and_federated_fields(read, two_classes):
    images = two_classes["images"]
    assert (read(two_classes).layout, read(two_classes).federated) == ("lvis-v1", True)
    images[0]["file_name"], images[1]["file_name"] = None, ""
    assert read(two_classes).layout == "lvis-v1"
    assert read(two_classes).images.file_names == ["", ""]
    for image in images:
        image["file_name"] = "COCO_val2014_000000000001.jpg"
        del image["neg_category_ids"]
    assert (read(two_classes).layout, read(two_classes).federated) == ("lvis-v0.5", True)
    for image in images:
        del image["not_exhaustive_category_ids"]
    dataset = read(two_classes)
    assert (dataset.layout, dataset.federated, dataset.unlisted) == ("coco", False, ())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("images", ..., 'has no list "images"'),
        ("annotations", ..., 'has no list "annotations"'),
        ("categories", ..., 'has no list "categories"'),
        ("images", {"1": {}}, '"images" is not a list'),
        ("images/1/id", 1, "1 image id occurs more than once: 1"),
        ("categories/1/id", 5, "1 category id occurs more than once: 5"),
        ("annotations/2/id", 11, "1 annotation id occurs more than once: 11"),
        ("annotations/0/image_id", 99, "1 annotation names images that are not in the file, the "
         "first: annotation 11 names image 99"),
        ("annotations/1/category_id", 6, "the first: annotation 12 names category 6"),
        ("images", [], "3 annotations name images that are not in the file"),
        ("categories", [], "3 annotations name categories that are not in the file"),
        ("annotations/0/bbox", [1, 2, 3], "annotation in row 0 (id 11): field bbox has 3 numbers"),
        ("annotations/0/bbox", [1] * 5, "field bbox has 5 numbers; give four, or none"),
        ("annotations/2/bbox/3", None, "row 2 (id 13), field bbox[3]: expected a number, got null"),
        ("annotations/1/ignore", "0", "row 1 (id 12), field ignore: expected 0 or 1, got text"),
        ("annotations/2/iscrowd", [], "row 2 (id 13), field iscrowd: expected 0 or 1, got a list"),
        ("annotations/2/area", True, "field area: expected a number, got true or false"),
        ("annotations/1/area", 10**400, "row 1 (id 12), field area: number out of range"),
        ("annotations/1/category_id", "7", "category_id: expected a whole number, got text"),
        ("images/1/height", 6.5, "image in row 1 (id 2), field height: expected a whole number"),
        ("images/0/width", 0, "image 1 has the stated width 0 and height 10"),
        ("images/0/height", 2**31, "image 1 has the stated width 20 and height 2147483648"),
        ("images/0/not_exhaustive_category_ids", 7, "expected a list, got a whole number"),
        ("categories/0/name", 3, "category in row 0 (id 5), field name: expected text, got a"),
        ("categories/0/frequency", 3, "field frequency: expected text, got a whole number"),
        ("annotations/0/image_id", 2**63, "has more than 64 bits"),
        ("annotations/0/id", 2**70, "has more than 64 bits"),
        ("annotations/0/bbox/0", float("nan"), "row 0, field bbox: NaN is not a number"),
        ("annotations/2/area", float("inf"), "row 2, field area: Infinity is not a number"),
        ("annotations/2/segmentation/0/3", float("nan"), "row 2, field segmentation: NaN is not a"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block_size", [50, 512 * 1024])
def test_what_makes_a_file_meaningless_is_refused_by_name(
    write, two_classes, place, value, message, block_size, monkeypatch
):
    monkeypatch.setattr(json_stream, "BLOCK_SIZE", block_size)
    *parents, last = [int(key) if key.isdigit() else key for key in place.split("/")]
    changed: Any = two_classes
    for key in parents:
        changed = changed[key]
    changed[last] = value
    if value is ...:
        del changed[last]
    path = write(two_classes)
    with pytest.raises(LstError) as caught:
        read_dataset(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_segmentations_come_in_the_order_of_the_rows(write, two_classes):
    raw = read_segmentations(write(two_classes), np.array([2, 0, 2, 1]))
    masks = [annotation["segmentation"] for annotation in two_classes["annotations"]]
    assert [json.loads(text) for text in raw] == [masks[2], masks[0], masks[2], masks[1]]
    assert all(isinstance(text, bytes) for text in raw)


def test_no_rows_need_no_file(tmp_path):
    assert read_segmentations(tmp_path / "nothing.json", np.array([], dtype=np.int64)) == []


def test_reading_segmentations_stops_behind_the_last_wanted_one(write, two_classes, monkeypatch):
    monkeypatch.setattr(json_stream, "BLOCK_SIZE", 100)
    text = json.dumps(two_classes)
    path = write(text[: text.index('"id": 13')])  # cut within the third annotation
    raw = read_segmentations(path, np.array([0]))
    assert json.loads(raw[0]) == [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0]]


def test_a_row_behind_the_end_and_a_missing_segmentation_are_named(write, two_classes):
    del two_classes["annotations"][1]["segmentation"]
    path = write(two_classes)
    with pytest.raises(LstError, match="annotation 12 has no segmentation"):
        read_segmentations(path, np.array([1]))
    with pytest.raises(LstError, match="has no annotation in row 3"):
        read_segmentations(path, np.array([0, 3]))


@pytest.mark.parametrize("key", ["neg_category_ids", "not_exhaustive_category_ids"])
@pytest.mark.parametrize("row", [0, 1])
def test_images_without_a_federated_list_that_others_have_are_remembered(
    read, two_classes, key, row
):
    assert read(two_classes).unlisted == ()
    two_classes["images"].append(two_classes["images"][0] | {"id": 3})
    for image in (two_classes["images"][row], two_classes["images"][2]):
        del image[key]
    dataset = read(two_classes)
    assert dataset.unlisted == (two_classes["images"][row]["id"], 3)
    assert getattr(dataset.images, key)[row] == ()
    assert dataset.federated


RUNS = {"size": [6, 8], "counts": [8, 3, 3, 3, 31]}  # rows 2 to 4 of columns 1 and 2


@pytest.mark.parametrize(
    ("segmentation", "box", "area"),
    [
        ([[1, 2, 4, 2, 4, 5, 1, 5]], [1, 2, 3, 3], 9),
        ([[1, 2, 4, 2, 4, 5, 1, 5], [7, 7, 8, 8]], [1, 2, 3, 3], 9),  # a scrap plays no part
        ([[0, 0, 1, 0, 1, 1, 0, 1], [3, 3, 5, 3, 5, 5, 3, 5]], [0, 0, 5, 5], 5),
        (RUNS, [1, 2, 2, 3], 6),
        (None, None, None),
        ("text", None, None),
        ([[1, 2, 3, 4]], None, None),
        ({"size": [8, 6], "counts": [8, 3, 3, 3, 31]}, None, None),
        ({"size": [6, 8], "counts": [48]}, None, None),
        ([[1, 2, 9e8, 2, 4, 5]], None, None),
    ],
)
@pytest.mark.parametrize("missing", [("bbox",), ("area",), ("bbox", "area")])
@pytest.mark.parametrize("how", ["left out", "null", "nothing"])
def test_a_missing_box_or_area_is_taken_from_the_mask(
    read, two_classes, segmentation, box, area, missing, how
):
    record = two_classes["annotations"][0]
    record["segmentation"] = segmentation
    for key in missing:
        record[key] = None
        if how == "left out":
            del record[key]
        if how == "nothing":
            record[key] = 0 if key == "area" and "bbox" in missing else None
            record["bbox"] = [0, 0, 0, 0] if "bbox" in missing else record["bbox"]
    dataset = read(two_classes)
    found, source = dataset.instances, "bbox" if box is None else "mask"
    assert dataset.computed == {
        (key, source): 1 for key in missing if box is not None or missing == ("area",)
    }
    if "bbox" not in missing:
        assert found.boxes[0].tolist() == record["bbox"]
        wide, high = record["bbox"][2:]
        assert found.areas[0] == (wide * high if area is None else area)
    elif box is None:
        assert (np.isnan(found.boxes[0]) | (how == "nothing")).all()
    else:
        assert found.boxes[0].tolist() == box
        assert found.areas[0] == (area if "area" in missing else record["area"])


def test_a_file_that_states_all_boxes_and_areas_is_read_once(write, two_classes, monkeypatch):
    monkeypatch.setattr(read, "iter_segmentations", lambda *_, **__: pytest.fail("read again"))
    assert read_dataset(write(two_classes)).computed == {}
