from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lst_cli.errors import LstError
from lst_cli.inputs import read_training_input
from lst_cli.phases.replay import instances_per_class
from lst_cli.samples.bank import ObjectBank
from lst_cli.samples.paste import CutOut, paste
from lst_cli.split.split import SplitRequest, split_dataset
from lst_cli.train import bank as banks
from lst_cli.train.bank import (
    choose_objects,
    cut_objects,
    find_bank,
    leave_bank,
    read_banks,
    rebuild_banks,
)
from lst_cli.train.pasting import load_pasting, pasting_of_extension
from lst_cli.train.plan import Events, pasted_per_epoch, plan_job
from lst_cli.train.train import train_phase
from lst_cli.workspace.phase_files import take_over_base
from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine


@pytest.fixture
def trained(split_workspace: Workspace, fake_trainer: Any) -> Workspace:
    """The base and the first phase, which left no bank."""
    for phase in (0, 1):
        train_phase(split_workspace, phase, split_workspace.settings(["preset=lite"]))
    return split_workspace


@pytest.fixture
def stocked(trained: Workspace) -> Workspace:
    rebuild_banks(trained, trained.settings())
    return trained


def files(workspace: Workspace, phase: int) -> list[str]:
    return [path.name for path in workspace.phase(phase).banks()]


def test_objects_come_from_as_many_images_as_there_are(split_workspace):
    inputs, settings = read_training_input(split_workspace), split_workspace.settings()
    image_of = inputs.dataset.instances.image_index
    for label in range(5):
        chosen = choose_objects(inputs, label, 3, settings)
        assert (inputs.labels[chosen] == label).all()
        assert len(set(image_of[chosen].tolist())) == min(3, len(inputs.occurrences.images[label]))
    everything = choose_objects(inputs, 0, 1000, settings)
    assert len(everything) == (inputs.labels == 0).sum() == len(set(everything.tolist()))


@pytest.mark.parametrize("word", ["data.min_size_test=20", "data.max_size_test=27"])
def test_objects_of_three_pixels_at_the_test_size_are_left_out(split_workspace, word):
    inputs = read_training_input(split_workspace)  # images of 80 x 60, the smallest box of 9 x 9
    settings = split_workspace.settings(["data.min_size_test=27", word])
    assert choose_objects(inputs, 0, 5, settings).tolist() == []
    words = ["data.min_size_test=27", word, "base.paste_objects=3"]
    pasting = load_pasting(plan_job(split_workspace, 0, split_workspace.settings(words)))
    assert pasting is not None
    assert pasting(0) == pasting(1) == ()
    larger = split_workspace.settings(["data.min_size_test=60"])
    assert len(choose_objects(inputs, 0, 5, larger)) == 5


def test_a_bank_is_made_again_and_shown(trained):
    assert [(one.phase, one.size, sum(one.objects.values())) for one in read_banks(trained)] == [
        (0, None, 0), (1, None, 0),
    ]  # fmt: skip
    found = rebuild_banks(trained, trained.settings(["extend.bank_objects=2"]))
    assert [list(one.objects.values()) for one in found] == [[2] * 5, [2] * 2]
    assert [one.phase for one in read_banks(trained)] == [0, 1]
    bank = find_bank(trained, trained.require_done(0))
    assert bank is not None
    assert bank.cut_out(0, 0).mask.any()
    assert trained.done_phases() == [0, 1]
    digest = trained.require_done(0).bank_sha256
    again = rebuild_banks(trained, trained.settings(["extend.bank_objects=2"]))
    assert again == found
    assert trained.require_done(0).bank_sha256 == digest
    with pytest.raises(LstError, match=r"extend\.bank_objects = 0"):
        rebuild_banks(trained, trained.settings(["extend.bank_objects=0"]))


@pytest.mark.parametrize("moment", ["save_manifest", "remove_other_banks"])
def test_a_rebuilding_that_is_killed_loses_no_bank(stocked, monkeypatch, moment):
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = read_banks(stocked)
    with monkeypatch.context() as patch:
        patch.setattr(Workspace if moment == "save_manifest" else banks, moment, stop)
        with pytest.raises(KeyboardInterrupt):
            rebuild_banks(stocked, stocked.settings(["extend.bank_objects=1"]))
    assert len(files(stocked, 0)) == 2
    after = read_banks(stocked)
    assert after[1] == before[1]
    assert sum(after[0].objects.values()) == (25 if moment == "save_manifest" else 5)
    rebuild_banks(stocked, stocked.settings(["extend.bank_objects=1"]))
    assert [len(files(stocked, phase)) for phase in (0, 1)] == [1, 1]


