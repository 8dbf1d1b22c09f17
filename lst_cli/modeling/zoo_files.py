"""detectron2's YAML configs, its own and the user's: data only, whatever their tags say.

They are read without detectron2 and torch.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import merge, shorten
from lst_cli.settings.presets import TIMM

BOX_LAYERS = "MODEL.ROI_BOX_HEAD.NUM_FC"
_BASE = "_BASE_"
_LARGEST = 2**20  # bytes
_DEEPEST = 20


class _Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """Plain values, with aliases of short lists, as detectron2 itself writes them.

    Others could stand for the same list a million million times, or for themselves.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            node = self.anchors.get(self.peek_event().anchor)
            items = node.value if isinstance(node, yaml.SequenceNode) else [node]
            whole = node is not None and node.end_mark is not None and len(items) <= 100
            if not whole or not all(isinstance(one, yaml.ScalarNode) for one in items):
                raise yaml.YAMLError("aliases (*name) of other values than short lists")
        return super().compose_node(parent, index)


class _LoaderWithoutTagged(_Loader):
    """Values with a tag, such as code, become None."""


_LoaderWithoutTagged.add_constructor(None, lambda loader, node: None)


def configs() -> Path | None:
    """Where the configs of detectron2's model zoo lie; None without detectron2."""
    try:
        found = find_spec("detectron2")
    except (ImportError, ValueError):
        return None
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "model_zoo" / "configs" if places else None


def read_config(
    name: str, option: str = "model.config:", *, drop_tagged: bool = False
) -> dict[str, Any]:
    """Read a config, below `configs` or anywhere, and those that it is based on.

    For a network of timm it is that of every Mask R-CNN with a pyramid. It is empty without
    detectron2. Raises an `LstError` that names the option if one is missing or not plain YAML; with
    `drop_tagged`, values with a YAML tag, such as code, are None instead.
    """
    folder, loader = configs(), _LoaderWithoutTagged if drop_tagged else _Loader
    if name.startswith(TIMM):
        name = "Base-RCNN-FPN.yaml"
    return _read(folder / name, (), option, loader) if folder is not None else {}


def require_config(settings: Settings) -> None:
    """Raise an `LstError` if a config is missing, not plain YAML, or that of another network."""
    name = settings.model.config
    table = read_config(name)
    for key in BOX_LAYERS.split("."):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    layers = settings.detectron2.get(BOX_LAYERS, table or 0)
    if configs() is not None and isinstance(layers, int) and layers < 1:
        raise LstError(
            f"model.config: {name}: {BOX_LAYERS} = {layers}: the classifier reads a linear layer",
            "choose a Mask R-CNN with a feature pyramid (FPN)",
        )


def require_network(settings: Settings) -> None:
    """As `require_config`; also if timm, which imports torch, has no such network."""
    require_config(settings)
    if settings.model.config.startswith(TIMM):
        from lst_cli.modeling.timm_network import timm_config

        timm_config(settings.model.config.removeprefix(TIMM))


def _read(
    path: Path, above: tuple[Path, ...], option: str, loader: type[_Loader]
) -> dict[str, Any]:
    where = f"{option} {path}"
    if above:
        where += f", the {_BASE} of {above[-1]}"
    try:
        real = path.resolve()
        data = read_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LstError(
            f"{where}: no such file", f"choose one of the files below {configs()}"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LstError(f"{where}: cannot be read: {reason}", "give a YAML file") from error
    if real in above or len(above) > _DEEPEST:
        raise LstError(f"{where}: is based on itself", f"remove the {_BASE} of one of the files")
    if len(data) > _LARGEST:
        raise LstError(f"{where}: larger than {_LARGEST:,} bytes", "give a YAML file of detectron2")
    table = _parse(data, where, loader)
    bases = table.pop(_BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise LstError(
            f"{where}: {_BASE}: should be a file, got {shorten(bases)}", f"correct {path}"
        )
    below: dict[str, Any] = {}
    for base in bases:
        if "://" in base:
            raise LstError(f"{where}: {_BASE}: {base[:100]} is no file", "download it")
        file = path.parent / Path(base).expanduser()
        below = merge(below, _read(file, (*above, real), option, loader))
    return merge(below, table)


def _parse(data: bytes, where: str, loader: type[_Loader]) -> dict[str, Any]:
    hint = "give a YAML file of detectron2 with plain values"
    try:
        table = yaml.load(data.decode("utf-8-sig"), Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise LstError(f"{where}{place}: not plain YAML: {problem[:200]}", hint) from error
    except RecursionError as error:
        raise LstError(f"{where}: nested too deep", hint) from error
    except ValueError as error:  # no UTF-8, or a date that does not exist
        raise LstError(f"{where}: not plain YAML: {str(error)[:200]}", hint) from error
    if not isinstance(table, dict) or not _is_plain(table, _DEEPEST):
        raise LstError(f"{where}: holds no table of plain values", hint)
    return table


def _is_plain(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_plain(one, depth - 1) for one in inside)
