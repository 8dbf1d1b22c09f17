"""What the meta weight generator costs: time and peak memory of an iteration of a phase.

Kept support features against the same phase without the generator, at the size of LVIS's whole
tail in one phase; and against exact episodes, whose memory grows with the phase.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import pytest

pytestmark = pytest.mark.bench

ITERATIONS = """
import pathlib, sys, time, warnings
warnings.simplefilter("ignore")
import torch
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from lst_cli.settings.load import build_settings
from lst_cli.modeling.build import build_model
from lst_cli.modeling.distillation import Teacher
from lst_cli.modeling.episodes import Episodes, FeatureBank
from lst_cli.modeling.weight_generator import WeightGenerator
from lst_cli.engine.optim import build_optimizer, freeze

preset, support, base, new, height, width, timed = sys.argv[1:]
base, new, height, width, timed = map(int, (base, new, height, width, timed))
torch.manual_seed(0)
settings = build_settings({"preset": preset})
previous = build_model(settings, base)
model = build_model(settings, base + new, rois_per_image=settings.step.rois_per_image).train()
if preset == "lite-paper":
    model.backbone.bottom_up.load_imagenet()
freeze(model, settings.step.freeze)
teacher = Teacher(previous.backbone, previous.roi_heads, model.backbone)
del previous
heads = model.roi_heads

def image(label):
    instances = Instances((height, width))
    corner = torch.rand(6, 2) * torch.tensor([width, height]) * 0.6
    boxes = torch.cat([corner, corner + 20 + torch.rand(6, 2) * height * 0.2], 1)
    instances.gt_boxes = Boxes(boxes)
    instances.gt_labels = torch.randint(0, base + new, (6,))
    instances.gt_labels[0] = label
    instances.gt_classes = torch.where(instances.gt_labels == label, label, -1)
    polygons = [[[x, y, X, y, X, Y, x, Y]] for x, y, X, Y in boxes.tolist()]
    instances.gt_masks = PolygonMasks(polygons)
    return {"image": torch.rand(3, height, width) * 255, "instances": instances}

shots = None
if support != "none":
    rows = heads.box_predictor.cls_score.weight
    kept = None
    if support == "bank":
        places = settings.mwg.bank_size
        kept = FeatureBank(classes=new, places=places, shape=heads.pooled_shape)
        for _ in range(places):
            kept.add(torch.arange(new), torch.rand(new, *heads.pooled_shape))
    generator = WeightGenerator(features=rows.shape[1], base_classes=base)
    model.episodes = Episodes(
        generator, new=range(base, base + new), shots=settings.mwg.shots,
        boxes=settings.mwg.boxes, kept=kept, learn_offsets=settings.mwg.learn_offsets,
    )
    if support == "exact":
        shots = [image(base + label) for label in range(new)]
optimizer = build_optimizer(model, settings.step)
seconds = []
with EventStorage():
    for iteration in range(1 + timed):
        torch.manual_seed(iteration)  # the same regions, whether or not episodes draw too
        batch = [image(int(torch.randint(base + new, (1,)))) for _ in range(8)]
        began = time.perf_counter()
        losses = model.losses(batch, teacher, shots)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        seconds.append(time.perf_counter() - began)
status = pathlib.Path("/proc/self/status").read_text()
peak = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
print(sorted(seconds[1:])[timed // 2], int(peak) / 2**20)
"""


def measure(*arguments: str | int) -> tuple[float, float]:
    """Seconds of an iteration and peak GiB."""
    done = subprocess.run(
        [sys.executable, "-c", ITERATIONS, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        | {"GOMP_SPINCOUNT": "1000"},
    )
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def test_kept_support_against_no_generator():
    print("\n960 new classes, an iteration of 8 images with teacher; medians")
    print("| preset | without, s | with, s | ratio | without, GiB | with, GiB | ratio |")
    print("|---|---|---|---|---|---|---|")
    for preset, height, width, timed, pairs in (
        ("lite-paper", 192, 192, 9, 3),
        ("paper-r50", 800, 1088, 3, 1),
    ):
        found: dict[str, list[tuple[float, float]]] = {"none": [], "bank": []}
        for _ in range(pairs):
            for support, of_support in found.items():
                of_support.append(measure(preset, support, 270, 960, height, width, timed))
        (s0, m0), (s1, m1) = (
            [statistics.median(column) for column in zip(*one, strict=True)]
            for one in found.values()
        )
        print(
            f"| {preset} | {s0:.2f} | {s1:.2f} | {s1 / s0:.2f} "
            f"| {m0:.2f} | {m1:.2f} | {m1 / m0:.2f} |",
            flush=True,
        )
        # Memory does not depend on what else the machine does; time does, and is only shown.
        assert m1 <= 1.15 * m0


def test_memory_of_exact_episodes_grows_with_the_phase():
    print("\nlite-paper, an iteration of 8 images of 192 pixels with teacher")
    print("| new classes | none, s | kept, s | exact, s | none, GiB | kept, GiB | exact, GiB |")
    print("|---|---|---|---|---|---|---|")
    for new in (40, 160, 640):
        found = [
            measure("lite-paper", one, 44, new, 192, 192, 3) for one in ("none", "bank", "exact")
        ]
        seconds = " | ".join(f"{one:.2f}" for one, _ in found)
        memory = " | ".join(f"{one:.2f}" for _, one in found)
        print(f"| {new} | {seconds} | {memory} |", flush=True)
