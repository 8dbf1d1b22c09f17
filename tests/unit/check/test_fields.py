from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lst_cli.annotations.problems import Problem, examples
from lst_cli.annotations.read import Dataset
from lst_cli.check.check import check_pair
from lst_cli.check.fields import check_dataset, usable_instances


def found(dataset: Dataset, **kwargs: Any) -> dict[str, tuple[Any, int]]:
    """Severity and count by kind; no kind may come twice."""
    problems = check_dataset(dataset, **kwargs)
    kinds: dict[str, tuple[Any, int]] = {
        problem.kind: (problem.severity, problem.count) for problem in problems
    }
    assert len(kinds) == len(problems)
    return kinds


def only(problems: list[Problem], kind: str) -> Problem:
    (problem,) = [problem for problem in problems if problem.kind == kind]
    return problem


def test_a_good_file_has_no_problems(read, two_classes):
    assert check_dataset(read(two_classes)) == []
    assert usable_instances(read(two_classes)).tolist() == [True, True, True]


@pytest.mark.parametrize(
    ("kind", "severity", "boxes"),
    [
        (None, "", [[1, 2, 3, 4], [0, 0, 8, 6], [0, 0, 8.9, 6.9], [-0.9, -0.9, 3, 3]]),
        (
            "box-no-area",
            "error",
            [[1, 2, 0, 4], [1, 2, 3, 0], [1, 2, -3, 4], [1, 2, -3, -4], [0, 0.1, 0, 0]],
        ),
        ("box-outside", "error", [[8, 2, 3, 4], [1, 6, 3, 4], [-3, 2, 3, 4], [1, -4, 3, 4]]),
        ("box-over-border", "warning", [[1, 2, 9, 4], [1, 2, 3, 40], [-2, 2, 9, 3], [1, -2, 3, 4]]),
    ],
)
def test_boxes_without_area_are_errors_and_never_usable(read, two_classes, kind, severity, boxes):
    for box in boxes:
        two_classes["annotations"][0]["bbox"] = box
        dataset = read(two_classes)
        problems = check_dataset(dataset)
        assert usable_instances(dataset).tolist() == [severity != "error", True, True], box
        assert [problem.kind for problem in problems] == ([kind] if kind else []), box
        for problem in problems:
            assert (problem.severity, problem.count) == (severity, 1)
            assert problem.examples == (f"annotation 11 of image 2: {[float(x) for x in box]}",)
            assert "1 annotation with" in problem.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 3])
def test_boxes_that_are_not_finite_are_errors_and_never_usable(read, two_classes, value, column):
    dataset = read(two_classes)
    dataset.instances.boxes[1, column] = value
    kinds = found(dataset)
    assert kinds.pop("no-box") == ("error", 1)
    assert kinds == {"class-without-instances": ("warning", 1)}
    assert usable_instances(dataset).tolist() == [True, False, True]
    assert only(check_dataset(dataset), "no-box").examples == ("annotation 12 of image 2",)


def test_crowds_are_told_and_never_usable(read, two_classes):
    two_classes["annotations"][0]["iscrowd"] = 1
    two_classes["annotations"][0]["bbox"] = [0, 0, 0, 0]
    dataset = read(two_classes)
    assert found(dataset) == {"crowd": ("info", 1)}
    assert "left out of training" in only(check_dataset(dataset), "crowd").message
    in_val = only(check_dataset(dataset, training=False), "crowd")
    assert in_val.message == "1 annotation with iscrowd, not scored"
    assert usable_instances(dataset).tolist() == [False, True, True]


def test_a_stated_area_of_zero_is_a_warning(read, two_classes):
    two_classes["annotations"][2]["area"] = 0
    assert found(read(two_classes)) == {"area-zero": ("warning", 1)}


def test_classes_without_usable_instances_are_a_warning_in_training_only(read, two_classes):
    two_classes["categories"].append({"id": 9, "name": "eel", "frequency": "r"})
    dataset = read(two_classes)
    assert found(dataset) == {"class-without-instances": ("warning", 1)}
    assert only(check_dataset(dataset), "class-without-instances").examples == ("category 9 (eel)",)
    assert found(dataset, training=False) == {}
    two_classes["annotations"][1]["bbox"] = [0, 0, 0, 1]
    assert found(read(two_classes))["class-without-instances"] == ("warning", 2)


