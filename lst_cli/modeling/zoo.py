"""Configs of detectron2's model zoo over its defaults."""

from __future__ import annotations

import re

from detectron2.config import CfgNode

from lst_cli.errors import LstError
from lst_cli.modeling.zoo_files import read_config
from lst_cli.settings.nested import shorten


def merge_config(cfg: CfgNode, name: str) -> None:
    """Put the values of a config over detectron2's defaults.

    Args:
        cfg: The defaults; changed in place.
        name: A file of the model zoo, or anywhere.

    Raises:
        LstError: If the file, or one that it is based on, is missing, no plain YAML, or has a key
            or a value that detectron2 does not know.
    """
    table = read_config(name)
    if table.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise LstError(
            f"model.config: {name}: VERSION {shorten(table['VERSION'])}, not {cfg.VERSION}",
            "give a config of detectron2, not of its predecessors",
        )
    try:
        cfg.merge_from_other_cfg(CfgNode(table))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error.args[0] if error.args else error).split())
        reason = re.sub(r" with values .* (?=for config key)", " ", reason)
        raise LstError(
            f"model.config: {name}: {reason[:200]}",
            "see detectron2/config/defaults.py for its keys",
        ) from error
