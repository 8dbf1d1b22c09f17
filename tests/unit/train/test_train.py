from __future__ import annotations

import importlib.metadata
import json
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.train.train import TrainingOptions, train_phase
from lst_cli.workspace.store import Workspace


@pytest.fixture
def workspace(split_workspace: Workspace, fake_trainer: Any) -> Workspace:
    """Split, and trained without torch."""
    return split_workspace


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


def test_a_finished_phase_says_so_and_what_it_used(workspace):
    manifest = train(workspace, 0, "seed=4")
    assert manifest == workspace.manifest(0)
    assert manifest.done
    assert manifest.seed == 4
    assert manifest.settings == workspace.settings(["seed=4"]).model_dump(mode="json")
    assert (manifest.new_classes, manifest.seen_classes) == (5, 5)
    assert (manifest.new_entries, manifest.replay_entries, manifest.iterations) == (24, 0, 30)
    assert manifest.model_sha256 == sha256_of(workspace.phase(0).model)
    assert manifest.split_sha256 == workspace.split.digest
    assert manifest.device == "a fake device"
    names = {"torch", "numpy"} & {each.name for each in importlib.metadata.distributions()}
    assert {"lst", "python", *names} <= manifest.versions.keys()
    assert iterations_logged(workspace, 0) == list(range(1, 31))


def test_a_phase_names_the_model_it_grew_from_and_what_it_replayed(workspace):
    base = train(workspace, 0)
    manifest = train(workspace, 1)
    assert manifest.previous_sha256 == base.model_sha256
    assert manifest.replay_counts == {"7": 3, "9": 4, "4": 4, "2": 4, "5": 4}
    assert manifest.replay_entries == 19
    everything = train(workspace, 2, "step.replay=all").replay_counts
    assert [everything[key] for key in "79425"] == [24, 22, 14, 9, 5]


def test_phases_are_trained_one_after_the_other_and_none_twice(workspace, fake_trainer):
    with pytest.raises(LstError, match="phase 1 needs phase 0 first"):
        train(workspace, 1)
    train(workspace, 0)
    with pytest.raises(LstError, match="the base phase is done already") as caught:
        train(workspace, 0, restart=True)
    assert caught.value.hint == "lst step"
    for phase in (1, 2, 3):
        train(workspace, phase)
    with pytest.raises(LstError, match=r"all phases of .* are done"):
        train(workspace, 3)
    assert [run[0] for run in fake_trainer.runs] == [0, 1, 2, 3]


def test_an_interrupted_phase_and_its_log_continue_where_it_stopped(workspace, fake_trainer):
    stop(fake_trainer, workspace)
    begun = workspace.manifest(0)
    assert begun is not None
    assert not begun.done
    # killed three iterations later, while a line was being written
    with workspace.phase(0).log.open("a") as log:
        for iteration in (8, 9):
            log.write(json.dumps({"iteration": iteration, "from": "the killed run"}) + "\n")
        log.write('{"iterat')
    done = train(workspace, 0)
    assert [run[1] for run in fake_trainer.runs] == [0, 7]
    assert iterations_logged(workspace, 0) == list(range(1, 31))
    assert "killed run" not in workspace.phase(0).log.read_text()
    assert done.started == begun.started
    assert not workspace.phase(0).training_state.exists()


def test_a_phase_that_continues_leaves_out_the_images_that_it_left_out_at_first(
    workspace, fake_trainer
):
    fake_trainer.unusable = (3, 7)
    stop(fake_trainer, workspace)
    fake_trainer.unusable = ()
    assert train(workspace, 0).left_out == (3, 7)
    train(workspace, 1)
    assert "left_out" not in json.loads(workspace.phase(1).manifest.read_text())


def test_other_settings_are_refused_on_the_way_by_name(workspace, fake_trainer):
    stop(fake_trainer, workspace, 0, "detectron2.MODEL.A=1", "detectron2.MODEL.B=1")
    with pytest.raises(LstError) as caught:
        train(workspace, 0, "base.lr=0.5", "seed=9", "detectron2.MODEL.A=2")
    assert caught.value.message == (
        "phase 0 was begun with other settings: base.lr was 0.01, is now 0.5; "
        "detectron2.MODEL.A was 1, is now 2; detectron2.MODEL.B was 1, is now not given; "
        "seed was 0, is now 9"
    )
    assert "--restart" in str(caught.value.hint)
    assert workspace.phase(0).training_state.read_text() == "7"


def test_what_an_older_lst_did_not_know_is_compared_as_its_default(
    workspace, fake_trainer, as_lst_0_1
):
    def forget(content: dict[str, Any]) -> None:  # the first lst knew no meta weight generator
        del content["settings"]["mwg"], content["settings"]["step"]["mwg"]

    train(workspace, 0)
    stop(fake_trainer, workspace, 1)
    as_lst_0_1(workspace.phase(1).manifest, forget)
    with pytest.raises(LstError) as caught:
        train(workspace, 1, "step.mwg=true", "mwg.shots=2", "step.lr=0.5")
    assert caught.value.message == (
        "phase 1 was begun with other settings: mwg.shots was 1, is now 2; "
        "step.lr was 0.002, is now 0.5; step.mwg was False, is now True"
    )
    # Without the generator, its settings have no effect.
    assert train(workspace, 1, "mwg.shots=2").done


