from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lst_cli.annotations.problems import Problem
from lst_cli.check.check import check_pair
from lst_cli.check.fields import check_dataset, usable_instances


def kinds(problems: Sequence[Problem]) -> Mapping[str, tuple[str, int]]:
    """Severity and count by kind; no kind may come twice."""
    found = {problem.kind: (problem.severity, problem.count) for problem in problems}
    assert len(found) == len(problems)
    return found


def only(problems: Sequence[Problem], kind: str) -> Problem:
    (problem,) = [problem for problem in problems if problem.kind == kind]
    return problem


@pytest.mark.parametrize(
    ("kind", "severity", "boxes"),
    [
        (None, "", [[1, 2, 3, 4], [0, 0, 8, 6], [0, 0, 8.9, 6.9], [-0.9, -0.9, 3, 3],
                    [1, 2, 2e-3, 4]]),
        ("box-no-area", "error",
         [[1, 2, 0, 4], [1, 2, 3, 0], [1, 2, -3, 4], [1, 2, -3, -4], [0, 0.1, 0, 0]]),
        ("box-outside", "error", [[8, 2, 3, 4], [1, 6, 3, 4], [-3, 2, 3, 4], [1, -4, 3, 4],
                                  [1, 2, 5e-4, 4]]),
        ("box-over-border", "warning", [[1, 2, 9, 4], [1, 2, 3, 40], [-2, 2, 9, 3], [1, -2, 3, 4]]),
    ],
)  # fmt: skip
def test_boxes_without_area_are_errors_and_never_usable(read, two_classes, kind, severity, boxes):
    for box in boxes:
        two_classes["annotations"][0]["bbox"] = box
        dataset = read(two_classes)
        problems = check_dataset(dataset)
        assert usable_instances(dataset).tolist() == [severity != "error", True, True], box
        assert kinds(problems) == ({kind: (severity, 1)} if kind else {}), box
        for problem in problems:
            assert problem.examples == (f"annotation 11 of image 2: {[float(x) for x in box]}",)
            assert "1 annotation with" in problem.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 3])
def test_boxes_that_are_not_finite_are_errors_and_never_usable(read, two_classes, value, column):
    dataset = read(two_classes)
    dataset.instances.boxes[1, column] = value
    found = check_dataset(dataset)
    assert kinds(found) == {"no-box": ("error", 1), "class-without-instances": ("warning", 1)}
    assert usable_instances(dataset).tolist() == [True, False, True]
    assert only(found, "no-box").examples == ("annotation 12 of image 2",)


def test_crowds_are_shown_and_never_usable(read, two_classes):
    two_classes["annotations"][0] |= {"iscrowd": 1, "bbox": [0, 0, 0, 0]}
    dataset = read(two_classes)
    assert kinds(check_dataset(dataset)) == {"crowd": ("info", 1)}
    for training, what in ((True, "left out of training"), (False, "not scored")):
        crowd = only(check_dataset(dataset, training=training), "crowd")
        assert crowd.message == f"1 annotation with iscrowd, {what}"
    assert usable_instances(dataset).tolist() == [False, True, True]


def test_classes_without_usable_instances_are_a_warning_in_training_only(read, two_classes):
    two_classes["categories"].append({"id": 9, "name": "eel", "frequency": "r"})
    dataset = read(two_classes)
    (problem,) = check_dataset(dataset)
    assert (problem.severity, problem.kind) == ("warning", "class-without-instances")
    assert problem.examples == ("category 9 (eel)",)
    assert check_dataset(dataset, training=False) == []
    two_classes["annotations"][1]["bbox"] = [0, 0, 0, 1]
    assert only(check_dataset(read(two_classes)), "class-without-instances").count == 2


def test_names_frequencies_and_areas_are_checked_and_errors_come_first(read, two_classes):
    two_classes["categories"][1]["name"] = "cat"
    two_classes["categories"][0]["frequency"] = "x"
    two_classes["annotations"][2]["area"] = 0
    del two_classes["images"][1]["coco_url"]
    found = check_dataset(read(two_classes))
    assert kinds(found) == {
        "nameless-image": ("error", 1),
        "duplicate-class-name": ("warning", 1),
        "no-frequency": ("warning", 1),
        "area-zero": ("warning", 1),
    }
    assert found[0].kind == "nameless-image"
    assert only(found, "duplicate-class-name").examples == ('"cat": categories 5, 7',)


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        ({"bbox": None}, {"bbox": "mask"}),
        ({"area": None, "segmentation": None}, {"area": "bbox"}),
        ({"bbox": [0, 0, 0, 0], "area": 0}, {"bbox": "mask", "area": "mask"}),
        ({"bbox": None, "iscrowd": 1}, {}),
        ({"bbox": None, "segmentation": []}, {}),
    ],
)
def test_what_is_computed_is_shown_with_what_it_is_computed_from(
    read, two_classes, change, computed
):
    two_classes["annotations"][0] |= change
    found = [one for one in check_dataset(read(two_classes)) if "-from-" in one.kind]
    assert {one.kind: one.message for one in found} == {
        f"{what}-from-{source}": f"1 annotation has no {what}, which is computed from the {source}"
        for what, source in computed.items()
    }


