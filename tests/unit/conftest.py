"""lvis-api as it is installed, for tests of several rooms."""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import json
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def run_reference(
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    iou_type: str,
    *,
    folder: Path,
    max_detections: int = 300,
    category_ids: list[int] | None = None,
) -> Any:
    """Run the installed lvis package's own files; only numpy's lost name is lent to them."""
    (folder / "truth.json").write_text(json.dumps(ground_truth))
    spec = importlib.util.find_spec("lvis")
    assert spec is not None
    package = types.ModuleType("lvis")
    package.__path__ = list(spec.submodule_search_locations or ())
    detections = copy.deepcopy(detections)
    if iou_type == "segm":
        for each in detections:
            del each["bbox"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "float", float, raising=False)
        patch.setattr(logging, "lastResort", None)  # it warns of what is no fault
        before = set(sys.modules)
        patch.setitem(sys.modules, "lvis", package)
        try:
            truth = importlib.import_module("lvis.lvis").LVIS(str(folder / "truth.json"))
            found = importlib.import_module("lvis.results").LVISResults(
                truth, detections, max_detections
            )
            evaluation = importlib.import_module("lvis.eval").LVISEval(truth, found, iou_type)
            evaluation.params.max_dets = max_detections
            if category_ids is not None:
                evaluation.params.cat_ids = category_ids
            evaluation.run()
        finally:
            for name in set(sys.modules) - before - {"lvis"}:
                if name.startswith("lvis."):
                    del sys.modules[name]
    return evaluation


@pytest.fixture
def reference(tmp_path: Path) -> Callable[..., Any]:
    return functools.partial(run_reference, folder=tmp_path)
