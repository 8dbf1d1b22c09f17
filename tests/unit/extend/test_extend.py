from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.extend.extend import extend_workspace
from lst_cli.extend.plan import NewFiles
from lst_cli.inputs import read_training_input
from lst_cli.report.report import _phase
from lst_cli.report.status import next_command, read_status
from lst_cli.split.split import split_dataset
from lst_cli.train.train import dry_run, train_phase
from lst_cli.train.trainer import Events
from lst_cli.workspace.manifest import PhaseManifest
from lst_cli.workspace.store import Workspace, sha256_of

Extend = Callable[..., PhaseManifest]


def train(workspace: Workspace, *phases: int, **options: Any) -> None:
    for phase in phases:
        train_phase(workspace, phase, workspace.settings(), **options)


def states(workspace: Workspace) -> list[tuple[str, bool]]:
    return [(phase.state, phase.added) for phase in read_status(workspace).phases]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def extend(split_workspace: Workspace, few: Any, fake_instant: Any, notes: list[str]) -> Extend:
    """Add the few images' classes, with the fake for instant learning at hand."""

    def call(*words: str, finetune: bool = False, names: Sequence[str] = ()) -> PhaseManifest:
        return extend_workspace(
            split_workspace,
            split_workspace.settings(words),
            NewFiles(few.train_json, [few.images], names=names),
            finetune=finetune,
            events=Events(note=notes.append),
            learn=fake_instant,
        )

    return call


# --- learned instantly ---------------------------------------------------------------------------


def test_an_instant_phase_is_a_finished_one_that_trained_nothing(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, fake_instant: Any
) -> None:
    workspace = split_workspace
    train(workspace, 0, 1)
    manifest = extend("device=cpu")
    assert fake_instant.calls == [(2, range(7, 10), 5)]
    assert manifest == workspace.manifest(2)
    assert (manifest.done, manifest.iterations, manifest.replay_entries) == (True, 0, 0)
    assert (manifest.new_classes, manifest.seen_classes, manifest.new_entries) == (3, 10, 5)
    assert manifest.new_rows == "generated"
    assert manifest.device == "a fake cpu"
    assert manifest.model_sha256 == sha256_of(workspace.phase(2).model)
    assert workspace.done_phases() == [0, 1, 2]
    assert states(workspace) == [
        ("done", False), ("done", False), ("done", True), ("next", False), ("waiting", False),
    ]  # fmt: skip
    assert next_command(workspace) == "lst step"


