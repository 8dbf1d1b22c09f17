from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lst_cli.annotations.read import read_dataset
from lst_cli.errors import LstError
from lst_cli.extend.plan import Addition, NewFiles, add_phase, check_addition
from lst_cli.inputs import label_files
from lst_cli.phases.classes import NO_LABEL
from lst_cli.progress import silent
from lst_cli.settings.models import Settings
from lst_cli.split.split import plan_phases
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace

Add = Callable[..., Addition]
Labelled = Callable[..., tuple[Split, Any]]


@pytest.fixture
def split(split_workspace: Workspace) -> Split:
    """A base of five classes and three phases of two; class 12 has no training instance."""
    return split_workspace.split


@pytest.fixture
def add(split: Split, few: Any, small_lvis: Any) -> Add:
    """Add a phase of the few images' classes, as the files are now."""

    def call(
        phase: int = 2, *, new_val: bool = False, check: bool = False, names: Sequence[str] = ()
    ) -> Addition:
        train, val = read_dataset(few.train_json), read_dataset(small_lvis.val_json)
        files = NewFiles(train.path, [few.images], val.path if new_val else None, names)
        addition = add_phase(split, phase, train, val, files)
        if check:
            check_addition(addition, train, val, silent)
        return addition

    return call


def test_new_classes_form_a_group_the_most_frequent_first(split, add):
    assert [one.name for one in split.left_out] == ["class 12"]
    extended = add().split
    assert extended.left_out == []
    assert extended.digest_at(1) == split.digest  # without it the split is what it was
    assert extended.up_to(1).classes == split.classes
    assert [extended.classes[label].name for label in extended.labels_of(2)] == [
        "class 12", "zebra", "yak",
    ]  # fmt: skip
    assert extended.groups == (*split.groups[:2], (12, 41, 40), *split.groups[2:])
    first, second, third = (extended.classes[label] for label in extended.labels_of(2))
    assert (first.instances, first.images, first.frequency, first.val_instances) == (3, 2, "r", 2)
    assert (second.instances, second.images, second.val_instances) == (2, 2, 0)
    assert (third.instances, third.images, third.val_instances) == (1, 1, 0)


def test_ids_come_from_the_validation_file_then_from_the_file_itself(add, few):
    addition = add()
    # 7 and 3 are other classes of the workspace, 40 is free; class 12 is 12 in the workspace.
    assert addition.split.extensions[0].classes == (12, 41, 40)
    ids, truth = addition.notes
    assert ids == 'category ids that differ from few.json: "class 12" 7 -> 12, "zebra" 3 -> 41'
    assert truth.startswith('no object in val.json, so that they get no AP: "zebra", "yak"; --val')


def test_what_a_phase_trains_on_is_counted_anew(split, labelled):
    extended, inputs = labelled()
    first, added, third, fourth = plan_phases(extended, inputs.occurrences, Settings())
    assert first == split.phases[0]
    assert (added.phase, added.classes, added.new_entries) == (2, 3, 5)
    assert added.mean_new_instances == 2.0
    assert (third.phase, third.new_entries) == (3, split.phases[1].new_entries)
    # of the added classes, with 1.5, 1 and 1 instances an image, ceil(2 / 1.5) = 2, 2 and 2
    # images, but the yak has one only
    assert third.replay_entries == split.phases[1].replay_entries + 2 + 2 + 1
    assert fourth.phase == 4


@pytest.mark.parametrize("where", [1, 2, 3, 4])
def test_an_extension_of_any_place_takes_the_labels_behind_the_phases_before(split, add, where):
    extended = add(where).split
    assert extended.labels_of(where).start == sum(map(len, split.groups[:where]))
    assert extended.extension_at(where) is not None


# --- the training annotations of several files ---------------------------------------------------


@pytest.fixture
def labelled(add: Add, few: Any, small_lvis: Any) -> Labelled:
    def call(**others: Any) -> tuple[Split, Any]:
        extended = add(**others).split
        files = [read_dataset(small_lvis.train_json), read_dataset(few.train_json)]
        return extended, label_files(extended, files)

    return call


