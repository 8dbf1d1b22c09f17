from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lst_cli.errors import LstError
from lst_cli.settings.models import Settings
from lst_cli.split.split import make_split, split_dataset
from lst_cli.workspace.manifest import PhaseManifest, Split
from lst_cli.workspace.records import save_record
from lst_cli.workspace.store import Workspace


def make(small_lvis: Any, workspace: Workspace, **changed: Any) -> Split:
    arguments: dict[str, Any] = {
        "train": small_lvis.train_json,
        "val": small_lvis.val_json,
        "image_dirs": [small_lvis.images],
        "base": 5,
        "phases": 3,
        "settings": Settings(),
    }
    split, _ = split_dataset(workspace, **{**arguments, **changed})
    return split


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def test_classes_are_ordered_by_instances_and_ties_by_id(
    small_lvis: Any, workspace: Workspace
) -> None:
    split = make(small_lvis, workspace)
    assert split.class_order == [7, 9, 4, 2, 5, 11, 6, 1, 10, 3, 8]
    assert split.groups == ((7, 9, 4, 2, 5), (11, 6), (1, 10), (3, 8))
    assert [record.instances for record in split.classes] == [30, 22, 14, 9, 5, 4, 3, 2, 2, 1, 1]


def test_classes_without_training_instances_are_kept_out_and_named(
    small_lvis: Any, workspace: Workspace
) -> None:
    (excluded,) = make(small_lvis, workspace).excluded
    assert (excluded.category_id, excluded.instances, excluded.val_instances) == (12, 0, 2)


def test_counts_of_the_plan_are_those_of_the_method(small_lvis: Any, workspace: Workspace) -> None:
    first, second, third = make(small_lvis, workspace).phases
    # 30 instances of class 7 lie in 24 images, all other classes once in an image:
    # ceil(3.5 * 24 / 30) = 3 and ceil(3.5) = 4 of the other four.
    assert (first.mean_new_instances, first.new_entries, first.replay_entries) == (3.5, 7, 19)
    # ceil(2 * 24 / 30) = 2 of class 7, two of the six others
    assert (second.mean_new_instances, second.new_entries, second.replay_entries) == (2.0, 4, 14)
    assert (third.mean_new_instances, third.new_entries, third.replay_entries) == (1.0, 2, 9)
    assert first.iterations == round(10 * 26 / 8)


def test_the_split_remembers_what_it_was_made_of(small_lvis: Any, workspace: Workspace) -> None:
    split = make(small_lvis, workspace)
    assert Path(split.train.path) == small_lvis.train_json
    assert (split.train.images, split.train.instances, split.train.layout) == (24, 93, "lvis-v1")
    assert split.image_dirs == (str(small_lvis.images),)
    assert split.federated
    assert workspace.split == split
    assert workspace.layout.class_plot.read_bytes().startswith(b"\x89PNG")
    assert workspace.layout.balance_plot.read_bytes().startswith(b"\x89PNG")


def test_crowds_are_left_out_and_counted(small_lvis: Any, workspace: Workspace) -> None:
    small_lvis.train["annotations"][0]["iscrowd"] = 1  # one of category 1, which then has one
    small_lvis.save()
    split = make(small_lvis, workspace)
    assert split.left_out_instances == 1
    assert split.class_order[-3:] == [1, 3, 8]


def test_a_file_without_federated_fields_is_exhaustive(
    small_lvis: Any, workspace: Workspace
) -> None:
    for document in (small_lvis.train, small_lvis.val):
        for image in document["images"]:
            del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    small_lvis.save()
    split = make(small_lvis, workspace)
    assert (split.train.layout, split.federated) == ("coco", False)


def test_the_same_files_give_the_same_split(small_lvis: Any, tmp_path: Path) -> None:
    one, two = Workspace(tmp_path / "one"), Workspace(tmp_path / "two")
    make(small_lvis, one)
    make(small_lvis, two)
    assert one.layout.split.read_bytes() == two.layout.split.read_bytes()


def train_a_phase(workspace: Workspace) -> Path:
    manifest = PhaseManifest(
        phase=0, done=True, split_sha256=workspace.split.digest, previous_sha256=None,
        new_classes=5, seen_classes=5, model_sha256="m",
        new_entries=1, replay_entries=0, replay_counts={},
        iterations=1, seed=0, settings={"base": {"batch_size": 1}},
        weights=None, versions={}, device="", started="",
    )  # fmt: skip
    save_record(manifest, workspace.phase(0).manifest)
    return workspace.phase(0).manifest


