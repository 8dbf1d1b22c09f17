"""The table of where AP is lost, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lst_cli.ap.errors import KINDS, ErrorAnalysis, ErrorShares
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Column, Table, bin_heading
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


def errors_table(analysis: ErrorAnalysis, *, counts: bool = False) -> Table:
    """Make the table of errors by kind, and of what each kind costs by bin.

    The last row is AP50 as it is, with the right detections as its count.

    Args:
        analysis: The errors.
        counts: Whether to give the counts of every bin instead of what the kinds mean.
    """
    columns = [
        Column("kind", "kind", "text", lambda kind: kind),
        Column("meaning", "", "text", lambda kind: MEANINGS.get(kind, "as it is")),
        Column(
            "count",
            "count",
            "integer",
            lambda kind: analysis.all.counts.get(kind, analysis.right),
            description="detections, or missed annotations",
        ),
        _price_column("dAP50", "all", analysis.all),
        *(_price_column(f"dAP50({one.bin})", bin_heading(one.bin), one) for one in analysis.bins),
    ]
    if counts:
        del columns[1]
        columns += [
            Column(f"count({one.bin})", f"count {one.bin}", "integer", one.counts.get)
            for one in analysis.bins
        ]
    return Table.of(
        f"Where AP50 of {NAMES[analysis.iou_type]} is lost",
        (*KINDS, "AP50"),
        columns,
        "What AP50 would gain, in points, if all errors of one kind were mended and no others; by "
        "training instances. Prices overlap and do not sum to what is lost.",
    )


def _price_column(key: str, heading: str, shares: ErrorShares) -> Column:
    def price(kind: Any) -> float | None:
        return shares.dAP50.get(kind, shares.AP50)

    return Column(key, heading, get=price, classes=shares.with_ground_truth)


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
    return render_csv(errors_table(analysis, counts=True))
