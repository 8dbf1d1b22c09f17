from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lst_cli.annotations.read import Dataset
from lst_cli.errors import LstError
from lst_cli.extend.new_classes import NewClasses, choose_new_classes

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


@pytest.fixture
def choose(read: Read) -> Callable[..., tuple[list[str], NewClasses]]:
    """Names of the classes to learn from objects, and the rest of the answer."""

    def call(
        objects: list[tuple[int, int]],
        known: dict[str, str] = KNOWN,
        wanted: Sequence[str] = (),
        names: dict[int, str] = NAMES,
        damage: tuple[dict[str, Any], ...] = (),
    ) -> tuple[list[str], NewClasses]:
        content = document(objects, names)
        for annotation, changes in zip(reversed(content["annotations"]), damage, strict=False):
            annotation.update(changes)
        dataset = read(content)
        new = choose_new_classes(dataset, known, wanted)
        return [dataset.categories.names[row] for row in new.rows], new

    return call


def test_all_annotated_classes_are_learned_the_most_frequent_first(choose):
    names, new = choose([(1, 4), (1, 7), (1, 7), (3, 7), (2, 9)], {})
    assert names == ["yak", "emu", "cat"]
    assert new.instances.tolist() == [3, 1, 1]
    assert new.images.tolist() == [2, 1, 1]
    assert new.image_rows.tolist() == [0, 1, 2]
    assert new.notes == ()


def test_chosen_classes_may_stand_beside_known_and_other_ones(choose):
    names, new = choose([(1, 7), (2, 9), (3, 7), (2, 4)], wanted=["yak", "yak"])
    assert names == ["yak"]
    assert new.image_rows.tolist() == [0, 2]
    assert new.notes == (
        'left out, not named by --class: "emu"',
        'in the workspace already, so not new, and not background in file.json: "cat"',
    )


ALL = [(1, 4), (1, 7), (2, 9)]
ALREADY = "in the workspace already"


@pytest.mark.parametrize(
    ("objects", "wanted", "message", "hint"),
    [
        ([], "", ": no annotations, so that there is no class to learn", "annotate a few"),
        ([*ALL, (3, 12)], "", f'2 classes are {ALREADY}: "cat" (base phase), "dog" (phase 2)',
         'say which classes are new: lst extend --class "emu" --class "yak"'),
        ([(2, 9)], "", f'1 class is {ALREADY}: "cat" (base phase)', "give a file with classes"),
        (ALL, "emo", 'has no such class; did you mean "emu"?', 'choose one of "emu", "yak"'),
        (ALL, "zzz", "has no such class", 'choose one of "emu", "yak"'),
        (ALL, "cat", f"{ALREADY} (base phase)", "leave the class out"),
        (ALL, "owl", "file.json has no annotation of it", "annotate a few objects"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_named(choose, objects, wanted, message, hint):
    names = {**NAMES, 11: "owl", 12: "dog"}
    with pytest.raises(LstError) as caught:
        choose(objects, wanted=["yak", wanted] if wanted else [], names=names)
    assert caught.value.message.endswith(message)
    assert f'--class "{wanted}": ' in caught.value.message or not wanted
    assert hint in str(caught.value.hint)


def test_classes_without_annotation_are_left_out_and_named(choose):
    _, new = choose([(1, 4)])
    assert new.notes == ('left out, no instance in file.json: "yak"',)


@pytest.mark.parametrize(
    "damage", [{"iscrowd": 1}, {"bbox": [1, 1, 0, 4]}, {"bbox": [90, 1, 4, 4]}]
)
def test_boxes_that_cannot_be_used_do_not_count(choose, damage):
    with pytest.raises(LstError, match='class "yak" has 2 annotations but no usable box'):
        choose([(1, 4), (1, 7), (2, 7)], damage=(damage, damage))
    _, new = choose([(1, 4), (1, 7), (2, 7)], damage=(damage,))
    assert new.instances.tolist() == [1, 1]
    assert new.image_rows.tolist() == [0]


def test_a_name_under_two_ids_is_refused_if_it_is_to_be_learned(choose):
    names = {4: "emu", 7: "emu", 8: "owl", 9: "owl", 10: "cat", 11: "cat"}
    with pytest.raises(LstError, match='class "emu" has more than one category id: 4, 7'):
        choose([(1, 4), (1, 7)], {}, names=names)
    objects = [(1, 4), (1, 10), (1, 11)]
    assert choose(objects, wanted=["emu"], names={**names, 7: "yak"})[0] == ["emu"]


@pytest.mark.parametrize("near", ["Cat", "CAT", "c_a t"])
def test_a_name_like_a_known_one_is_another_class_and_told(choose, near):
    _, new = choose([(1, 4)], names={4: near})
    (note,) = new.notes
    assert note.startswith(f'"{near}" is taken for another class than "cat" (base phase)')


def test_names_are_told_apart_even_without_letters(choose):
    assert choose([(1, 4)], {"++": "phase 1"}, names={4: "--"})[1].notes == ()
