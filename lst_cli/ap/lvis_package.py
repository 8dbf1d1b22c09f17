"""The installed `lvis` package, without what its import does to the process.

`import lvis` (0.5.3) configures the root logger and needs matplotlib and OpenCV, which in
turn needs libGL; its evaluation uses `np.float`, which numpy 1.24 removed. The three files
that compute AP need none of it. They are loaded here as private modules, from the files as
they are installed: neither `sys.modules["lvis"]` nor numpy nor any logger is touched.
"""

from __future__ import annotations

import builtins
import importlib.util
import logging
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import numpy as np

from lst_cli.errors import LstError

_HINT = "install it: pip install 'lvis>=0.5.3'"
_SUBMODULES = ("lvis", "results", "eval")  # each imports only those before it


@dataclass(frozen=True)
class LvisPackage:
    """The classes of lvis-api that compute AP.

    Attributes:
        ground_truth: `LVIS`, an index of annotations.
        results: `LVISResults`, an index of detections.
        evaluation: `LVISEval`, the federated AP.
        params: `Params`, thresholds and area ranges.
    """

    ground_truth: Any
    results: Any
    evaluation: Any
    params: Any


@lru_cache(maxsize=1)
def load_lvis() -> LvisPackage:
    """Load the AP code of the installed `lvis` package, once.

    Returns:
        Its classes.

    Raises:
        LstError: If `lvis` or `pycocotools` is not installed or is not the package expected.
    """
    folder = _find_package()
    modules: dict[str, types.ModuleType] = {}
    for name in _SUBMODULES:
        modules[f"lvis.{name}"] = _load_file(name, folder / f"{name}.py", modules)
    vars(modules["lvis.eval"])["np"] = _numpy_with_float()
    for module in modules.values():  # they warn of what is no fault
        logging.getLogger(module.__name__).disabled = True
    try:
        return LvisPackage(
            ground_truth=vars(modules["lvis.lvis"])["LVIS"],
            results=vars(modules["lvis.results"])["LVISResults"],
            evaluation=vars(modules["lvis.eval"])["LVISEval"],
            params=vars(modules["lvis.eval"])["Params"],
        )
    except KeyError as error:
        raise LstError(f"the lvis package in {folder} has no {error.args[0]}", _HINT) from None


def _find_package() -> Path:
    """Give the directory of the installed package, without importing it."""
    spec: ModuleSpec | None = PathFinder.find_spec("lvis")
    if spec is None:
        try:  # an editable install is known to its own finder only
            spec = importlib.util.find_spec("lvis")
        except ValueError:  # a module without a spec stands in sys.modules
            spec = None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location)
        if all((folder / f"{name}.py").is_file() for name in _SUBMODULES):
            return folder
    raise LstError("the package `lvis`, which computes AP, is not installed", _HINT)


def _load_file(name: str, path: Path, loaded: dict[str, types.ModuleType]) -> types.ModuleType:
    """Run one file of the package as a private module that sees its siblings in `loaded`."""
    spec = importlib.util.spec_from_file_location(f"{__name__}._{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The files say `from lvis.lvis import LVIS`. A module's own `__builtins__` decides what
    # `import` means in it, so the sibling can be handed over without registering it anywhere.
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _importer(loaded)}
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise LstError(f"cannot load {path}: {error}", _HINT) from error
    return module


def _importer(loaded: dict[str, types.ModuleType]) -> Callable[..., Any]:
    """Give an `__import__` that answers with `loaded` before it asks Python."""

    def import_module(name: str, *args: Any, **keywords: Any) -> Any:
        return loaded[name] if name in loaded else builtins.__import__(name, *args, **keywords)

    return import_module


def _numpy_with_float() -> types.ModuleType:
    """Give a stand-in for numpy that still has the `float` numpy once had."""

    class Numpy(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

    numpy = Numpy("numpy")
    vars(numpy)["float"] = float
    return numpy
