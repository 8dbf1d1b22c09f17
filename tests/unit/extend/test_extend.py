from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.extend import extend as extending
from lst_cli.extend.extend import extend_workspace
from lst_cli.extend.plan import NewFiles
from lst_cli.files import sha256_of
from lst_cli.inputs import read_training_input
from lst_cli.report.report import _balance, _phase
from lst_cli.report.status import next_command, read_status
from lst_cli.split.split import SplitRequest, split_dataset
from lst_cli.train.plan import Events
from lst_cli.train.train import dry_run, train_phase
from lst_cli.workspace.manifest import Adopted, NewClassCheck, PhaseManifest
from lst_cli.workspace.store import Workspace


@dataclass
class Work:
    """A workspace with a base and three phases, and a few images of three new classes."""

    workspace: Workspace
    few: Any
    instant: Any  # learns instantly
    trainer: Any
    notes: list[str] = field(default_factory=list)

    def train(self, *phases: int) -> None:
        for phase in phases:
            train_phase(self.workspace, phase, self.workspace.settings())

    def extend(
        self,
        *words: str,
        finetune: bool = False,
        names: Sequence[str] = (),
        anyway: bool = False,
    ) -> PhaseManifest:
        return extend_workspace(
            self.workspace,
            self.workspace.settings(words),
            NewFiles(self.few.train_json, [self.few.images], names=names, anyway=anyway),
            finetune=finetune,
            events=Events(note=self.notes.append),
            learn=self.instant,
        )

    def refusal(self, message: str, *words: str, **options: Any) -> str | None:
        """The hint of the error that adding the classes ends with."""
        with pytest.raises(LstError, match=message) as caught:
            self.extend(*words, **options)
        return caught.value.hint

    def interrupted(self, **options: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.extend(**options)

    @property
    def states(self) -> list[tuple[str, bool]]:
        return [(phase.state, phase.added) for phase in read_status(self.workspace).phases]


@pytest.fixture
def work(split_workspace: Workspace, few: Any, fake_instant: Any, fake_trainer: Any) -> Work:
    return Work(split_workspace, few, fake_instant, fake_trainer)


@pytest.fixture
def based(work: Work) -> Work:
    """The base is done."""
    work.train(0)
    return work


# --- learned instantly ---------------------------------------------------------------------------


def test_an_instant_phase_is_a_finished_one_that_trained_nothing(based):
    based.train(1)
    manifest = based.extend("device=cpu")
    assert based.instant.calls == [(2, range(7, 10), 5)]
    assert manifest == based.workspace.manifest(2)
    assert (manifest.done, manifest.iterations, manifest.replay_entries) == (True, 0, 0)
    assert (manifest.new_classes, manifest.seen_classes, manifest.new_entries) == (3, 10, 5)
    assert (manifest.new_rows, manifest.device) == ("generated", "a fake cpu")
    assert manifest.model_sha256 == sha256_of(based.workspace.phase(2).model)
    assert based.workspace.done_phases() == [0, 1, 2]
    assert based.states == [
        ("done", False), ("done", False), ("done", True), ("next", False), ("waiting", False),
    ]  # fmt: skip
    assert next_command(based.workspace) == "lst step"
    # The next phase is estimated from the last one that was trained.
    dry = dry_run(based.workspace, 3, based.workspace.settings())
    assert dry.seconds_from == "the rate of the phase 1"
    # Planned phases go on behind it, and replay its classes.
    based.train(3, 4)
    assert based.workspace.done_phases() == [0, 1, 2, 3, 4]
    third = based.workspace.require_done(3)
    assert third.replay_counts.keys() >= {"12", "41", "40"}
    assert third.new_entries == 4


def check(score: float, **more: Any) -> NewClassCheck:
    zero = (0.0, 0.0)
    return NewClassCheck(
        boxes=1, own_score=(0.5, score), alarms_before=(9.0, 4.0), alarms_after=zero, **more
    )


def test_a_class_like_the_background_is_added_only_if_the_user_insists(based):
    names = ["zebra", "yak"]
    based.instant.checks = (check(0.049), check(0.05))
    hint = based.refusal(
        '^"[a-z]+" cannot be told from the background: .* score 0.049 on average', names=names
    )
    assert hint.endswith("add it with --anyway")
    assert not based.workspace.phase(1).root.exists()
    assert based.workspace.split.extensions == ()
    manifest = based.extend(names=names, anyway=True)
    assert manifest.checks == based.workspace.manifest(1).checks == based.instant.checks


@pytest.mark.parametrize(
    ("found", "message", "words"),
    [
        ({"nearest": "dog", "nearest_score": 0.5}, 'from class "dog"', 'the same as "dog"'),
        ({"nearest": "dog", "nearest_score": 0.49}, "from the background", "clearer images"),
        ({"unannotated": (7,) * 10}, "from the background", "10 of which likely show it"),
        ({"unannotated": (7,) * 9}, "from the background", "clearer images"),
    ],
)
def test_what_a_class_cannot_be_told_from_is_said(based, found, message, words):
    based.instant.checks = (check(0.01, **found),)
    assert words in based.refusal(message, names=["zebra"])


def test_classes_that_look_like_different_ones_are_refused_together(based):
    based.instant.checks = (check(0.01, nearest="dog", nearest_score=0.5), check(0.02))
    message = '^"[a-z]+", "[a-z]+" cannot be told from the background or classes of the workspace: '
    assert 'the same as "dog"' in based.refusal(message, names=["zebra", "yak"])


def test_classes_that_look_like_others_or_are_likely_unannotated_are_noted(based):
    seen = check(0.5, nearest="dog", nearest_score=0.5, unannotated=tuple(range(10)))
    based.instant.checks = (seen,)
    based.extend(names=["zebra"])
    assert '"zebra" looks like "dog": its boxes score 0.50 as that class' in based.notes
    [likely] = [note for note in based.notes if "not annotated" in note]
    assert "in 10 images of the 100 training images (ids 0, 1, 2 and 7 more), or it " in likely


def test_an_evaluation_that_lst_adopt_did_not_finish_is_said(based):
    base = based.workspace.require_done(0)
    record = Adopted(
        config="c", weights_sha256="0" * 64, classes=5, named_by="names", dropped=(), unknown=(),
        image_passes=1, image_passes_of_original=10,
    )  # fmt: skip
    done = record.model_copy(update={"adopted": {"segm": {"AP": 0.1}}})
    for adopted in (done, record):
        based.workspace.save_manifest(base.model_copy(update={"adopted": adopted}))
        assert not any("lst adopt" in note for note in based.notes)
        based.extend(names=["zebra" if adopted is done else "yak"])
    assert any("run the same lst adopt again" in note for note in based.notes)


def test_the_time_to_load_libraries_is_not_that_of_learning(based, monkeypatch):
    clock = [0.0]

    def load() -> Any:
        clock[0] += 9
        return instant

    based.instant, instant = None, based.instant
    monkeypatch.setattr(extending, "load_learning", load)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert based.extend().seconds == 0


def test_its_settings_are_those_of_the_phase_before_but_for_device_and_data(work):
    train_phase(work.workspace, 0, work.workspace.settings(["mwg.shots=3", "seed=5"]))
    manifest = work.extend("mwg.shots=2", "data.workers=1", "device=cpu")
    assert manifest.settings["mwg"]["shots"] == 3
    assert manifest.seed == manifest.settings["seed"] == 5
    assert manifest.settings["data"]["workers"] == 1
    assert manifest.settings["device"] == "cpu"


def test_phases_can_be_added_to_a_finished_workspace_again_and_again(based):
    based.train(1, 2, 3)
    names = ["zebra", "yak", "class 12"]
    for name in names:
        based.extend(names=[name])
    assert [call[:2] for call in based.instant.calls] == [
        (4, range(11, 12)), (5, range(12, 13)), (6, range(13, 14)),
    ]  # fmt: skip
    assert based.workspace.done_phases() == list(range(7))
    assert [one.name for one in based.workspace.split.classes][-3:] == names
    inputs = read_training_input(based.workspace)
    # In each copy of the file, all three classes are known, and one is learned.
    assert inputs.labels[93:99].tolist() == [11, 11, 12, 13, 13, 13]
    assert inputs.occurrences.instance_counts()[-3:].tolist() == [2, 1, 3]


@pytest.mark.parametrize("added", ["mean-feature", "generated", "trained"])
def test_the_report_says_how_classes_were_added(based, added):
    based.instant.new_rows = added
    manifest = based.extend(finetune=added == "trained")
    told = any("no trained generator" in note and "imprinting" in note for note in based.notes)
    assert told == (added == "mean-feature")
    assert (
        _phase(manifest, based.workspace.split).note
        == {
            "mean-feature": "added instantly: no training, rows mean features",
            "generated": "added instantly: no training, rows generated",
            "trained": "added",
        }[added]
    )


# --- interrupted ---------------------------------------------------------------------------------


def test_a_model_without_a_split_is_nothing(based):
    before = based.workspace.layout.split.read_bytes()
    based.instant.stop = KeyboardInterrupt()
    based.interrupted()
    assert based.workspace.layout.split.read_bytes() == before
    assert based.states[1] == ("next", False)
    based.extend()
    assert based.states[1] == ("done", True)


@pytest.mark.parametrize("again", ["extend", "extend --finetune", "step"])
def test_a_split_without_a_manifest_is_finished_by_the_same_words_or_trained(
    based, monkeypatch, again
):
    with monkeypatch.context() as patch:

        def stop(workspace: Any, manifest: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(Workspace, "save_manifest", stop)
        based.interrupted()
    assert based.states[1] == ("next", True)
    assert next_command(based.workspace) == "lst step"
    if again == "step":
        based.train(1)
    else:
        based.extend(finetune=again == "extend --finetune")
    manifest = based.workspace.require_done(1)
    assert (manifest.iterations == 0) == (again == "extend")
    assert len(based.workspace.split.extensions) == 1


def test_another_file_does_not_take_the_place_of_one_that_waits(based):
    based.trainer.stop_after = 1
    based.interrupted(finetune=True)
    waiting = r"phase 1 was added before, .*: class 12, zebra, yak"
    assert based.refusal(waiting, names=["zebra"]) == "lst step"
    assert based.refusal("phase 1 is being trained on these classes") == "lst step"


@pytest.mark.parametrize("again", ["extend", "step"])
def test_interrupted_finetuning_goes_on_where_it_stopped(based, again):
    based.trainer.stop_after = 3
    based.interrupted(finetune=True)
    assert based.states[1] == ("under way", True)
    if again == "step":
        based.train(1)
    else:
        based.extend(finetune=True)
    assert [run[:2] for run in based.trainer.runs] == [(0, 0), (1, 0), (1, 3)]
    assert based.workspace.is_done(1)


# --- trained -------------------------------------------------------------------------------------


def test_finetuning_is_a_phase_with_replay(based):
    based.train(1)
    manifest = based.extend("extend.image_passes=0", finetune=True)
    assert based.instant.calls == []
    assert (manifest.phase, manifest.done, manifest.new_entries) == (2, True, 5)
    assert manifest.replay_entries > 0
    assert manifest.iterations == based.workspace.split.phases[1].iterations


@pytest.mark.parametrize(("budget", "shown"), [(80, [1]), (0, [1, 2])])
def test_only_a_phase_that_extend_trained_in_its_own_way_has_no_balance(based, budget, shown):
    based.train(1)
    based.extend(f"extend.image_passes={budget}", "extend.replay=balanced", finetune=True)
    assert [one.phase for one in _balance(based.workspace)] == shown


def test_finetuning_shows_few_images_so_many_times(based):
    based.train(1)
    manifest = based.extend("extend.image_passes=80", finetune=True)
    assert manifest.iterations == 10
    assert manifest.image_budget == 80
    step = manifest.settings["step"]
    assert (step["replay"], step["new_rows"]) == ("few", "fitted")
    assert manifest.replay_counts.keys() == set(map(str, based.workspace.split.class_order[:7]))
    assert manifest.replay_entries < sum(manifest.replay_counts.values())
    full = based.workspace.split.phases[2]
    based.train(3)  # by [step] again
    third = based.workspace.require_done(3)
    assert (third.replay_entries, third.settings["step"]["replay"]) == (
        full.replay_entries, "balanced",
    )  # fmt: skip


def test_old_classes_are_replayed_where_no_phase_before_replayed_any(based):
    words = ["step.replay=none"]
    train_phase(based.workspace, 1, based.workspace.settings(words))
    manifest = based.extend(*words, finetune=True)
    assert len(manifest.replay_counts) == 7


def test_finetuning_without_replay_shows_new_images_alone(based):
    manifest = based.extend("extend.replay=none", finetune=True)
    assert (manifest.new_entries, manifest.replay_entries) == (5, 0)


def test_step_goes_on_with_a_finetuning_only_by_the_same_settings(based):
    based.trainer.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        based.extend("extend.image_passes=80", "extend.replay_instances=2", finetune=True)
    with pytest.raises(LstError, match=r"extend.replay_instances was 2, is now 4") as caught:
        based.train(1)
    hint = caught.value.hint or ""
    words = [word for word in hint.split(" continues")[0].split() if "extend." in word]
    assert sorted(words) == ["extend.image_passes=80", "extend.replay_instances=2"]
    train_phase(based.workspace, 1, based.workspace.settings(words))
    assert based.workspace.is_done(1)


def test_another_network_is_refused_before_anything_is_written(based):
    needed = "phase 1 needs the network of phase 0"
    based.refusal(needed, "detectron2.MODEL.A=1", finetune=True)
    assert based.workspace.split.extensions == ()


# --- when a phase cannot be added ----------------------------------------------------------------


def test_a_planned_phase_under_way_comes_first(based):
    based.trainer.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        based.train(1)
    assert based.refusal("phase 1 is under way") == "lst step"


def test_a_broken_chain_is_repaired_first(based):
    based.train(1, 2)
    based.workspace.phase(1).manifest.unlink()
    assert based.refusal("phase 2 was built on a model that no longer exists") == "lst step"


def test_a_phase_before_an_extension_comes_before_another_extension(based):
    based.train(1)
    based.extend(names=["zebra"])
    for phase in (1, 2):
        based.workspace.phase(phase).manifest.unlink()
    first = "phase 1 comes first: classes were added after it, in phase 2"
    assert based.refusal(first, names=["yak"]) == "lst step"


def test_a_model_that_changed_is_not_built_upon(based):
    based.workspace.phase(0).model.write_text("x")
    based.refusal("cut short or changed since")
    assert based.instant.calls == []


def test_classes_that_were_added_are_known(based):
    based.extend()
    known = r'3 classes are in .*: "class 12" \(phase 1\), "yak"'
    for finetune in (False, True):
        based.refusal(known, finetune=finetune)


# --- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "message", "hint"),
    [("gone", "missing", "put it back"), ("new", "changed after", "put the old file back")],
)
def test_the_file_of_an_extension_has_to_stay(based, damage, message, hint):
    based.extend()
    file = based.few.train_json
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text() + " ")
    with pytest.raises(LstError, match=f"few.json.*{message}.*its classes were added") as caught:
        based.train(2)
    assert caught.value.hint == hint


