"""The split manifest and the report of one small LVIS set, compared as text.

`make golden` writes the expected files again; review reads their difference.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lst_cli.ap.results_file import ResultsFile
from lst_cli.evaluate.evaluate import prepare_validation
from lst_cli.progress import silent
from lst_cli.settings.load import load_settings
from lst_cli.train import train as train_recipe
from lst_cli.workspace.store import Workspace
from tests.fixtures.reports import found_at

HERE = Path(__file__).parent


def compare(name: str, text: str) -> None:
    """Hold a text against the expected one, or write it again."""
    expected = HERE / name
    if os.environ.get("LST_UPDATE_GOLDEN") == "1":
        expected.write_text(text, encoding="utf-8")
    assert expected.exists(), f"no {name}: make golden"
    assert text == expected.read_text(encoding="utf-8"), f"{name} differs: see `make golden`"


def draw_detections(small_lvis: Any, seen: set[int], phase: int) -> list[dict[str, Any]]:
    """The validation objects with boxes a little off: rarer classes more, and with each phase."""
    rank = {record["id"]: place for place, record in enumerate(small_lvis.train["categories"])}
    found = []
    for annotation in small_lvis.val["annotations"]:
        if annotation["category_id"] not in seen:
            continue
        rng = np.random.default_rng([phase, annotation["id"]])
        x, y, w, h = annotation["bbox"]
        shift = 0.1 * phase + 0.12 * rank[annotation["category_id"]] * float(rng.random())
        score = round(0.5 + float(rng.random()) / 2, 3)
        found.append(found_at(annotation, score, (round(x + shift, 3), round(y + shift, 3), w, h)))
    return found


@pytest.fixture
def workspace(small_lvis, lst, fake_trainer, tmp_path, monkeypatch, no_plots):
    """All phases trained by the fake trainer, and measured on drawn detections."""
    monkeypatch.setattr(train_recipe, "versions", lambda: {"lst": "0", "python": "3"})
    workspace = Workspace(tmp_path / "work")
    assert lst(*small_lvis.split_words(), "-w", workspace.root).code == 0
    assert lst("train-base", "-w", workspace.root).code == 0
    assert lst("step", "--all", "-w", workspace.root).code == 0
    split = workspace.split
    for phase in range(4):
        detections = draw_detections(
            small_lvis, set(split.class_order[: split.seen_classes(phase)]), phase
        )
        path = tmp_path / "results.json"
        path.write_text(json.dumps(detections))
        settings = load_settings(None, ["eval.bins==1,<5,<10,10-99"])
        against = prepare_validation(workspace, phase, settings, progress=silent)
        source = ResultsFile(path)
        metrics, _ = against.measure(source, began=time.perf_counter())
        steady = metrics.model_copy(update={"seconds": 2.5})
        workspace.phase(phase).metrics.write_text(steady.model_dump_json())
        workspace.phase(phase).detections.write_text("[]")
    return workspace


def test_the_split_manifest_is_as_expected(workspace, small_lvis):
    text = workspace.layout.split.read_text(encoding="utf-8")
    text = text.replace(str(small_lvis.folder), "DATA")
    compare("split.json", re.sub('"checksum": ".*"', '"checksum": "of the rest"', text))


def test_the_report_is_as_expected(workspace, lst):
    outcome = lst("report", "-w", workspace.root)
    assert outcome.code == 0, outcome.err
    text = (workspace.layout.report / "report.md").read_text(encoding="utf-8")
    text = text.replace(str(workspace.root.parent), "DIR")
    compare("report.md", re.sub(r"\d{4}-\d\d-\d\d[ T0-9:+]*", "DATE", text))
