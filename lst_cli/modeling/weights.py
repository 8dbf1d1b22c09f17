"""First weights: a COCO-trained Mask R-CNN without its class-specific predictors.

Files are read without executing anything in them: a pickle may only name the few functions
that numpy arrays are made of.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from detectron2.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_c2_detectron_names,
)
from detectron2.utils.file_io import PathManager
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lst_cli.errors import LstError

CLASS_SPECIFIC = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")
"""Weights that belong to other classes than ours."""

Naming = Literal["exact", "suffix", "caffe2"]
"""How a file names its tensors: as the network does; by the end of that name; as Caffe2 did."""

_CAFFE2_CLASS_SPECIFIC = {
    "cls_score.": "roi_heads.box_predictor.",
    "bbox_pred.": "roi_heads.box_predictor.",
    "mask_head.predictor.": "roi_heads.",
}

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


@dataclass(frozen=True)
class WeightReport:
    """What became of a weights file.

    Attributes:
        source: File or address.
        matched: Tensors of the model that were filled.
        dropped: Class-specific tensors of the file, left out on purpose.
        unused: Further tensors of the file that the model has no place for.
        missing: Tensors of the model that keep their random first values.
    """

    source: str
    matched: tuple[str, ...]
    dropped: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report for a manifest."""
        return asdict(self)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return super().find_class(module, name)


def load_weights(model: nn.Module, source: str) -> WeightReport:
    """Fill a model from a checkpoint of detectron2 or Caffe2, or from a torch file.

    Args:
        model: Model to fill, in place.
        source: A file (.pkl, .pth, .pt, .safetensors), or an address that detectron2's path
            manager knows, such as `detectron2://...` or `https://...`.

    Raises:
        LstError: If the file cannot be read, would execute code, or fits nothing.
    """
    found, naming = read_weights(source)
    state = model.state_dict()
    if naming != "exact":
        found = _rename(found, state, naming, source)
    dropped = sorted(name for name in found if name.startswith(CLASS_SPECIFIC))
    kept = {name: tensor for name, tensor in found.items() if name not in set(dropped)}
    fitting = {
        name: tensor
        for name, tensor in kept.items()
        if name in state and tensor.shape == state[name].shape
    }
    if not fitting:
        raise LstError(
            f"{source}: none of its {len(found)} tensors fits the network",
            "give a checkpoint of the same architecture (model.config)",
        )
    model.load_state_dict(fitting, strict=False)
    return WeightReport(
        source=source,
        matched=tuple(sorted(fitting)),
        dropped=tuple(dropped),
        unused=tuple(sorted(set(kept) - set(fitting))),
        missing=tuple(sorted(set(state) - set(fitting))),
    )


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


def read_weights(source: str) -> tuple[dict[str, Tensor], Naming]:
    """Read the tensors of a checkpoint, executing nothing.

    Returns:
        Tensors by name, and how they are named.

    Raises:
        LstError: If the file is missing, broken, or would execute code.
    """
    try:
        path = Path(PathManager.get_local_path(source))
    except Exception as error:  # the path manager raises whatever its back ends raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LstError(
            f"--weights {source}: cannot be fetched: {reason}", "download it and give the file"
        ) from error
    if not path.is_file():
        raise LstError(f"--weights {source}: no such file", "give a .pkl, .pth or .safetensors")
    try:
        if path.suffix == ".safetensors":
            return load_file(path), "exact"
        if zipfile.is_zipfile(path) or path.suffix in {".pth", ".pt"}:
            return _tensors(torch.load(path, map_location="cpu", weights_only=True))
        content = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return _tensors(content)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "cut short"
        raise LstError(
            f"--weights {source}: refused: {reason}",
            "give a checkpoint that holds arrays only, such as one of detectron2's model zoo",
        ) from error
    except OSError as error:
        raise LstError(
            f"--weights {source}: cannot be read: {error.strerror or error}",
            "give a file that you may read",
        ) from error
    except Exception as error:  # of broken bytes unpicklers raise whatever they stumble over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LstError(
            f"--weights {source}: not a whole checkpoint: {reason}",
            "download it again; give a .pkl, .pth or .safetensors",
        ) from error


def _tensors(content: Any) -> tuple[dict[str, Tensor], Naming]:
    # detectron2 says who wrote the file; Caffe2's files are a bare dict or one under "blobs".
    if not isinstance(content, dict):
        raise ValueError("it holds no table")
    by_detectron2 = "model" in content
    table: Any = content.get("model", content.get("blobs", content))
    if not isinstance(table, dict):
        raise ValueError("it holds no table of weights")
    naming: Naming = "exact"
    if content.get("__author__") == "Caffe2":
        naming = "caffe2"
    elif by_detectron2:
        naming = "suffix" if content.get("matching_heuristics") else "exact"
    elif not any("." in str(name) for name in table):
        naming = "caffe2"  # torch's names have dots
    tensors = {
        str(name): torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for name, value in table.items()
        if isinstance(value, np.ndarray | Tensor) and not str(name).endswith("_momentum")
    }
    return tensors, naming
