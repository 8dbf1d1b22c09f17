"""Odd records: what check accepts everything accepts; what anything refuses check says first."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lst_cli.annotations.read import Dataset, iter_segmentations, read_dataset
from lst_cli.annotations.segmentations import draw_mask, examine
from lst_cli.ap.ground_truth import build_ground_truth, truth_notes
from lst_cli.check.check import check
from lst_cli.check.fields import usable_instances
from lst_cli.errors import LstError
from lst_cli.evaluate.measure import read_train_counts
from lst_cli.figures.shown_objects import objects_of, read_annotated
from lst_cli.inputs import read_training_input, read_validation
from lst_cli.phases.hold_out import HoldOutRule
from lst_cli.report import report
from lst_cli.split import split as split_recipe
from lst_cli.split.hold_out import hold_out_file
from lst_cli.workspace.store import Workspace

WHOLE = [[2, 2, 11, 2, 11, 12, 2, 12]]
FULL_RLE = {"size": [60, 80], "counts": [100, 9, 4691]}
GONE = object()


def _change(key: str, first: slice, **changed: Any) -> Callable[[dict[str, Any]], None]:
    def apply(document: dict[str, Any]) -> None:
        for record in document[key][first]:
            for field, value in changed.items():
                record.pop(field, None)
                if value is not GONE:
                    record[field] = value

    return apply


annotation = partial(_change, "annotations", slice(1))
image = partial(_change, "images", slice(2))
category = partial(_change, "categories", slice(1))
every = partial(_change, "annotations", slice(None))

ACCEPTED = {
    "a scrap of four numbers": annotation(segmentation=[*WHOLE, [1, 1, 5, 5]]),
    "an empty polygon": annotation(segmentation=[[], *WHOLE]),
    "a polygon a little outside": annotation(segmentation=[[-60, -50, 70, 2, 90, 100]]),
    "an RLE in numbers": annotation(segmentation=FULL_RLE),
    "no box": annotation(bbox=GONE),
    "a box of zeros with an area of zero": annotation(bbox=[0.0] * 4, area=0),
    "boxes of zeros": every(bbox=[0, 0, 0, 0]),
    "neither box nor area": annotation(bbox=GONE, area=None),
    "no box and an RLE": annotation(bbox=GONE, area=GONE, segmentation=FULL_RLE),
    "an area of zero": annotation(area=0),
    "a negative area": annotation(area=-5.0),
    "ignore is one": annotation(ignore=1),
    "iscrowd is null": annotation(iscrowd=None),
    "iscrowd is two": annotation(iscrowd=2),
    "a crowd without anything": annotation(iscrowd=1, segmentation=GONE, bbox=GONE, area=GONE),
    "a crowd whose mask is text": annotation(iscrowd=True, segmentation="none"),
    "a crowd with an RLE of another size": annotation(
        iscrowd=1, segmentation={"size": [1, 1], "counts": [1]}
    ),
    "two images without neg_category_ids": image(neg_category_ids=GONE),
    "two images with null for lists": image(
        neg_category_ids=None, not_exhaustive_category_ids=None
    ),
    "a class that is none in neg_category_ids": image(neg_category_ids=[999]),
    "a class absent and present": image(neg_category_ids=[7, 7]),
    "a frequency of one word": category(frequency="rare"),
    "a frequency of null": category(frequency=None),
    "boxes nowhere stated": every(bbox=GONE),
    "areas nowhere stated": every(area=GONE),
}

# With the kind of error that check has for it. Here one annotation is wrong; it can be left out.
ONE_WRONG = {
    "only scraps": (annotation(segmentation=[[1, 1, 5, 5], [3, 3]]), "short-polygon"),
    "no polygons": (annotation(segmentation=[]), "no-polygon"),
    "no segmentation": (annotation(segmentation=GONE), "no-segmentation"),
    "a flat polygon": (annotation(segmentation=[1, 2, 3, 4, 5, 6]), "unreadable-segmentation"),
    "a polygon far to the right": (annotation(segmentation=[[0, 0, 161, 0, 9, 9]]), "far-polygon"),
    "an RLE turned round": (annotation(segmentation={"size": [80, 60], "counts": [100, 9, 4691]}),
                            "rle-size"),
    "an RLE cut short": (annotation(segmentation={"size": [60, 80], "counts": [100, 9]}),
                         "rle-counts"),
    "an empty RLE": (annotation(segmentation={"size": [60, 80], "counts": [4800]}), "empty-mask"),
    "neither box nor mask": (annotation(bbox=GONE, segmentation=GONE), "no-box"),
    "a box of no area": (annotation(bbox=[1, 1, 0, 4]), "box-no-area"),
    "a box outside": (annotation(bbox=[100, 1, 4, 4]), "box-outside"),
}  # fmt: skip
REFUSED = {
    **ONE_WRONG,
    "no masks at all": (every(segmentation=GONE), "no-segmentation"),
    "boxes and areas of nothing": (every(segmentation=GONE, area=GONE), "no-segmentation"),
    "every annotation a crowd": (every(iscrowd=10), "only-crowds"),
    "an image too large to read": (image(width=20_000, height=10_001), "huge-image"),
    "a nameless image": (image(coco_url=GONE), "nameless-image"),
    "another class name": (category(name="something else"), "classes-differ"),
    # Others that cannot be read: annotations/test_read.py.
    "a box of text": (annotation(bbox="1 1 5 5"), "unreadable-file"),
    "a list of names": (image(neg_category_ids=["cat"]), "unreadable-file"),
}


# Validation files in which nothing can be scored, whatever the training file is.
NOTHING_TO_SCORE = {
    "all to be ignored": (every(ignore=1), "nothing-to-score"),
    "all without area": (every(area=0), "nothing-to-score"),
    "areas below zero": (every(area=-1.5), "nothing-to-score"),
    "only classes that nobody learns": (every(category_id=12), "class-not-learned"),
}


@pytest.fixture
def files(tmp_path, small_lvis_content, no_plots):
    def write(mutate: Callable[[dict[str, Any]], None], where: str) -> tuple[Path, Path]:
        train, val = copy.deepcopy(small_lvis_content)
        for role, document in (("train", train), ("val", val)):
            if where in (role, "both"):
                mutate(document)
        paths = tmp_path / "train.json", tmp_path / "val.json"
        for path, document in zip(paths, (train, val), strict=True):
            path.write_text(json.dumps(document))
        return paths

    return write


def use(train: Path, val: Path, root: Path, *, skip_unusable: bool = False) -> list[str]:
    """What each later step refuses, the network left out."""
    refused = []
    workspace = Workspace(root)
    settings = workspace.settings()
    try:
        request = split_recipe.SplitRequest(train, val, [root.parent], 5, 3, skip_unusable)
        split_recipe.split_dataset(workspace, request, settings)
    except LstError as error:
        return [f"split: {error.message}"]

    def hold_out() -> None:
        hold_out_file(train, root / "tune", HoldOutRule(rare=3), skip_unusable=skip_unusable)

    steps: dict[str, Callable[[], object]] = {
        "training": lambda: learn(read_training_input(workspace).dataset.parts[0]),
        "training counts": lambda: read_train_counts(train),
        "hold-out": hold_out,
    }
    for phase in range(4):
        steps[f"evaluation of phase {phase}"] = (
            lambda phase=phase: build_ground_truth(  # type: ignore[misc]
                read_validation(workspace, phase)[0],
                workspace.split.class_order[: workspace.split.seen_classes(phase)],
                {one.category_id: one.images for one in workspace.split.classes},
            )
        )
    steps["report"] = lambda: show(workspace)
    for name, step in steps.items():
        try:
            step()
        except LstError as error:
            refused.append(f"{name}: {error.message}")
    return refused


def learn(dataset: Dataset) -> None:
    """Draw all that training draws, as its mapper does."""
    usable = usable_instances(dataset)
    assert np.isfinite(dataset.instances.boxes[usable]).all()
    for first, records in iter_segmentations(dataset.path):
        for row, record in enumerate(records, first):
            if usable[row]:
                segmentation, _, _ = examine(bytes(record.segmentation), 60, 80)
                assert segmentation is not None
                assert draw_mask(segmentation, 60, 80)["size"] == [60, 80]


def show(workspace: Workspace) -> None:
    """Read all that a report shows of the ground truth, and draw it."""
    val, _ = read_validation(workspace, 0)
    classes = workspace.split.class_order
    names = dict.fromkeys(classes, "a class")
    assert report._choose_images(val, classes)
    for one in read_annotated(val, np.flatnonzero(objects_of(val, classes)), names):
        drawn: Any = one.segmentation
        assert draw_mask(drawn, 60, 80)["size"] == [60, 80]


@pytest.mark.parametrize("name", list(ACCEPTED))
def test_what_check_accepts_everything_accepts(files, tmp_path, name):
    train, val = files(ACCEPTED[name], "both")
    assert [problem.kind for problem in check(train, val, []).errors] == []
    assert use(train, val, tmp_path / "work") == []


@pytest.mark.parametrize("where", ["train", "val"])
@pytest.mark.parametrize("name", list(REFUSED))
def test_what_something_refuses_check_and_split_say_first(files, tmp_path, name, where):
    mutate, kind = REFUSED[name]
    train, val = files(mutate, where)
    errors = check(train, val, []).errors
    assert kind in {problem.kind for problem in errors}
    assert all(problem.where for problem in errors)
    refused = use(train, val, tmp_path / "work")
    assert [one.split(":")[0] for one in refused] == ["split"]
    assert f"{where}.json" in refused[0]
    assert "\n" not in refused[0]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("name", list(NOTHING_TO_SCORE))
def test_a_validation_file_that_gives_no_ap_is_refused_and_its_evaluation_says_so(
    files, tmp_path, name
):
    mutate, kind = NOTHING_TO_SCORE[name]
    train, val = files(mutate, "val")
    (error,) = check(train, val, []).errors
    assert error.kind == kind
    assert "AP" in error.message
    (refused,) = use(train, val, tmp_path / "work")
    assert refused.startswith("split: ")
    assert "val.json" in refused
    notes = truth_notes(
        build_ground_truth(read_dataset(val), [1, 2, 3], dict.fromkeys((1, 2, 3), 9)), 300
    )
    assert any("no AP" in note for note in notes)
    if "area" in name:
        assert any("have an area of 0: not scored" in note for note in notes)


def test_one_class_is_refused_by_check_and_by_split_with_joint_training(files):
    train, val = files(every(category_id=3), "train")
    errors = {one.kind: one for one in check(train, val, []).errors}
    assert "a split needs two or more, with --joint too" in errors["one-class"].message
    with pytest.raises(LstError, match="only one class has usable training instances, class"):
        split_recipe.read_datasets(train, val)


@pytest.mark.parametrize("where", ["train", "val"])
def test_too_few_classes_that_skipping_leaves_are_refused(files, tmp_path, where):
    def lose(document: dict[str, Any]) -> None:
        for record in document["annotations"]:
            if record["category_id"] != 7 or where == "val":
                del record["segmentation"]

    train, val = files(lose, where)
    kind = "one-class" if where == "train" else "no-usable-annotation"
    assert kind in {one.kind for one in check(train, val, [], skip_unusable=True).errors}
    (refused,) = use(train, val, tmp_path / "work", skip_unusable=True)
    assert refused.startswith("split: ")
    assert ("only one class" if where == "train" else "no annotation marks one object") in refused


@pytest.mark.parametrize("where", ["train", "val"])
@pytest.mark.parametrize("name", list(ONE_WRONG))
def test_what_cannot_be_used_is_left_out_on_request(files, tmp_path, name, where):
    mutate, kind = ONE_WRONG[name]
    train, val = files(mutate, where)
    assert all("--skip-unusable" in str(one.hint) for one in check(train, val, []).errors)
    report = check(train, val, [], skip_unusable=True)
    assert report.errors == ()
    (problem,) = [problem for problem in report.problems if problem.kind == kind]
    assert (problem.severity, problem.count) == ("warning", 1)
    assert problem.message.endswith(", left out")
    assert use(train, val, tmp_path / "work", skip_unusable=True) == []
    workspace = Workspace(tmp_path / "work")
    split = workspace.split
    own, other = (split.train, split.val) if where == "train" else (split.val, split.train)
    assert (own.skipped, other.skipped) == ({kind: 1}, {})
    assert split.left_out_instances == (where == "train")
    dataset, _ = read_validation(workspace, 0)
    if where == "train":
        dataset = read_training_input(workspace).dataset.parts[0]
    truth = build_ground_truth(dataset)
    assert len(truth.image) == len(dataset.instances) - 1
    assert len(truth.partial) > 0  # a detection there is not counted as wrong
    assert any("1 annotation left out: 1 with" in note for note in truth.notes)


def test_nothing_left_out_leaves_no_trace(files, tmp_path):
    train, val = files(annotation(segmentation=[*WHOLE, [1, 1, 5, 5]]), "train")
    for root, skip in (("plain", False), ("skipping", True)):
        assert use(train, val, tmp_path / root, skip_unusable=skip) == []
    plain, skipping = (Workspace(tmp_path / root) for root in ("plain", "skipping"))
    assert plain.split.digest == skipping.split.digest
    assert "skipped" not in plain.layout.split.read_text()


def test_a_split_with_annotations_left_out_says_so_where_it_is_to_be_made_again(files, tmp_path):
    train, val = files(annotation(segmentation=GONE), "train")
    assert use(train, val, tmp_path / "work", skip_unusable=True) == []
    train.rename(tmp_path / "moved.json")
    with pytest.raises(LstError, match="missing since the split was made") as caught:
        read_training_input(Workspace(tmp_path / "work"))
    assert "--images DIR --skip-unusable" in str(caught.value.hint)


def test_figures_show_the_mask_that_is_scored(files):
    train, _ = files(ACCEPTED["a scrap of four numbers"], "train")
    dataset = read_dataset(train)
    (shown,) = read_annotated(dataset, np.array([0]), dict.fromkeys(range(1, 13), "a class"))
    assert shown.segmentation == WHOLE
