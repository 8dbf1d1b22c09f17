"""Errors, AP_fixed and calibration on a phase with a real network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine
Run = Callable[..., Any]


def test_a_closer_look_takes_stored_detections_only_if_they_would_come_out_alike(
    finished: Workspace, run: Run
) -> None:
    words = ("eval", "-w", finished.root, "--phase", 1)
    directory = finished.phase(1)
    assert run(*words).code == 0
    stored = directory.detections.stat().st_mtime_ns
    looked = run(*words, "--errors", "--reference", "--json")
    assert looked.code == 0, looked.err
    record = json.loads(looked.out)
    assert record["largest_difference"] == {"segm": 0.0, "bbox": 0.0}
    assert record["errors"]["segm"]["all"]["counts"].keys() == {
        "classification", "localisation", "both", "duplicate", "background", "missed",
    }  # fmt: skip
    assert (directory.errors / "errors.png").read_bytes().startswith(b"\x89PNG")
    assert directory.detections.stat().st_mtime_ns == stored
    # Another cap: what is stored would be a wrong answer.
    fewer = run(*words, "--errors", "--json", "--set", "eval.detections=2")
    assert fewer.code == 0, fewer.err
    assert json.loads(fewer.out)["detections"] <= 2 * record["images"]
    assert directory.detections.stat().st_mtime_ns != stored


def test_ap_fixed_has_files_of_its_own(finished: Workspace, run: Run) -> None:
    directory = finished.phase(1)
    before = directory.metrics.read_bytes(), directory.detections.read_bytes()
    outcome = run("eval", "-w", finished.root, "--phase", 1, "--fixed-ap", "--errors", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["fixed_ap"] is True
    assert (directory.metrics.read_bytes(), directory.detections.read_bytes()) == before
    assert json.loads(directory.fixed_metrics.read_text())["made_with"]["eval.detections"] == 1000
    assert (directory.fixed_errors / "errors.json").exists()


def test_the_strength_of_calibration_is_chosen_on_training_images_and_kept(
    finished: Workspace, run: Run
) -> None:
    directory = finished.phase(1)
    words = (
        "eval",
        "-w",
        finished.root,
        "--phase",
        1,
        "--json",
        "--set",
        "eval.calibration=norcal",
    )
    outcome = run(*words, "--set", "eval.calibration_images=3")
    assert outcome.code == 0, outcome.err
    kept = json.loads(directory.calibration.read_text())
    assert kept["images"] == 3
    assert json.loads(outcome.out)["calibration"] == {
        "way": "norcal", "strength": kept["strength"]
    }  # fmt: skip
    assert (
        kept["strength"]
        == min((-ap, float(strength)) for strength, ap in kept["box_ap"].items())[1]
    )
    plain = [one["score"] for one in json.loads(directory.detections.read_text())]
    strong = run(*words, "--set", "eval.calibration_strength=1")
    assert strong.code == 0, strong.err
    assert json.loads(strong.out)["calibration"] == {"way": "norcal", "strength": 1}
    assert json.loads(directory.calibration.read_text()) == kept
    shifted = [one["score"] for one in json.loads(directory.detections.read_text())]
    assert kept["strength"] == 1 or shifted != plain
    refused = run("eval", "-w", finished.root, "--instant", "--set", "eval.calibration=norcal")
    assert refused.code == 1
    assert "--instant compares rows by uncorrected scores" in refused.err


def test_base_classes_are_set_against_later_ones_in_the_phases_that_have_any(
    finished: Workspace, run: Run
) -> None:
    words = ("eval", "-w", finished.root, "--json", "--set", "eval.calibration=phases")
    refused = run(*words, "--phase", 0)
    assert refused.code == 1
    assert "later ones, of which phase 0 has none" in refused.err
    outcome = run(*words, "--all-phases", "--set", "eval.calibration_images=3")
    assert outcome.code == 0, outcome.err
    kept = [json.loads(finished.phase(phase).calibration.read_text()) for phase in (1, 2)]
    assert [one["way"] for one in kept] == ["phases", "phases"]
    assert [one["calibration"] for one in json.loads(outcome.out)] == [
        None,
        *({"way": "phases", "strength": one["strength"]} for one in kept),
    ]
    assert not finished.phase(0).calibration.exists()
    report = run("report", "-w", finished.root)
    assert report.code == 0, report.err
    page = (finished.layout.report / "report.md").read_text()
    assert f"phases, strength {kept[1]['strength']:g} in phase 2." in page
    assert "different settings" not in page

    def score_of_base_classes(strength: float) -> float:
        more = ("--phase", 2, "--errors", "--set", f"eval.calibration_strength={strength}")
        found = run(*words, *more)
        assert found.code == 0, found.err
        record = json.loads(found.out)
        assert record["calibration"] == {"way": "phases", "strength": strength}
        shift = record["made_with"]["correction of scores"]
        assert shift == [strength] * 3 + [0.0] * (len(finished.split.classes) - 3)
        base = finished.split.groups[0]
        detections = json.loads(finished.phase(2).detections.read_text())
        # As few detections as are kept, base classes may have none of.
        return max([one["score"] for one in detections if one["category_id"] in base], default=0)

    assert score_of_base_classes(-2) > score_of_base_classes(2)
