"""lvis-api itself, run on the same ground truth and detections: our own numbers must equal its.

`import lvis` (0.5.3) configures the root logger and needs matplotlib and OpenCV, which in turn
needs libGL; its evaluation uses `np.float`, which numpy 1.24 removed. The three files that compute
AP need none of these. They are loaded here as private modules, from the files as they are
installed: `sys.modules["lvis"]`, numpy and the loggers of others stay as they are.
"""

from __future__ import annotations

import builtins
import importlib.util
import logging
import types
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lst_cli.ap.detections import LVIS_CAP, Cap, rows_under_cap
from lst_cli.ap.ground_truth import GroundTruth
from lst_cli.ap.lvis_ap import ApResult
from lst_cli.ap.metrics import IouType
from lst_cli.ap.results_file import RESULTS_HINT, Boxed, Masked, ResultsFile, Scored
from lst_cli.errors import LstError

_FREQUENCIES = ["r", "c", "f", ""]
_HINT = "install it: pip install 'lvis>=0.5.3'"
# By file; each file imports only those before it.
_CLASSES = {"lvis": "LVIS", "results": "LVISResults", "eval": "LVISEval"}


def reference_ap(
    truth: GroundTruth, source: ResultsFile, *, iou_type: IouType, cap: Cap = LVIS_CAP
) -> ApResult:
    """Score detections with the installed `lvis` package, unchanged; an `LstError` if it cannot.

    It takes minutes and gigabytes. Annotations are numbered from 1, since it takes an id of 0 for
    no match. For masks it gets no boxes, whose areas it would otherwise use.
    """
    package = load_lvis()
    found = _detections(source, iou_type)
    if not found:
        raise LstError(f"{source.path}: lvis-api cannot score an empty list", RESULTS_HINT)
    if cap.per_class is not None:  # which lvis-api does not know
        columns = [[one[key] for one in found] for key in ("image_id", "category_id", "score")]
        images, category_ids, scores = map(np.array, columns)
        _, images = np.unique(images, return_inverse=True)
        found = [found[row] for row in rows_under_cap(cap, images, category_ids, scores).tolist()]
    annotations = _ground_truth(package["LVIS"], truth, iou_type)
    most = -1 if cap.per_image is None else cap.per_image
    results = package["LVISResults"](annotations, found, most)
    evaluation = package["LVISEval"](annotations, results, iou_type)
    evaluation.params.cat_ids = list(truth.category_ids)
    evaluation.params.img_count_lbl = _FREQUENCIES
    evaluation.run()
    return ApResult(
        evaluation.eval["precision"],
        evaluation.eval["recall"],
        truth.category_ids,
        {name.split("@")[0]: float(value) for name, value in evaluation.results.items()},
        np.zeros((0, len(truth.category_ids))),
    )


def largest_difference(ours: ApResult, theirs: ApResult) -> float:
    """The largest difference of any number of two results: curves, recalls and means."""
    gaps = [
        np.abs(ours.precision - theirs.precision).max(initial=0),
        np.abs(ours.recall - theirs.recall).max(initial=0),
        *(abs(ours.summary[name] - theirs.summary[name]) for name in theirs.summary),
    ]
    return float(max(gaps))


def _ground_truth(index_type: Any, truth: GroundTruth, iou_type: IouType) -> Any:
    category_ids = np.array(truth.category_ids, dtype=np.int64)
    images = []
    for row, (image_id, (height, width)) in enumerate(
        zip(truth.image_ids.tolist(), truth.sizes.tolist(), strict=True)
    ):
        keys = row * len(category_ids) + np.arange(len(category_ids))
        images.append(
            {
                "id": image_id,
                "height": height,
                "width": width,
                "neg_category_ids": category_ids[truth.labelled_absent(keys)].tolist(),
                "not_exhaustive_category_ids": category_ids[np.isin(keys, truth.partial)].tolist(),
            }
        )
    annotations = [
        {
            "id": row + 1,
            "image_id": int(truth.image_ids[truth.image[row]]),
            "category_id": truth.category_ids[int(truth.category[row])],
            "bbox": truth.boxes[row].tolist(),
            "area": float(truth.areas[row]),
            "ignore": int(truth.ignore[row]),
            **({"segmentation": truth.rles[row]} if iou_type == "segm" and truth.rles else {}),
        }
        for row in range(len(truth.image))
    ]
    categories = [
        {"id": category_id, "frequency": frequency}
        for category_id, frequency in zip(truth.category_ids, truth.frequencies, strict=True)
    ]
    index = index_type.__new__(index_type)  # its constructor wants a file
    index.logger = types.SimpleNamespace(info=lambda *args: None)
    index.dataset = {"images": images, "annotations": annotations, "categories": categories}
    index._create_index()
    return index


def _detections(source: ResultsFile, iou_type: IouType) -> list[dict[str, Any]]:
    boxed = iou_type == "bbox"
    blocks = source.blocks(Boxed if boxed else Scored)
    found = [msgspec.to_builtins(record) for _, records in blocks for record in records]
    for one in found if boxed else ():
        one["bbox"] = list(one["bbox"])
    for first, records in () if boxed else source.blocks(Masked):
        for row, record in enumerate(records, start=first):
            size, counts = source.decode_mask(row, record.segmentation)
            found[row]["segmentation"] = {"size": list(size), "counts": counts}
    return found


@lru_cache(maxsize=1)
def load_lvis() -> dict[str, Any]:
    """Load the three classes of the installed `lvis` package that compute AP, by name, once.

    Raises an `LstError` if `lvis` or `pycocotools` is not installed or not the package expected.
    """
    folder = _find_package()
    modules: dict[str, types.ModuleType] = {}
    for name in _CLASSES:
        modules[f"lvis.{name}"] = _load_file(name, folder / f"{name}.py", modules)
    vars(modules["lvis.eval"])["np"] = types.SimpleNamespace(**vars(np), float=float)
    for module in modules.values():  # their warnings are about no error
        logging.getLogger(module.__name__).disabled = True
    try:
        return {one: vars(modules[f"lvis.{name}"])[one] for name, one in _CLASSES.items()}
    except KeyError as error:
        raise LstError(f"the lvis package in {folder} has no {error.args[0]}", _HINT) from None


def _find_package() -> Path:
    """The directory of the installed package, without importing it."""
    spec: ModuleSpec | None = PathFinder.find_spec("lvis")
    if spec is None:
        try:  # an editable install is known to its own finder only
            spec = importlib.util.find_spec("lvis")
        except ValueError:  # a module without a spec stands in sys.modules
            spec = None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location)
        if all((folder / f"{name}.py").is_file() for name in _CLASSES):
            return folder
    raise LstError("the package `lvis`, which computes AP, is not installed", _HINT)


def _load_file(name: str, path: Path, loaded: dict[str, types.ModuleType]) -> types.ModuleType:
    """Run one file of the package as a private module that imports the others from `loaded`."""

    def import_module(wanted: str, *args: Any, **keywords: Any) -> Any:
        return loaded[wanted] if wanted in loaded else __import__(wanted, *args, **keywords)

    module = types.ModuleType(f"{__name__}._{name}")
    # The files say `from lvis.lvis import LVIS`. A module's own `__builtins__` decides what
    # `import` means in it, so that no module has to be registered anywhere.
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_module}
    try:
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    except ImportError as error:
        raise LstError(f"cannot load {path}: {error}", _HINT) from error
    return module
