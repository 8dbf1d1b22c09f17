"""Initial weights: a COCO-trained Mask R-CNN without its class-specific predictors."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from detectron2.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_c2_detectron_names,
)
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file
from torch import Tensor, nn

from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.weights.kinds import (
    GIVE,
    DamagedError,
    WeightsError,
    is_fetched,
    is_safetensors,
    require_likely,
)
from lst_cli.weights.pickles import Array, read_pickle

_BACKBONE = "backbone.bottom_up."
# Names in a feature network of timm; it wraps networks that it cannot take apart.
_OF_TIMM = re.compile(r"((?:backbone\.bottom_up\.)?network\.(?:model\.|body\.)?)(.+)")

# Weights that belong to other classes than ours.
CLASS_SPECIFIC = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")

_CAFFE2_CLASS_SPECIFIC = {
    "cls_score.": "roi_heads.box_predictor.",
    "bbox_pred.": "roi_heads.box_predictor.",
    "mask_head.predictor.": "roi_heads.",
}

# What torch's wrappers for several GPUs, compilation and saving memory put into names.
_WRAPPER_PARTS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Naming = Literal["exact", "suffix", "caffe2"]
"""How a file names its tensors: as the network does; by the end of that name; as Caffe2 did."""

_MOST_UNPACKED = 20  # times the size of the file; numbers hardly compress
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before torch 1.6

_WRAPPERS = (
    "model", "state_dict", "model_state_dict", "model_state", "weights", "params", "module", "net",
    "network", "ema_state_dict", "model_ema", "ema", "blobs",
)  # fmt: skip
"""Under which key a checkpoint keeps its weights beside other things."""

_SAVE = "give a checkpoint with the weights in it, or save them: torch.save(state_dict, FILE)"


@dataclass(frozen=True)
class WeightReport:
    """How a file of weights was used: names of tensors."""

    source: str  # file or address
    sha256: str  # of the file
    matched: tuple[str, ...]  # of the model: filled
    dropped: tuple[str, ...]  # of the file: class-specific, left out on purpose
    unused: tuple[str, ...]  # of the file: the model has no place for them
    missing: tuple[str, ...]  # of the model: they keep their random initial values

    def __str__(self) -> str:
        """What was loaded into each part of the model, and what of the file was not."""
        parts = Counter(_part(name) for name in (*self.matched, *self.missing))
        filled = Counter(map(_part, self.matched))
        loaded = ", ".join(f"{part} {filled[part]} of {count}" for part, count in parts.items())
        return (
            f"{self.source}: tensors loaded: {loaded}; {len(self.dropped)} class-specific dropped, "
            f"{len(self.unused)} unused; what was not loaded keeps random values"
        )


def load_weights(
    model: nn.Module,
    source: str,
    networks: tuple[str, str] | None = None,
    *,
    same_classes: bool = False,
) -> WeightReport:
    """Fill a model, in place, from a checkpoint of detectron2 or Caffe2, or from a torch file.

    The source is a file (.pkl, .pth, .pt, .safetensors), or an address that detectron2's path
    manager knows, such as `detectron2://...` or `https://...`. `networks` are the names of its
    network and of the model's, if lst wrote it: then only masks may be of another kind. Parts for
    single classes are dropped, unless the file is of the `same_classes`.
    Raises an `LstError` if the file cannot be read, would execute code, fits nothing, or is of
    another backbone.
    """
    state = model.state_dict()
    found = read_named(source, state)
    specific = () if same_classes else CLASS_SPECIFIC
    dropped = sorted(name for name in found if name.startswith(specific))
    kept = {name: tensor for name, tensor in found.items() if not name.startswith(specific)}
    fitting = {
        name: tensor
        for name, tensor in kept.items()
        if name in state and tensor.shape == state[name].shape
    }
    unused = {name: kept[name] for name in sorted(set(kept) - set(fitting))}
    missing = {name: state[name] for name in sorted(set(state) - set(fitting))}
    others = [
        {name: tensor for name, tensor in part.items() if _matters(name, networks is not None)}
        for part in (unused, missing)
    ]
    if networks is not None and any(others):
        there, here = networks
        raise _misfit(source, f"it is of {there}, and the network is {here}", *others)
    if not fitting:
        text = f"none of its {len(found):,} tensors fits the network"
        raise _misfit(source, text, kept or found, state)
    if all(others):
        raise _misfit(source, "it is of another backbone", *others)
    check_numbers(fitting, state, source)
    model.load_state_dict(fitting, strict=False)
    return WeightReport(
        source=source,
        sha256=sha256_of(_fetch(source) if is_fetched(source) else Path(source)),
        matched=tuple(sorted(fitting)),
        dropped=tuple(dropped),
        unused=tuple(unused),
        missing=tuple(missing),
    )


def _part(name: str) -> str:
    return ".".join(name.split(".")[: 2 if name.startswith("roi_heads.") else 1])


def read_named(source: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint and give them a network's names, as far as they have one.

    See `read_weights` for what is read and refused.
    """
    found, naming = read_weights(source)
    if naming == "exact":
        named = _without_prefix(found, state)
        return named if any(name in state for name in named) else _of_timm(named, state)
    return _rename(found, state, naming, source)


