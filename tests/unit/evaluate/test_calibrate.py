"""What corrects scores, chosen on training images, with detections made up instead of found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from lst_cli.annotations.read import read_dataset
from lst_cli.ap.calibration import STRENGTHS, Correction
from lst_cli.errors import LstError
from lst_cli.evaluate import calibrate
from lst_cli.evaluate.calibrate import (
    calibration_of,
    known_correction,
    require_correctable,
    settings_in_series,
    shift_of,
)
from lst_cli.progress import silent
from lst_cli.train.train import train_phase
from lst_cli.workspace.store import Workspace

BASE = {7, 9, 4, 2, 5}  # the five classes of the small set with most training instances


@pytest.fixture
def trained(split_workspace: Workspace, fake_trainer: Any) -> Workspace:
    """Phases 0 and 1 are done."""
    for phase in range(2):
        train_phase(split_workspace, phase, split_workspace.settings())
    return split_workspace


@pytest.fixture
def tried(
    trained: Workspace, small_lvis: Any, monkeypatch: pytest.MonkeyPatch
) -> list[Sequence[Sequence[float]]]:
    """The corrections that a detector was run under, which finds all objects if base classes lose
    a quarter of a logit, and else those of base classes alone."""
    calls: list[Sequence[Sequence[float]]] = []

    def detect(
        workspace: Workspace, phase: int, settings: Any, train: Any, image_ids: Any, seen: Any,
        shifts: Sequence[Sequence[float]], progress: Any,
    ) -> list[list[dict[str, Any]]]:  # fmt: skip
        calls.append(shifts)
        return [
            [
                {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}
                for one in small_lvis.train["annotations"]
                if one["image_id"] in image_ids
                and one["category_id"] in (set(seen) if shift[0] == 0.25 else BASE)
            ]
            for shift in shifts
        ]

    monkeypatch.setattr(calibrate, "_detect", detect)
    return calls


def choose(workspace: Workspace, *words: str, phase: int = 1) -> Correction | None:
    settings = workspace.settings([f"eval.{word}" for word in words])
    return calibration_of(workspace, phase, settings, progress=silent)


def test_the_small_sets_base_classes_are_the_known_ones(split_workspace: Workspace) -> None:
    assert set(split_workspace.split.groups[0]) == BASE


def test_a_fixed_strength_needs_no_images_and_no_model(split_workspace: Workspace) -> None:
    assert choose(split_workspace) is None
    assert choose(split_workspace, "calibration_strength=1") is None
    for way, strength in (("norcal", 0.5), ("norcal", 0.0), ("phases", -1.5), ("phases", -1.0)):
        found = choose(split_workspace, f"calibration={way}", f"calibration_strength={strength}")
        assert found == Correction(way=way, strength=strength)


def test_base_classes_are_set_against_later_ones_by_one_number(split_workspace: Workspace) -> None:
    phases = Correction(way="phases", strength=0.5)
    assert shift_of(split_workspace, 1, phases) == [0.5] * 5 + [0.0] * 2
    assert shift_of(split_workspace, 2, phases) == [0.5] * 5 + [0.0] * 4
    norcal = Correction(way="norcal", strength=1.0)
    assert shift_of(split_workspace, 0, norcal) == pytest.approx(
        [3.4012, 3.0910, 2.6391, 2.1972, 1.6094], abs=1e-4
    )  # log of 30, 22, 14, 9, 5
    assert shift_of(split_workspace, 1, None) is None


def test_the_base_phase_is_refused_alone_and_left_as_it_is_in_a_series(
    split_workspace: Workspace,
) -> None:
    settings = split_workspace.settings(["eval.calibration=phases"])
    for refuse in (
        lambda: require_correctable(0, settings),
        lambda: choose(split_workspace, "calibration=phases", phase=0),
        lambda: choose(split_workspace, "calibration=phases", "calibration_strength=1", phase=0),
    ):
        with pytest.raises(LstError) as caught:
            refuse()
        assert caught.value.message == (
            "eval.calibration = phases sets base classes against later ones, of which phase 0 "
            "has none"
        )
        assert caught.value.hint
    require_correctable(1, settings)
    assert settings_in_series(settings, 1) is settings
    assert settings_in_series(settings, 0).eval.calibration == "none"
    norcal = split_workspace.settings(["eval.calibration=norcal"])
    assert settings_in_series(norcal, 0) is norcal
    require_correctable(0, norcal)


def test_what_was_chosen_is_known_from_then_on(trained: Workspace, tried: list[Any]) -> None:
    settings = trained.settings(["eval.calibration=phases"])
    assert known_correction(trained, 1, settings) is None
    assert tried == []
    chosen = calibration_of(trained, 1, settings, progress=silent)
    assert known_correction(trained, 1, settings) == chosen
    other = trained.settings(["eval.calibration=phases", "eval.calibration_images=3"])
    assert known_correction(trained, 1, other) is None
    assert len(tried) == 1


def test_the_number_of_logits_is_chosen_by_box_ap_and_kept(
    trained: Workspace, tried: list[Any]
) -> None:
    assert choose(trained, "calibration=phases") == Correction(way="phases", strength=0.25)
    (shifts,) = tried
    assert [shift[0] for shift in shifts] == list(STRENGTHS["phases"])
    assert all(shift[5:] == [0.0, 0.0] for shift in shifts)
    kept = json.loads(trained.phase(1).calibration.read_text())
    assert (kept["way"], kept["strength"]) == ("phases", 0.25)
    assert kept["box_ap"]["0.25"] > kept["box_ap"]["0"] == kept["box_ap"]["-2"] > 0
    assert choose(trained, "calibration=phases") == Correction(way="phases", strength=0.25)
    assert len(tried) == 1


def test_what_was_chosen_for_one_way_is_not_taken_for_the_other(
    trained: Workspace, tried: list[Any]
) -> None:
    assert choose(trained, "calibration=phases") == Correction(way="phases", strength=0.25)
    # All exponents are alike to this detector, so that none is best.
    assert choose(trained, "calibration=norcal") == Correction(way="norcal", strength=0.0)
    assert len(tried) == 2
    assert len(tried[1]) == len(STRENGTHS["norcal"])
    assert json.loads(trained.phase(1).calibration.read_text())["way"] == "norcal"
    choose(trained, "calibration=phases")
    assert len(tried) == 3


def test_an_older_setting_still_has_norcals_exponent_chosen_and_an_older_choice_still_counts(
    trained: Workspace, tried: list[Any], as_lst_0_1: Any
) -> None:
    old = "calibration_strength=-1.0"
    assert choose(trained, "calibration=norcal", old) == Correction(way="norcal", strength=0.0)
    as_lst_0_1(
        trained.phase(1).calibration, lambda older: older.pop("way") and older.update(strength=0.8)
    )
    assert choose(trained, "calibration=norcal") == Correction(way="norcal", strength=0.8)
    assert len(tried) == 1


def test_nothing_is_chosen_by_images_that_show_base_classes_alone(
    trained: Workspace, tried: list[Any], small_lvis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where every later class was added by `lst extend`, from a file of its own.
    annotations = small_lvis.train["annotations"]
    small_lvis.train["annotations"] = [one for one in annotations if one["category_id"] in BASE]
    small_lvis.save()
    base_alone = read_dataset(small_lvis.train_json)
    monkeypatch.setattr(calibrate, "read_unchanged", lambda *_: base_alone)
    with pytest.raises(LstError) as caught:
        choose(trained, "calibration=phases")
    assert "train.json: shows no class that came after the base phase" in caught.value.message
    assert "calibration_strength" in str(caught.value.hint)
    assert tried == []
    assert not trained.phase(1).calibration.exists()
