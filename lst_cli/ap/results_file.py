"""A results file: a list of detections in LVIS or COCO format, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lst_cli.annotations.json_stream import ListStream
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent

RESULTS_HINT = (
    "give a results file: a list of image_id, category_id, score, and bbox (x, y, width, height) "
    "or segmentation (compressed RLE)"
)

_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Side = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Scored(msgspec.Struct, gc=False):
    """A detection without its shape."""

    image_id: _Id
    category_id: _Id
    score: float


class Boxed(Scored, gc=False):
    """A detection with its box."""

    bbox: tuple[float, float, float, float]


class Masked(msgspec.Struct, gc=False):
    """The mask of a detection."""

    segmentation: msgspec.Raw


class _CompressedRle(msgspec.Struct, gc=False):
    size: tuple[_Side, _Side]  # height, width
    counts: str


_RLE = msgspec.json.Decoder(_CompressedRle)


@dataclass(frozen=True)
class ResultsFile:
    """A file with a list of detections."""

    path: Path
    progress: Progress = silent
    sha256: str = ""  # when lst wrote it; empty if that is not known
    hint: str = RESULTS_HINT  # what makes the file again

    def blocks(self, record: type[Any]) -> Iterator[tuple[int, list[Any]]]:
        """Read the file in blocks: the row of the first record, and the records.

        `record` is a msgspec struct with the fields that are wanted. A file that is not the one
        that lst wrote is refused, before its content is used.
        """
        changed = LstError(f"{self.path}: changed or damaged after lst wrote it", self.hint)
        stream = ListStream(
            self.path,
            {"detections": msgspec.json.Decoder(list[record])},  # type: ignore[valid-type]
            list_hint=self.hint,
            progress=self.progress,
            digest=bool(self.sha256),
        )
        try:
            for _, first, records in stream:
                yield first, records
        except LstError as error:
            if self.sha256:
                raise changed from error
            for field, other in (("bbox", "segm"), ("segmentation", "bbox")):
                if f"missing required field {field}" in error.message:
                    raise LstError(error.message, f"--iou-type {other}") from error
            raise
        if stream.sha256 != self.sha256:
            raise changed

    def decode_mask(self, row: int, segmentation: msgspec.Raw) -> tuple[tuple[int, int], str]:
        """Height and width of a mask, and its compressed run lengths."""
        try:
            rle = _RLE.decode(segmentation)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LstError(
                f"{self.path}: detection {row} has a segmentation that is not a compressed RLE: "
                f"{str(error).replace('`', '')}",
                RESULTS_HINT,
            ) from error
        return rle.size, rle.counts
