"""Whether boxes are those of their masks and of their images, and if not, what they look like.

Boxes are left, top, width and height in pixels, as they should be, shape (n, 4). An extent is
what a mask reaches: left, top, right and bottom, shape (n, 4), NaN where it is not known.
Sizes are width and height of each box's image, shape (n, 2).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import Problem, Severity, count_of, examples, problems_of
from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import annotation_name

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Layout = Callable[..., tuple[Any, Any, Any, Any]]
"""Left, top, right and bottom of the numbers a, b, c, d, in an image of width w and height h."""

NameRow = Callable[[int], str]
"""Names a box by its row, for examples."""

WRONG_BOXES = frozenset(("box-not-of-mask", "box-layout"))
"""Kinds of error that explain others: boxes that mean something else reach out of their images."""

_PIXELS = 2.0  # by which an edge may differ
_EXACT, _ALIKE = 0.02, 0.05  # and in addition as a share of the mask: same box; recognised box
_SAMPLE = 20_000  # boxes that every reading is tried on
_FEWEST = 3  # wrong boxes that name a reading
_MOST = 0.5  # share of the boxes of a file that makes it useless
_FEW, _RARE = 10, 0.05  # boxes, and their share, that name a reading that fits no majority
_MANY = 0.2  # share of boxes that may reach out before other readings are tried
_BLOCK = 100_000  # boxes looked at together
_TINY_IMAGE = 8  # pixels; in a smaller one a box below one pixel says nothing
_ASIDE = re.compile(r" \([^)]*\)")


@dataclass(frozen=True)
class Reading:
    """A meaning that the four numbers of a box may have."""

    name: str  # to follow "boxes" in a sentence
    layout: Layout
    whole: float = 0  # a side of the image in these numbers; 0 for pixels
    rounding: float = 0  # share of the image's sides by which rounding may move an edge
    either: bool = False  # whether right boxes beside masks of this meaning look the same
    of_masks: bool = False  # whether masks have the meaning, and their extents are to be read

    def edges(self, boxes: FloatArray, sizes: FloatArray) -> FloatArray:
        """Left, top, right and bottom in pixels, shape (n, 4), of boxes that mean this."""
        edges: FloatArray = np.stack(self.layout(*boxes.T, *sizes.T), axis=1)
        return edges * np.tile(sizes / self.whole, 2) if self.whole else edges


_UNITS: tuple[tuple[str, float, float], ...] = (
    ("", 0, 0),
    ("in shares of the image (0 to 1)", 1, 0.005),
    ("in percent of the image", 100, 0.005),
    ("in thousandths of the image", 1000, 0.0005),
)
_LAYOUTS: dict[str, Layout] = {
    "": lambda a, b, c, d, *_: (a, b, a + c, b + d),
    "as corners (left, top, right, bottom)": lambda a, b, c, d, *_: (a, b, c, d),
    "with the centre first (centre x, centre y, width, height)": lambda a, b, c, d, *_: (
        (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    ),
    "with rows first (top, left, height, width)": lambda a, b, c, d, *_: (b, a, b + d, a + c),
    "as corners, rows first (top, left, bottom, right)": lambda a, b, c, d, *_: (b, a, d, c),
    "with the centre first, rows first (centre y, centre x, height, width)": (
        lambda a, b, c, d, *_: (b - d / 2, a - c / 2, b + d / 2, a + c / 2)
    ),
    "as left, right, top, bottom": lambda a, b, c, d, *_: (a, c, b, d),
    "with width and height exchanged": lambda a, b, c, d, *_: (a, b, a + d, b + c),
}
_MASK_LAYOUTS: dict[str, Layout] = {
    "": lambda a, b, c, d, *_: (a, b, c, d),
    ", with rows first (y before x)": lambda a, b, c, d, *_: (b, a, d, c),
}
_QUARTER = "of images turned by 90 degrees (an EXIF orientation was not applied)"
# Of the edges of boxes: left x, top y, right r, bottom b.
_MOVED: tuple[tuple[str, Layout], ...] = (
    ("measured from the bottom of the image", lambda x, y, r, b, w, h: (x, h - b, r, h - y)),
    ("of mirrored images", lambda x, y, r, b, w, h: (w - r, y, w - x, b)),
    ("of images turned by 180 degrees", lambda x, y, r, b, w, h: (w - r, h - b, w - x, h - y)),
    # The boxes are those of the turned image, scaled to the other's size or not.
    (_QUARTER, lambda x, y, r, b, w, h: (y * w / h, h - r * h / w, b * w / h, h - x * h / w)),
    (_QUARTER, lambda x, y, r, b, w, h: (w - b * w / h, x * h / w, w - y * w / h, r * h / w)),
    (_QUARTER, lambda x, y, r, b, w, h: (y, w - r, b, w - x)),
    (_QUARTER, lambda x, y, r, b, w, h: (h - b, x, h - y, r)),
)


def _of_edges(layout: Layout) -> Layout:
    return lambda a, b, c, d, w, h: layout(a, b, a + c, b + d, w, h)


_LAYOUT_READINGS = tuple(
    Reading(name, layout, whole, rounding, either=name.startswith("with rows first"))
    for (unit, whole, rounding), (words, layout) in product(_UNITS, _LAYOUTS.items())
    if (name := ", ".join(filter(None, (unit, words))))
)
PIXEL_LAYOUTS = tuple(reading for reading in _LAYOUT_READINGS if not reading.whole)
"""What boxes in pixels may be; in other units all would lie inside their images."""

READINGS = (
    *_LAYOUT_READINGS,
    *(
        Reading(unit + words, layout, whole, rounding, of_masks=True)
        for (unit, whole, rounding), (words, layout) in product(_UNITS[1:], _MASK_LAYOUTS.items())
    ),
    *(Reading(name, _of_edges(layout), either=True) for name, layout in _MOVED),
)
"""What boxes and masks that do not agree may be, the likeliest first."""


@dataclass(frozen=True)
class _Pairs:
    """Boxes and what their masks reach, row by row."""

    boxes: FloatArray
    extents: FloatArray
    sizes: FloatArray
    images: IntArray  # which image each lies in

    @property
    def edges(self) -> FloatArray:
        return _edges(self.boxes)

    def at(self, rows: IntArray | BoolArray) -> _Pairs:
        return _Pairs(self.boxes[rows], self.extents[rows], self.sizes[rows], self.images[rows])


def check_boxes(dataset: Dataset, extents: FloatArray) -> list[Problem]:
    """Check the boxes of a file, crowds left out, against its masks and its images."""
    rows = np.flatnonzero(~dataset.instances.crowd)
    image = dataset.instances.image_index[rows].astype(np.int64)
    sizes = dataset.images.sizes[image].astype(np.float64)
    boxes, extents = dataset.instances.boxes[rows], extents[rows]

    def name(place: int) -> str:
        return annotation_name(dataset, rows[place])

    found = check_boxes_of_masks(boxes, extents, sizes, image, name)
    known = np.isfinite(extents).all(axis=1).any()
    if not any(problem.severity == "error" for problem in found):
        found += check_box_layout(boxes, sizes, name, readings=() if known else PIXEL_LAYOUTS)
    return found


def check_boxes_of_masks(
    boxes: FloatArray, extents: FloatArray, sizes: FloatArray, images: IntArray, name_row: NameRow
) -> list[Problem]:
    """Compare every box, in one of the images by number, with what its mask reaches, if known.

    It is an error if most boxes of the file are wrong, in a way that is recognised or with an
    overlap below a half; otherwise a warning.
    """

    def name(row: int) -> str:
        left, top, right, bottom = extents[row].round(2).tolist()
        mask = [left, top, round(right - left, 2), round(bottom - top, 2)]
        return f"{name_row(row)}, its mask: {mask}"

    known = np.flatnonzero(np.isfinite(np.concatenate((extents, boxes), axis=1)).all(axis=1))
    pairs = _Pairs(boxes, extents, sizes, images).at(known)
    differs = ~_near(pairs.edges, pairs.extents, pairs.sizes, _EXACT)
    wrong = known[differs].tolist()
    if not (count := len(wrong)):
        return _check_one_pixel(pairs, known, name)
    pairs = pairs.at(differs)
    padded = _is_padded(pairs)
    padded &= padded.mean() >= _MOST
    looks: Counter[str] = Counter()
    if count >= _FEWEST:
        for look, fits in _recognise(pairs.at(~padded)):
            looks[look] += fits
    apart = int((_overlap(pairs.edges, pairs.extents) < 0.5)[~padded].sum())
    useless = max(looks.total(), apart) >= _MOST * len(known)
    if count >= _FEWEST and padded.any():
        looks["boxes larger than the mask on every side"] = int(padded.sum())
    what = ""
    if looks.total() == count and len(looks) == 1:
        what = f": they look like {next(iter(looks))}"
    elif looks:
        what = ": " + "; ".join(f"{many:,} look like {look}" for look, many in looks.most_common())
    elif count >= _FEWEST:
        what = ": in no way that is recognised"
    severity: Severity = "error" if useless else "warning"
    says = "differ[s|] from the extent of [its mask|their masks]"
    text = f"of {count_of(len(known), 'box', 'boxes')} {says}{what}"
    hint = "compute each box from its mask: left, top, width and height in pixels"
    return problems_of(wrong, name, severity, "box-not-of-mask", text, hint)


def check_box_layout(
    boxes: FloatArray,
    sizes: FloatArray,
    name_row: NameRow,
    *,
    what: str = "boxes",
    readings: Sequence[Reading] = PIXEL_LAYOUTS,
) -> list[Problem]:
    """See from boxes alone whether they can be left, top, width and height in pixels.

    It is an error if most boxes lie within a pixel, or if many reach out of their images and by
    one of the `readings` none does; a warning if most reach out by every reading. Boxes that agree
    with their masks have no other readings.
    """
    rows = np.flatnonzero(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    if not len(rows):
        return []
    if len(rows) < len(boxes):
        boxes, sizes = boxes[rows], sizes[rows]
    error, hint = True, f"write {what} as left, top, width and height in pixels"
    large = np.tile(sizes >= _TINY_IMAGE, 2)
    wrong: BoolArray = np.logical_and.reduce((boxes > -0.1) & (boxes < 1.1) & large, axis=1)
    if wrong.mean() >= _MOST:
        says = "hold no number above 1: they look like shares of the image"
    else:
        # Block by block: of millions of detections, whole edges would take the most memory of all.
        blocks = [slice(at, at + _BLOCK) for at in range(0, len(boxes), _BLOCK)]
        wrong = ~np.concatenate([_inside(_edges(boxes[one]), sizes[one], 0.1) for one in blocks])
        if wrong.mean() < _MANY:
            return []
        says = "reach out of their images"
        look = next((one for one in readings if _explains(one.edges(boxes, sizes), sizes)), None)
        if look is not None:
            says += f"; none would if they were boxes {look.name}"
        elif _explains(_edges(boxes), sizes[:, ::-1]):
            says += "; none would if width and height of the images were exchanged"
            hint = "exchange width and height of the images"
        elif wrong.mean() >= _MOST:
            error = False
        else:
            return []
    chosen = rows[wrong].tolist()
    severity: Severity = "error" if error else "warning"
    text = f"of {len(rows):,} {what} {says}"
    return problems_of(chosen, name_row, severity, "box-layout", text, hint)


def _check_one_pixel(pairs: _Pairs, rows: IntArray, name: NameRow) -> list[Problem]:
    """Boxes that count pixels from 1, as Pascal VOC does."""
    if len(rows) < _FEW:
        return []
    shift = pairs.edges - pairs.extents
    step = np.round(np.median(shift))
    if abs(step) != 1 or (np.abs(shift - step) < 0.5).all(axis=1).mean() < 0.9:
        return []
    where, fix = ("right and down", "subtract 1 from") if step > 0 else ("left and up", "add 1 to")
    message = (
        f"the boxes lie one pixel {where} of their masks: pixels were counted from 1 in one of the "
        "two and from 0 in the other"
    )
    some, hint = examples(map(name, rows)), f"{fix} left and top of every box"
    return [Problem("warning", "box-one-pixel-off", message, len(rows), some, hint)]


def _is_padded(pairs: _Pairs) -> BoolArray:
    """Whether boxes are larger than their masks by as much on both sides, or end at the image."""
    edges = pairs.edges
    low, high = pairs.extents[:, :2] - edges[:, :2], edges[:, 2:] - pairs.extents[:, 2:]
    ends = np.abs(edges[:, :2]) <= _PIXELS, np.abs(edges[:, 2:] - pairs.sizes) <= _PIXELS
    alike = np.abs(low - high) <= _PIXELS + _ALIKE * pairs.boxes[:, 2:]
    return _all((low > -0.5) & (high > -0.5) & (alike | (ends[0] != ends[1])))


def _recognise(pairs: _Pairs) -> Iterator[tuple[str, int]]:
    """What wrong boxes look like, and how many do; the readings that explain most come first."""
    rare = _RARE * len(pairs.boxes)
    while count := len(pairs.boxes):
        name, fits = _best_reading(pairs)
        if fits.sum() < max(min(_FEW, _MOST * count), rare):
            return
        yield name, int(fits.sum())
        pairs = pairs.at(~fits)


def _best_reading(pairs: _Pairs) -> tuple[str, BoolArray]:
    some = pairs.at(np.unique(np.linspace(0, len(pairs.boxes) - 1, _SAMPLE).astype(np.int64)))
    reading = max(READINGS, key=lambda one: int(_fits(one, some).sum()))
    fits, subject = _fits(reading, pairs), "masks" if reading.of_masks else "boxes"
    if fits.mean() < _MOST:
        name, fitted = _fit(pairs)
        if fitted.mean() >= max(_MOST, fits.mean()):
            return f"{_subject(pairs)} {name}", fitted
    elif reading.either:
        subject = _subject(pairs)
    name = reading.name if subject == "boxes" else _ASIDE.sub("", reading.name)
    return f"{subject} {name}", fits


def _fits(reading: Reading, pairs: _Pairs) -> BoolArray:
    mine, right = pairs.boxes, pairs.extents
    if reading.of_masks:
        mine, right = pairs.extents, pairs.edges
    return _near(reading.edges(mine, pairs.sizes), right, pairs.sizes, _ALIKE, reading.rounding)


def _fit(pairs: _Pairs) -> tuple[str, BoolArray]:
    """Boxes and masks that are alike but for a factor or a distance, one for each image."""
    edges, extents, sizes = pairs.edges, pairs.extents, pairs.sizes
    _, image = np.unique(pairs.images, return_inverse=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = _median_of(image, edges[:, 2:] / extents[:, 2:])[image]
        # In pixels of the mask, so that the tolerance is that of other readings.
        scaled = _near(edges / np.tile(factors, 2), extents, sizes, _EXACT)
    moves = _median_of(image, edges[:, :2] - extents[:, :2])[image]
    moved = _near(edges - np.tile(moves, 2), extents, sizes, _EXACT)
    if moved.sum() > scaled.sum():
        return f"moved by {_spread(moves[moved], _PIXELS)}, in pixels", moved
    return f"of images of another size, by {_spread(factors[scaled], 0.02)}", scaled


def _spread(found: FloatArray, same: float) -> str:
    """Numbers across and down, if most are the same."""
    if not len(found):
        found = np.zeros((1, 2))
    low, middle, high = np.quantile(found, (0.1, 0.5, 0.9), axis=0)
    if (high - low > same * np.maximum(1, np.abs(middle) * (same < 1))).any():
        return "numbers that differ from image to image"
    x, y = (f"{number:.3g}" for number in middle)
    return x if x == y else f"{x} across and {y} down"


def _median_of(group: IntArray, values: FloatArray) -> FloatArray:
    """Median of each group and column, the lower one of two middle values."""
    counts = np.bincount(group)
    middle = np.cumsum(counts) - counts + (counts - 1) // 2
    return np.stack([column[np.lexsort((column, group))][middle] for column in values.T], axis=1)


def _subject(pairs: _Pairs) -> str:
    """Which of two that do not agree is wrong: the one that lies outside the images."""
    boxes, masks = ((~_inside(edges, pairs.sizes)).mean() for edges in (pairs.edges, pairs.extents))
    if abs(boxes - masks) < 0.02:
        return "boxes (or masks)"
    return "boxes" if boxes > masks else "masks"


def _near(
    mine: FloatArray, right: FloatArray, sizes: FloatArray, share: float, rounding: float = 0.0
) -> BoolArray:
    """Whether edges are the right ones, cut off at the image or not."""
    sides = np.abs(right[:, 2:] - right[:, :2])
    tolerance = np.tile(_PIXELS + share * sides + rounding * sizes, 2)
    cut = np.clip(right, 0, np.tile(sizes, 2))
    with np.errstate(invalid="ignore"):
        return _all(np.minimum(np.abs(mine - right), np.abs(mine - cut)) <= tolerance)


def _explains(edges: FloatArray, sizes: FloatArray) -> bool:
    """Whether boxes, enough of them to tell, lie within their images if they have these edges."""
    return len(edges) >= _FEW and bool(_inside(edges, sizes).mean() >= 0.98)


def _inside(edges: FloatArray, sizes: FloatArray, share: float = 0.0) -> BoolArray:
    """Whether boxes have an area and lie within their images, but for a share of their sides."""
    low, high = edges[:, :2], edges[:, 2:]
    over = _PIXELS + share * (high - low)
    return _all((low >= -over) & (high <= sizes + over) & (high > low))


def _overlap(first: FloatArray, other: FloatArray) -> FloatArray:
    """Intersection over union, row by row."""
    low = np.stack((first[:, :2], other[:, :2]))
    high = np.stack((first[:, 2:], other[:, 2:]))
    both = (high.min(axis=0) - low.max(axis=0)).clip(0).prod(axis=1)
    union = (high - low).clip(0).prod(axis=2).sum(axis=0) - both
    overlap: FloatArray = both / np.maximum(union, 1e-9)
    return overlap


def _edges(boxes: FloatArray) -> FloatArray:
    """Left, top, right and bottom."""
    return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)


def _all(good: BoolArray) -> BoolArray:
    """Whether all of each row are good."""
    found: BoolArray = np.logical_and.reduce(good, axis=1)
    return found