def test_its_settings_are_those_of_the_phase_before_but_for_device_and_data(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train_phase(split_workspace, 0, split_workspace.settings(["mwg.shots=3", "seed=5"]))
    manifest = extend("mwg.shots=2", "data.workers=1", "device=cpu")
    assert manifest.settings["mwg"]["shots"] == 3
    assert manifest.seed == manifest.settings["seed"] == 5
    assert manifest.settings["data"]["workers"] == 1
    assert manifest.settings["device"] == "cpu"


def test_planned_phases_go_on_behind_it(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train(split_workspace, 0, 1)
    extend()
    train(split_workspace, 3, 4)
    assert split_workspace.done_phases() == [0, 1, 2, 3, 4]
    third = split_workspace.manifest(3)
    assert third is not None
    assert third.replay_counts.keys() >= {"12", "41", "40"}
    assert third.new_entries == 4


def test_phases_can_be_added_to_a_finished_workspace_again_and_again(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, fake_instant: Any
) -> None:
    train(split_workspace, 0, 1, 2, 3)
    extend(names=["zebra"])
    extend(names=["yak"])
    extend(names=["class 12"])
    assert [call[:2] for call in fake_instant.calls] == [
        (4, range(11, 12)), (5, range(12, 13)), (6, range(13, 14)),
    ]  # fmt: skip
    assert split_workspace.done_phases() == list(range(7))
    assert [one.name for one in split_workspace.split.classes][-3:] == ["zebra", "yak", "class 12"]
    inputs = read_training_input(split_workspace)
    # In each copy of the file, all three classes are known, and one is learned.
    assert inputs.labels[93:99].tolist() == [11, 11, 12, 13, 13, 13]
    assert inputs.occurrences.instance_counts()[-3:].tolist() == [2, 1, 3]


def test_the_fall_back_to_mean_features_is_told_and_kept(
    split_workspace: Workspace,
    extend: Extend,
    fake_trainer: Any,
    fake_instant: Any,
    notes: list[str],
) -> None:
    train(split_workspace, 0)
    fake_instant.new_rows = "mean-feature"
    manifest = extend()
    assert manifest.new_rows == "mean-feature"
    assert any("no trained generator" in note and "imprinting" in note for note in notes)
    note = _phase(manifest, split_workspace.split).note
    assert note == "added instantly: no training, rows mean features"


def test_a_phase_after_an_instant_one_is_estimated_from_one_that_was_trained(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train(split_workspace, 0, 1)
    extend()
    assert dry_run(split_workspace, 3, split_workspace.settings()).seconds_from == (
        "the rate of the phase 1"
    )


# --- interrupted ---------------------------------------------------------------------------------


def test_a_model_without_a_split_is_nothing(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, fake_instant: Any
) -> None:
    train(split_workspace, 0)
    before = split_workspace.layout.split.read_bytes()
    fake_instant.stop = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        extend()
    assert split_workspace.layout.split.read_bytes() == before
    assert states(split_workspace)[1] == ("next", False)
    extend()
    assert states(split_workspace)[1] == ("done", True)


@pytest.mark.parametrize("again", ["extend", "extend --finetune", "step"])
def test_a_split_without_a_manifest_is_finished_by_the_same_words_or_trained(
    split_workspace: Workspace,
    extend: Extend,
    fake_trainer: Any,
    monkeypatch: pytest.MonkeyPatch,
    again: str,
) -> None:
    workspace = split_workspace
    train(workspace, 0)
    with monkeypatch.context() as patch:

        def stop(workspace: Any, manifest: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(Workspace, "save_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            extend()
    assert states(workspace)[1] == ("next", True)
    assert next_command(workspace) == "lst step"
    if again == "step":
        train(workspace, 1)
    else:
        extend(finetune=again == "extend --finetune")
    manifest = workspace.manifest(1)
    assert manifest is not None
    assert manifest.done
    assert (manifest.iterations == 0) == (again == "extend")
    assert len(workspace.split.extensions) == 1


def test_another_file_does_not_take_the_place_of_one_that_waits(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, few: Any
) -> None:
    train(split_workspace, 0)
    fake_trainer.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        extend(finetune=True)
    with pytest.raises(LstError, match=r"phase 1 was added before, .*: class 12, zebra, yak") as no:
        extend(names=["zebra"])
    assert no.value.hint == "lst step"
    with pytest.raises(LstError, match="phase 1 is being trained on these classes") as no:
        extend()
    assert no.value.hint == "lst step"


# --- trained -------------------------------------------------------------------------------------


def test_finetuning_is_a_phase_with_replay(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, fake_instant: Any
) -> None:
    train(split_workspace, 0, 1)
    manifest = extend(finetune=True)
    assert fake_instant.calls == []
    assert (manifest.phase, manifest.done, manifest.new_entries) == (2, True, 5)
    assert manifest.replay_entries > 0
    assert manifest.iterations == split_workspace.split.phases[1].iterations
    assert _phase(manifest, split_workspace.split).note == "added"


@pytest.mark.parametrize("again", ["extend", "step"])
def test_interrupted_finetuning_goes_on_where_it_stopped(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, again: str
) -> None:
    train(split_workspace, 0)
    fake_trainer.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        extend(finetune=True)
    assert states(split_workspace)[1] == ("under way", True)
    if again == "step":
        train(split_workspace, 1)
    else:
        extend(finetune=True)
    assert [run[:2] for run in fake_trainer.runs] == [(0, 0), (1, 0), (1, 3)]
    assert split_workspace.is_done(1)


def test_another_network_is_refused_before_anything_is_written(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train(split_workspace, 0)
    with pytest.raises(LstError, match="phase 1 needs the network of phase 0"):
        extend("detectron2.MODEL.A=1", finetune=True)
    assert split_workspace.split.extensions == ()


# --- when a phase cannot be added ----------------------------------------------------------------


def test_the_base_comes_first(extend: Extend) -> None:
    with pytest.raises(LstError, match="the base phase comes first") as caught:
        extend()
    assert caught.value.hint == "lst train-base"


def test_a_planned_phase_under_way_comes_first(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train(split_workspace, 0)
    fake_trainer.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        train(split_workspace, 1)
    with pytest.raises(LstError, match="phase 1 is under way") as caught:
        extend()
    assert caught.value.hint == "lst step"


def test_a_broken_chain_is_mended_first(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train(split_workspace, 0, 1, 2)
    split_workspace.phase(1).manifest.unlink()
    with pytest.raises(LstError, match="phase 2 was grown from a model that is gone") as caught:
        extend()
    assert caught.value.hint == "lst step"


def test_a_phase_before_an_extension_comes_before_another_extension(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train(split_workspace, 0, 1)
    extend(names=["zebra"])
    for phase in (1, 2):
        split_workspace.phase(phase).manifest.unlink()
    with pytest.raises(LstError, match="phase 1 comes first: classes were added after it, in ph"):
        extend(names=["yak"])


def test_a_model_that_changed_is_not_built_upon(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, fake_instant: Any
) -> None:
    train(split_workspace, 0)
    split_workspace.phase(0).model.write_text("x")
    with pytest.raises(LstError, match="cut short or changed since"):
        extend()
    assert fake_instant.calls == []


def test_classes_that_were_added_are_known(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any
) -> None:
    train(split_workspace, 0)
    extend()
    for finetune in (False, True):
        with pytest.raises(LstError, match=r'3 classes are in .*: "class 12" \(phase 1\), "yak"'):
            extend(finetune=finetune)


# --- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("damage", "message"), [("gone", "missing"), ("new", "changed after")])
def test_the_file_of_an_extension_has_to_stay(
    split_workspace: Workspace,
    extend: Extend,
    fake_trainer: Any,
    few: Any,
    damage: str,
    message: str,
) -> None:
    train(split_workspace, 0)
    extend()
    if damage == "gone":
        few.train_json.unlink()
    else:
        few.train_json.write_text(few.train_json.read_text() + " ")
    with pytest.raises(LstError, match=f"few.json.*{message}.*its classes were added") as caught:
        train(split_workspace, 2)
    assert caught.value.hint in ("put it back", "put the old file back")


def resplit(workspace: Workspace, small_lvis: Any, **changed: Any) -> None:
    arguments: dict[str, Any] = {
        "train": small_lvis.train_json,
        "val": small_lvis.val_json,
        "image_dirs": [small_lvis.images],
        "base": 5,
        "phases": 3,
        "settings": workspace.settings(),
    }
    split_dataset(workspace, **{**arguments, **changed})


def test_the_same_split_made_again_keeps_what_was_added(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, small_lvis: Any
) -> None:
    train(split_workspace, 0)
    extend()
    before = split_workspace.split
    moved = small_lvis.train_json.rename(small_lvis.folder / "moved.json")
    resplit(split_workspace, small_lvis, train=moved)
    after = Workspace(split_workspace.root).split
    assert after.train.path == str(moved)
    assert after.extensions == before.extensions
    assert after.digest == before.digest
    assert after.phases == before.phases
    assert split_workspace.done_phases() == [0, 1]


def test_another_split_does_not_lose_what_was_added_silently(
    split_workspace: Workspace, extend: Extend, fake_trainer: Any, small_lvis: Any
) -> None:
    train(split_workspace, 0)
    extend()
    with pytest.raises(LstError, match="holds phases trained on another split"):
        resplit(split_workspace, small_lvis, base=4)
    for phase in (0, 1):
        split_workspace.phase(phase).manifest.unlink()
    with pytest.raises(LstError, match="holds classes added to another split") as caught:
        resplit(split_workspace, small_lvis, base=4)
    assert "--force" in str(caught.value.hint)
    resplit(split_workspace, small_lvis, base=4, force=True)
    assert split_workspace.split.extensions == ()