def test_absent_classes_that_are_annotated_are_a_warning(read, two_classes):
    two_classes["images"][0]["neg_category_ids"] = [5, 7, 7]
    two_classes["images"][1]["neg_category_ids"] = [5, 999]
    absent, unknown = sorted(check_dataset(read(two_classes)), key=lambda one: one.kind)
    assert (absent.severity, absent.kind, absent.count) == ("warning", "negative-annotated", 2)
    assert absent.examples == ("image 1: category 7 (dog)", "image 2: category 5 (cat)")
    assert (unknown.severity, unknown.kind, unknown.count) == ("warning", "unknown-negative", 1)
    assert unknown.examples == ("image 2: category 999",)


def test_a_coco_file_is_exhaustive_and_its_boxes_without_area_are_a_warning(read, two_classes):
    for image in two_classes["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    for category in two_classes["categories"]:
        del category["frequency"]
    assert kinds(check_dataset(read(two_classes))) == {"not-federated": ("info", 1)}
    two_classes["annotations"][0]["bbox"] = [1, 2, 3, 0]
    dataset = read(two_classes)
    assert only(check_dataset(dataset), "box-no-area").severity == "warning"
    assert usable_instances(dataset).tolist() == [False, True, True]


def test_empty_lists_are_errors(read):
    problems = check_dataset(read({"images": [], "annotations": [], "categories": []}))
    errors = {problem.kind for problem in problems if problem.severity == "error"}
    assert errors == {"no-images", "no-annotations", "no-categories"}


def test_many_problems_give_few_examples(read, two_classes):
    annotation = two_classes["annotations"][0] | {"bbox": [1, 1, 0, 1]}
    two_classes["annotations"] += [annotation | {"id": 100 + n} for n in range(1200)]
    problem = only(check_dataset(read(two_classes)), "box-no-area")
    assert problem.count == 1200
    assert problem.message == "1,200 annotations with a box of no area"
    assert len(problem.examples) == 5
    assert problem.examples[0].startswith("annotation 100 of image 2")


ANY_NUMBER = st.floats(-300, 300) | st.floats() | st.sampled_from([0.0, -0.0, 50.0, 100.0])


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.lists(ANY_NUMBER, min_size=4, max_size=4), st.booleans())))
def test_an_instance_is_unusable_exactly_if_a_problem_says_so(read, two_classes, instances):
    annotation = {"image_id": 2, "category_id": 5, "bbox": [1, 1, 1, 1], "area": 1}
    two_classes["annotations"] = [
        annotation | {"id": row, "iscrowd": crowd} for row, (_, crowd) in enumerate(instances)
    ]
    dataset = read(two_classes)
    dataset.instances.boxes[:] = np.array([box for box, _ in instances]).reshape(-1, 4)
    usable = usable_instances(dataset)
    assert usable.shape == (len(instances),)
    unusable = ("no-box", "box-no-area", "box-outside", "crowd")
    counted = sum(p.count for p in check_dataset(dataset) if p.kind in unusable)
    assert counted == int((~usable).sum())
    for x, y, w, h in dataset.instances.boxes[usable].tolist():
        assert min(x + w, 8) > max(x, 0)
        assert min(y + h, 6) > max(y, 0)


def test_numbers_too_large_to_add_raise_no_warning_of_numpy(read, two_classes, recwarn):
    two_classes["annotations"][0]["bbox"] = [1e308] * 4
    assert kinds(check_dataset(read(two_classes)))["box-outside"] == ("error", 1)
    assert not recwarn.list


# --- two files together --------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["lvis-v1", "lvis-v0.5", "coco"])
def test_mixed_layouts_are_an_error(read, two_classes, other):
    train = read(two_classes)
    two_classes["categories"].reverse()
    found = check_pair(train, replace(read(two_classes, "val.json"), layout=other))
    assert kinds(found) == ({} if other == "lvis-v1" else {"layouts-differ": ("error", 1)})
    for problem in found:
        assert problem.message == (
            f"the training file has the layout lvis-v1, the validation file {other}"
        )
        assert problem.hint


def test_other_names_and_missing_classes_are_an_error(read, two_classes):
    train = read(two_classes)
    two_classes["categories"][0]["name"] = "cow"
    two_classes["categories"].append({"id": 9, "name": "eel"})
    val = read(two_classes, "val.json")
    (problem,) = check_pair(train, val)
    assert (problem.severity, problem.kind, problem.count) == ("error", "classes-differ", 2)
    assert problem.examples == (
        'category 5: "cat" in training, "cow" in validation',
        'category 9: nothing in training, "eel" in validation',
    )
    assert problem.message == (
        "1 category_id has another name in the validation file than in the training file; "
        "1 category_id is in only one of the two files"
    )
    assert str(problem.hint).startswith('give both files the same list "categories"; ')
    two_classes["categories"][0]["name"] = "cat"
    (alone,) = check_pair(read(two_classes, "val.json"), train)
    assert alone.message == "1 category_id is in only one of the two files"
