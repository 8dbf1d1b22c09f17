"""Files of weights by their content: which format each is, and its tensors by name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from detectron2.utils.file_io import PathManager
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lst_cli.errors import LstError
from lst_cli.files import kind_by_start, require_regular
from lst_cli.weights.pickles import Array, PickleError, read_pickle

Naming = Literal["exact", "suffix", "caffe2"]
"""How a file names its tensors: as the network does; by the end of that name; as Caffe2 did."""

_GIVE = "give a .pkl, .pth or .safetensors of a Mask R-CNN"
_AGAIN = "download it again"
_LARGEST = 2**35  # bytes; a Mask R-CNN has less than a hundredth
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

_HINTS = {
    "pointer": "git lfs pull",
    "packed": "unpack it first: tar -xf FILE, or 7z x FILE",
}


def read_weights(source: str) -> tuple[dict[str, Tensor], Naming]:
    """Read the tensors of a checkpoint, whatever its name ends with, and run nothing of it.

    Args:
        source: A file, or an address that detectron2's path manager knows.

    Raises:
        LstError: If the file is missing, damaged, something else, or would run code.
    """
    path = _fetch(source)
    try:
        what = _other_format(path)
        if what is not None:
            raise _refusal(source, path, f"is {what[0]}", what[1])
        return _tensors(_content(path), source)
    except PickleError as error:
        whole = "it holds more than numbers; save the weights alone: torch.save(state_dict, FILE)"
        damaged = "damaged" in str(error)
        raise _refusal(
            source, path, f"refused: {error}", f"{_AGAIN}; {_GIVE}" if damaged else whole
        ) from error
    except OSError as error:
        raise LstError(
            f"--weights {source}: cannot be read: {error.strerror or error}",
            "give a file that you may read",
        ) from error
    except (LstError, MemoryError):
        raise
    except Exception as error:  # of broken bytes zlib, zipfile and safetensors raise many kinds
        raise _refusal(
            source, path, "refused: it is damaged or cut short", f"{_AGAIN}; {_GIVE}"
        ) from error


def _refusal(source: str, path: Path, reason: str, hint: str) -> LstError:
    if str(path) != source:  # fetched, and kept: another attempt would read the same bytes
        hint = f"rm {path}, then try again; or {hint}"
    return LstError(f"--weights {source}: {reason}", hint)


def _fetch(source: str) -> Path:
    try:
        path = Path(PathManager.get_local_path(source))
    except Exception as error:  # the path manager raises whatever its back ends raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LstError(
            f"--weights {source}: cannot be fetched: {reason}",
            "check the address, or download it and give the file",
        ) from error
    try:
        require_regular(path)
    except IsADirectoryError as error:
        inside = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".pth", ".pkl"))
        hint = f"--weights {inside[0]}" if inside else "give the file in it"
        raise LstError(f"--weights {source}: is a directory", hint) from error
    except OSError as error:
        reason = str(error.strerror).lower()
        raise LstError(f"--weights {source}: {reason}", _GIVE) from error
    if path.stat().st_size > _LARGEST:
        raise LstError(f"--weights {source}: more than {_LARGEST // 2**30} GiB", _GIVE)
    return path


def _other_format(path: Path) -> tuple[str, str] | None:
    """What a file is that holds no weights we can read, and what to do; None if it may."""
    with path.open("rb") as file:
        head = file.read(1024)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "empty", f"{_AGAIN}; {_GIVE}"
    if _is_safetensors(head):
        return None
    if head.startswith(b"PK\3\4"):
        return _other_archive(path)
    if found := kind_by_start(head):
        return found[0], _HINTS.get(found[1], _GIVE).replace("FILE", str(path))
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page, not the file itself", "download what the page links to"
    if head[257:262] == b"ustar":
        return "a tar archive", f"unpack it first: tar -xf {path}"
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and (b"onnx" in head or b"torch" in head)):
        return "an ONNX model", "give the weights it was exported from"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model", _GIVE
    if start[:1] == b"{" and b"\0" not in start:
        return "JSON, such as the index of a checkpoint in parts", _GIVE
    text = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    # The first protocol of pickles is printable, too: a table, a list or a name.
    return ("text", _GIVE) if text and not head.startswith((b"(", b"c")) else None


def _other_archive(path: Path) -> tuple[str, str] | None:
    if not zipfile.is_zipfile(path):
        return "a zip archive cut short", f"{_AGAIN}; {_GIVE}"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        state = f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')"
        return "a TorchScript program", f"save its weights alone: {state}"
    if any(name.endswith("/data.pkl") for name in names):
        return None
    if any(name.endswith(".weights.h5") for name in names):
        return "a Keras model", _GIVE
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of numpy arrays (.npz)", _GIVE
    return "a zip archive without weights of torch", f"unpack it first: unzip {path}"


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(32)
    if _is_safetensors(head):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise PickleError("it is damaged or cut short") from error
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
            raise PickleError(f"it would unpack to {unpacked:,} bytes")
        big = f"{top}byteorder" in archive.namelist() and archive.read(f"{top}byteorder") == b"big"

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            if (key, dtype) not in rows:
                if any(key == known for known, _ in rows):
                    raise PickleError("it reads the same numbers as two kinds")
                data = bytearray(archive.read(f"{top}data/{key}"))
                rows[key, dtype] = _row(data, dtype, big=big)
            if rows[key, dtype].numel() != count:
                raise PickleError(f"storage {key} has not the size that it should have")
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
                raise PickleError("it is damaged or cut short")
            buffers[key], kinds[key] = bytearray(count * dtype.itemsize), dtype
        if kinds[key] != dtype or len(buffers[key]) != count * dtype.itemsize:
            raise PickleError("it reads the same numbers as two kinds")
        return _row(buffers[key], dtype)

    for _ in ("magic number", "version", "system"):
        read_pickle(file)
    content = read_pickle(file, storage)
    for key in read_pickle(file):
        count = int.from_bytes(file.read(8), "little")
        data = buffers[str(key)]
        if count * kinds[str(key)].itemsize != len(data) or file.readinto(data) != len(data):
            raise PickleError("it is damaged or cut short")
    return content


def _row(data: bytearray, dtype: torch.dtype, *, big: bool = False) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    if big:
        swapped = torch.frombuffer(data, dtype=torch.uint8).reshape(-1, dtype.itemsize).flip(1)
        return swapped.contiguous().view(dtype).reshape(-1)
    return torch.frombuffer(data, dtype=dtype)


def _tensors(content: Any, source: str) -> tuple[dict[str, Tensor], Naming]:
    # detectron2 says who wrote the file; Caffe2's files are a bare dict or one under "blobs".
    naming: Naming = "exact"
    table, wrapped = content, False
    for _ in range(4):
        if not isinstance(table, Mapping):
            raise LstError(f"--weights {source}: refused: it holds no table of weights", _GIVE)
        if table.get("__author__") == "Caffe2":
            naming = "caffe2"
        elif table.get("matching_heuristics"):
            naming = "suffix"
        if any(isinstance(value, Tensor | Array) and "." in str(k) for k, value in table.items()):
            break
        inner = next((k for k in _WRAPPERS if isinstance(table.get(k), Mapping)), None)
        if inner is None:
            break
        table, wrapped = table[inner], wrapped or inner != "blobs"
    tensors = {
        str(name): value.tensor if isinstance(value, Array) else value
        for name, value in table.items()
        if isinstance(value, Tensor | Array) and not str(name).endswith("_momentum")
    }
    if None in tensors.values():
        raise PickleError("it has an array without numbers")
    found = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    if not found:
        keys = ", ".join(map(str, list(table)[:5])) or "nothing"
        raise LstError(
            f"--weights {source}: refused: it holds no weights, but {keys}",
            "give a checkpoint with the weights in it, or save them: torch.save(state_dict, FILE)",
        )
    if naming == "exact" and not wrapped and not any("." in name for name in found):
        naming = "caffe2"  # torch's names have dots
    return found, naming
