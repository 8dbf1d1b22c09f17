"""Files of weights by their content: which format each is, and its tensors by name."""

from __future__ import annotations

import io
import shlex
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Literal

import torch
from detectron2.utils.file_io import PathManager
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lst_cli.errors import LstError
from lst_cli.weights.kinds import (
    GIVE,
    DamagedError,
    WeightsError,
    is_fetched,
    is_safetensors,
    require_likely,
)
from lst_cli.weights.pickles import Array, read_pickle

Naming = Literal["exact", "suffix", "caffe2"]
"""How a file names its tensors: as the network does; by the end of that name; as Caffe2 did."""

_MOST_UNPACKED = 20  # times the size of the file; numbers hardly compress
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before torch 1.6

_WRAPPERS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "weights",
    "params",
    "module",
    "net",
    "network",
    "ema_state_dict",
    "model_ema",
    "ema",
    "blobs",
)
"""Under which key a checkpoint keeps its weights beside other things."""

_SAVE = "give a checkpoint with the weights in it, or save them: torch.save(state_dict, FILE)"


def read_weights(source: str) -> tuple[dict[str, Tensor], Naming]:
    """Read the tensors of a checkpoint, whatever its name ends with, and run nothing of it.

    Args:
        source: A file, or an address that detectron2's path manager knows.

    Raises:
        LstError: If the file is missing, damaged, something else, or would run code.
    """
    fetched = is_fetched(source)
    path = _fetch(source) if fetched else Path(source)
    try:
        try:
            require_likely(path)
            return _tensors(_content(path))
        except (LstError, MemoryError, WeightsError):
            raise
        except OSError as error:
            raise WeightsError(
                f"cannot be read: {error.strerror or error}", "give a file that you may read"
            ) from error
        except Exception as error:  # of broken bytes zlib, zipfile and safetensors raise many kinds
            raise DamagedError from error
    except WeightsError as error:
        if fetched:  # and kept: another attempt would read the same bytes
            error.hint = f"rm {shlex.quote(str(path))}, then try again; or {error.hint}"
        raise error.about(source) from error


def _fetch(source: str) -> Path:
    try:
        with redirect_stderr(io.StringIO()):  # bars and remarks of the library
            return Path(PathManager.get_local_path(source))
    except Exception as error:  # the path manager raises whatever its back ends raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LstError(
            f"--weights {source}: cannot be fetched: {reason}",
            "check the address, or download it and give the file",
        ) from error


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(32)
    if is_safetensors(head):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise DamagedError from error
    if head.startswith(b"PK\3\4"):
        return _read_archive(path)
    data = io.BytesIO(path.read_bytes())
    return _read_old_torch(data) if head.startswith(_OLD_TORCH) else read_pickle(data)


def _read_archive(path: Path) -> Any:
    """What torch.save writes: a pickle, and a file for the numbers of each storage."""
    rows: dict[tuple[str, torch.dtype], Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        top = pickled.removesuffix("data.pkl")
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MOST_UNPACKED * path.stat().st_size:
            raise WeightsError(f"it would unpack to {unpacked:,} bytes")
        big = f"{top}byteorder" in archive.namelist() and archive.read(f"{top}byteorder") == b"big"

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            if (key, dtype) not in rows:
                if any(key == known for known, _ in rows):
                    raise WeightsError("it reads the same numbers as two kinds")
                data = bytearray(archive.read(f"{top}data/{key}"))
                rows[key, dtype] = _row(data, dtype, big=big)
            if rows[key, dtype].numel() != count:
                raise WeightsError(f"storage {key} has not the size that it should have")
            return rows[key, dtype]

        return read_pickle(io.BytesIO(archive.read(pickled)), storage)


def _read_old_torch(file: io.BytesIO) -> Any:
    """What torch.save wrote before torch 1.6: pickles, then the numbers of each storage."""
    buffers: dict[str, bytearray] = {}
    kinds: dict[str, torch.dtype] = {}
    room = len(file.getbuffer())

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal room
        if key not in buffers:
            room -= count * dtype.itemsize
            if room < 0:
                raise DamagedError
            buffers[key], kinds[key] = bytearray(count * dtype.itemsize), dtype
        if kinds[key] != dtype or len(buffers[key]) != count * dtype.itemsize:
            raise WeightsError("it reads the same numbers as two kinds")
        return _row(buffers[key], dtype)

    for _ in ("magic number", "version", "system"):
        read_pickle(file)
    content = read_pickle(file, storage)
    for key in read_pickle(file):
        count = int.from_bytes(file.read(8), "little")
        data = buffers[key if isinstance(key, str) else ""]
        if count * kinds[key].itemsize != len(data) or file.readinto(data) != len(data):
            raise DamagedError
    return content


def _row(data: bytearray, dtype: torch.dtype, *, big: bool = False) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    if big:
        swapped = torch.frombuffer(data, dtype=torch.uint8).reshape(-1, dtype.itemsize).flip(1)
        return swapped.contiguous().view(dtype).reshape(-1)
    return torch.frombuffer(data, dtype=dtype)


def _tensors(content: Any) -> tuple[dict[str, Tensor], Naming]:
    # detectron2 says who wrote the file; Caffe2's files are a bare dict or one under "blobs".
    naming: Naming = "exact"
    table, wrapped = content, False
    for _ in range(4):
        if not isinstance(table, Mapping):
            raise WeightsError("it holds no table of weights", GIVE)
        author = table.get("__author__")
        if isinstance(author, str) and author == "Caffe2":
            naming = "caffe2"
        elif table.get("matching_heuristics"):
            naming = "suffix"
        if _has_weights(table) or (inner := _inner(table)) is None:
            break
        table, wrapped = table[inner], wrapped or inner != "blobs"
    arrays = {
        str(name): value.tensor if isinstance(value, Array) else value
        for name, value in table.items()
        if isinstance(value, Tensor | Array) and not str(name).endswith("_momentum")
    }
    found = {name: tensor for name, tensor in arrays.items() if tensor is not None}
    if len(found) < len(arrays):
        raise WeightsError("it has an array without numbers", _SAVE)
    if not found:
        keys = ", ".join(str(key)[:40] for key in list(table)[:5])
        raise WeightsError(f"it holds no weights{keys and ', but ' + keys}", _SAVE)
    if naming == "exact" and not wrapped and not any("." in name for name in found):
        naming = "caffe2"  # torch's names have dots
    return found, naming


def _has_weights(table: Any) -> bool:
    return isinstance(table, Mapping) and any(
        isinstance(value, Tensor | Array) and "." in str(name) for name, value in table.items()
    )


def _inner(table: Mapping[Any, Any]) -> Any:
    """Under which key of a checkpoint its weights stand; None if under none."""
    holding = [key for key, value in table.items() if _has_weights(value)]
    if known := [key for key in _WRAPPERS if key in holding]:
        return known[0]
    if len(holding) > 1:
        keys = ", ".join(str(key)[:40] for key in holding[:5])
        one = f"torch.save(checkpoint[{str(holding[0])[:40]!r}], NEW)"
        raise WeightsError(f"weights stand under {keys}", f"save those that you want: {one}")
    tables = (key for key in _WRAPPERS if isinstance(table.get(key), Mapping))
    return holding[0] if holding else next(tables, None)
