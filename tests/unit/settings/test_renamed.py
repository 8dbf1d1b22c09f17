from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.report import report
from lst_cli.settings import renamed
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import leaves
from lst_cli.settings.renamed import OldSettingWarning
from lst_cli.split.init import render_settings
from lst_cli.sweep.plan import choose, parse_plan
from lst_cli.train.train import TrainingOptions, command_to_continue, train_phase
from lst_cli.workspace.manifest import removed_settings
from lst_cli.workspace.store import Workspace

NEUTRAL = ["step.previous_share=0", "step.distill_boxes=0.0", "eval.calibration=none",
           "eval.calibration_strength=0.5", "eval.calibration_images=7"]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lst.toml"


@pytest.fixture
def older(monkeypatch):
    """As if two settings had got their names only now."""
    names = {"step.speed": "step.lr", "mwg.bank": "mwg.shots"}
    monkeypatch.setattr(renamed, "RENAMED", {**renamed.RENAMED, **names})


@pytest.mark.usefixtures("older")
@pytest.mark.filterwarnings("ignore::lst_cli.settings.renamed.OldSettingWarning")
def test_an_old_name_counts_in_a_file_a_plan_and_in_set_and_is_noted(file):
    file.write_text("[step]\nspeed = 0.5\n")
    with pytest.warns(OldSettingWarning, match=r"^lst\.toml: step\.speed is called step\.lr now$"):
        assert load_settings(file).step.lr == 0.5
    with pytest.warns(OldSettingWarning, match="^--set: step.speed is called step.lr now$"):
        assert load_settings(file, ["step.speed=0.25"]).step.lr == 0.25
    file.write_text("[step]\nspeed = 0.5\nlr = 0.75\n")
    assert load_settings(file).step.lr == 0.75
    with pytest.raises(LstError, match=r"--set: step\.lr: "):
        load_settings(None, ["step.speed=-1"])
    assert "\nlr = 0.25" in render_settings(["step.speed=0.25"])
    run: dict[str, Any] = {"name": "lst", "kind": "lst", "step": {"speed": 0.5}}
    with pytest.warns(OldSettingWarning, match=r"^run lst: step\.speed is called step\.lr now$"):
        plan = parse_plan({"run": [run], "settings": {"mwg": {"bank": 3}}}, "few", "few.toml")
    assert (plan.settings_of(plan.runs[0], 0).step.lr, plan.common.settings) == (
        0.5, {"mwg": {"shots": 3}},
    )  # fmt: skip
    with pytest.warns(OldSettingWarning, match="^--set: mwg.bank"):
        chosen = choose(plan, train=Path("t"), val=Path("v"), overrides=["mwg.bank=2"])
    assert chosen.settings_of(chosen.runs[0], 0).mwg.shots == 2


@pytest.mark.usefixtures("older")
def test_a_phase_recorded_under_old_names_goes_on(split_workspace, fake_trainer):
    settings = split_workspace.settings(["base.lr=0.5", "step.lr=0.25"])
    train_phase(split_workspace, 0, settings)
    edit(split_workspace, 0, lambda table: table["step"].update(speed=table["step"].pop("lr")))
    assert split_workspace.trained_settings(0) == settings
    train_phase(split_workspace, 1, settings)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("step.others=count", "step.other_objects=count"),
        ("base.future=ignore", "base.future_classes=ignore"),
        ("step.future=ignore", "step.future_classes=ignore"),
        ("mwg.kept=3", "mwg.bank_size=3"),
        ("mwg.support=kept", "mwg.support=bank"),
    ],
)
def test_names_of_the_first_version_keep_working(old, new):
    was, now = (word.replace("=", " = ") for word in (old, new))
    told = (was, now) if was.split()[0] == now.split()[0] else (was.split()[0], now.split()[0])
    with pytest.warns(OldSettingWarning, match=f"^--set: {told[0]} is called {told[1]} now$"):
        assert load_settings(None, [old]) == load_settings(None, [new])


def edit(workspace: Workspace, phase: int, change: Any, **record: Any) -> None:
    """Change the settings in a manifest, as another version would have written them."""
    file = workspace.phase(phase).manifest
    content = json.loads(file.read_text())
    change(content["settings"])
    content |= {"format": 1, **record}
    content.pop("checksum", None)
    file.write_text(json.dumps(content))


def test_names_are_old_or_new_and_never_both():
    today = set(leaves(Settings().model_dump()))
    assert today >= set(renamed.RENAMED.values())
    assert not today & {*renamed.RENAMED, *renamed.REMOVED}
    for old, new in renamed.RENAMED.items():
        assert old.split(".")[0] == new.split(".")[0]


def test_a_removed_setting_that_did_nothing_is_dropped_in_silence(file):
    assert load_settings(None, NEUTRAL) == Settings()
    file.write_text('[step]\nrebalance_epochs = 0.0\n[eval]\ncalibration = "none"\n')
    assert load_settings(file) == Settings()
    run = {"name": "a", "kind": "lst", "step": {"distill_boxes": 0.0}}
    plan = parse_plan({"run": [run]}, "few", "few.toml")
    assert plan.runs[0].settings == {"step": {}}


def test_a_removed_setting_that_did_something_is_refused_or_noted(file):
    why = "was removed, because it gained nothing"
    with pytest.raises(LstError, match=f"^--set: step.previous_share: {why}"):
        load_settings(None, ["step.previous_share=0.3"])
    run = {"name": "a", "kind": "lst", "eval": {"calibration": "norcal"}}
    with pytest.raises(LstError, match=f"run a: eval.calibration: {why}"):
        parse_plan({"run": [run]}, "few", "few.toml")
    file.write_text("[step]\nprevious_share = 0.3\n")
    with pytest.warns(
        OldSettingWarning, match=f"^lst.toml: step.previous_share = 0.3 has no effect: .* {why}"
    ):
        assert load_settings(file) == Settings()


def test_a_finished_phase_of_a_removed_option_is_built_on_and_one_under_way_is_not(
    split_workspace, fake_trainer
):
    workspace, settings = split_workspace, split_workspace.settings()
    for phase in (0, 1):
        train_phase(workspace, phase, settings)
    change = {"previous_share": 0.3, "rebalance_epochs": 0.0, "distill_boxes": 1.0}
    for phase in (0, 1):
        edit(workspace, phase, lambda table: table["step"].update(change))
    removed = {"step.previous_share": 0.3, "step.distill_boxes": 1.0}
    assert removed_settings(workspace.require_done(1)) == removed
    assert removed_settings(workspace.require_done(0)) == {}  # of the base it decided nothing
    assert workspace.trained_settings(1) == settings
    notes = report._notes(workspace, [workspace.require_done(phase) for phase in (0, 1)], [])
    assert [one for one in notes if "that was removed" in one] == [
        f"Phase 1 was trained with {key} = {value:g}, an option that was removed."
        for key, value in removed.items()
    ]
    train_phase(workspace, 2, settings)
    edit(workspace, 2, lambda table: table["step"].update(change), done=False, model_sha256=None)
    with pytest.raises(
        LstError, match=r"step\.previous_share was 0\.3, is now not given"
    ) as caught:
        train_phase(workspace, 2, settings)
    assert "--restart" in str(caught.value.hint)
    manifest = workspace.manifest(2)
    assert manifest is not None
    assert "previous_share" not in command_to_continue(workspace, manifest)
    train_phase(workspace, 2, settings, TrainingOptions(restart=True))