def test_a_phase_goes_on_from_one_that_an_older_lst_trained(workspace, as_lst_0_1):
    train(workspace, 0)
    as_lst_0_1(workspace.phase(0).manifest, lambda c: c["settings"]["model"].pop("cosine_scale"))
    with pytest.raises(LstError, match=r"model\.cosine_scale was 10\.0, is now 5\.0"):
        train(workspace, 1, "model.cosine_scale=5")
    assert train(workspace, 1).done


def test_settings_that_leave_the_weights_as_they_are_may_change(workspace, fake_trainer):
    stop(fake_trainer, workspace)
    words = ["device=cpu", "data.workers=2", "base.save_every=5", "eval.detections=7"]
    assert train(workspace, 0, *words, "step.lr=0.5").done


@pytest.mark.parametrize(
    ("begun", "changed"),
    [
        ([], {}),
        (["base.paste_objects=2"], {"base.paste_classes", "paste.scale", "paste.visible"}),
        (["data.scale_jitter=[0.5, 2.0]"], {"paste.visible"}),
        (["step.paste_objects=2", "extend.paste_new=1"], {}),
    ],
)
def test_how_objects_are_pasted_counts_only_where_they_are(workspace, fake_trainer, begun, changed):
    how = ["base.paste_classes=lacking", "paste.scale=[1.0, 1.0]", "paste.visible=0.5"]
    stop(fake_trainer, workspace, 0, *begun)
    if not changed:
        assert train(workspace, 0, *begun, *how).done
        return
    with pytest.raises(LstError) as caught:
        train(workspace, 0, *begun, *how)
    _, _, differences = caught.value.message.partition(": ")
    assert {one.partition(" ")[0] for one in differences.split("; ")} == changed


def test_a_restart_begins_anew_with_other_settings(workspace, fake_trainer):
    stop(fake_trainer, workspace)
    manifest = train(workspace, 0, "seed=9", restart=True)
    assert manifest.seed == 9
    assert [run[1] for run in fake_trainer.runs] == [0, 0]
    assert iterations_logged(workspace, 0) == list(range(1, 31))


def test_a_restart_that_cannot_begin_throws_nothing_away(workspace, fake_trainer, small_lvis):
    stop(fake_trainer, workspace)
    small_lvis.train_json.write_text("{}")
    with pytest.raises(LstError):
        train(workspace, 0, restart=True)
    assert workspace.phase(0).training_state.read_text() == "7"
    assert workspace.manifest(0) is not None


def test_what_is_left_of_a_phase_without_a_manifest_is_not_continued(workspace, fake_trainer):
    directory = workspace.phase(0)
    directory.root.mkdir(parents=True)
    directory.training_state.write_text("25")
    directory.metrics.write_text("of another run")
    train(workspace, 0)
    assert fake_trainer.runs == [(0, 0, None)]
    assert not directory.metrics.exists()


# --- weights -------------------------------------------------------------------------------------


def test_weights_that_cannot_be_read_do_not_bind_the_next_try(workspace, fake_trainer):
    fake_trainer.fail_in_prepare = LstError("--weights misspelt.pkl: no such file")
    with pytest.raises(LstError, match="no such file"):
        train(workspace, 0, weights="misspelt.pkl")
    assert workspace.manifest(0) is None
    manifest = train(workspace, 0, weights="right.pkl")
    assert manifest.weights == {"source": "right.pkl", "matched": ["all"]}


def test_a_phase_killed_before_its_first_state_starts_from_the_same_weights(
    workspace, fake_trainer
):
    stop(fake_trainer, workspace, 0, weights="coco.pkl")
    with pytest.raises(LstError, match=r"--weights was coco\.pkl, is now other\.pkl"):
        train(workspace, 0, weights="other.pkl")
    workspace.phase(0).training_state.unlink()
    train(workspace, 0)
    assert fake_trainer.runs == [(0, 0, "coco.pkl"), (0, 0, "coco.pkl")]
    with pytest.raises(LstError, match="only the base phase takes initial weights"):
        train(workspace, 1, weights="coco.pkl")


# --- the model before ----------------------------------------------------------------------------


def test_all_phases_are_of_one_network(workspace):
    train(workspace, 0, "detectron2.MODEL.A=1")
    with pytest.raises(LstError) as caught:
        train(workspace, 1, "model.cosine_scale=5", "step.lr=0.1", "data.flip=0")
    assert caught.value.message == (
        "phase 1 needs the network of phase 0: detectron2.MODEL.A was 1, is now not given; "
        "model.cosine_scale was 10.0, is now 5.0"
    )
    assert "lst.toml" in str(caught.value.hint)
    assert train(workspace, 1, "detectron2.MODEL.A=1", "step.lr=0.1").done


def test_a_phase_begun_on_another_model_is_refused(workspace, fake_trainer):
    train(workspace, 0)
    stop(fake_trainer, workspace, 1)
    workspace.phase(0).manifest.unlink()
    train(workspace, 0, "seed=5")
    with pytest.raises(LstError, match="phase 1 was started from another model of phase 0"):
        train(workspace, 1)
    assert train(workspace, 1, restart=True).done


# --- inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["changed after", "missing since"])
def test_an_annotation_file_is_that_of_the_split(workspace, small_lvis, what):
    if what == "changed after":
        small_lvis.train["annotations"][0]["area"] = 1.0
        small_lvis.save()
    else:
        small_lvis.train_json.unlink()
    with pytest.raises(LstError, match=rf"train\.json:? {what} the split was made"):
        train(workspace, 0)


def test_a_second_writer_is_refused(workspace, fake_trainer):
    with workspace.locked(), pytest.raises(LstError, match="another lst is writing"):
        train(Workspace(workspace.root), 0)
    assert fake_trainer.runs == []
