"""The paper's figures, each with its numbers."""

from typing import Literal, get_args

FigureName = Literal["balance", "distill", "replay", "mwg", "tail", "attention"]
FIGURES: tuple[FigureName, ...] = get_args(FigureName)
