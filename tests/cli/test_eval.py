"""`lst eval` as a user meets it, with a network that finds the same in every image."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]


@pytest.fixture
def evaluated(lst: Lst, workspace: Workspace, fake_trainer: Any, fake_detector: Any) -> Workspace:
    """The base is trained and evaluated."""
    for command in ("train-base", "eval"):
        lst(command, "-w", workspace.root).ok()
    return workspace


def test_a_closer_look_takes_stored_detections_only_if_they_would_come_out_alike(
    lst, evaluated, fake_detector
):
    words, directory = ("eval", "-w", evaluated.root), evaluated.phase(0)
    looked = lst(*words, "--errors", "--reference", "--json").ok()
    assert looked.json["largest_difference"] == {"segm": 0.0, "bbox": 0.0}
    assert looked.json["errors"]["segm"]["all"]["counts"].keys() == {
        "classification", "localisation", "both", "duplicate", "background", "missed",
    }  # fmt: skip
    assert (directory.errors / "errors.png").read_bytes().startswith(b"\x89PNG")
    assert "localisation" in lst(*words, "--errors").out
    stored = json.loads(directory.metrics.read_text())
    assert looked.json["made_with"] == stored["made_with"]
    assert looked.json["segm"] == stored["segm"]
    assert len(fake_detector.opened) == 1
    # Another cap: what is stored would be a wrong answer.
    fewer = lst(*words, "--errors", "--json", "--set", "eval.detections=2").ok()
    assert fewer.json["detections"] == 2 * fewer.json["images"]
    assert len(fake_detector.opened) == 2


def test_ap_fixed_has_files_of_its_own(lst, evaluated, fake_detector):
    directory = evaluated.phase(0)
    before = directory.metrics.read_bytes(), directory.detections.read_bytes()
    outcome = lst("eval", "-w", evaluated.root, "--fixed-ap", "--errors", "--json").ok()
    assert outcome.json["fixed_ap"] is True
    assert (directory.metrics.read_bytes(), directory.detections.read_bytes()) == before
    assert json.loads(directory.fixed_metrics.read_text())["made_with"]["eval.detections"] == 1000
    assert fake_detector.opened[-1][2].eval.detections == 1000
    assert (directory.fixed_errors / "errors.json").exists()
    assert not directory.fixed_detections_part.exists()


def test_another_writer_is_named_before_the_validation_file_is_read(lst, evaluated, small_lvis):
    small_lvis.val_json.write_text("{")
    with evaluated.locked():
        outcome = lst("eval", "-w", evaluated.root)
    assert "another lst is writing" in outcome.err
