"""Errors and AP_fixed on a phase with a real network."""

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
