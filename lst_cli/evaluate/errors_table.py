"""The table of where AP is lost, and its files."""

from __future__ import annotations

from pathlib import Path

from lst_cli.ap.errors import KINDS, ErrorAnalysis
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Cell, Column, Table, bin_heading
from lst_cli.evaluate.errors_plot import plot_errors
from lst_cli.workspace.atomic import write_bytes, write_text

NAMES = {"segm": "masks", "bbox": "boxes"}

MEANINGS = {
    "classification": "lies on an annotation of another class",
    "localisation": "touches one of its class, IoU 0.1 to 0.5",
    "both": "touches one of another class only",
    "duplicate": "lies on one that a better detection took",
    "background": "lies on nothing that is annotated",
    "missed": "annotation that nothing found",
}


def errors_table(analysis: ErrorAnalysis) -> Table:
    """Make the table of errors by kind, and of what each kind costs by bin.

    Returns:
        Rows with keys ``kind``, ``meaning``, ``count``, ``dAP50`` and for every bin b
        ``count(b)`` and ``dAP50(b)``; the last row is AP50 as it is, with the right detections
        as its count.
    """
    sets = {"": analysis.all, **{f"({one.bin})": one for one in analysis.bins}}
    rows: list[dict[str, Cell]] = []
    for kind in KINDS:
        row: dict[str, Cell] = {"kind": kind, "meaning": MEANINGS[kind]}
        for suffix, one in sets.items():
            row[f"count{suffix}"] = one.counts[kind]
            row[f"dAP50{suffix}"] = one.dAP50[kind]
        rows.append(row)
    last: dict[str, Cell] = {"kind": "AP50", "meaning": "as it is", "count": analysis.right}
    rows.append(last | {f"dAP50{suffix}": one.AP50 for suffix, one in sets.items()})
    columns = (
        Column("kind", "kind", "text"),
        Column("meaning", "", "text"),
        Column("count", "count", "integer", description="detections, or missed annotations"),
        Column("dAP50", "all", classes=analysis.all.with_ground_truth),
        *(
            Column(f"dAP50({one.bin})", bin_heading(one.bin), classes=one.with_ground_truth)
            for one in analysis.bins
        ),
    )
    return Table(
        f"Where AP50 of {NAMES[analysis.iou_type]} is lost",
        columns,
        tuple(rows),
        "What AP50 would gain, in points, if all errors of one kind were mended and no others; by "
        "training instances. Prices overlap and do not sum to what is lost.",
    )


def write_errors(analysis: ErrorAnalysis, directory: Path) -> tuple[Path, ...]:
    """Write an analysis, its table and its plot.

    Args:
        analysis: What to write.
        directory: Where to; made if missing.

    Returns:
        `errors.json`, `errors.csv` and `errors.png`; those of boxes are called `errors-bbox`.

    Raises:
        LstError: If a file cannot be written.
    """
    stem = "errors" if analysis.iou_type == "segm" else "errors-bbox"
    paths = tuple(directory / f"{stem}{suffix}" for suffix in (".json", ".csv", ".png"))
    drawn = plot_errors(analysis)
    write_text(paths[0], analysis.model_dump_json(indent=1) + "\n")
    write_text(paths[1], errors_csv(analysis))
    write_bytes(paths[2], drawn)
    return paths


def errors_csv(analysis: ErrorAnalysis) -> str:
    """Give the table for programs, with the counts of every bin."""
    table = errors_table(analysis)
    counts = tuple(
        Column(f"count({one.bin})", f"count {one.bin}", "integer") for one in analysis.bins
    )
    columns = tuple(column for column in table.columns if column.key != "meaning")
    return render_csv(Table(table.title, (*columns, *counts), table.rows))
