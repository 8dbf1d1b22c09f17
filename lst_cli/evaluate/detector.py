"""A trained network and images to detections in LVIS results format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as mask_api
from torch.nn import functional as F

from lst_cli.annotations.read import Images
from lst_cli.engine.device import choose_device, choose_workers, place
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import Detections
from lst_cli.modeling.build import input_format
from lst_cli.samples.loading import ImageInputs, read_ahead
from lst_cli.samples.mapper import Mapper
from lst_cli.settings.models import Settings

_END: list[Any] = [None]  # behind the last job
_THRESHOLD = np.float32(0.5)
# A probability this near to the threshold is computed again as detectron2 does it: the order of
# additions changes far less.
_DOUBT = np.float32(1e-5)


class Detector:
    """A network on the device of its settings; category ids are those of labels 0 to K - 1.

    The network finds objects as `LstRCNN.detect` does. For the settings see
    `stored.inference_settings`.
    """

    def __init__(self, network: Any, settings: Settings, category_ids: Sequence[int]) -> None:
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
        inputs = read_ahead(
            ImageInputs(images, rows, mapper),
            rows,
            choose_workers(settings.data.workers, self._device),
            batch_size=None,
            pin_memory=self._device.type == "cuda",
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


# --- masks to run lengths ------------------------------------------------------------------------
# A mask of 28x28 probabilities lies in a box that covers a small part of its image. Only this part
# is drawn; the run lengths of the whole image follow from it.


def encode_box_masks(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int
) -> list[dict[str, Any]]:
    """Enlarge masks to their boxes and encode them as masks of the image.

    The bytes are those of `detectron2.layers.paste_masks_in_image` on a CPU, encoded by
    `pycocotools.mask.encode`, as text. Masks are probabilities inside each box, shape (N, S, S);
    boxes are XYXY in pixels of the image, of positive width and height, shape (N, 4).

    Example:
        >>> box = np.array([[1.0, 0.0, 3.0, 2.0]], dtype=np.float32)
        >>> encode_box_masks(np.ones((1, 28, 28), dtype=np.float32), box, height=2, width=4)
        [{'size': [2, 4], 'counts': '242'}]
    """
    masks = np.ascontiguousarray(masks, dtype=np.float32)
    size = [height, width]
    runs = [
        {"size": size, "counts": _runs_in_image(mask, box, height, width)}
        for mask, box in zip(masks, np.asarray(boxes, dtype=np.float32), strict=True)
    ]
    compressed = mask_api.frPyObjects(runs, height, width) if runs else []
    return [{"size": size, "counts": rle["counts"].decode("ascii")} for rle in compressed]


def _runs_in_image(
    mask: NDArray[np.float32], box: NDArray[np.float32], height: int, width: int
) -> NDArray[np.int64]:
    """Enlarge one mask to the part of the image around its box, and give the image's runs."""
    left, top = (max(int(np.floor(low)) - 1, 0) for low in box[:2])
    right, bottom = (
        min(int(np.ceil(high)) + 1, end) for high, end in zip(box[2:], (width, height), strict=True)
    )
    xs = _places(left, right, box[0], box[2])
    ys = _places(top, bottom, box[1], box[3])
    if np.isfinite(mask).all():
        # Bilinear interpolation is one matrix for the rows and one for the columns.
        across, down = _weights(xs, mask.shape[1]), _weights(ys, mask.shape[0])
        values = (across @ mask.T) @ down.T  # (columns, rows)
        inside: NDArray[np.bool_] = values >= _THRESHOLD + _DOUBT
        likely = values > _THRESHOLD - _DOUBT
    else:
        inside = np.zeros((len(xs), len(ys)), dtype=np.bool_)
        likely = ~inside
    if np.count_nonzero(likely) != np.count_nonzero(inside):
        columns, rows = np.nonzero(likely & ~inside)
        inside[columns, rows] = _sample(mask, xs[columns], ys[rows]) >= _THRESHOLD
    return runs_of(inside, left, top, height, width)


def runs_of(
    part: NDArray[np.bool_], left: int, top: int, height: int, width: int
) -> NDArray[np.int64]:
    """Run lengths, column by column, of an image with an object in one part (columns, rows) of it.

    The part begins at the column `left` and the row `top` of the image.
    """
    columns, rows = part.shape
    # An empty row above and below: no run then goes from one column into the next.
    framed = np.zeros((columns, rows + 1), dtype=np.bool_)
    framed[:, :-1] = part
    edges = np.flatnonzero(np.diff(framed.reshape(-1), prepend=False))  # of runs, by turns
    edges += edges // (rows + 1) * (height - rows - 1) + (left * height + top)
    if rows == height and len(edges):
        # A run may begin where the one of the column before has ended.
        apart = edges[1:-1:2] != edges[2::2]
        edges = edges[np.concatenate(([True], np.repeat(apart, 2), [True]))]
    runs = np.diff(edges, prepend=0, append=height * width)
    return runs if runs[-1] else runs[:-1]


def _places(start: int, stop: int, low: np.float32, high: np.float32) -> NDArray[np.float32]:
    """Centres of pixels, in [-1, 1] from one side of the box to the other."""
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    # A box can be thinner than any number.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        places: NDArray[np.float32] = (centres - low) / (high - low) * np.float32(2) - np.float32(1)
    return places


def _weights(places: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """How much each cell of a mask's side counts at each place, shape (places, S)."""
    cells = (places + np.float32(1)) * np.float32(side / 2) - np.float32(0.5)
    reach = np.float32(1) - np.abs(cells[:, None] - np.arange(side, dtype=np.float32))
    return np.asarray(np.maximum(reach, np.float32(0)))


def _sample(
    mask: NDArray[np.float32], xs: NDArray[np.float32], ys: NDArray[np.float32]
) -> NDArray[np.float32]:
    grid = torch.from_numpy(np.stack([xs, ys], axis=1))[None, None]  # (1, 1, points, 2)
    values = F.grid_sample(torch.from_numpy(mask)[None, None], grid, align_corners=False)
    return np.asarray(values[0, 0, 0])
