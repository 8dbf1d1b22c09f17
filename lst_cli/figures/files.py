"""Single figures, each a picture with its numbers: what `lst figure` draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lst_cli.display.canvas import PAPER_SCALE, PAPER_WIDTH, render, render_pdf
from lst_cli.display.markup import write_csv
from lst_cli.display.tables import Cell, Column, Table
from lst_cli.figures import FigureName
from lst_cli.figures.attention import TOP, Attention, Layout, lay_out, top_base_classes
from lst_cli.figures.attention_plot import attention_caption, compose_attention, left_out_sentence

_Attends = tuple[str, list[tuple[str, float]]]  # a class, and base classes with their m


@dataclass(frozen=True)
class Figure:
    """A figure for a paper.

    Attributes:
        name: Its file name without suffix.
        caption: What it shows.
        png: The picture.
        pdf: The same for print: lines and letters, no pixels but those of photographs.
        csv: Its numbers.
        numbers: The same for JSON.
        table: What a reader of the terminal should see of them.
    """

    name: FigureName
    caption: str
    png: bytes
    pdf: bytes
    csv: str
    numbers: dict[str, Any]
    table: Table


def finish_figure(
    name: FigureName,
    picture: Any,
    *,
    caption: str,
    csv: str,
    numbers: dict[str, Any],
    table: Table,
) -> Figure:
    """Render what was laid out.

    Args:
        name: Which figure it is.
        picture: Of `lst_cli.display.canvas.make_figure`.
        caption: What it shows.
        csv: Its numbers.
        numbers: The same for JSON.
        table: What a reader of the terminal should see of them.
    """
    return Figure(name, caption, render(picture), render_pdf(picture), csv, numbers, table)


def attention_figure(attention: Attention) -> Figure:
    """Draw the paper's Fig. 6.

    Args:
        attention: Of a phase's classes.

    Raises:
        LstError: If scikit-learn is needed and not installed.
    """
    layout = lay_out(attention)
    return finish_figure(
        "attention",
        compose_attention(attention, layout, scale=PAPER_SCALE, width=PAPER_WIDTH),
        caption=attention_caption(attention, layout),
        csv=_attention_csv(attention, layout),
        numbers=_attention_numbers(attention, layout),
        table=attention_table(attention),
    )


def attention_table(attention: Attention) -> Table:
    """Make the table of the base classes that each class attends to most."""
    base = len(attention.base_classes)
    columns = [Column("class", "class", "text", lambda one: one[0])]
    for place in range(min(TOP, base)):
        heading = "then" if place else "attends to"
        columns += [
            Column(f"base {place + 1}", heading, "text", _of_top(place, 0)),
            Column(f"m {place + 1}", "m", "share", _of_top(place, 1)),
        ]
    remark = (
        f"m of a class sums to 1 over the {base:,} base classes; without any preference each has "
        f"{1 / base:.2g}."
    )
    return Table.of(
        f"What the classes of phase {attention.phase} attend to",
        zip(attention.classes, top_base_classes(attention), strict=True),
        columns,
        " ".join([remark, *left_out_sentence(attention)]),
    )


def _of_top(place: int, part: Literal[0, 1]) -> Callable[[_Attends], Cell]:
    """Read the name (0) or m (1) of the base class at a place."""
    return lambda one: one[1][place][part]


def _attention_csv(attention: Attention, layout: Layout) -> str:
    places = range(1, min(TOP, len(attention.base_classes)) + 1)
    head = ["class", "x", "y", *(f"{what}_{n}" for n in places for what in ("base", "m"))]
    rows = zip(attention.classes, layout.points, top_base_classes(attention), strict=True)
    lines = []
    for name, (x, y), top in rows:
        cells = [cell for other, weight in top for cell in (other, f"{weight:.6g}")]
        lines.append([name, f"{x:.6g}", f"{y:.6g}", *cells])
    return write_csv(head, lines)


def _attention_numbers(attention: Attention, layout: Layout) -> dict[str, Any]:
    rows = zip(attention.classes, layout.points, top_base_classes(attention), strict=True)
    return {
        "phase": attention.phase,
        "base_classes": len(attention.base_classes),
        "method": "principal components" if layout.perplexity is None else "t-SNE",
        "distance": "Hellinger",
        "perplexity": layout.perplexity,
        "classes": [
            {
                "class": name,
                "x": float(x),
                "y": float(y),
                "top": [{"class": other, "m": weight} for other, weight in top],
            }
            for name, (x, y), top in rows
        ],
        "left_out": list(attention.left_out),
    }
