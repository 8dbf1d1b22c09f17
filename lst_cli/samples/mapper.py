"""A sample to the tensors that detectron2 trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.data import transforms as T
from detectron2.data.detection_utils import (
    annotations_to_instances,
    transform_instance_annotations,
)
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances
from detectron2.structures.masks import polygons_to_bitmask
from PIL import Image, ImageEnhance

from lst_cli.annotations.segmentations import (
    Segmentation,
    draw_mask,
    parse_segmentation,
    usable_part,
)
from lst_cli.images.decode import load_image
from lst_cli.modeling.heads.roi_heads import FUTURE, IGNORED
from lst_cli.samples.paste import CutOut, boxes_of, paste
from lst_cli.samples.phase_dataset import Sample
from lst_cli.settings.models import DataSettings, PasteSettings


class Mapper:
    """Reads, resizes, crops and flips an image, and its annotations with it.

    Seed and position of a sample decide how. `find` gives an image by its row in the image table,
    `channels` is `BGR` or `RGB`, `rules` say how objects are pasted, and `others` is the
    `gt_classes` of objects of seen classes that do not count: `IGNORED`, or K, which makes
    background of them.
    """

    def __init__(
        self,
        find: Callable[[int], Any],
        data: DataSettings,
        *,
        channels: str,
        seed: int,
        others: int = IGNORED,
        rules: PasteSettings | None = None,
    ) -> None:
        self._find = find
        self._data = data
        self._bgr = channels == "BGR"
        self._seed = seed
        self._others = others
        self._rules = rules or PasteSettings()

    def __call__(
        self, sample: Sample, *, augment: bool = True, bitmaps: bool = False
    ) -> dict[str, Any]:
        """detectron2's dict of a sample, at the test size and unflipped without `augment`.

        It has the `image`, uint8 (3, H, W), its `view`, by which the same pixels are known again
        (None where they are drawn afresh), its `position`, and `instances` with `gt_boxes`
        (absolute XYXY), `gt_masks` (bitmaps, if asked for), `gt_labels`, and `gt_classes`, which is
        the label where the object counts; and the `negatives` of the sample, if it has them.

        Raises an `LstError` if the image is missing, unreadable, or of another size than stated.
        """
        picture = load_image(self._find(sample.image), (sample.height, sample.width))
        rng = np.random.default_rng([self._seed, 3, sample.position]) if augment else None
        transforms, canvas = self._transforms(sample, rng)
        resize, *flip = transforms.transforms
        # As `resize` does it, without a second copy of all pixels, which a large scan has many of.
        picture = picture.resize((resize.new_w, resize.new_h), resize.interp)
        if rng is not None and self._data.color_jitter:
            picture = _recolored(picture, self._data.color_jitter, rng)
        image = np.asarray(picture)
        image = T.TransformList(flip).apply_image(image)
        size = (image.shape[0], image.shape[1])
        annotations = _annotations(sample, transforms, size)
        bitmaps |= bool(sample.pasted)
        if rng is not None and (size[0] > canvas[0] or size[1] > canvas[1]):
            window = _window(size, canvas, rng)
            image, bitmaps = image[window], True
            annotations = _cropped(annotations, size, window, self._rules.visible)
        found = list(annotations)
        # Polygons stay polygons; one RLE in the image (transformed to a bitmap) makes all bitmaps.
        polygons = not bitmaps and all(isinstance(a["segmentation"], list) for a in found)
        instances = annotations_to_instances(
            found, image.shape[:2], mask_format="polygon" if polygons else "bitmask"
        )
        rows = instances.gt_classes
        labels, counts = (torch.from_numpy(one)[rows] for one in (sample.labels, sample.counts))
        others = torch.where(labels == FUTURE, IGNORED, self._others)
        instances.gt_labels = labels
        instances.gt_classes = torch.where(counts, labels, others)
        if sample.pasted:
            places = np.random.default_rng([self._seed, 11, sample.position])
            image, instances = _with_pasted(image, instances, sample.pasted, places, self._rules)
        if self._bgr:
            image = image[:, :, ::-1]
        jittered = augment and (self._data.color_jitter or self._data.scale_jitter != (1.0, 1.0))
        item = {
            # Bytes as far as the device: as floats they would fill the shared memory of workers.
            "image": torch.from_numpy(image.transpose(2, 0, 1).copy()),
            "instances": instances,
            "height": sample.height,
            "width": sample.width,
            "position": sample.position,
            "view": None if sample.pasted or jittered else (sample.image, *size, bool(flip)),
        }
        if sample.negatives is not None:
            item["negatives"] = torch.from_numpy(sample.negatives)
        return item

    def _transforms(
        self, sample: Sample, rng: np.random.Generator | None
    ) -> tuple[T.TransformList, tuple[int, int]]:
        """Resize and flip, and the height and width that the image has at most after a crop."""
        height, width = sample.height, sample.width
        short, longest = self._data.min_size_test, self._data.max_size_test
        flip, scale = False, 1.0
        if rng is not None:
            short, longest = int(rng.choice(self._data.min_size)), self._data.max_size
            flip = bool(rng.random() < self._data.flip)
            scale = float(rng.uniform(*self._data.scale_jitter))
        whole = T.ResizeShortestEdge.get_output_shape(height, width, short, longest)
        # A strip that is a thousand times as long as wide would shrink to nothing.
        new_height, new_width = (max(round(side * scale), 1) for side in whole)
        chosen: list[T.Transform] = [T.ResizeTransform(height, width, new_height, new_width)]
        if flip:
            chosen.append(T.HFlipTransform(new_width))
        return T.TransformList(chosen), (max(whole[0], 1), max(whole[1], 1))


def _recolored(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """A picture with other brightness, contrast and saturation."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = change(picture).enhance(float(rng.uniform(1 - strength, 1 + strength)))
    return picture


