from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lst_cli.annotations.read import Dataset
from lst_cli.errors import LstError
from lst_cli.extend.new_classes import choose_new_classes, listed

Read = Callable[..., Dataset]


def document(objects: list[tuple[int, int]], names: dict[int, str]) -> dict[str, Any]:
    """One annotation for each (image, category id), in three images."""
    return {
        "images": [
            {"id": number, "height": 20, "width": 40, "file_name": f"{number}.png"}
            for number in (1, 2, 3)
        ],
        "categories": [{"id": number, "name": name} for number, name in names.items()],
        "annotations": [
            {
                "id": row,
                "image_id": image,
                "category_id": category,
                "bbox": [1, 1, 4, 4],
                "area": 16.0,
                "segmentation": [[1, 1, 5, 1, 5, 5]],
            }
            for row, (image, category) in enumerate(objects, 1)
        ],
    }


NAMES = {4: "emu", 7: "yak", 9: "cat"}
KNOWN = {"cat": "base phase", "dog": "phase 2"}


def chosen(dataset: Dataset, known: dict[str, str], *wanted: str) -> list[str]:
    return [
        dataset.categories.names[row] for row in choose_new_classes(dataset, known, wanted).rows
    ]


def test_all_annotated_classes_are_learned_the_most_frequent_first(read: Read) -> None:
    dataset = read(document([(1, 4), (1, 7), (1, 7), (3, 7), (2, 9)], NAMES))
    new = choose_new_classes(dataset, {})
    assert [dataset.categories.names[row] for row in new.rows] == ["yak", "emu", "cat"]
    assert new.instances.tolist() == [3, 1, 1]
    assert new.images.tolist() == [2, 1, 1]
    assert new.image_rows.tolist() == [0, 1, 2]
    assert new.notes == ()


def test_only_images_with_a_class_to_learn_are_needed(read: Read) -> None:
    dataset = read(document([(1, 4), (2, 9), (3, 4)], NAMES))
    assert choose_new_classes(dataset, KNOWN, ["emu"]).image_rows.tolist() == [0, 2]


def test_known_classes_are_refused_by_name_with_their_phase(read: Read) -> None:
    dataset = read(document([(1, 4), (2, 9), (3, 12)], {**NAMES, 12: "dog"}))
    with pytest.raises(LstError) as caught:
        choose_new_classes(dataset, KNOWN)
    assert caught.value.message.endswith(
        '2 classes are in the workspace already: "cat" (base phase), "dog" (phase 2)'
    )
    assert caught.value.hint == 'say which classes are new: lst extend --class "emu"'


def test_a_file_of_known_classes_alone_has_nothing_to_choose(read: Read) -> None:
    with pytest.raises(LstError, match="1 class is in the workspace") as caught:
        choose_new_classes(read(document([(2, 9)], NAMES)), KNOWN)
    assert caught.value.hint is not None
    assert "--class" not in caught.value.hint


def test_chosen_classes_may_stand_beside_known_and_other_ones(read: Read) -> None:
    dataset = read(document([(1, 4), (1, 7), (2, 9)], NAMES))
    new = choose_new_classes(dataset, KNOWN, ["yak", "yak"])
    assert [dataset.categories.names[row] for row in new.rows] == ["yak"]
    left_out, known = new.notes
    assert left_out == 'left out, not named by --class: "emu"'
    assert known.startswith("known already, neither learned nor treated as background")
    assert known.endswith(': "cat"')


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("emo", 'file.json has no such class; did you mean "emu"?', 'choose of "emu", "yak"'),
        ("zzz", "file.json has no such class", 'choose of "emu", "yak"'),
        ("cat", "in the workspace already (base phase)", "leave the class out"),
        ("owl", "file.json has no annotation of it", "annotate a few objects"),
    ],
)
def test_a_wish_that_cannot_be_met_is_named(read: Read, name: str, message: str, hint: str) -> None:
    dataset = read(document([(1, 4), (1, 7), (2, 9)], {**NAMES, 11: "owl"}))
    with pytest.raises(LstError) as caught:
        choose_new_classes(dataset, KNOWN, ["yak", name])
    assert caught.value.message.startswith(f'--class "{name}": ')
    assert caught.value.message.endswith(message)
    assert hint in str(caught.value.hint)


def test_a_file_without_annotations_has_nothing_to_learn(read: Read) -> None:
    with pytest.raises(LstError, match="no annotations"):
        choose_new_classes(read(document([], NAMES)), {})


def test_classes_without_annotation_are_left_out_and_named(read: Read) -> None:
    new = choose_new_classes(read(document([(1, 4)], NAMES)), KNOWN)
    assert new.notes == ('left out, no instance in file.json: "yak"',)


@pytest.mark.parametrize(
    "damage", [{"iscrowd": 1}, {"bbox": [1, 1, 0, 4]}, {"bbox": [90, 1, 4, 4]}]
)
def test_a_class_without_a_usable_box_is_named(read: Read, damage: dict[str, Any]) -> None:
    content = document([(1, 4), (1, 7), (2, 7)], NAMES)
    for annotation in content["annotations"][1:]:
        annotation.update(damage)
    with pytest.raises(LstError, match='class "yak" has 2 annotations but no usable box'):
        choose_new_classes(read(content), {})


def test_boxes_that_cannot_be_used_do_not_count(read: Read) -> None:
    content = document([(1, 4), (2, 4), (1, 7)], NAMES)
    content["annotations"][1]["iscrowd"] = 1
    new = choose_new_classes(read(content), {})
    assert new.instances.tolist() == [1, 1]
    assert new.image_rows.tolist() == [0]


def test_a_name_under_two_ids_is_refused_if_it_is_to_be_learned(read: Read) -> None:
    names = {4: "emu", 7: "emu", 8: "owl", 9: "owl", 10: "cat", 11: "cat"}
    with pytest.raises(LstError, match='class "emu" has more than one category id: 4, 7'):
        choose_new_classes(read(document([(1, 4), (1, 7)], names)), {})
    dataset = read(document([(1, 4), (1, 10), (1, 11)], {**names, 7: "yak"}))
    assert chosen(dataset, KNOWN, "emu") == ["emu"]


@pytest.mark.parametrize("near", ["Cat", "CAT", "c_a t"])
def test_a_name_like_a_known_one_is_another_class_and_told(read: Read, near: str) -> None:
    new = choose_new_classes(read(document([(1, 4)], {4: near})), KNOWN)
    (note,) = new.notes
    assert note.startswith(f'"{near}" is taken for another class than "cat" (base phase)')


def test_names_are_told_apart_even_without_letters(read: Read) -> None:
    new = choose_new_classes(read(document([(1, 4)], {4: "--"})), {"++": "phase 1"})
    assert new.notes == ()


def test_many_names_are_cut_short() -> None:
    assert listed(list("abcdefg")) == '"a", "b", "c", "d", "e" and 2 more'
    assert listed(["a"]) == '"a"'
