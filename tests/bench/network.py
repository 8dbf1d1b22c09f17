"""A network's work on drawn objects, here or timed in a process of its own: see `measure`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SLEEP = {"GOMP_SPINCOUNT": "1000"}  # as `lst` sets it


@dataclass(frozen=True)
class Work:
    """An update of a network, or its detections in one image."""

    preset: str = "lite"
    height: int = 192
    width: int = 192
    images: int = 8
    classes: int = 20
    new: int = 0  # of these, learned in a later phase with a teacher
    support: str = "none"  # of the meta weight generator: none, bank or exact
    detects: bool = False
    placed: bool = False  # with the memory layout that training gives the weights


def build(work: Work) -> Callable[[], object]:
    """The work, to be done again and again."""
    import torch
    from detectron2.utils.events import EventStorage

    from lst_cli.engine.device import place
    from lst_cli.engine.optim import build_optimizer, freeze
    from lst_cli.modeling.build import build_model
    from lst_cli.modeling.distillation import Teacher
    from lst_cli.settings.load import build_settings

    torch.manual_seed(0)
    settings = build_settings({"preset": work.preset})
    schedule = settings.schedule(1 if work.new else 0)
    previous = build_model(settings, work.classes - work.new) if work.new else None
    model = build_model(settings, work.classes, rois_per_image=schedule.rois_per_image)
    if work.placed:
        place(model, torch.device("cpu"))
    if work.detects:
        model.eval()
        images = [_image(work, 0)]
        return torch.inference_mode()(lambda: model.detect(images))

    model.train()
    teacher, shots = None, None
    if previous is not None:
        if work.preset == "lite-paper":
            model.backbone.bottom_up.load_imagenet()
        freeze(model, settings.step.freeze)
        teacher = Teacher(previous.backbone, previous.roi_heads, model.backbone)
        shots = _add_episodes(model, work, settings.mwg)
    optimizer = build_optimizer(model, schedule)
    for group in optimizer.param_groups:
        group["lr"] = 1e-6  # random weights stay as they are
    seed = 0

    def update() -> None:
        nonlocal seed
        seed += 1
        torch.manual_seed(seed)  # the same regions, whether or not episodes draw too
        labels = torch.randint(work.classes, (work.images,)).tolist()
        batch = [_image(work, label) for label in labels]
        with EventStorage():
            losses = model.losses(batch, teacher, shots)
            optimizer.zero_grad(set_to_none=True)
            sum(losses.values(), torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if model.episodes is not None:
            model.episodes.keep()

    return update


def _image(work: Work, label: int) -> dict[str, Any]:
    """An image of six objects; in a later phase only those of the label count for the heads."""
    import torch
    from detectron2.structures import Boxes, Instances, PolygonMasks

    size = work.height, work.width
    instances = Instances(size)
    corner = torch.rand(6, 2) * torch.tensor([work.width, work.height]) * 0.6
    boxes = torch.cat([corner, corner + 20 + torch.rand(6, 2) * work.height * 0.2], 1)
    instances.gt_boxes = Boxes(boxes)
    instances.gt_labels = labels = torch.randint(work.classes, (6,))
    labels[0] = label
    instances.gt_classes = torch.where(labels == label, label, -1) if work.new else labels
    polygons = [[[x, y, X, y, X, Y, x, Y]] for x, y, X, Y in boxes.tolist()]
    instances.gt_masks = PolygonMasks(polygons)
    pixels = torch.rand(3, *size) * 255
    return {"image": pixels, "instances": instances, "height": size[0], "width": size[1]}


def _add_episodes(model: Any, work: Work, mwg: Any) -> list[dict[str, Any]] | None:
    """Give the network its generator; returns the images of exact episodes."""
    import torch

    from lst_cli.modeling.episodes import Episodes, FeatureBank
    from lst_cli.modeling.weight_generator import WeightGenerator

    if work.support == "none":
        return None
    heads, base, kept = model.roi_heads, work.classes - work.new, None
    if work.support == "bank":
        kept = FeatureBank(classes=work.new, places=mwg.bank_size, shape=heads.pooled_shape)
        for _ in range(mwg.bank_size):
            kept.add(torch.arange(work.new), torch.rand(work.new, *heads.pooled_shape))
    features = heads.box_predictor.cls_score.weight.shape[1]
    model.episodes = Episodes(
        WeightGenerator(features=features, base_classes=base),
        new=range(base, work.classes), shots=mwg.shots, boxes=mwg.boxes, kept=kept,
        learn_offsets=mwg.learn_offsets,
    )  # fmt: skip
    if work.support == "bank":
        return None
    return [_image(work, label) for label in range(base, work.classes)]


def seconds_of(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure(
    work: Work, timed: int = 3, environment: Mapping[str, str] = SLEEP
) -> tuple[float, float]:
    """Median seconds and peak GiB of the work in a process of its own.

    It has libgomp's number of threads, which sleep soon, unless the environment says otherwise.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.network", json.dumps(asdict(work)), str(timed)],
        check=True, capture_output=True, text=True, cwd=ROOT, env=kept | dict(environment),
    )  # fmt: skip
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    run = build(Work(**json.loads(sys.argv[1])))
    run()  # the first call sets things up
    median = statistics.median(seconds_of(run) for _ in range(int(sys.argv[2])))
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    print(median, int(peak) / 2**20)