def resplit(workspace: Workspace, small_lvis: Any, *, force: bool = False, **changed: Any) -> None:
    request = SplitRequest(small_lvis.train_json, small_lvis.val_json, [small_lvis.images], 5, 3)
    split_dataset(workspace, replace(request, **changed), workspace.settings(), force=force)


def test_the_same_split_made_again_keeps_what_was_added(based, small_lvis):
    based.extend()
    before = based.workspace.split
    moved = small_lvis.train_json.rename(small_lvis.folder / "moved.json")
    resplit(based.workspace, small_lvis, train=moved)
    after = Workspace(based.workspace.root).split
    assert after.train.path == str(moved)
    assert after.extensions == before.extensions
    assert after.digest == before.digest
    assert after.phases == before.phases
    assert based.workspace.done_phases() == [0, 1]


def test_another_split_does_not_lose_what_was_added_silently(based, small_lvis):
    based.extend()
    with pytest.raises(LstError, match="holds phases trained on another split"):
        resplit(based.workspace, small_lvis, base=4)
    for phase in (0, 1):
        based.workspace.phase(phase).manifest.unlink()
    with pytest.raises(LstError, match="holds classes added to another split") as caught:
        resplit(based.workspace, small_lvis, base=4)
    assert "--force" in str(caught.value.hint)
    resplit(based.workspace, small_lvis, base=4, force=True)
    assert based.workspace.split.extensions == ()
