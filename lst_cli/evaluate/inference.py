"""Model and images to detections in LVIS results format."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from lst_cli.annotations.read import Images
from lst_cli.errors import LstError
from lst_cli.evaluate.box_masks import encode_box_masks
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import Sample

_Job = Callable[[], "list[Detection] | LstError"]


@dataclass(frozen=True)
class Detection:
    """One detection.

    Attributes:
        image_id: Id of the image.
        category_id: Id of the class.
        box: x, y, width, height in pixels of the stored image.
        score: In [0, 1].
        rle: Compressed run lengths of the mask.
    """

    image_id: int
    category_id: int
    box: tuple[float, float, float, float]
    score: float
    rle: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The detection as LVIS results files hold it."""
        return {
            "image_id": self.image_id,
            "category_id": self.category_id,
            "bbox": list(self.box),
            "score": self.score,
            "segmentation": self.rle,
        }


class _EvaluationImages(Dataset[Any]):
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


def _load(images: Images, rows: Sequence[int], mapper: Mapper, workers: int) -> DataLoader[Any]:
    """What the mapper makes of images, one by one; of one that cannot be used, the error."""
    return DataLoader(_EvaluationImages(images, rows, mapper), batch_size=None, num_workers=workers)


def predict_rows(
    model: LstRCNN,
    images: Images,
    mapper: Mapper,
    category_ids: npt.NDArray[np.int64],
    rows: Sequence[int],
    *,
    workers: int = 0,
    skip: Callable[[int, LstError], None] | None = None,
) -> Iterator[tuple[int, list[Detection]]]:
    """Run a model over some of the images, image by image.

    While masks of an image are encoded, the model is at work on the next ones.

    Args:
        model: The network, on its device.
        images: The images.
        mapper: Reads them at the test size.
        category_ids: Category id of each label, shape (K,).
        rows: Which images to use, and in what order.
        workers: Processes that read images.
        skip: Called with the row of an image that cannot be used, and why.

    Yields:
        Row and detections of each image, the best first; of one that was skipped there are none.

    Raises:
        LstError: If an image cannot be used, and there is no `skip`; those before it have been
            yielded.
    """
    was_training = model.training
    model.eval()
    try:
        read = zip(rows, _load(images, rows, mapper, workers), strict=True)
        jobs = _run(model, read, images, category_ids)
        for row, found in _do_behind(jobs):
            if not isinstance(found, LstError):
                yield row, found
            elif skip is not None:
                skip(row, found)
                yield row, []
            else:
                raise found
    finally:
        model.train(was_training)


def _run(
    model: LstRCNN,
    items: Iterable[tuple[int, Any]],
    images: Images,
    category_ids: npt.NDArray[np.int64],
) -> Iterator[tuple[int, _Job]]:
    """The model's part of the work; what is left to do for an image comes as a function."""
    for row, item in items:
        if isinstance(item, LstError):
            yield row, partial(lambda error: error, item)
            continue
        with torch.inference_mode():
            [found] = model.detect([item])
            found = found.to("cpu")
        yield (
            row,
            partial(
                _detections,
                int(images.ids[row]),
                category_ids,
                found.image_size,
                found.pred_boxes.tensor.numpy(),
                found.scores.numpy(),
                found.pred_classes.numpy(),
                found.box_masks.float().numpy(),
            ),
        )


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


def _detections(
    image_id: int,
    category_ids: npt.NDArray[np.int64],
    size: tuple[int, int],
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    masks: npt.NDArray[np.float32],
) -> list[Detection]:
    rles = encode_box_masks(masks, boxes, *size)
    sides = boxes.astype(np.float64)
    sides[:, 2:] -= sides[:, :2]
    return [
        Detection(image_id, category_id, (x, y, width, height), score, rle)
        for (x, y, width, height), category_id, score, rle in zip(
            sides.tolist(), category_ids[labels].tolist(), scores.tolist(), rles, strict=True
        )
    ]
