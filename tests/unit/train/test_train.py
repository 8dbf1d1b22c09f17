from __future__ import annotations

import importlib.metadata
import json
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.train.train import TrainingOptions, train_phase
from lst_cli.train.trainer import Events
from lst_cli.workspace.store import Workspace, sha256_of


def train(workspace: Workspace, phase: int, *words: str, **options: Any) -> Any:
    settings = workspace.settings(words)
    return train_phase(workspace, phase, settings, TrainingOptions(**options))


def stop(trainer: Any, workspace: Workspace, phase: int = 0, *words: str, **options: Any) -> None:
    """Begin a phase, and interrupt it after seven iterations."""
    trainer.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        train(workspace, phase, *words, **options)


def iterations_logged(workspace: Workspace, phase: int) -> list[int]:
    lines = workspace.phase(phase).log.read_text().splitlines()
    return [json.loads(line)["iteration"] for line in lines]


def test_a_finished_phase_says_so_and_what_it_used(split_workspace, fake_trainer):
    manifest = train(split_workspace, 0, "seed=4")
    assert manifest == split_workspace.manifest(0)
    assert manifest.done
    assert manifest.seed == 4
    assert manifest.settings == split_workspace.settings(["seed=4"]).model_dump(mode="json")
    assert (manifest.new_classes, manifest.seen_classes) == (5, 5)
    assert (manifest.new_entries, manifest.replay_entries, manifest.iterations) == (24, 0, 30)
    assert manifest.model_sha256 == sha256_of(split_workspace.phase(0).model)
    assert manifest.split_sha256 == split_workspace.split.digest
    assert manifest.device == "a fake device"
    names = {"torch", "numpy"} & {each.name for each in importlib.metadata.distributions()}
    assert {"lst", "python", *names} <= manifest.versions.keys()
    assert iterations_logged(split_workspace, 0) == list(range(1, 31))


def test_a_phase_names_the_model_it_grew_from_and_what_it_replayed(split_workspace, fake_trainer):
    base = train(split_workspace, 0)
    manifest = train(split_workspace, 1)
    assert manifest.previous_sha256 == base.model_sha256
    assert manifest.replay_counts == {"7": 3, "9": 4, "4": 4, "2": 4, "5": 4}
    assert manifest.replay_entries == 19


@pytest.mark.parametrize(
    ("replay", "counts"), [("none", {}), ("all", {"7": 24, "9": 22, "4": 14, "2": 9, "5": 5})]
)
def test_other_replay_changes_what_is_trained_on(split_workspace, fake_trainer, replay, counts):
    train(split_workspace, 0)
    assert train(split_workspace, 1, f"step.replay={replay}").replay_counts == counts


def test_phases_come_one_after_the_other(split_workspace, fake_trainer):
    with pytest.raises(LstError, match="phase 1 needs phase 0 first"):
        train(split_workspace, 1)
    for phase in range(4):
        train(split_workspace, phase)
    with pytest.raises(LstError, match=r"all 4 phases of .* are done"):
        train(split_workspace, 3)
    assert [run[0] for run in fake_trainer.runs] == [0, 1, 2, 3]


def test_a_phase_is_not_trained_twice(split_workspace, fake_trainer):
    train(split_workspace, 0)
    with pytest.raises(LstError, match="the base phase is done already") as caught:
        train(split_workspace, 0, restart=True)
    assert caught.value.hint == "lst step"
    assert split_workspace.is_done(0)


def test_an_interrupted_phase_continues_where_it_stopped(split_workspace, fake_trainer):
    stop(fake_trainer, split_workspace)
    begun = split_workspace.manifest(0)
    assert begun is not None
    assert not begun.done
    assert split_workspace.next_phase() == 0
    done = train(split_workspace, 0)
    assert [run[1] for run in fake_trainer.runs] == [0, 7]
    assert iterations_logged(split_workspace, 0) == list(range(1, 31))
    assert done.started == begun.started
    assert not split_workspace.phase(0).training_state.exists()


def test_the_log_is_cut_back_to_where_training_continues(split_workspace, fake_trainer):
    stop(fake_trainer, split_workspace)
    # killed three iterations later, while a line was being written
    with split_workspace.phase(0).log.open("a") as log:
        for iteration in (8, 9):
            log.write(json.dumps({"iteration": iteration, "from": "the killed run"}) + "\n")
        log.write('{"iterat')
    train(split_workspace, 0)
    assert iterations_logged(split_workspace, 0) == list(range(1, 31))
    assert "killed run" not in split_workspace.phase(0).log.read_text()


