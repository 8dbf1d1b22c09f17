"""A bank of objects, cut out of training images for the time when these are gone.

The file is safetensors: numbers alone, in which nothing can be executed. Colours are JPEGs, masks
are bits. Objects are known by the category id of their class.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.samples.paste import CutOut

IntArray = npt.NDArray[np.int64]

MOST_BYTES = 2**32
LARGEST_SIDE = 30_000  # pixels
_QUALITY = 90
_KINDS: Mapping[str, tuple[Any, int]] = {  # type and dimensions of each tensor
    "category_ids": (np.int64, 1),
    "sizes": (np.int64, 2),
    "jpeg": (np.uint8, 1),
    "jpeg_ends": (np.int64, 1),
    "masks": (np.uint8, 1),
}


@dataclass(frozen=True, eq=False)
class ObjectBank:
    """N objects; each is decoded when it is asked for."""

    category_ids: IntArray  # shape (N,)
    sizes: IntArray  # height and width, shape (N, 2)
    jpeg: npt.NDArray[np.uint8]  # all JPEGs
    jpeg_ends: IntArray  # of each, shape (N,)
    masks: npt.NDArray[np.uint8]  # bits of all masks, each filled up to whole bytes

    @classmethod
    def of(cls, objects: Iterable[CutOut]) -> ObjectBank:
        """A bank of objects whose labels are category ids; each is encoded as it comes."""
        ids, sizes, ends = [], [], []
        jpeg, masks = bytearray(), bytearray()
        for one in objects:
            jpeg += _encode(one.pixels)
            masks += np.packbits(one.mask).tobytes()
            ids.append(one.label)
            sizes.append(one.mask.shape)
            ends.append(len(jpeg))
        return cls(
            np.array(ids, dtype=np.int64),
            np.array(sizes, dtype=np.int64).reshape(-1, 2),
            np.frombuffer(jpeg, dtype=np.uint8),
            np.array(ends, dtype=np.int64),
            np.frombuffer(masks, dtype=np.uint8),
        )

    def __len__(self) -> int:
        return len(self.category_ids)

    def cut_out(self, row: int, label: int) -> CutOut:
        """An object, under the label of its class.

        Raises:
            ValueError: If its picture is none, or of another size than stated.
        """
        height, width = self.sizes[row].tolist()
        start = int(self.jpeg_ends[row - 1]) if row else 0
        jpeg = self.jpeg[start : int(self.jpeg_ends[row])].tobytes()
        lengths = -(-self.sizes[: row + 1].prod(axis=1) // 8)
        bits = self.masks[int(lengths[:-1].sum()) : int(lengths.sum())]
        try:
            with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
                if picture.size != (width, height) or picture.mode != "RGB":
                    raise ValueError(f"object {row}: its picture is not {width}x{height} in RGB")
                pixels = np.array(picture)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"object {row}: {error}") from error
        mask = np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)
        return CutOut(label, pixels, mask)

    def to_bytes(self) -> bytes:
        """The content of its file."""
        content: bytes = save({name: getattr(self, name) for name in _KINDS})
        return content


def read_bank(path: Path, category_ids: Iterable[int], hint: str) -> ObjectBank:
    """Read a bank of objects of some classes, every one of which is decoded once to try it.

    Raises:
        LstError: With the hint, if it is missing, damaged, or has objects of other classes.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES:,} bytes")
        bank = _checked(load(read_regular(path)))
        unknown = sorted(set(bank.category_ids.tolist()) - set(category_ids))
        if unknown:
            raise ValueError(f"it has objects of category {unknown[0]}, which is not of the phase")
        for row in range(len(bank)):
            if not bank.cut_out(row, 0).mask.any():
                raise ValueError(f"object {row}: its mask is empty")
    except FileNotFoundError as error:
        raise LstError(f"{path}: missing", hint) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise LstError(f"{path}: not a whole bank: {error}", hint) from error
    return bank


def _checked(tensors: Mapping[str, npt.NDArray[Any]]) -> ObjectBank:
    """A bank whose numbers fit each other; a ValueError otherwise."""
    kinds = {name: (one.dtype.type, one.ndim) for name, one in tensors.items()}
    if kinds != _KINDS:
        raise ValueError("it has other tensors than a bank")
    bank = ObjectBank(**tensors)
    count = len(bank)
    if bank.sizes.shape != (count, 2) or len(bank.jpeg_ends) != count:
        raise ValueError("its tensors are of different lengths")
    if count and not 1 <= bank.sizes.min() <= bank.sizes.max() <= LARGEST_SIDE:
        raise ValueError("an object has an impossible size")
    if len(bank.masks) != (-(-bank.sizes.prod(axis=1) // 8)).sum():
        raise ValueError("its masks do not fill their sizes")
    ends = np.concatenate(([0], bank.jpeg_ends))
    if (np.diff(ends) < 1).any() or ends[-1] != len(bank.jpeg):
        raise ValueError("its pictures do not fill their bytes")
    return bank


def _encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=_QUALITY, subsampling=0)
    return content.getvalue()