def _annotations(
    sample: Sample, transforms: T.TransformList, size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """detectron2's dict of each object, whose `category_id` is its row in the sample."""
    for row, (box, raw) in enumerate(zip(sample.boxes, sample.segmentations, strict=True)):
        plain = {
            "bbox": box.tolist(),
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": row,
            "segmentation": _usable(parse_segmentation(raw)),
        }
        annotation = transform_instance_annotations(plain, transforms, size)
        if isinstance(annotation["segmentation"], np.ndarray):
            # Pillow's arrays are read-only, of which torch warns.
            annotation["segmentation"] = annotation["segmentation"].copy()
        yield annotation


def _window(
    size: tuple[int, int], canvas: tuple[int, int], rng: np.random.Generator
) -> tuple[slice, slice]:
    """Rows and columns of a random part of an image that is no larger than the canvas."""
    top, left = (
        int(rng.integers(max(side - most, 0) + 1)) for side, most in zip(size, canvas, strict=True)
    )
    return slice(top, min(top + canvas[0], size[0])), slice(left, min(left + canvas[1], size[1]))


def _cropped(
    annotations: Iterable[dict[str, Any]],
    size: tuple[int, int],
    window: tuple[slice, slice],
    visible: float,
) -> Iterator[dict[str, Any]]:
    """The objects of which a share can be seen in a part of an image, with bitmaps of that part.

    One by one: all bitmaps of the whole image would take gigabytes. Where something is cut off,
    the box is that of the visible mask.
    """
    rows, columns = window
    corner = [columns.start, rows.start] * 2
    limits = [columns.stop - columns.start, rows.stop - rows.start] * 2
    for annotation in annotations:
        mask = annotation["segmentation"]
        if isinstance(mask, list):
            mask = polygons_to_bitmask(mask, *size)
        seen = mask[window].copy()  # not a view, which keeps the whole
        area, left = int(mask.sum()), int(seen.sum())
        whole = np.clip(annotation["bbox"] - corner, 0, limits)
        box = whole if left == area else boxes_of(seen[None])[0]
        if left and left >= visible * area and (box[:2] < box[2:]).all():
            yield {**annotation, "bbox": box, "segmentation": seen}


def _masks_of(instances: Instances) -> torch.Tensor:
    """Bitmaps of instances, shape (N, H, W); detectron2 sets none where N is 0."""
    if not len(instances):
        return torch.zeros(0, *instances.image_size, dtype=torch.bool)
    masks: torch.Tensor = instances.gt_masks.tensor
    return masks


def _with_pasted(
    image: npt.NDArray[np.uint8],
    instances: Instances,
    objects: Sequence[CutOut],
    rng: np.random.Generator,
    rules: PasteSettings,
) -> tuple[npt.NDArray[np.uint8], Instances]:
    """An RGB image and its instances, with bitmaps, after objects were pasted, which all count."""
    size = image.shape[:2]
    masks = _masks_of(instances).numpy().astype(bool)
    pasted = paste(image, masks, objects, rng, rules)
    before = len(instances)
    old, new = (pasted.origin[part] for part in (pasted.origin < before, pasted.origin >= before))
    labels = torch.tensor([objects[row - before].label for row in new.tolist()], dtype=torch.int64)
    boxes = torch.from_numpy(boxes_of(pasted.masks))
    # What nothing covers keeps its box as it was annotated.
    whole = (pasted.masks[: len(old)] == masks[old]).all(axis=(1, 2))
    boxes[: len(old)][whole] = instances.gt_boxes.tensor[old][whole].to(boxes)
    result = Instances(size)
    result.gt_boxes = Boxes(boxes)
    result.gt_masks = BitMasks(torch.from_numpy(pasted.masks))
    result.gt_labels = torch.cat([instances.gt_labels[old], labels])
    result.gt_classes = torch.cat([instances.gt_classes[old], labels])
    return pasted.picture, result


def _usable(segmentation: Segmentation) -> Segmentation:
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        # detectron2 hands run lengths to pycocotools, which decodes compressed ones only.
        return draw_mask(segmentation, *segmentation["size"])
    return usable_part(segmentation)