def test_names_and_frequencies_are_checked(read, two_classes):
    two_classes["categories"][1]["name"] = "cat"
    two_classes["categories"][0]["frequency"] = "x"
    del two_classes["images"][1]["coco_url"]
    dataset = read(two_classes)
    assert found(dataset) == {
        "nameless-image": ("error", 1),
        "duplicate-class-name": ("warning", 1),
        "no-frequency": ("warning", 1),
    }
    assert check_dataset(dataset)[0].kind == "nameless-image"
    assert only(check_dataset(dataset), "duplicate-class-name").examples == (
        '"cat": categories 5, 7',
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bbox": None}, {"bbox-from-mask": "no bbox, which is computed from the mask"}),
        ({"bbox": []}, {"bbox-from-mask": "no bbox, which is computed from the mask"}),
        ({"area": None}, {"area-from-mask": "no area, which is computed from the mask"}),
        (
            {"area": None, "segmentation": None},
            {"area-from-bbox": "no area, which is computed from the bbox"},
        ),
        (
            {"bbox": [0, 0, 0, 0], "area": 0},
            {
                "bbox-from-mask": "no bbox, which is computed from the mask",
                "area-from-mask": "no area, which is computed from the mask",
            },
        ),
        ({"bbox": None, "iscrowd": 1}, {}),
        ({"bbox": None, "segmentation": []}, {}),
    ],
)
def test_what_is_computed_is_told_with_what_it_is_computed_from(read, two_classes, change, told):
    two_classes["annotations"][0] |= change
    computed = [one for one in check_dataset(read(two_classes)) if "-from-" in one.kind]
    assert {one.kind: one.message for one in computed} == {
        kind: f"1 annotation has {what}" for kind, what in told.items()
    }


def test_absent_classes_that_are_annotated_are_a_warning(read, two_classes):
    two_classes["images"][0]["neg_category_ids"] = [5, 7, 7]
    two_classes["images"][1]["neg_category_ids"] = [5, 999]
    problems = check_dataset(read(two_classes))
    absent = only(problems, "negative-annotated")
    assert (absent.severity, absent.count) == ("warning", 2)
    assert absent.examples == ("image 1: category 7 (dog)", "image 2: category 5 (cat)")
    unknown = only(problems, "unknown-negative")
    assert (unknown.severity, unknown.count) == ("warning", 1)
    assert unknown.examples == ("image 2: category 999",)


def test_a_coco_file_is_told_to_be_exhaustive(read, two_classes):
    for image in two_classes["images"]:
        del image["neg_category_ids"]
        del image["not_exhaustive_category_ids"]
    for category in two_classes["categories"]:
        del category["frequency"]
    assert found(read(two_classes)) == {"not-federated": ("info", 1)}


def test_empty_lists_are_errors(read):
    problems = check_dataset(read({"images": [], "annotations": [], "categories": []}))
    errors = {problem.kind for problem in problems if problem.severity == "error"}
    assert errors == {"no-images", "no-annotations", "no-categories"}


def test_many_problems_give_few_examples(read, two_classes):
    annotation = two_classes["annotations"][0]
    two_classes["annotations"] += [
        annotation | {"id": 100 + number, "bbox": [1, 1, 0, 1]} for number in range(1200)
    ]
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
    told = sum(p.count for p in check_dataset(dataset) if p.kind in unusable)
    assert told == int((~usable).sum())
    for x, y, w, h in dataset.instances.boxes[usable].tolist():
        assert min(x + w, 8) > max(x, 0)
        assert min(y + h, 6) > max(y, 0)


def test_the_same_classes_are_no_problem(read, two_classes):
    train = read(two_classes)
    two_classes["categories"].reverse()
    assert check_pair(train, read(two_classes, "val.json")) == []


@pytest.mark.parametrize("other", ["lvis-v0.5", "coco"])
def test_mixed_layouts_are_an_error(read, two_classes, other):
    train = read(two_classes)
    (problem,) = check_pair(train, replace(train, layout=other))
    assert (problem.severity, problem.kind) == ("error", "layouts-differ")
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
    (reverse,) = check_pair(val, train)
    assert reverse.count == 2
    two_classes["categories"][0]["name"] = "cat"
    (alone,) = check_pair(train, read(two_classes, "val.json"))
    assert alone.message == "1 category_id is in only one of the two files"


def test_problems_know_their_file_and_go_to_json():
    problem = Problem("error", "kind", "message", 2, ("a", "b"), "do this").at("train.json")
    found = problem.as_dict()
    assert list(found.values()) == [
        "error",
        "kind",
        "message",
        2,
        ["a", "b"],
        "do this",
        "train.json",
    ]
    assert examples([]) == ()
    assert examples(str(number) for number in range(100)) == ("0", "1", "2", "3", "4")


def test_boxes_without_area_in_a_coco_file_are_left_out_with_a_warning(read, two_classes):
    for image in two_classes["images"]:
        image.pop("neg_category_ids")
        image.pop("not_exhaustive_category_ids", None)
    two_classes["annotations"][0]["bbox"] = [1, 2, 3, 0]
    dataset = read(two_classes)
    assert dataset.layout == "coco"
    assert only(check_dataset(dataset), "box-no-area").severity == "warning"
    assert usable_instances(dataset).tolist() == [False, True, True]


def test_numbers_too_large_to_add_raise_no_warning_of_numpy(read, two_classes, recwarn):
    two_classes["annotations"][0]["bbox"] = [1e308] * 4
    assert found(read(two_classes))["box-outside"] == ("error", 1)
    assert not recwarn.list
