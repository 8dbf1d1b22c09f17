"""Single figures, each a picture with its numbers: what `lst figure` draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lst_cli.display.canvas import PAPER_SCALE, PAPER_WIDTH, render, render_pdf
from lst_cli.display.markup import write_csv
from lst_cli.display.tables import Cell, Column, Table
from lst_cli.figures import FigureName
from lst_cli.figures.attention import TOP, Attention, Layout, lay_out, top_base_classes
from lst_cli.figures.attention_plot import attention_caption, compose_attention


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
    """Make the table of the base classes that each class attends to most.

    Returns:
        Rows with keys ``class``, and from 1 on ``base 1`` and ``m 1``.
    """
    base = len(attention.base_classes)
    columns = [Column("class", "class", "text")]
    for place in range(1, min(TOP, base) + 1):
        columns.append(Column(f"base {place}", "attends to" if place == 1 else "then", "text"))
        columns.append(Column(f"m {place}", "m", "share"))
    rows: list[dict[str, Cell]] = []
    for name, top in zip(attention.classes, top_base_classes(attention), strict=True):
        row: dict[str, Cell] = {"class": name}
        for place, (other, weight) in enumerate(top, start=1):
            row |= {f"base {place}": other, f"m {place}": weight}
        rows.append(row)
    remark = (
        f"m of a class sums to 1 over the {base:,} base classes; without any preference each has "
        f"{1 / base:.2g}."
    )
    if attention.left_out:
        remark += f" Without a box that could be used: {', '.join(attention.left_out)}."
    return Table(
        f"What the classes of phase {attention.phase} attend to",
        tuple(columns),
        tuple(rows),
        remark,
    )


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