def test_other_settings_are_refused_on_the_way_by_name(split_workspace, fake_trainer):
    stop(fake_trainer, split_workspace, 0, "detectron2.MODEL.A=1", "detectron2.MODEL.B=1")
    with pytest.raises(LstError) as caught:
        train(split_workspace, 0, "base.lr=0.5", "seed=9", "detectron2.MODEL.A=2")
    assert caught.value.message == (
        "phase 0 was begun with other settings: base.lr was 0.01, is now 0.5; "
        "detectron2.MODEL.A was 1, is now 2; detectron2.MODEL.B was 1, is now not given; "
        "seed was 0, is now 9"
    )
    assert "--restart" in str(caught.value.hint)
    assert split_workspace.phase(0).training_state.read_text() == "7"


def forget_settings(content: dict[str, Any]) -> None:
    """Make a manifest one of the first `lst`, which knew no meta weight generator."""
    del content["settings"]["mwg"], content["settings"]["step"]["mwg"]


@pytest.mark.parametrize("phase", [0, 1])
def test_a_phase_that_an_older_lst_began_is_continued(
    split_workspace, fake_trainer, as_lst_0_1, phase
):
    for before in range(phase):
        train(split_workspace, before)
    stop(fake_trainer, split_workspace, phase)
    as_lst_0_1(split_workspace.phase(phase).manifest, forget_settings)
    assert train(split_workspace, phase).done
    assert fake_trainer.runs[-1][:2] == (phase, 7)


def test_what_an_older_lst_did_not_know_is_compared_as_its_default(
    split_workspace, fake_trainer, as_lst_0_1
):
    train(split_workspace, 0)
    stop(fake_trainer, split_workspace, 1)
    as_lst_0_1(split_workspace.phase(1).manifest, forget_settings)
    with pytest.raises(LstError) as caught:
        train(split_workspace, 1, "step.mwg=true", "mwg.shots=2", "step.lr=0.5")
    assert caught.value.message == (
        "phase 1 was begun with other settings: mwg.shots was 1, is now 2; "
        "step.lr was 0.002, is now 0.5; step.mwg was False, is now True"
    )
    # Without the generator, its settings have no effect.
    assert train(split_workspace, 1, "mwg.shots=2").done


def test_a_phase_goes_on_from_one_that_an_older_lst_trained(
    split_workspace, fake_trainer, as_lst_0_1
):
    train(split_workspace, 0)
    as_lst_0_1(
        split_workspace.phase(0).manifest, lambda c: c["settings"]["model"].pop("cosine_scale")
    )
    with pytest.raises(LstError, match=r"model\.cosine_scale was 10\.0, is now 5\.0"):
        train(split_workspace, 1, "model.cosine_scale=5")
    assert train(split_workspace, 1).done


def test_a_setting_that_is_gone_since_is_named(split_workspace, fake_trainer, as_lst_0_1):
    stop(fake_trainer, split_workspace)
    as_lst_0_1(
        split_workspace.phase(0).manifest, lambda c: c["settings"]["base"].update(dropout=0.5)
    )
    with pytest.raises(LstError, match=r"settings: base\.dropout was 0\.5, is now not given$"):
        train(split_workspace, 0)


@pytest.mark.parametrize(
    "word",
    ["device=cpu", "data.workers=2", "base.save_every=5", "eval.detections=7", "step.lr=0.5"],
)
def test_settings_that_leave_the_weights_as_they_are_may_change(
    split_workspace, fake_trainer, word
):
    stop(fake_trainer, split_workspace)
    assert train(split_workspace, 0, word).done


def test_a_restart_begins_anew_with_other_settings(split_workspace, fake_trainer):
    stop(fake_trainer, split_workspace)
    manifest = train(split_workspace, 0, "seed=9", restart=True)
    assert manifest.seed == 9
    assert [run[1] for run in fake_trainer.runs] == [0, 0]
    assert iterations_logged(split_workspace, 0) == list(range(1, 31))


def test_a_restart_that_cannot_begin_throws_nothing_away(split_workspace, fake_trainer, small_lvis):
    stop(fake_trainer, split_workspace)
    small_lvis.train_json.write_text("{}")
    with pytest.raises(LstError):
        train(split_workspace, 0, restart=True)
    assert split_workspace.phase(0).training_state.read_text() == "7"
    assert split_workspace.manifest(0) is not None


def test_what_is_left_of_a_phase_without_a_manifest_is_not_continued(split_workspace, fake_trainer):
    directory = split_workspace.phase(0)
    directory.root.mkdir(parents=True)
    directory.training_state.write_text("25")
    directory.metrics.write_text("of another run")
    train(split_workspace, 0)
    assert fake_trainer.runs == [(0, 0, None)]
    assert not directory.metrics.exists()


