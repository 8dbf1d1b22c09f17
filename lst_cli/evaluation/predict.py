"""Model and images to detections in LVIS results format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as mask_api
from torch.utils.data import DataLoader, Dataset

from lst_cli.data.lvis import Images
from lst_cli.data.mapper import Mapper
from lst_cli.data.phase_dataset import Sample
from lst_cli.errors import LstError
from lst_cli.modeling.rcnn import LstRCNN

Progress = Callable[[int, int | None], None]


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
    def __init__(self, images: Images, mapper: Mapper) -> None:
        self._images, self._mapper = images, mapper

    def __len__(self) -> int:
        return len(self._images.ids)

    def __getitem__(self, row: int) -> Any:
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


def predict(
    model: LstRCNN,
    images: Images,
    mapper: Mapper,
    category_ids: npt.NDArray[np.int64],
    *,
    workers: int = 0,
    progress: Progress | None = None,
    skip: Callable[[int, LstError], None] | None = None,
) -> Iterator[Detection]:
    """Run a model over images.

    Args:
        model: The network, on its device.
        images: The images; all of them, also those without any object of a seen class.
        mapper: Reads them at the test size.
        category_ids: Category id of each label, shape (K,).
        workers: Processes that read images.
        progress: Called with images done and their number.
        skip: Called with the row of an image that cannot be used, and why; the others are still
            predicted.

    Yields:
        Detections, image by image, the best first.

    Raises:
        LstError: If an image cannot be used, and there is no `skip`.
    """
    loader: DataLoader[Any] = DataLoader(
        _EvaluationImages(images, mapper), batch_size=None, num_workers=workers
    )
    was_training = model.training
    model.eval()
    try:
        for row, item in enumerate(loader):
            if not isinstance(item, LstError):
                with torch.inference_mode():
                    found = model([item])[0]["instances"].to("cpu")
                yield from _detections(found, int(images.ids[row]), category_ids)
            elif skip is not None:
                skip(row, item)
            else:
                raise item
            if progress is not None:
                progress(row + 1, len(images.ids))
    finally:
        model.train(was_training)


def _detections(
    found: Any, image_id: int, category_ids: npt.NDArray[np.int64]
) -> Iterator[Detection]:
    if not len(found):
        return
    boxes = found.pred_boxes.tensor.numpy().astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    # pycocotools wants pixels in column order and instances last.
    masks = np.asfortranarray(found.pred_masks.numpy().astype(np.uint8).transpose(1, 2, 0))
    rles = mask_api.encode(masks)
    for box, score, label, rle in zip(
        boxes, found.scores.tolist(), found.pred_classes.tolist(), rles, strict=True
    ):
        x, y, width, height = (float(value) for value in box)
        counts = rle["counts"].decode("ascii")
        yield Detection(
            image_id,
            int(category_ids[label]),
            (x, y, width, height),
            float(score),
            {"size": list(rle["size"]), "counts": counts},
        )