def test_a_bank_that_was_changed_or_is_anothers_is_refused(stocked):
    manifest = stocked.require_done(0)
    file = stocked.phase(0).bank(manifest.bank_sha256 or "")
    content = file.read_bytes()
    other = stocked.phase(1).bank(stocked.require_done(1).bank_sha256 or "").read_bytes()
    for damaged in (content[:100], content[:-1] + b"U", other):
        file.write_bytes(damaged)
        with pytest.raises(LstError, match="cut short or changed since lst wrote it") as caught:
            read_banks(stocked)
        assert caught.value.hint == "lst bank --rebuild"
    file.unlink()
    with pytest.raises(LstError, match="missing"):
        read_banks(stocked)
    # One of other classes under a digest that is right.
    foreign = ObjectBank.of([CutOut(10**6, np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), bool))])
    content = foreign.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    stocked.phase(0).bank(digest).write_bytes(content)
    stocked.save_manifest(manifest.model_copy(update={"bank_sha256": digest}))
    with pytest.raises(LstError, match="objects of category 1000000, which is not of the phase"):
        read_banks(stocked)


def test_objects_of_all_banks_are_pasted(stocked):
    notes: list[str] = []
    words = ["preset=lite", "step.replay=bank", "extend.paste_objects=7"]
    inputs = read_training_input(stocked)
    pasting = pasting_of_extension(stocked, 2, inputs, stocked.settings(words), notes.append)
    assert pasting is not None
    labels = [[one.label for one in pasting(position)] for position in range(3)]
    assert [len(one) for one in labels] == [7] * 3
    assert {label for one in labels for label in one} <= set(range(7))
    more = stocked.settings([*words, "extend.paste_new=2"])
    pasting = pasting_of_extension(stocked, 2, inputs, more, notes.append)
    assert pasting is not None
    drawn = [one.label for position in range(9) for one in pasting(position)[7:]]
    assert len(drawn) == 18
    assert set(drawn) == {7, 8}
    assert notes == []
    manifest = stocked.require_done(1)
    stocked.save_manifest(manifest.model_copy(update={"bank_sha256": None}))
    pasting_of_extension(stocked, 2, inputs, stocked.settings(words), notes.append)
    assert notes == ["phase 1 left no bank: old classes of it are not replayed; lst bank --rebuild"]


def test_without_any_bank_nothing_can_be_pasted(trained):
    inputs = read_training_input(trained)
    assert pasting_of_extension(trained, 2, inputs, trained.settings(), lambda _: None) is None
    settings = trained.settings(["step.replay=bank"])
    with pytest.raises(LstError, match="has no bank of objects") as caught:
        pasting_of_extension(trained, 2, inputs, settings, lambda _: None)
    assert "lst bank --rebuild" in (caught.value.hint or "")


def test_a_base_phase_is_taken_over_with_its_bank(stocked, tmp_path):
    other = Workspace(tmp_path / "other")
    other.save_split(stocked.split)
    take_over_base(other, stocked)
    assert read_banks(other)[0] == read_banks(stocked)[0]


def test_a_phase_without_objects_leaves_no_bank(trained):
    settings = trained.settings(["extend.bank_objects=0"])
    inputs = read_training_input(trained)
    assert leave_bank(trained, trained.split, 0, inputs, settings) is None
    assert files(trained, 0) == []


def drawn_classes(job: Any, images: int = 200) -> list[int]:
    pasting = load_pasting(job)
    assert pasting is not None
    return [one.label for position in range(images) for one in pasting(position)]


@pytest.mark.parametrize(
    ("phase", "words", "labels"),
    [
        (0, [], set(range(5))),
        (2, [], set(range(9))),
        (2, ["step.paste_classes=new"], {7, 8}),
        (2, ["step.paste_classes=lacking", "step.other_objects=ignore"], set(range(9))),
    ],
)
def test_a_phase_pastes_objects_of_its_own_images(trained, phase, words, labels):
    notes: list[str] = []
    words = ["preset=lite", "base.paste_objects=3", "step.paste_objects=3", *words]
    job = plan_job(trained, phase, trained.settings(words))
    assert load_pasting(plan_job(trained, phase, trained.settings(["preset=lite"]))) is None
    job = replace(job, events=Events(note=notes.append))
    drawn = drawn_classes(job)
    assert set(drawn) == labels
    most = job.settings.schedule(phase).paste_objects
    assert len(drawn) == pytest.approx(100 * most, rel=0.2)
    assert re.fullmatch(
        rf"\d+ objects of {len(labels)} classes \(\d+\.\d MB\) are pasted into the images",
        notes[0],
    )


