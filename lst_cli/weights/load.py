"""Initial weights: a COCO-trained Mask R-CNN without its class-specific predictors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from detectron2.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_c2_detectron_names,
)
from torch import Tensor, nn

from lst_cli.errors import LstError
from lst_cli.weights.files import Naming, read_weights

CLASS_SPECIFIC = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")
"""Weights that belong to other classes than ours."""

_CAFFE2_CLASS_SPECIFIC = {
    "cls_score.": "roi_heads.box_predictor.",
    "bbox_pred.": "roi_heads.box_predictor.",
    "mask_head.predictor.": "roi_heads.",
}

# What torch's wrappers for several GPUs, compilation and saving memory put into names.
_WRAPPER_PARTS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class WeightReport:
    """How a weights file was used: names of tensors."""

    source: str  # file or address
    matched: tuple[str, ...]  # of the model: filled
    dropped: tuple[str, ...]  # of the file: class-specific, left out on purpose
    unused: tuple[str, ...]  # of the file: the model has no place for them
    missing: tuple[str, ...]  # of the model: they keep their random initial values


def load_weights(model: nn.Module, source: str) -> WeightReport:
    """Fill a model, in place, from a checkpoint of detectron2 or Caffe2, or from a torch file.

    The source is a file (.pkl, .pth, .pt, .safetensors), or an address that detectron2's path
    manager knows, such as `detectron2://...` or `https://...`.

    Raises:
        LstError: If the file cannot be read, would execute code, or fits nothing.
    """
    found, naming = read_weights(source)
    state = model.state_dict()
    if naming == "exact":
        found = _without_prefix(found, state)
    else:
        found = _rename(found, state, naming, source)
    dropped = sorted(name for name in found if name.startswith(CLASS_SPECIFIC))
    kept = {name: tensor for name, tensor in found.items() if not name.startswith(CLASS_SPECIFIC)}
    fitting = {
        name: tensor
        for name, tensor in kept.items()
        if name in state and tensor.shape == state[name].shape
    }
    if not fitting:
        raise LstError(
            f"--weights {source}: none of its {len(found):,} tensors fits the network"
            f"{_difference(kept or found, state)}",
            "give a checkpoint of the same architecture (model.config)",
        )
    _check_numbers(fitting, state, source)
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


def _difference(found: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    for name in found:
        if name in state:
            there, here = tuple(found[name].shape), tuple(state[name].shape)
            return f": {name} is {there} there and {here} in the network"
    return f": its names are such as {next(iter(found))}, the network's such as {next(iter(state))}"


def _check_numbers(fitting: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    for name, tensor in fitting.items():
        if not state[name].is_floating_point():
            continue
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.dtype not in _FLOATS:
            raise LstError(
                f"--weights {source}: {name} holds {kind}, as compressed networks do",
                "give the weights as numbers of 16, 32 or 64 bits",
            )
        if not tensor.to(state[name].dtype).isfinite().all():
            raise LstError(
                f"--weights {source}: {name} holds numbers that are not finite",
                "give another checkpoint: the training that wrote this one had diverged",
            )