def test_trained_phases_are_not_lost_to_another_split(
    small_lvis: Any, workspace: Workspace
) -> None:
    before = make(small_lvis, workspace)
    manifest = train_a_phase(workspace)
    with pytest.raises(LstError, match="holds phases trained on another split") as caught:
        make(small_lvis, workspace, base=4)
    assert "--force" in str(caught.value.hint)
    assert Workspace(workspace.root).split == before
    assert manifest.exists()
    after = make(small_lvis, workspace, base=4, force=True)
    assert workspace.split == after
    assert not manifest.exists()


def test_the_same_split_can_be_made_again_after_the_data_moved_or_the_settings_changed(
    small_lvis: Any, workspace: Workspace
) -> None:
    make(small_lvis, workspace)
    manifest = train_a_phase(workspace)
    moved = small_lvis.train_json.rename(small_lvis.folder / "moved.json")
    again = make(small_lvis, workspace, train=moved, settings=Settings(seed=5))
    assert again.train.path == str(moved)
    assert manifest.exists()
    assert Workspace(workspace.root).next_phase() == 1


def test_a_damaged_split_can_be_made_again(small_lvis: Any, workspace: Workspace) -> None:
    make(small_lvis, workspace)
    manifest = train_a_phase(workspace)
    workspace.layout.split.write_text('{"format": 1, "tra')
    make(small_lvis, Workspace(workspace.root))
    assert manifest.exists()
    assert Workspace(workspace.root).next_phase() == 1


def test_a_refused_file_leaves_no_workspace(small_lvis: Any, workspace: Workspace) -> None:
    small_lvis.train["annotations"][3]["bbox"] = [1, 1, 0, 5]
    small_lvis.save()
    with pytest.raises(LstError, match="1 annotation with a box of no area, for instance annot"):
        make(small_lvis, workspace)
    assert not workspace.root.exists()


# --- the numbers of the paper --------------------------------------------------------------------


def test_the_replay_table_of_lvis_comes_out_exactly(lvis_counts: Path, tmp_path: Path) -> None:
    """An annotation file with the counts of LVIS v0.5, the images drawn at random."""
    from lst_cli.annotations.read import read_dataset

    with lvis_counts.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    number_of_images = 56_740
    categories, annotations = [], []
    for row in rows:
        category_id = int(row["category_id"])
        images, instances = int(row["train_image_count"]), int(row["train_instance_count"])
        categories.append({"id": category_id, "name": row["name"], "frequency": row["frequency"]})
        where = rng.choice(number_of_images, images, replace=False)
        where = np.concatenate([where, rng.choice(where, instances - images)])
        annotations += [(int(image), category_id) for image in where]
    path = tmp_path / "lvis.json"
    with path.open("w", encoding="utf-8") as out:
        out.write('{"categories":' + json.dumps(categories) + ',"images":[')
        out.write(
            ",".join(
                f'{{"id":{i},"height":9,"width":9,"file_name":"{i}.jpg","neg_category_ids":[],'
                '"not_exhaustive_category_ids":[]}'
                for i in range(number_of_images)
            )
        )
        out.write('],"annotations":[')
        out.write(
            ",".join(
                f'{{"id":{number},"image_id":{image},"category_id":{category_id},'
                '"bbox":[1,1,2,2],"area":4,"segmentation":[[1,1,3,1,3,3]]}'
                for number, (image, category_id) in enumerate(annotations, 1)
            )
        )
        out.write("]}")
    dataset = read_dataset(path)
    assert len(dataset.instances) == 693_958
    split, _ = make_split(dataset, dataset, [], 270, 6, Settings())
    assert [len(group) for group in split.groups] == [270, 160, 160, 160, 160, 160, 160]
    by_rank = sorted(rows, key=lambda row: int(row["sorted_rank"]))
    assert split.class_order == [int(row["category_id"]) for row in by_rank]
    found = [
        (plan.phase, round(plan.mean_new_instances, 1), plan.new_entries, plan.replay_entries,
         plan.iterations)
        for plan in split.phases
    ]  # fmt: skip
    assert found == [
        (1, 254.8, 16_352, 25_274, 52_032),
        (2, 86.5, 6_514, 14_320, 26_042),
        (3, 38.5, 3_283, 9_478, 15_951),
        (4, 18.3, 1_688, 6_334, 10_028),
        (5, 7.0, 744, 3_397, 5_176),
        (6, 2.1, 263, 1_648, 2_389),
    ]