def test_objects_of_classes_that_lack_most_are_pasted_most(trained):
    words = ["preset=lite-paper", "step.paste_objects=3", "step.paste_classes=lacking"]
    job = plan_job(trained, 2, trained.settings(words))
    new = trained.split.labels_of(2)
    shown = instances_per_class(job.data.epoch_entries(0), job.inputs.occurrences, new.stop)
    drawn = np.bincount(drawn_classes(job, 600), minlength=new.stop)
    expected = pasted_per_epoch(job.data, new, job.settings, shown)
    assert expected.argmax() == shown.argmin()
    assert drawn / drawn.sum() == pytest.approx(expected / expected.sum(), abs=0.03)


def test_cut_objects_keep_within_memory_and_images_that_cannot_be_read_are_passed_over(
    trained, tmp_path
):
    words = ["preset=lite", "base.paste_objects=3"]
    every = plan_job(trained, 0, trained.settings(words))
    few = plan_job(trained, 0, trained.settings([*words, "paste.objects=1"]))
    counts = []
    for job in (every, few):
        pasting = load_pasting(job)
        assert pasting is not None
        counts.append(len(pasting.stocks[0].places))
    assert counts[1] == 5 < counts[0]
    rows = choose_objects(every.inputs, 0, 5, every.settings)
    lost = int(every.inputs.dataset.instances.image_index[rows[0]])
    every.inputs.paths(lost).unlink()
    failed: dict[int, LstError] = {}
    given = (every.inputs, trained.split, rows, every.settings)
    assert len(list(cut_objects(*given, unusable=failed.__setitem__))) == 4
    assert failed.keys() == {lost}
    with pytest.raises(LstError, match="no such image"):
        list(cut_objects(*given))


def test_a_phase_that_continues_pastes_the_same_objects_or_says_which_image_is_missing(trained):
    words = ["preset=lite", "step.paste_objects=3"]
    notes: list[str] = []
    job = replace(plan_job(trained, 2, trained.settings(words)), events=Events(note=notes.append))
    row = int(job.inputs.occurrences.images[0][0])
    file = job.inputs.paths(row)
    content = file.read_bytes()
    file.write_bytes(content[:-40])
    begun = load_pasting(job)
    assert begun is not None
    assert begun.left_out == (row,)
    assert notes[0].startswith("no objects are cut out of 1 image that cannot be used: ")
    assert file.name in notes[0]
    file.write_bytes(content)
    continued = load_pasting(replace(job, left_out=begun.left_out))
    assert continued is not None
    assert continued.left_out == begun.left_out
    assert continued.stocks[0].places == begun.stocks[0].places
    whole = load_pasting(job)
    assert whole is not None
    assert len(whole.stocks[0].places) > len(begun.stocks[0].places)
    file.unlink()
    with pytest.raises(LstError, match="phase 2 was begun with objects of an image that ca") as bad:
        load_pasting(replace(job, left_out=()))
    assert file.name in bad.value.message
    assert "lst step --restart" in (bad.value.hint or "")


@pytest.mark.parametrize(("side", "found"), [(60, {"speck", "wall"}), (45, {"wall"})])
def test_the_only_object_of_a_class_is_pasted_be_it_a_speck_or_as_large_as_its_image(
    small_lvis, tmp_path, no_plots, side, found
):
    objects = {one["category_id"]: one for one in small_lvis.train["annotations"]}
    speck, wall = objects[3], objects[8]  # both have one instance, in images of 80 x 60
    x, y = speck["bbox"][:2]
    outline = [[x, y, x + 5, y, x + 5, y + 4, x, y + 4]]
    speck |= {"bbox": [x, y, 5.0, 4.0], "area": 20.0, "segmentation": outline}
    whole = {"size": [60, 80], "counts": [0, 4800]}
    wall |= {"bbox": [0.0, 0.0, 80.0, 60.0], "area": 4800.0, "segmentation": whole}
    small_lvis.save()
    workspace = Workspace(tmp_path / "joint")
    words = ["preset=lite", "base.paste_objects=9", f"data.min_size_test={side}"]
    settings = workspace.settings(words)
    files = small_lvis.train_json, small_lvis.val_json, [small_lvis.images]
    split, _ = split_dataset(workspace, SplitRequest(*files, None, 0), settings)
    pasting = load_pasting(plan_job(workspace, 0, settings))
    assert pasting is not None
    names = {3: "speck", 8: "wall"}
    labels = {split.class_order.index(number): name for number, name in names.items()}
    drawn = [one for position in range(60) for one in pasting(position) if one.label in labels]
    assert {labels[one.label] for one in drawn} == found
    pixels = {one.mask.shape: int(one.mask.sum()) for one in drawn}
    assert pixels[side, side * 4 // 3] == side * side * 4 // 3
    picture, nothing = np.zeros((60, 80, 3), np.uint8), np.zeros((0, 60, 80), dtype=bool)
    rng = np.random.default_rng(0)
    for one in drawn:
        [mask] = paste(picture, nothing, [one], rng, settings.paste).masks
        assert 0 < mask.sum() < 0.4 * mask.size
