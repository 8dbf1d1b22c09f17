from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_tools

from lst_cli.annotations.read import read_dataset
from lst_cli.demo.draw import (
    DemoSet,
    Parameters,
    annotate,
    deal_instances,
    draw_demo,
    long_tail_counts,
    rank_categories,
)
from lst_cli.demo.layout import GLYPHS, arrange_glyphs
from lst_cli.demo.run import DEMO_BASE, DEMO_PHASES
from lst_cli.errors import LstError
from lst_cli.images.finder import ImageFinder

SMALL = Parameters(classes=10, size=96, head=40, val_per_class=3)
TINY = Parameters(classes=4, size=64, head=4, val_per_class=1, per_image=2.0)


class SmallSet(NamedTuple):
    directory: Path
    drawn: DemoSet
    train: dict[str, Any]
    val: dict[str, Any]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallSet:
    directory = tmp_path_factory.mktemp("demo") / "set"
    drawn = draw_demo(directory, SMALL)
    return SmallSet(directory, drawn, *(json.loads(path.read_text()) for path in drawn[:2]))


def decode(annotation: dict[str, Any]) -> np.ndarray:
    """The mask of an annotation, shape (H, W)."""
    return mask_tools.decode(annotation["segmentation"]).astype(bool)


# --- what is drawn -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(small, tmp_path, files_below):
    draw_demo(tmp_path / "again", SMALL)
    assert files_below(tmp_path / "again") == files_below(small.directory)


def test_another_seed_gives_other_images_and_other_ranks(small, tmp_path, files_below):
    other = json.loads(draw_demo(tmp_path, replace(SMALL, seed=1)).train_json.read_text())
    assert other["categories"] != small.train["categories"]
    assert files_below(tmp_path / "images") != files_below(small.directory / "images")


def test_training_instances_fall_as_planned_and_validation_is_balanced(small):
    counts = Counter(a["category_id"] for a in small.train["annotations"])
    assert sorted(counts.values(), reverse=True) == long_tail_counts(10, 40)
    assert {c["id"]: c["instance_count"] for c in small.train["categories"]} == counts
    counts = Counter(a["category_id"] for a in small.val["annotations"])
    assert counts == {category["id"]: 3 for category in small.val["categories"]}


def test_category_ids_are_alphabetical_and_not_in_order_of_rank(small):
    categories = small.train["categories"]
    names = [category["name"] for category in categories]
    assert [category["id"] for category in categories] == list(range(1, 11))
    assert names == sorted(names)
    for seed in range(100):  # even of four classes
        steps = np.sign(np.diff(rank_categories(4, np.random.default_rng(seed))))
        assert set(steps) == {-1, 1}


def test_annotations_are_the_visible_pixels_with_their_boxes_and_areas():
    masks = arrange_glyphs(np.random.default_rng(0), GLYPHS[:4], 96).visible
    found = annotate(masks, [3, 1, 2, 4], image_id=7, first_id=5)
    for number, (mask, annotation) in enumerate(zip(masks, found, strict=True)):
        assert (decode(annotation) == mask).all()
        left, top, width, height = annotation["bbox"]
        assert Image.fromarray(mask).getbbox() == (left, top, left + width, top + height)
        assert annotation["area"] == mask.sum() > 0
        assert annotation["segmentation"]["size"] == [96, 96]
        assert (annotation["id"], annotation["image_id"]) == (5 + number, 7)
    assert [one["category_id"] for one in found] == [3, 1, 2, 4]


def test_masks_fit_the_pixels_of_the_image(small):
    """The colour changes at the border of a mask more than inside of it."""
    at_border, inside = [], []
    for annotation in small.val["annotations"]:
        address = f"val/{annotation['image_id']:06d}.jpg"
        pixels = np.asarray(Image.open(small.drawn.images_dir / address), float)
        mask = decode(annotation)
        change = np.abs(np.diff(pixels, axis=1)).max(axis=2)
        at_border.append(change[mask[:, 1:] ^ mask[:, :-1]].mean())
        inside.append(change[mask[:, 1:] & mask[:, :-1]].mean())
    assert np.mean(at_border) > 2 * np.mean(inside)


def test_most_tail_objects_share_their_image_with_a_head_object(small):
    counts = {c["id"]: c["instance_count"] for c in small.train["categories"]}
    by_image = defaultdict(list)
    for annotation in small.train["annotations"]:
        by_image[annotation["image_id"]].append(counts[annotation["category_id"]])
    with_tail = [numbers for numbers in by_image.values() if min(numbers) < 5]
    assert len(with_tail) >= 3
    assert sum(max(numbers) >= 10 for numbers in with_tail) >= 0.8 * len(with_tail)