# --- weights -------------------------------------------------------------------------------------


def test_weights_that_cannot_be_read_do_not_bind_the_next_try(split_workspace, fake_trainer):
    fake_trainer.fail_in_prepare = LstError("--weights misspelt.pkl: no such file")
    with pytest.raises(LstError, match="no such file"):
        train(split_workspace, 0, weights="misspelt.pkl")
    assert split_workspace.manifest(0) is None
    manifest = train(split_workspace, 0, weights="right.pkl")
    assert manifest.weights == {"source": "right.pkl", "matched": ["all"]}


def test_a_phase_killed_before_its_first_state_starts_from_the_same_weights(
    split_workspace, fake_trainer
):
    stop(fake_trainer, split_workspace, 0, weights="coco.pkl")
    split_workspace.phase(0).training_state.unlink()
    train(split_workspace, 0)
    assert fake_trainer.runs == [(0, 0, "coco.pkl"), (0, 0, "coco.pkl")]


def test_other_weights_are_refused_on_the_way(split_workspace, fake_trainer):
    stop(fake_trainer, split_workspace, 0, weights="coco.pkl")
    with pytest.raises(LstError, match=r"--weights was coco\.pkl, is now other\.pkl"):
        train(split_workspace, 0, weights="other.pkl")


def test_only_the_base_takes_weights(split_workspace, fake_trainer):
    train(split_workspace, 0)
    with pytest.raises(LstError, match="only the base phase takes initial weights"):
        train(split_workspace, 1, weights="coco.pkl")


# --- the model before ----------------------------------------------------------------------------


def test_all_phases_are_of_one_network(split_workspace, fake_trainer):
    train(split_workspace, 0, "detectron2.MODEL.A=1")
    with pytest.raises(LstError) as caught:
        train(split_workspace, 1, "model.cosine_scale=5", "step.lr=0.1", "data.flip=0")
    assert caught.value.message == (
        "phase 1 needs the network of phase 0: detectron2.MODEL.A was 1, is now not given; "
        "model.cosine_scale was 10.0, is now 5.0"
    )
    assert "lst.toml" in str(caught.value.hint)
    assert train(split_workspace, 1, "detectron2.MODEL.A=1", "step.lr=0.1").done


@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_damaged_weights_of_the_phase_before_are_refused(split_workspace, fake_trainer, damage):
    train(split_workspace, 0)
    model = split_workspace.phase(0).model
    if damage == "cut":
        model.write_text(model.read_text()[:5])
    else:
        model.unlink()
    with pytest.raises(LstError, match=r"00-base/model\.safetensors: (cut short|missing)"):
        train(split_workspace, 1)
    assert split_workspace.manifest(1) is None


def test_a_phase_begun_on_another_model_is_refused(split_workspace, fake_trainer):
    train(split_workspace, 0)
    stop(fake_trainer, split_workspace, 1)
    split_workspace.phase(0).manifest.unlink()
    train(split_workspace, 0, "seed=5")
    with pytest.raises(LstError, match="phase 1 was begun on another model of phase 0"):
        train(split_workspace, 1)
    assert train(split_workspace, 1, restart=True).done


# --- inputs --------------------------------------------------------------------------------------


def test_images_are_looked_at_before_anything_is_trained(split_workspace, fake_trainer, small_lvis):
    told: list[tuple[str, int, int | None]] = []
    (small_lvis.images / "train" / "000003.png").unlink()
    with pytest.raises(LstError, match="1 image not found") as caught:
        train_phase(
            split_workspace,
            0,
            split_workspace.settings(),
            events=Events(prepare=lambda *work: told.append(work)),
        )
    assert "--images DIR" in str(caught.value.hint)
    assert fake_trainer.runs == []
    assert split_workspace.manifest(0) is None
    assert told
    assert {work[0] for work in told} == {"checking files and images"}


def test_a_changed_annotation_file_is_refused(split_workspace, fake_trainer, small_lvis):
    small_lvis.train["annotations"][0]["area"] = 1.0
    small_lvis.save()
    with pytest.raises(LstError, match=r"train\.json changed after the split was made"):
        train(split_workspace, 0)


def test_a_missing_annotation_file_is_refused(split_workspace, fake_trainer, small_lvis):
    small_lvis.train_json.unlink()
    with pytest.raises(LstError, match=r"train\.json: missing since the split was made"):
        train(split_workspace, 0)


def test_a_second_writer_is_refused(split_workspace, fake_trainer):
    with (
        split_workspace.locked(),
        pytest.raises(LstError, match="another lst is writing"),
    ):
        train(Workspace(split_workspace.root), 0)
    assert fake_trainer.runs == []
