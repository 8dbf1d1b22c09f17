"""All five commands on real photographs: 478 COCO photos, 80 classes, about half an hour.

`make acceptance ARGS='-k coco_photos'`; results are kept in docs/benchmarks/coco-photos.md.
The workspace stays where `LST_KEEP` says, for a look at the report.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

SETTINGS = (
    "data.min_size=[256]",
    "data.max_size=400",
    "data.min_size_test=256",
    "data.max_size_test=400",
    # Photos hold larger objects than the drawn sets that the lite preset was made for.
    "model.canonical_box_size=96",
    "detectron2.MODEL.ANCHOR_GENERATOR.SIZES=[[24],[64],[144]]",
    "base.epochs=12",
    "base.decay_epochs=[9]",
    "step.epochs=6",
    "step.decay_epochs=[4.5]",
    "eval.detections=100",
    "eval.bins==1,<5,<10,10-39,40-149,>=150",
)


def test_five_commands_on_photographs(lst, shared_data, tmp_path):
    photos = shared_data / "coco-photos"
    workspace = Path(os.environ.get("LST_KEEP", tmp_path)) / "coco-photos"
    where = ("-w", workspace)
    chosen = [word for setting in SETTINGS for word in ("--set", setting)]
    files = ("--train", photos / "train.json", "--val", photos / "val.json", "--images", photos)
    lst("split", *where, *files, "--b", "20", "--phases", "3", "--preset", "lite-paper", *chosen)
    for words in (("train-base",), ("step", "--all"), ("eval", "--all-phases"), ("report",)):
        seconds, memory = lst(*words, *where)
        print(f"lst {' '.join(words)}: {seconds:.0f} s, {memory:.1f} GiB")
    metrics = json.loads((workspace / "phases" / "03" / "metrics.json").read_text())
    assert metrics["segm"]["AP"] > 0
    assert len(metrics["segm"]["groups"]) == 4
