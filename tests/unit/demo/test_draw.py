from __future__ import annotations

import hashlib
import json
from collections import Counter
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as mask_tools

from lst_cli.annotations.read import read_dataset
from lst_cli.demo.counts import long_tail_counts
from lst_cli.demo.draw import DEMO_BASE, DEMO_PHASES, _rank_categories, draw_demo
from lst_cli.errors import LstError
from lst_cli.images.finder import ImageFinder

TINY: dict[str, Any] = {"classes": 4, "size": 64, "head": 4, "val_per_class": 1, "per_image": 2.0}


def _hashes(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def _holes(mask: np.ndarray) -> int:
    """Count the regions of background that do not touch the border."""
    canvas = Image.fromarray(np.pad(mask, 1).astype(np.uint8)).copy()  # a writable one
    ImageDraw.floodfill(canvas, (0, 0), 2)
    count = 0
    while (open_pixels := np.argwhere(np.asarray(canvas) == 0)).size:
        y, x = open_pixels[0]
        ImageDraw.floodfill(canvas, (int(x), int(y)), 2)
        assert canvas.getpixel((int(x), int(y))) == 2
        count += 1
    return count


def test_the_same_seed_gives_the_same_bytes(small, tmp_path: Path) -> None:
    draw_demo(tmp_path / "again", **small.arguments)

    assert _hashes(tmp_path / "again") == _hashes(small.directory)


def test_another_seed_gives_other_images_and_other_ranks(small, tmp_path: Path) -> None:
    other = json.loads(draw_demo(tmp_path, seed=1, **small.arguments).train_json.read_text())

    assert [c["instance_count"] for c in other["categories"]] != [
        c["instance_count"] for c in small.train["categories"]
    ]
    assert _hashes(tmp_path / "images") != _hashes(small.directory / "images")


def test_training_instances_fall_as_planned_from_the_head_to_one(small) -> None:
    counts = Counter(a["category_id"] for a in small.train["annotations"])

    assert sorted(counts.values(), reverse=True) == long_tail_counts(10, 40)
    assert {c["id"]: c["instance_count"] for c in small.train["categories"]} == counts


def test_validation_is_balanced(small) -> None:
    counts = Counter(a["category_id"] for a in small.val["annotations"])

    assert counts == {category["id"]: 3 for category in small.val["categories"]}


def test_category_ids_are_alphabetical_and_not_in_order_of_rank(small) -> None:
    categories = small.train["categories"]
    names = [category["name"] for category in categories]
    counts = [category["instance_count"] for category in categories]

    assert [category["id"] for category in categories] == list(range(1, 11))
    assert names == sorted(names)
    assert counts != sorted(counts)
    assert counts != sorted(counts, reverse=True)


def test_even_four_classes_are_never_in_order_of_rank() -> None:
    for seed in range(100):
        steps = np.sign(np.diff(_rank_categories(4, np.random.default_rng(seed))))
        assert set(steps) == {-1, 1}


def test_boxes_and_areas_are_those_of_the_masks(small, decode) -> None:
    for annotation in small.train["annotations"] + small.val["annotations"]:
        mask = decode(annotation)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1

        assert annotation["bbox"] == [left, top, right - left, bottom - top]
        assert annotation["area"] == mask.sum() > 0
        assert isinstance(annotation["segmentation"]["counts"], str)
        assert annotation["segmentation"]["size"] == [96, 96]


def test_visible_masks_of_an_image_are_disjoint(small, decode) -> None:
    for document in (small.train, small.val):
        covered: dict[int, np.ndarray] = {}
        for annotation in document["annotations"]:
            total = covered.setdefault(annotation["image_id"], np.zeros((96, 96), int))
            total += decode(annotation)
        assert all(total.max() == 1 for total in covered.values())


def test_masks_have_the_holes_of_their_glyphs(small, decode) -> None:
    names = {category["id"]: category["name"] for category in small.train["categories"]}
    holes: dict[str, list[int]] = {}
    for annotation in small.train["annotations"] + small.val["annotations"]:
        holes.setdefault(names[annotation["category_id"]], []).append(_holes(decode(annotation)))

    # Objects in front add and take holes of some, but not of most.
    usual = {name: Counter(numbers).most_common(1)[0][0] for name, numbers in holes.items()}
    assert usual["letter A"] == 1
    assert usual["digit 4"] == 1
    assert usual["digit 8"] == 2
    assert usual["heart"] == 0


def test_most_tail_objects_share_their_image_with_a_head_object(small) -> None:
    counts = {c["id"]: c["instance_count"] for c in small.train["categories"]}
    by_image: dict[int, list[int]] = {}
    for annotation in small.train["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(counts[annotation["category_id"]])
    with_tail = [numbers for numbers in by_image.values() if min(numbers) < 5]

    assert len(with_tail) >= 3
    assert sum(max(numbers) >= 10 for numbers in with_tail) >= 0.8 * len(with_tail)


def test_the_files_are_lvis_v1_and_exhaustively_labelled(small) -> None:
    for document in (small.train, small.val):
        assert set(document) == {"info", "licenses", "images", "categories", "annotations"}
        assert "file_name" not in document["images"][0]
        every = {category["id"] for category in document["categories"]}
        present: dict[int, set[int]] = {image["id"]: set() for image in document["images"]}
        for annotation in document["annotations"]:
            present[annotation["image_id"]].add(annotation["category_id"])
        for image in document["images"]:
            assert set(image["neg_category_ids"]) == every - present[image["id"]]
            assert image["not_exhaustive_category_ids"] == []
            assert present[image["id"]]
        for category in document["categories"]:
            assert {"synset", "synonyms", "def", "frequency"} < set(category)
        ids = [annotation["id"] for annotation in document["annotations"]]
        assert len(set(ids)) == len(ids)
    assert small.train["categories"] == small.val["categories"]
    assert not {i["id"] for i in small.train["images"]} & {i["id"] for i in small.val["images"]}


def test_image_counts_and_frequencies_are_those_of_the_training_images(small) -> None:
    pairs = {(a["category_id"], a["image_id"]) for a in small.train["annotations"]}
    images = Counter(category_id for category_id, _ in pairs)
    for category in small.train["categories"]:
        count = images[category["id"]]
        assert category["image_count"] == count
        assert category["frequency"] == ("r" if count <= 10 else "c")


def test_the_reader_of_lvis_files_takes_both_for_lvis_v1(small) -> None:
    for path, document in (
        (small.drawn.train_json, small.train),
        (small.drawn.val_json, small.val),
    ):
        dataset = read_dataset(path)

        assert dataset.layout == "lvis-v1"
        assert dataset.federated
        assert len(dataset.images.ids) == len(document["images"])
        assert len(dataset.instances.ids) == len(document["annotations"])


def test_every_image_lies_where_its_address_says(small) -> None:
    for document in (small.train, small.val):
        for image in document["images"]:
            path = small.drawn.images_dir / image["coco_url"]
            assert ImageFinder([small.drawn.images_dir]).find("", image["coco_url"]) == path
            with Image.open(path) as picture:
                assert picture.size == (image["width"], image["height"]) == (96, 96)
                assert picture.mode == "RGB"


def test_the_counts_returned_are_those_of_the_files(small) -> None:
    drawn = small.drawn

    assert drawn.classes == 10
    assert drawn.train_images == len(small.train["images"])
    assert drawn.train_instances == len(small.train["annotations"])
    assert drawn.val_images == len(small.val["images"])
    assert drawn.val_instances == len(small.val["annotations"]) == 30
    assert not drawn.reused


def test_progress_ends_with_every_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    drawn = draw_demo(tmp_path, **TINY, progress=lambda *call: seen.append(call[1:]))

    total = drawn.train_images + drawn.val_images
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_a_complete_set_is_used_again(tmp_path: Path) -> None:
    first = draw_demo(tmp_path, **TINY)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = draw_demo(tmp_path, **TINY)

    assert again.reused
    assert (again.train_images, again.val_instances) == (first.train_images, first.val_instances)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "train.json").unlink(),
        lambda d: (d / "val.json").write_text("{}"),
        lambda d: next((d / "images" / "train").glob("*.jpg")).unlink(),
        lambda d: (d / "demo.json").write_text("[]"),
        lambda d: (d / "demo.json").write_text("{"),
    ],
    ids=["no train.json", "other val.json", "an image less", "odd marker", "cut marker"],
)
def test_a_damaged_set_is_drawn_again(tmp_path: Path, damage) -> None:
    draw_demo(tmp_path, **TINY)
    whole = _hashes(tmp_path)
    damage(tmp_path)

    assert not draw_demo(tmp_path, **TINY).reused
    assert _hashes(tmp_path) == whole


