"""The paper's network at full size on a CPU: it builds, and one iteration of each kind runs.

`make acceptance ARGS='-k paper_r50'`; results are kept in docs/benchmarks/paper-r50-cpu.md.
"""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLASSES, BASE, PHASES = 1230, 270, 1
SIDES = (480, 640)
pytestmark = pytest.mark.acceptance


def draw_set(directory: Path, *, images: int, repeats: int, first_id: int = 1) -> Path:
    """Noise images with boxes as objects: as many classes and sizes as LVIS, no content.

    The frequent classes come in every image, so that the base phase sees all of them.
    """
    rng = np.random.default_rng(first_id)
    directory.mkdir(parents=True)
    height, width = SIDES
    annotations: list[Any] = []
    records: list[Any] = []
    for image in range(first_id, first_id + images):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(
            directory / f"{image:06d}.jpg"
        )
        records.append(
            {"id": image, "height": height, "width": width, "file_name": f"{image:06d}.jpg",
             "neg_category_ids": [], "not_exhaustive_category_ids": []}
        )  # fmt: skip
    for category_id in range(1, CLASSES + 1):
        for _ in range(repeats if category_id <= BASE else 1):
            w, h = rng.uniform(20, 200, 2)
            x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
            annotations.append(
                {
                    "id": len(annotations) + 1, "category_id": category_id,
                    "image_id": int(rng.integers(first_id, first_id + images)),
                    "bbox": [x, y, w, h], "area": w * h,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )  # fmt: skip
    categories = [{"id": i, "name": f"class {i}", "frequency": "f"} for i in range(1, CLASSES + 1)]
    path = directory / "annotations.json"
    path.write_text(
        json.dumps({"images": records, "annotations": annotations, "categories": categories})
    )
    return path


def make_weights(path: Path) -> Path:
    """A checkpoint as the model zoo writes it, whose features neither vanish nor explode.

    Random weights under frozen normalisation grow a thousandfold; small residuals tame them.
    """
    from lst_cli.modeling.build import build_model
    from lst_cli.settings.load import build_settings

    state = {k: v.numpy() for k, v in build_model(build_settings({}), 80).state_dict().items()}
    for name, value in state.items():
        if name.endswith("conv3.norm.weight"):
            value[:] = 0.2
    path.write_bytes(pickle.dumps({"model": state, "__author__": "lst acceptance"}))
    return path


def test_the_papers_network_trains_on_a_cpu(lst, tmp_path):
    # ~10 objects an image, as LVIS has; 180 images.
    train = draw_set(tmp_path / "train", images=180, repeats=3)
    val = draw_set(tmp_path / "val", images=2, repeats=1, first_id=1001)
    workspace = tmp_path / "workspace"
    weights = make_weights(tmp_path / "weights.pkl")
    where = ("-w", workspace)
    lst("split", *where, "--train", train, "--val", val, "--images", train.parent,
        "--images", val.parent, "--b", str(BASE), "--phases", str(PHASES))  # fmt: skip
    one = "epochs=0.0001", "decay_epochs=[]"
    short = [w for o in one for w in ("--set", f"base.{o}")]
    base = lst("train-base", *where, "--weights", weights, *short)
    rows = [("train-base, one iteration of 8 images", 270, *base)]
    for phase in range(1, PHASES + 1):
        step = lst("step", *where, *(w for o in one for w in ("--set", f"step.{o}")))
        rows.append((f"step, phase {phase}, one iteration of 8 images", CLASSES, *step))
    rows.append(("eval, 2 images", CLASSES, *lst("eval", *where)))
    print(f"\n| command | classes | s | peak GiB |\n|---|---|---|---|  (cores: {os.cpu_count()})")
    for name, classes, seconds, memory in rows:
        print(f"| {name} | {classes} | {seconds:.0f} | {memory:.1f} |")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert max(memory for *_, memory in rows) < physical