def test_the_files_are_lvis_v1_and_exhaustively_labelled(small):
    for path, document in zip(small.drawn[:2], (small.train, small.val), strict=True):
        assert set(document) == {"info", "licenses", "images", "categories", "annotations"}
        every = {category["id"] for category in document["categories"]}
        present: dict[int, set[int]] = {image["id"]: set() for image in document["images"]}
        for annotation in document["annotations"]:
            present[annotation["image_id"]].add(annotation["category_id"])
        for image in document["images"]:
            assert set(image["neg_category_ids"]) == every - present[image["id"]]
            assert image["not_exhaustive_category_ids"] == []
            assert present[image["id"]]
        assert all({"synset", "synonyms", "def"} < set(one) for one in document["categories"])
        dataset = read_dataset(path)
        assert (dataset.layout, dataset.federated) == ("lvis-v1", True)
        assert len(dataset.images.ids) == len(document["images"])
        assert len(dataset.instances.ids) == len(document["annotations"])
    assert small.train["categories"] == small.val["categories"]
    assert not {i["id"] for i in small.train["images"]} & {i["id"] for i in small.val["images"]}
    assert not {a["id"] for a in small.train["annotations"]} & {
        a["id"] for a in small.val["annotations"]
    }


def test_image_counts_and_frequencies_are_those_of_the_training_images(small):
    pairs = {(a["category_id"], a["image_id"]) for a in small.train["annotations"]}
    images = Counter(category_id for category_id, _ in pairs)
    for category in small.train["categories"]:
        count = images[category["id"]]
        assert category["image_count"] == count
        assert category["frequency"] == ("r" if count <= 10 else "c")


def test_every_image_lies_where_its_address_says(small):
    for image in small.train["images"] + small.val["images"]:
        path = small.drawn.images_dir / image["coco_url"]
        assert ImageFinder([small.drawn.images_dir]).find("", image["coco_url"]) == path
        picture = Image.open(path)
        assert picture.size == (image["width"], image["height"]) == (96, 96)
        assert picture.mode == "RGB"


def test_the_phases_of_the_demo_split_its_classes():
    assert (Parameters().classes - DEMO_BASE) % DEMO_PHASES == 0


# --- how often -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(classes=st.integers(4, 36), head=st.integers(2, 2000))
def test_counts_fall_from_the_head_to_three_ones(classes, head):
    counts = long_tail_counts(classes, head)
    assert len(counts) == classes
    assert counts[0] == head
    assert counts[-3:] == [1, 1, 1]
    assert all(first >= second for first, second in pairwise(counts))


def test_the_default_counts_fill_every_bin_of_the_paper_with_more_than_two_classes():
    counts = long_tail_counts(28, 260)
    bins = np.histogram(counts, [1, 2, 5, 10, 100, 1000])[0]
    assert bins.tolist() == [4, 4, 4, 10, 6]
    assert sum(counts) == 1525


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    per_image=st.floats(1, 6),
    seed=st.integers(0, 1000),
)
def test_dealing_loses_no_instance_and_leaves_no_image_empty(counts, per_image, seed):
    images = deal_instances(counts, per_image, np.random.default_rng(seed))
    assert np.bincount(np.concatenate(images)).tolist() == counts
    assert all(1 <= ranks.size < max(2 * per_image, 2) + 1 for ranks in images)
    assert len(images) == np.ceil(sum(counts) / per_image)


# --- a set that is there already -----------------------------------------------------------------


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
def test_a_damaged_set_is_drawn_again_and_then_used(tmp_path, damage, files_below):
    draw_demo(tmp_path, TINY)
    whole = files_below(tmp_path)
    damage(tmp_path)
    assert not draw_demo(tmp_path, TINY).reused
    assert files_below(tmp_path) == whole
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert draw_demo(tmp_path, TINY).reused
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


def test_an_interrupted_set_is_drawn_again_and_progress_ends_with_every_image(
    tmp_path, files_below
):
    seen: list[tuple[int, int | None]] = []

    def interrupt(what: str, done: int, total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_demo(tmp_path / "cut", TINY, progress=interrupt)
    assert not (tmp_path / "cut" / "train.json").exists()
    draw_demo(tmp_path / "cut", TINY, progress=lambda *call: seen.append(call[1:]))
    draw_demo(tmp_path / "whole", TINY)
    assert files_below(tmp_path / "cut") == files_below(tmp_path / "whole")
    total = len(list((tmp_path / "whole" / "images").rglob("*.jpg")))
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_a_smaller_set_leaves_no_image_of_a_larger_one(tmp_path, files_below):
    draw_demo(tmp_path / "once", replace(TINY, head=9))
    draw_demo(tmp_path / "once", TINY)
    draw_demo(tmp_path / "fresh", TINY)
    assert files_below(tmp_path / "once") == files_below(tmp_path / "fresh")


# --- what is refused -----------------------------------------------------------------------------


def test_files_of_somebody_else_are_not_replaced(tmp_path):
    (tmp_path / "train.json").write_text("mine")
    with pytest.raises(LstError, match=r"train\.json was not drawn by lst demo"):
        draw_demo(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]
    (tmp_path / "taken").touch()
    with pytest.raises(LstError, match="taken"):
        draw_demo(tmp_path / "taken", TINY)