def test_an_interrupted_set_is_drawn_again(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_demo(tmp_path / "cut", **TINY, progress=interrupt)
    assert not (tmp_path / "cut" / "train.json").exists()
    draw_demo(tmp_path / "cut", **TINY)
    draw_demo(tmp_path / "whole", **TINY)

    assert _hashes(tmp_path / "cut") == _hashes(tmp_path / "whole")


def test_a_smaller_set_leaves_no_image_of_a_larger_one(tmp_path: Path) -> None:
    draw_demo(tmp_path, **{**TINY, "head": 9})
    drawn = draw_demo(tmp_path, **TINY)

    assert len(list((tmp_path / "images").rglob("*.jpg"))) == drawn.train_images + drawn.val_images


def test_files_of_somebody_else_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("mine")

    with pytest.raises(LstError, match=r"train\.json was not drawn by lst demo"):
        draw_demo(tmp_path, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")

    with pytest.raises(LstError, match="taken"):
        draw_demo(tmp_path / "taken", **TINY)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("classes", 3),
        ("classes", 1000),
        ("seed", -1),
        ("size", 63),
        ("head", 1),
        ("val_per_class", 0),
        ("per_image", 0.5),
        ("per_image", float("nan")),
    ],
)
def test_an_argument_that_makes_no_sense_is_named(tmp_path: Path, argument: str, value) -> None:
    with pytest.raises(LstError, match=f"{argument} = {value}"):
        draw_demo(tmp_path / "new", **{**TINY, argument: value})
    assert not (tmp_path / "new").exists()


