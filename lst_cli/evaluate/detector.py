"""A trained network and images to detections in LVIS results format."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lst_cli.annotations.read import Images
from lst_cli.engine.device import choose_device, choose_workers, place
from lst_cli.errors import LstError
from lst_cli.evaluate.box_masks import encode_box_masks
from lst_cli.evaluate.resumable import Detections
from lst_cli.modeling.build import input_format
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import Sample
from lst_cli.settings.models import Settings

_Job = Callable[[], "Detections | LstError"]


class Detector:
    """A network on its device, with all it takes to find objects in images.

    Args:
        network: Changed: it is moved to the device of the settings.
        settings: What it runs with; see `resumable.inference_settings`.
        category_ids: Category id of each label, K of them.
    """

    def __init__(self, network: LstRCNN, settings: Settings, category_ids: Sequence[int]) -> None:
        self._device = choose_device(settings.device)
        self._network = place(network, self._device).eval()
        self._settings = settings
        self._category_ids = np.asarray(category_ids, dtype=np.int64)

    def detect(
        self,
        images: Images,
        find: Callable[[int], Path],
        rows: Sequence[int],
        skip: Callable[[int, LstError], None] | None = None,
    ) -> Iterator[tuple[int, Detections]]:
        """Find the objects in some of the images, one image after another.

        While the masks of an image are encoded, the network is at work on the next ones.

        Args:
            images: The image table.
            find: Path of an image by its row; may be sent to another process.
            rows: Rows of the images to look at, in this order.
            skip: Called with the row of an image that cannot be used, and why.

        Yields:
            Row and detections of each image, the best first; none of one that was skipped.

        Raises:
            LstError: If an image cannot be used and there is no `skip`; those before it have been
                yielded.
        """
        data = self._settings.data
        mapper = Mapper(find, data, channels=input_format(self._settings), seed=self._settings.seed)
        inputs: DataLoader[Any] = DataLoader(
            _Inputs(images, rows, mapper),
            batch_size=None,
            num_workers=choose_workers(data.workers, self._device),
        )
        for row, found in _do_behind(self._jobs(images, zip(rows, inputs, strict=True))):
            if not isinstance(found, LstError):
                yield row, found
            elif skip is not None:
                skip(row, found)
                yield row, []
            else:
                raise found

    def _jobs(
        self, images: Images, inputs: Iterable[tuple[int, Any]]
    ) -> Iterator[tuple[int, _Job]]:
        """Run the network on each image; what is left to do for it comes as a function."""
        for row, item in inputs:
            if isinstance(item, LstError):
                yield row, partial(lambda error: error, item)
                continue
            with torch.inference_mode():
                [found] = self._network.detect([item])
                found = found.to("cpu")
            yield row, partial(self._as_results, int(images.ids[row]), found)

    def _as_results(self, image_id: int, found: Any) -> Detections:
        """Write detectron2's instances as LVIS results files hold them."""
        boxes = found.pred_boxes.tensor.numpy()
        sides = boxes.astype(np.float64)
        sides[:, 2:] -= sides[:, :2]  # x, y, width, height in pixels of the stored image
        masks = encode_box_masks(found.box_masks.float().numpy(), boxes, *found.image_size)
        category_ids = self._category_ids[found.pred_classes.numpy()]
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": box,
                "score": score,
                "segmentation": mask,
            }
            for category_id, box, score, mask in zip(
                category_ids.tolist(), sides.tolist(), found.scores.tolist(), masks, strict=True
            )
        ]


class _Inputs(Dataset[Any]):
    """What the network sees of each image, at the test size; the error if it cannot be used."""

    def __init__(self, images: Images, rows: Sequence[int], mapper: Mapper) -> None:
        self._images, self._rows, self._mapper = images, rows, mapper

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Any:
        row = self._rows[place]
        sample = Sample(
            position=row,
            image=row,
            height=int(self._images.heights[row]),
            width=int(self._images.widths[row]),
            boxes=np.zeros((0, 4)),
            labels=np.zeros(0, dtype=np.int64),
            counts=np.zeros(0, dtype=bool),
            segmentations=[],
        )
        try:
            return self._mapper(sample, augment=False)
        except LstError as error:
            return error


def _do_behind(jobs: Iterable[tuple[int, _Job]]) -> Iterator[tuple[int, Any]]:
    """Do each job in a thread while the next one is being made; results keep their order."""
    waiting: deque[tuple[int, Future[Any]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as thread:
        for row, job in jobs:
            waiting.append((row, thread.submit(job)))
            if len(waiting) > 1:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
