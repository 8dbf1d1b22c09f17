"""What waiting threads cost: an iteration of the lite network, alone and beside a busy process.

`lst` sets GOMP_SPINCOUNT so that threads soon sleep; libgomp's default lets them spin.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import pytest

pytestmark = pytest.mark.bench

RUNS = 3
ITERATION = """
import time, torch, warnings
warnings.simplefilter("ignore")
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from lst_cli.settings.load import build_settings
from lst_cli.modeling.build import build_model
torch.manual_seed(0)
model = build_model(build_settings({"preset": "lite"}), 20, rois_per_image=64).train()
batch = []
for _ in range(8):
    instances = Instances((192, 192))
    corner = torch.rand(6, 2) * 120
    instances.gt_boxes = Boxes(torch.cat([corner, corner + 20 + torch.rand(6, 2) * 50], 1))
    instances.gt_classes = instances.gt_labels = torch.randint(0, 20, (6,))
    instances.gt_masks = BitMasks(torch.rand(6, 192, 192) > 0.5)
    batch.append({"image": torch.rand(3, 192, 192) * 255, "instances": instances})
optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
with EventStorage():
    for iteration in range(4):
        if iteration == 1:
            began = time.perf_counter()  # the first one sets things up
        optimizer.zero_grad()
        sum(model.losses(batch).values()).backward()
        optimizer.step()
print((time.perf_counter() - began) / 3)
"""


def seconds(spin: str | None) -> float:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    if spin is not None:
        environment["GOMP_SPINCOUNT"] = spin
    done = subprocess.run(
        [sys.executable, "-c", ITERATION],
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    return float(done.stdout)


def test_threads_that_sleep_are_measured_against_threads_that_spin():
    print(
        f"\nseconds an iteration, batch 8 at 192 pixels, median of {RUNS}; {os.cpu_count()} cores"
    )
    print("| beside it | libgomp's default | GOMP_SPINCOUNT=1000 | ratio |\n|---|---|---|---|")
    for name, busy in (("nothing", 0), ("one busy process", 1)):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            pairs = [(seconds(None), seconds("1000")) for _ in range(RUNS)]
        finally:
            for other in others:
                other.kill()
        default = statistics.median(first for first, _ in pairs)
        sleeping = statistics.median(second for _, second in pairs)
        print(f"| {name} | {default:.2f} | {sleeping:.2f} | {default / sleeping:.1f} |")
