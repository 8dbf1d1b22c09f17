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
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils.file_io import PathManager
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lst_cli.errors import LstError

CLASS_SPECIFIC = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")
"""Weights that belong to other classes than ours."""

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
    found, renamed_by_heuristics = read_weights(source)
    state = model.state_dict()
    dropped = sorted(name for name in found if name.startswith(CLASS_SPECIFIC))
    kept = {name: tensor for name, tensor in found.items() if name not in set(dropped)}
    if renamed_by_heuristics:
        kept = align_and_update_state_dicts(state, kept)
    fitting = {
        name: tensor
        for name, tensor in kept.items()
        if name in state
        and tensor.shape == state[name].shape
        and not name.startswith(CLASS_SPECIFIC)
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


def read_weights(source: str) -> tuple[dict[str, Tensor], bool]:
    """Read the tensors of a checkpoint, executing nothing.

    Returns:
        Tensors by name, and whether these are Caffe2's names, to be matched by heuristics.

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
            return load_file(path), False
        if zipfile.is_zipfile(path) or path.suffix in {".pth", ".pt"}:
            return _tensors(torch.load(path, map_location="cpu", weights_only=True))
        content = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return _tensors(content)
    except (pickle.UnpicklingError, SafetensorError, EOFError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "cut short"
        raise LstError(
            f"--weights {source}: refused: {reason}",
            "give a checkpoint that holds arrays only, such as one of detectron2's model zoo",
        ) from error
    except (AttributeError, ImportError, IndexError, KeyError, TypeError, UnicodeError) as error:
        raise LstError(
            f"--weights {source}: not a checkpoint: {error}", "give a .pkl, .pth or .safetensors"
        ) from error


def _tensors(content: Any) -> tuple[dict[str, Tensor], bool]:
    # detectron2 says who wrote the file; Caffe2's files are a bare dict or one under "blobs".
    if not isinstance(content, dict):
        raise ValueError("it holds no table")
    by_detectron2 = "model" in content
    table: Any = content.get("model", content.get("blobs", content))
    if not isinstance(table, dict):
        raise ValueError("it holds no table of weights")
    heuristics = bool(content.get("matching_heuristics", not by_detectron2))
    names_of_torch = any("." in str(name) for name in table)
    tensors = {
        str(name): torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for name, value in table.items()
        if isinstance(value, np.ndarray | Tensor) and not str(name).endswith("_momentum")
    }
    return tensors, heuristics and not (names_of_torch and not by_detectron2)
