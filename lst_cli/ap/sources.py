"""Where detections come from: a results file, or dicts in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from lst_cli.annotations.json_stream import TopListStream
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent

RESULTS_HINT = (
    "give a results file: a list of image_id, category_id, score, and bbox or segmentation"
)

_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Side = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class _Key(msgspec.Struct, gc=False):
    image_id: _Id
    category_id: _Id
    score: float


class _Boxed(_Key, gc=False):
    bbox: tuple[float, float, float, float]


class _Masked(msgspec.Struct, gc=False):
    segmentation: msgspec.Raw


class CompressedRle(msgspec.Struct, gc=False):
    """A mask: `size` is height and width, `counts` its compressed run lengths."""

    size: tuple[_Side, _Side]
    counts: str


_RLE = msgspec.json.Decoder(CompressedRle)


class Source(Protocol):
    """Where detections come from: `ResultsFile` or `Records`."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def keys(self, boxes: bool) -> Iterator[Sequence[Any]]:
        """Blocks of `image_id`, `category_id`, `score` and, if wanted, `bbox`."""

    def masks(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """Blocks of `segmentation`, each with the row of its first one."""

    def parse(self, segmentation: Any) -> CompressedRle:
        """Decode one segmentation.

        Raises:
            msgspec.DecodeError: If it is no compressed RLE.
        """


@dataclass(frozen=True)
class ResultsFile:
    """A file with a list of detections.

    Attributes:
        path: The file.
        progress: Bytes read, and bytes in the file.
        sha256: Its digest when lst wrote it; empty if that is not known.
        hint: What makes the file again.
    """

    path: Path
    progress: Progress = silent
    sha256: str = ""
    hint: str = RESULTS_HINT

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def keys(self, boxes: bool) -> Iterator[Sequence[Any]]:
        """See `Source`."""
        for _, records in self.blocks(_Boxed if boxes else _Key):
            yield records

    def masks(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """See `Source`."""
        for first, records in self.blocks(_Masked):
            yield first, [record.segmentation for record in records]

    def parse(self, segmentation: Any) -> CompressedRle:
        """See `Source`."""
        return _RLE.decode(segmentation)

    def blocks(self, record: type[Any]) -> Iterator[tuple[int, list[Any]]]:
        """Read the file in blocks: the row of the first record, and the records.

        Args:
            record: msgspec struct with the fields that are wanted.

        Raises:
            LstError: If the file cannot be read, or is not the one that was written.
        """
        decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[record])  # type: ignore[valid-type]
        stream = TopListStream(
            self.path,
            "detections",
            decoder,
            hint=self.hint,
            progress=self.progress,
            digest=bool(self.sha256),
        )
        try:
            for _, first, records in stream:
                yield first, records
        except LstError as error:
            if self.sha256:
                raise self._changed() from error
            for field, other in (("bbox", "segm"), ("segmentation", "bbox")):
                if f"missing required field {field}" in error.message:
                    raise LstError(error.message, f"--iou-type {other}") from error
            raise
        if stream.sha256 != self.sha256:  # before anybody makes use of the content
            raise self._changed()

    def _changed(self) -> LstError:
        return LstError(f"{self.path}: changed or damaged after lst wrote it", self.hint)


@dataclass(frozen=True)
class Records:
    """Detections in memory, dicts as in a results file.

    Attributes:
        records: The detections.
        name: What errors call them.
    """

    records: Sequence[Mapping[str, Any]]
    name: str = "the detections"

    def keys(self, boxes: bool) -> Iterator[Sequence[Any]]:
        """See `Source`."""
        yield self._convert(_Boxed if boxes else _Key)

    def masks(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """See `Source`."""
        for row, record in enumerate(self.records):
            if "segmentation" not in record:
                raise LstError(f"{self.name}: detection {row} has no segmentation", RESULTS_HINT)
        yield 0, [record["segmentation"] for record in self.records]

    def parse(self, segmentation: Any) -> CompressedRle:
        """See `Source`."""
        counts = segmentation.get("counts") if isinstance(segmentation, Mapping) else None
        if isinstance(counts, bytes):  # as pycocotools gives it
            segmentation = {**segmentation, "counts": counts.decode("ascii", "replace")}
        return msgspec.convert(segmentation, CompressedRle)

    def _convert(self, record: type[Any]) -> list[Any]:
        found = []
        for row, each in enumerate(self.records):
            try:
                found.append(msgspec.convert(each, record))
            except msgspec.ValidationError as error:
                raise LstError(
                    f"{self.name}: detection {row}: {str(error).replace('`', '')}", RESULTS_HINT
                ) from error
        return found