def test_the_recommended_phases_split_the_default_classes() -> None:
    classes = signature(draw_demo).parameters["classes"].default
    assert DEMO_BASE == 7
    assert (classes - DEMO_BASE) % DEMO_PHASES == 0


def test_masks_fit_the_pixels_of_the_image(small, decode) -> None:
    """The colour changes at the border of a mask more than inside of it."""
    steps: dict[bool, list[float]] = {True: [], False: []}
    for annotation in small.val["annotations"]:
        image = small.val["images"][annotation["image_id"] - small.val["images"][0]["id"]]
        with Image.open(small.drawn.images_dir / image["coco_url"]) as picture:
            pixels = np.asarray(picture, float)
        mask = decode(annotation)
        change = np.abs(np.diff(pixels, axis=1)).max(axis=2)
        border = mask[:, 1:] ^ mask[:, :-1]
        inside = mask[:, 1:] & mask[:, :-1]
        steps[True].append(float(change[border].mean()))
        steps[False].append(float(change[inside].mean()))

    assert np.mean(steps[True]) > 2 * np.mean(steps[False])


def test_masks_decode_to_what_encodes_to_them(small, decode) -> None:
    annotation = small.train["annotations"][0]
    code = mask_tools.encode(np.asfortranarray(decode(annotation).astype(np.uint8)))

    assert code["counts"].decode() == annotation["segmentation"]["counts"]
