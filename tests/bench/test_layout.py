"""What the memory layout of weights is worth on a CPU: `place` against torch's own layout."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch

pytestmark = pytest.mark.bench

ROUNDS = 5


def batch(images: int, size: int) -> list[dict[str, object]]:
    from detectron2.structures import BitMasks, Boxes, Instances

    torch.manual_seed(0)
    made = []
    for _ in range(images):
        instances = Instances((size, size))
        corner = torch.rand(6, 2) * 0.6 * size
        extent = size * (0.1 + 0.25 * torch.rand(6, 2))
        instances.gt_boxes = Boxes(torch.cat([corner, corner + extent], 1))
        instances.gt_classes = instances.gt_labels = torch.randint(0, 80, (6,))
        instances.gt_masks = BitMasks(torch.rand(6, size, size) > 0.5)
        image = torch.rand(3, size, size) * 255
        made.append({"image": image, "instances": instances, "height": size, "width": size})
    return made


def iteration(preset: str, size: int, placed: bool) -> Callable[[], None]:
    """One update of a network, as training does it."""
    from detectron2.utils.events import EventStorage

    from lst_cli.engine.device import place
    from lst_cli.modeling.build import build_model
    from lst_cli.settings.load import build_settings

    torch.manual_seed(0)
    settings = build_settings({"preset": preset})
    model = build_model(settings, 80, rois_per_image=settings.base.rois_per_image).train()
    if placed:
        place(model, torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    images = batch(settings.base.batch_size if preset == "lite" else 1, size)

    def run() -> None:
        with EventStorage():
            optimizer.zero_grad()
            sum(model.losses(images).values()).backward()
            optimizer.step()

    return run


def inference(placed: bool) -> Callable[[], None]:
    """A network's detections in one image."""
    from lst_cli.engine.device import place
    from lst_cli.modeling.build import build_model
    from lst_cli.settings.load import build_settings

    torch.manual_seed(0)
    model = build_model(build_settings({"preset": "lite"}), 80).eval()
    if placed:
        place(model, torch.device("cpu"))
    images = batch(1, 192)

    def run() -> None:
        with torch.inference_mode():
            model.detect(images)

    return run


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


@pytest.mark.parametrize("threads", [1, 2])
def test_layouts_are_measured_side_by_side(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    print(f"\nms, median of {ROUNDS} pairs; {threads} thread(s), torch {torch.__version__}")
    print("| what | torch's layout | channels together | ratio |\n|---|---|---|---|")
    kinds = {
        "lite: iteration, 8 images of 192 px": lambda placed: iteration("lite", 192, placed),
        "lite: detections of an image of 192 px": inference,
        "paper-r50: iteration, 1 image of 384 px": lambda p: iteration("paper-r50", 384, p),
    }
    try:
        for name, make in kinds.items():
            plain, placed = make(False), make(True)
            for run in (plain, placed):  # the first call sets things up
                run()
            pairs = [(seconds(plain), seconds(placed)) for _ in range(ROUNDS)]
            first, second = (
                1000 * statistics.median(column) for column in zip(*pairs, strict=True)
            )
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"| {name} | {first:.0f} | {second:.0f} | {ratio:.2f} |")
    finally:
        torch.set_num_threads(before)
