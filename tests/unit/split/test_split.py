from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lst_cli.annotations.read import Categories, Dataset, Images, Instances
from lst_cli.errors import LstError
from lst_cli.inputs import read_training_input
from lst_cli.settings.models import BaseSettings, Settings, StepSettings
from lst_cli.split import split as split_room
from lst_cli.split.split import SplitRequest, balance_of, make_split, measure_balance, split_dataset
from lst_cli.train.plan import phase_data, plan_job, shown_per_epoch
from lst_cli.workspace.manifest import PhaseManifest, Split
from lst_cli.workspace.records import save_record
from lst_cli.workspace.store import Workspace


def make(
    small_lvis: Any, workspace: Workspace, seed: int = 0, force: bool = False, **changed: Any
) -> Split:
    request = SplitRequest(small_lvis.train_json, small_lvis.val_json, [small_lvis.images], 5, 3)
    split, _ = split_dataset(
        workspace, replace(request, **changed), Settings(seed=seed), force=force
    )
    return split


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for plot in ("plot_class_counts", "plot_replay_balance"):  # they take most of the time
        monkeypatch.setattr(split_room, plot, lambda _, name=plot: name.encode())
    return Workspace(tmp_path / "work")


def test_classes_are_ordered_by_instances_and_ties_by_id(small_lvis, workspace):
    split = make(small_lvis, workspace)
    assert split.groups == ((7, 9, 4, 2, 5), (11, 6), (1, 10), (3, 8))
    assert [record.instances for record in split.classes] == [30, 22, 14, 9, 5, 4, 3, 2, 2, 1, 1]
    (excluded,) = split.excluded  # it has no training instance
    assert (excluded.category_id, excluded.instances, excluded.val_instances) == (12, 0, 2)


def test_the_split_remembers_what_it_was_made_of(small_lvis, workspace):
    split = make(small_lvis, workspace)
    assert Path(split.train.path) == small_lvis.train_json
    assert (split.train.images, split.train.instances, split.train.layout) == (24, 93, "lvis-v1")
    assert split.image_dirs == (str(small_lvis.images),)
    assert split.federated
    assert workspace.split == split
    assert workspace.layout.class_plot.read_bytes() == b"plot_class_counts"
    assert workspace.layout.balance_plot.read_bytes() == b"plot_replay_balance"
    again = Workspace(workspace.root.parent / "again")
    make(small_lvis, again)
    assert again.layout.split.read_bytes() == workspace.layout.split.read_bytes()


def test_crowds_are_left_out_and_a_file_without_federated_fields_is_exhaustive(
    small_lvis, workspace
):
    small_lvis.train["annotations"][0]["iscrowd"] = 1  # one of category 1, which then has one
    for image in (*small_lvis.train["images"], *small_lvis.val["images"]):
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    small_lvis.save()
    split = make(small_lvis, workspace)
    assert split.left_out_instances == 1
    assert split.class_order[-3:] == [1, 3, 8]
    assert (split.train.layout, split.federated) == ("coco", False)


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


def test_trained_phases_are_not_lost_to_another_split(small_lvis, workspace):
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


def test_the_same_split_can_be_made_again_after_damage_or_a_move_or_other_settings(
    small_lvis, workspace
):
    make(small_lvis, workspace)
    manifest = train_a_phase(workspace)
    workspace.layout.split.write_text('{"format": 1, "tra')
    moved = small_lvis.train_json.rename(small_lvis.folder / "moved.json")
    again = Workspace(workspace.root)
    assert make(small_lvis, again, train=moved, seed=5).train.path == str(moved)
    assert manifest.exists()
    assert Workspace(workspace.root).next_phase() == 1


def test_pasted_objects_are_a_part_of_the_balance(small_lvis, workspace):
    split = make(small_lvis, workspace)
    occurrences = read_training_input(workspace).occurrences
    assert [one.phase for one in measure_balance(occurrences, split, Settings())] == [1, 2, 3]
    sections = {"base": BaseSettings(paste_objects=3), "step": StepSettings(paste_objects=2)}
    balances = measure_balance(occurrences, split, Settings(**sections))
    assert [one.phase for one in balances] == [0, 1, 2, 3]
    for one, plain in zip(
        balances[1:], measure_balance(occurrences, split, Settings()), strict=True
    ):
        assert (one.before, one.after, plain.pasted) == (plain.before, plain.after, [])
        # One object an image on average, every class as often.
        more = np.array(one.pasted) - one.after
        entries = len(phase_data(split, occurrences, one.phase, Settings()))
        assert more == pytest.approx(np.full(len(more), entries / len(more)))


@pytest.mark.parametrize("other_objects", ["ignore", "count"])
def test_the_balance_shows_the_objects_that_count_in_training(small_lvis, workspace, other_objects):
    make(small_lvis, workspace)
    words = [f"step.other_objects={other_objects}", "step.paste_objects=4"]
    settings = workspace.settings([*words, "step.paste_classes=lacking"])
    job = plan_job(workspace, 2, settings)
    one = balance_of(job.inputs.occurrences, workspace.split, 2, settings)
    assert one.pasted == shown_per_epoch(job).tolist()
    # Each image gets two more objects on average, whatever else counts in it.
    assert sum(one.pasted) - sum(one.after) == pytest.approx(2 * len(job.data))


# --- the numbers of the paper --------------------------------------------------------------------


def lvis(counts: Path) -> Dataset:
    """Annotations with the counts of LVIS v0.5, the images drawn at random."""
    with counts.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    n = 56_740
    image_index = []
    instances = [int(row["train_instance_count"]) for row in rows]
    m = sum(instances)
    for row, count in zip(rows, instances, strict=True):
        where = rng.choice(n, int(row["train_image_count"]), replace=False)
        image_index += [where, rng.choice(where, count - len(where))]
    size, flags = np.full(n, 9, dtype=np.int32), np.zeros(m, dtype=bool)
    return Dataset(
        path=counts, sha256="0", layout="lvis-v0.5", federated=True,
        images=Images(np.arange(n), size, size, [""] * n, [""] * n, [()] * n, [()] * n),
        categories=Categories(
            np.array([int(row["category_id"]) for row in rows]),
            [row["name"] for row in rows], [row["frequency"] for row in rows],
        ),
        instances=Instances(
            np.arange(m), np.concatenate(image_index).astype(np.int32),
            np.repeat(np.arange(len(rows)), instances).astype(np.int32),
            np.tile([1.0, 1.0, 2.0, 2.0], (m, 1)), np.full(m, 4.0), flags, flags,
        ),
    )  # fmt: skip


def test_the_replay_table_of_lvis_comes_out_exactly(lvis_counts):
    dataset = lvis(lvis_counts)
    assert len(dataset.instances) == 693_958
    split, _ = make_split(dataset, dataset, [], 270, 6, Settings())
    assert [len(group) for group in split.groups] == [270, 160, 160, 160, 160, 160, 160]
    with lvis_counts.open(encoding="utf-8", newline="") as file:
        authors = sorted(csv.DictReader(file), key=lambda row: int(row["sorted_rank"]))
    assert split.class_order == [int(row["category_id"]) for row in authors]
    phases = [phase for phase, group in enumerate(split.groups) for _ in group]
    assert phases == [int(row["lst_phase"]) for row in authors]
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
