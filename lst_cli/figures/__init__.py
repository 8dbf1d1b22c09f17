"""The paper's figures, each with its numbers: what `lst figure` draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from lst_cli.display.tables import Table

FigureName = Literal["balance", "distill", "replay", "mwg", "tail", "attention"]
FIGURES: tuple[FigureName, ...] = get_args(FigureName)


@dataclass(frozen=True)
class Figure:
    """A figure for a paper."""

    name: FigureName  # also its file name without suffix
    caption: str
    picture: Any  # of matplotlib, laid out and not yet drawn
    csv: str  # its numbers
    numbers: dict[str, Any]  # the same for JSON
    table: Table  # what the terminal shows of them