def _rename(
    found: dict[str, Tensor], state: dict[str, Tensor], naming: Naming, source: str
) -> dict[str, Tensor]:
    """Give the tensors the network's names, as far as they have a place in it."""
    try:
        if naming == "caffe2":
            converted, _ = convert_c2_detectron_names(found)
            found = {
                next((p for c, p in _CAFFE2_CLASS_SPECIFIC.items() if name.startswith(c)), "")
                + name: tensor
                for name, tensor in converted.items()
            }
        aligned = align_and_update_state_dicts(state, found, c2_conversion=False)
    except (AssertionError, IndexError, ValueError) as error:
        raise LstError(
            f"{source}: its names cannot be matched with the network's: {error}",
            "give a checkpoint of the same architecture (model.config)",
        ) from error
    placed = {name: tensor for name, tensor in aligned.items() if name in state}
    used = {id(tensor) for tensor in placed.values()}
    return placed | {name: tensor for name, tensor in found.items() if id(tensor) not in used}


def _without_prefix(found: dict[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove what a wrapper put before the names, such as `module.` or `_orig_mod.`."""
    names = {
        name: ".".join(part for part in name.split(".") if part not in _WRAPPER_PARTS)
        for name in found
    }
    prefixes: Counter[str] = Counter()
    for name in names.values():
        parts = name.split(".")
        ends = (n for n in range(len(parts)) if ".".join(parts[n:]) in state)
        prefixes.update(".".join([*parts[:n], ""]) if n else "" for n in list(ends)[:1])
    best = max(prefixes, key=lambda prefix: (prefixes[prefix], not prefix), default="")
    return {names[name].removeprefix(best): tensor for name, tensor in found.items()}


def _of_timm(found: dict[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a classifier of timm the names they have in a feature network of timm.

    That joins the first two parts of some names by an underscore.
    """
    places = {match[2].replace(".", "_"): match for match in map(_OF_TIMM.match, state) if match}
    named = {name: places.get(name.replace(".", "_")) for name in found}
    prefix = next((match[1] for match in named.values() if match), "")
    return {
        match[0] if (match := named[name]) else f"{prefix}{name}": tensor
        for name, tensor in found.items()
    }


def _matters(name: str, of_lst: bool) -> bool:
    """Whether a network is another one if this tensor does not fit.

    A file of others may lack parts of the network, or have more; lst's own differ in their masks.
    """
    if of_lst:
        return not name.startswith((*CLASS_SPECIFIC, "roi_heads.mask_head."))
    return name.startswith(_BACKBONE)


def _misfit(
    source: str, reason: str, found: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> LstError:
    return LstError(
        f"--weights {source}: {reason}{_difference(found, state)}",
        "give a checkpoint of the same architecture (model.config)",
    )


def _difference(found: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    for name in found:
        if name in state and found[name].shape != state[name].shape:
            there, here = tuple(found[name].shape), tuple(state[name].shape)
            return f": {name} is {there} there and {here} in the network"
    if not (found and state):
        return f": {'the network' if found else 'it'} has no {next(iter(found or state))}"
    return f": its names are such as {next(iter(found))}, the network's such as {next(iter(state))}"


def check_numbers(fitting: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Raise an `LstError` if tensors for a network are compressed or not finite."""
    for name, tensor in fitting.items():
        if not state[name].is_floating_point():
            continue
        if tensor.dtype not in _FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise LstError(
                f"--weights {source}: {name} holds {kind}, as compressed networks do",
                "give the weights as numbers of 16, 32 or 64 bits",
            )
        if not tensor.to(state[name].dtype).isfinite().all():
            raise LstError(
                f"--weights {source}: {name} holds numbers that are not finite",
                "give another checkpoint: the training that wrote this one had diverged",
            )


def read_weights(source: str) -> tuple[dict[str, Tensor], Naming]:
    """Read the tensors of a checkpoint, whatever its suffix, and execute nothing in it.

    The source is a file, or an address that detectron2's path manager knows. Raises an `LstError`
    if the file is missing, damaged, something else, or would run code.
    """
    fetched = is_fetched(source)
    path = _fetch(source) if fetched else Path(source)
    try:
        require_likely(path)
        return _tensors(_content(path))
    except (LstError, MemoryError):
        raise
    except Exception as error:  # of broken bytes zlib, zipfile and safetensors raise many kinds
        problem = error if isinstance(error, WeightsError) else DamagedError()
        if isinstance(error, OSError):
            reason = f"cannot be read: {error.strerror or error}"
            problem = WeightsError(reason, "give a file that you can read")
        if fetched:  # and kept: another attempt would read the same bytes
            problem.hint = f"rm {shlex.quote(str(path))}, then try again; or {problem.hint}"
        raise problem.about(source) from error


def _fetch(source: str) -> Path:
    try:
        with redirect_stderr(io.StringIO()):  # progress bars of the library
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
        return load_file(path)
    if head.startswith(b"PK\3\4"):
        return _read_archive(path)
    data = io.BytesIO(path.read_bytes())
    return _read_old_torch(data) if head.startswith(_OLD_TORCH) else read_pickle(data)


def _read_archive(path: Path) -> Any:
    """What torch.save writes: a pickle, and a file for the numbers of each storage."""
    rows: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        top = pickled.removesuffix("data.pkl")
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MOST_UNPACKED * path.stat().st_size:
            raise WeightsError(f"it would unpack to {unpacked:,} bytes")
        big = f"{top}byteorder" in archive.namelist() and archive.read(f"{top}byteorder") == b"big"

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            if key not in rows:
                data = bytearray(archive.read(f"{top}data/{key}"))
                rows[key] = _row(data, dtype, big=big)
            if rows[key].dtype != dtype:
                raise WeightsError("it reads the same numbers as two kinds")
            if rows[key].numel() != count:
                raise WeightsError(f"storage {key} has another size than the file says")
            return rows[key]

        return read_pickle(io.BytesIO(archive.read(pickled)), storage)


def _read_old_torch(file: io.BytesIO) -> Any:
    """What torch.save wrote before torch 1.6: pickles, then the numbers of each storage."""
    rows: dict[str, Tensor] = {}  # filled last: the numbers stand behind the pickle
    room = len(file.getbuffer())

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal room
        if key not in rows:
            room -= count * dtype.itemsize
            if room < 0:
                raise DamagedError
            rows[key] = torch.zeros(count, dtype=dtype)
        if rows[key].dtype != dtype or rows[key].numel() != count:
            raise WeightsError("it reads the same numbers as two kinds")
        return rows[key]

    for _ in ("magic number", "version", "system"):
        read_pickle(file)
    content = read_pickle(file, storage)
    for key in read_pickle(file):
        count = int.from_bytes(file.read(8), "little")
        row = rows[key if isinstance(key, str) else ""]
        data = bytearray(file.read(row.nbytes))
        if count != row.numel() or len(data) != row.nbytes:
            raise DamagedError
        row.copy_(_row(data, row.dtype))
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
    found = {}
    for name, value in table.items():
        if isinstance(value, Tensor | Array) and not str(name).endswith("_momentum"):
            tensor = value.tensor if isinstance(value, Array) else value
            if tensor is None:
                raise WeightsError("it has an array without numbers", _SAVE)
            found[str(name)] = tensor
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
    """The key of a checkpoint that its weights are under; None if under none."""
    holding = [key for key, value in table.items() if _has_weights(value)]
    if known := [key for key in _WRAPPERS if key in holding]:
        return known[0]
    if len(holding) > 1:
        keys = ", ".join(str(key)[:40] for key in holding[:5])
        one = f"torch.save(checkpoint[{str(holding[0])[:40]!r}], NEW)"
        raise WeightsError(f"weights are under {keys}", f"save those that you want: {one}")
    tables = (key for key in _WRAPPERS if isinstance(table.get(key), Mapping))
    return holding[0] if holding else next(tables, None)
