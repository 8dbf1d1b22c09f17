"""The tables of a comparison."""

from __future__ import annotations

from lst_cli.evaluation.compare import ComparedRow, Comparison
from lst_cli.reporting.tables import Cell, Column, Table, bin_heading

CLEAR = "*"
"""The mark of a difference whose interval leaves 0 out."""

NAMES = {"segm": "Mask", "bbox": "Box"}


def compare_table(comparison: Comparison) -> Table:
    """Make the table of AP of every run and of the differences from the first.

    Returns:
        Rows with keys ``row``, ``classes``, ``with_ground_truth``, for every run r ``AP(r)``,
        and for every run but the first ``difference(r)``, ``low(r)``, ``high(r)`` and
        ``clear(r)``.
    """
    names = [run.name for run in comparison.runs]
    columns = [
        Column("row", "classes", "text"),
        Column("classes", "number", "integer"),
        Column("with_ground_truth", "with ground truth", "integer"),
        *(Column(f"AP({name})", name) for name in names),
    ]
    for name in names[1:]:
        heading = "difference" if len(names) == 2 else f"{name} minus {names[0]}"
        columns += [
            Column(f"difference({name})", heading, "change"),
            Column(f"low({name})", "from", "change"),
            Column(f"high({name})", "to", "change"),
            Column(f"clear({name})", "", "text", description=f"{CLEAR}: the interval is all to "
                   "one side of 0"),
        ]  # fmt: skip
    return Table(
        f"{NAMES[comparison.iou_type]} AP of the same {comparison.classes:,} classes in the same "
        f"{comparison.images:,} images",
        tuple(columns),
        tuple(_row(one, names) for one in comparison.rows),
        f"AP in percent; differences in points, each minus the first. From and to: the 95 % "
        f"interval of {comparison.resamples:,} times the images drawn anew, the same for both. "
        f"{CLEAR} marks what leaves 0 out.",
    )


def runs_table(comparison: Comparison) -> Table:
    """Make the table of what is compared.

    Returns:
        Rows with keys ``run``, ``phase``, ``classes``, ``detections``, ``image_passes`` and
        ``source``.
    """
    rows: list[dict[str, Cell]] = [
        {
            "run": run.name,
            "phase": run.phase,
            "classes": run.classes,
            "detections": run.detections,
            "image_passes": run.image_passes,
            "source": run.source,
        }
        for run in comparison.runs
    ]
    columns = (
        Column("run", "run", "text"),
        Column("phase", "phase", "phase"),
        Column("classes", "classes seen", "integer"),
        Column("detections", "detections", "integer"),
        Column("image_passes", "image passes", "integer", description="in training"),
        Column("source", "source", "text"),
    )
    return Table("What is compared", columns, tuple(rows))


def row_name(row: ComparedRow) -> str:
    """Name a set of classes as tables and plots do."""
    return f"instances {bin_heading(row.name)}" if row.what == "bin" else row.name


def _row(row: ComparedRow, names: list[str]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {
        # A spreadsheet takes what begins with = for a formula.
        "row": row_name(row),
        "classes": row.classes,
        "with_ground_truth": row.with_ground_truth,
    }
    for name, estimate in zip(names, row.estimates, strict=True):
        cells[f"AP({name})"] = estimate.AP
    for name, difference in zip(names[1:], row.differences, strict=True):
        low, high = difference.interval or (None, None)
        cells |= {
            f"difference({name})": difference.AP,
            f"low({name})": low,
            f"high({name})": high,
            f"clear({name})": CLEAR if difference.clear else "",
        }
    return cells
