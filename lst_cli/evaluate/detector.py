"""A trained network and images to detections in LVIS results format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lst_cli.annotations.read import Images
from lst_cli.engine.device import choose_device, choose_workers, place
from lst_cli.errors import LstError
from lst_cli.evaluate.box_masks import encode_box_masks
from lst_cli.evaluate.resumable import Detections
from lst_cli.modeling.build import input_format
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.samples.loading import ImageInputs
from lst_cli.samples.mapper import Mapper
from lst_cli.settings.models import Settings

_END: list[Any] = [None]  # behind the last job


class Detector:
    """A network on the device of its settings; category ids are those of labels 0 to K - 1.

    For the settings see `resumable.inference_settings`.
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
        """Give row and detections of some of the images, one image after another.

        `find` gives the path of an image by its row, and may be sent to another process. `skip` is
        called with the row of an image that cannot be used, and why; it has no detections then.
        Without `skip` an `LstError` is raised; the images before it have been yielded.
        """
        # One job late: masks are encoded while the network runs on the next image. No variable
        # holds the jobs, so that an error ends them at once.
        for (row, found), _ in pairwise(chain(self._jobs(images, find, rows), _END)):
            done = found.result()
            if not isinstance(done, LstError):
                yield row, done
            elif skip is not None:
                skip(row, done)
                yield row, []
            else:
                raise done

    def _jobs(
        self, images: Images, find: Callable[[int], Path], rows: Sequence[int]
    ) -> Iterator[tuple[int, Future[Detections | LstError]]]:
        """Run the network on each image; a thread does what is left to do for it."""
        settings = self._settings
        mapper = Mapper(find, settings.data, channels=input_format(settings), seed=settings.seed)
        inputs: DataLoader[Any] = DataLoader(
            ImageInputs(images, rows, mapper),
            batch_size=None,
            num_workers=choose_workers(settings.data.workers, self._device),
        )
        with ThreadPoolExecutor(max_workers=1) as thread:
            for row, found in zip(rows, inputs, strict=True):
                if not isinstance(found, LstError):
                    with torch.inference_mode():
                        found = self._network.detect([found])[0].to("cpu")
                yield row, thread.submit(self._as_results, int(images.ids[row]), found)

    def _as_results(self, image_id: int, found: Any) -> Detections | LstError:
        """Write detectron2's instances as LVIS results files hold them."""
        if isinstance(found, LstError):
            return found
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