def test_labels_go_by_id_in_the_split_s_file_and_by_name_in_the_other(split, labelled, small_lvis):
    extended, inputs = labelled()
    # Category 3 of the split's file is "class 3"; in the other file 3 is the zebra.
    old = [a["category_id"] for a in small_lvis.train["annotations"]]
    assert inputs.labels[:93].tolist() == [extended.class_order.index(number) for number in old]
    assert inputs.labels[93:].tolist() == [8, 8, 9, 7, 7, 7]
    assert inputs.dataset.images.ids.tolist() == [*range(1, 25), 1, 2, 3]


def test_every_class_is_learned_from_the_file_it_came_with(labelled, few):
    for category in (2, 5):
        few.document["categories"].append({"id": 100 + category, "name": f"class {category}"})
        few.add(3, 100 + category)
    few.save()
    names = ["zebra", "yak", "class 12"]
    extended, inputs = labelled(names=names)
    counts = inputs.occurrences.instance_counts()
    assert counts.tolist() == [one.instances for one in extended.classes]
    assert inputs.occurrences.image_counts().tolist() == [one.images for one in extended.classes]
    # The old classes' objects are known all the same.
    assert inputs.labels[-2:].tolist() == [extended.class_order.index(n) for n in (2, 5)]
    assert inputs.occurrences.images[7].tolist() == [24, 26]


def test_objects_that_nobody_learns_have_no_label(labelled):
    _, inputs = labelled(names=["zebra"])
    assert inputs.labels[93:].tolist() == [7, 7] + [NO_LABEL] * 4


def test_images_are_looked_for_where_their_file_says_then_where_the_split_says(
    labelled, few, small_lvis
):
    (few.images / "few-2.png").rename(small_lvis.images / "few-2.png")
    Image.new("RGB", (80, 60)).save(small_lvis.images / "few-1.png")  # another of this name
    _, inputs = labelled()
    assert inputs.paths(0) == small_lvis.images / "train" / "000001.png"
    assert inputs.paths(24) == few.images / "few-1.png"
    assert inputs.paths(25) == small_lvis.images / "few-2.png"
    few.images.rename(few.folder / "elsewhere")
    with pytest.raises(LstError, match="image 3 not found"):
        labelled()[1].paths(26)


# --- a validation file of its own ----------------------------------------------------------------


def test_a_validation_file_decides_the_ids_of_the_new_classes(split, add, small_lvis):
    small_lvis.val["categories"].append({"id": 77, "name": "zebra", "frequency": "r"})
    small_lvis.save()
    addition = add(new_val=True)
    (extension,) = addition.split.extensions
    assert extension.classes == (12, 77, 40)
    assert extension.val is not None
    assert Path(extension.val.path) == small_lvis.val_json
    assert addition.split.val_at(2) == extension.val
    assert addition.split.val_at(1) == split.val


def test_a_validation_file_has_to_know_the_classes_of_the_workspace(add, small_lvis):
    small_lvis.val["categories"][6]["name"] = "another"
    for category in (2, 9, 4):
        small_lvis.val["categories"][category - 1]["id"] += 500
    for annotation in small_lvis.val["annotations"]:
        annotation["category_id"] += 500 * (annotation["category_id"] in (2, 9, 4))
    small_lvis.save()
    with pytest.raises(LstError) as caught:
        add(new_val=True)
    assert caught.value.message == (
        f"{small_lvis.val_json}: other categories than in the workspace: "
        '7 "class 7" (there "another"), 9 "class 9" (none) and 2 more'
    )


# --- checks --------------------------------------------------------------------------------------


def test_an_image_of_the_name_of_another_of_the_split_is_neither_refused_nor_taken_for_it(
    add, few, small_lvis
):
    Image.new("RGB", (80, 60)).save(small_lvis.images / "few-1.png")
    small_lvis.val["images"][0] |= {"file_name": "few-1.png", "coco_url": ""}
    small_lvis.save()
    train, val = read_dataset(few.train_json), read_dataset(small_lvis.val_json)
    assert check_addition(add(), train, val, silent) == ()


def test_only_images_that_are_learned_from_have_to_be_there(add, few):
    few.document["images"].append({"id": 9, "height": 1, "width": 1, "file_name": "gone.png"})
    few.save()
    add(check=True)
    (few.images / "few-3.png").unlink()
    with pytest.raises(LstError, match="1 image not found, for instance image 3") as caught:
        add(check=True)
    assert "--images DIR" in str(caught.value.hint)
