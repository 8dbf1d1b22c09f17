"""The tables of a comparison."""

from __future__ import annotations

from lst_cli.compare.paired import ComparedRow, Comparison, Difference
from lst_cli.display.markup import escape_markdown, render_markdown
from lst_cli.display.tables import Cell, Column, Table, bin_heading, format_value

CLEAR = "*"
"""The mark of a difference whose interval leaves 0 out."""

SETTINGS_SHOWN = 12
"""Of the settings that differ, so many are told in a sentence."""

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
        _title(comparison),
        tuple(columns),
        tuple(_row(one, names) for one in comparison.rows),
        f"AP in percent; differences in points, each minus the first. From and to: the 95 % "
        f"interval of {comparison.resamples:,} times the images drawn anew, the same for both. "
        f"{CLEAR} marks what leaves 0 out.",
    )


def layout_table(comparison: Comparison) -> Table:
    """Make the table with a row a run: the layout of the paper's Table 1.

    Returns:
        Rows with keys ``run``, ``AP(s)`` for every set of classes s, and ``image_passes``.
    """
    rows: list[dict[str, Cell]] = [
        {
            "run": run.name,
            **{f"AP({one.name})": one.estimates[place].AP for one in comparison.rows},
            "image_passes": run.image_passes,
        }
        for place, run in enumerate(comparison.runs)
    ]
    columns = (
        Column("run", "run", "text"),
        *_columns(comparison),
        Column("image_passes", "image passes", "integer", description="in training"),
    )
    return Table(_title(comparison), columns, tuple(rows), "AP in percent.")


def differences_table(comparison: Comparison) -> Table:
    """Make the table of differences from the first run, with a row for each set of classes.

    Returns:
        Rows with keys ``row`` and, for every run r but the first, ``difference(r)`` as text.
    """
    others = [run.name for run in comparison.runs[1:]]
    rows: list[dict[str, Cell]] = [
        {
            "row": row_name(one),
            **{
                f"difference({name})": _difference(difference)
                for name, difference in zip(others, one.differences, strict=True)
            },
        }
        for one in comparison.rows
    ]
    return Table(
        f"{NAMES[comparison.iou_type]} AP minus that of {comparison.runs[0].name}",
        (
            Column("row", "classes", "text"),
            *(Column(f"difference({name})", name, "change") for name in others),
        ),
        tuple(rows),
        f"Points. In brackets the 95 % interval of {comparison.resamples:,} times the images "
        f"drawn anew, the same for both. {CLEAR} marks what leaves 0 out.",
    )


def comparison_tables(comparison: Comparison) -> list[Table]:
    """All tables of a comparison, as one reads them.

    Two runs stand side by side, a row for each set of classes; more than two have a row each.
    """
    if len(comparison.runs) == 2:
        return [runs_table(comparison), compare_table(comparison)]
    return [runs_table(comparison), layout_table(comparison), differences_table(comparison)]


def difference_sentences(comparison: Comparison) -> list[str]:
    """A sentence for each run that was made otherwise than the first."""
    first = comparison.runs[0]
    found = []
    for run in comparison.runs[1:]:
        shown = [str(one) for one in run.differs[:SETTINGS_SHOWN]]
        if len(run.differs) > len(shown):
            shown.append(f"and {len(run.differs) - len(shown)} more, see --json")
        if shown:
            found.append(f"{run.name} differs from {first.name}: {'; '.join(shown)}")
    return found


def render_comparison_markdown(comparison: Comparison) -> str:
    """Render a comparison as a Markdown page."""
    parts = ["# Comparison"]
    for table in comparison_tables(comparison):
        parts += [f"## {escape_markdown(table.title)}", render_markdown(table).rstrip()]
        if table.remark:
            parts.append(escape_markdown(table.remark))
    if sentences := [*comparison.notes, *difference_sentences(comparison)]:
        parts.append("\n".join(f"- {escape_markdown(one)}" for one in sentences))
    return "\n\n".join(parts) + "\n"


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


def _title(comparison: Comparison) -> str:
    return (
        f"{NAMES[comparison.iou_type]} AP of the same {comparison.classes:,} classes in the same "
        f"{comparison.images:,} images"
    )


def _columns(comparison: Comparison) -> list[Column]:
    """A column for each set of classes; those of all classes last, as in the paper."""
    rows = sorted(comparison.rows, key=lambda one: one.what == "all")
    return [
        Column(
            f"AP({one.name})",
            bin_heading(one.name) if one.what == "bin" else one.name,
            classes=one.with_ground_truth,
        )
        for one in rows
    ]


def _difference(difference: Difference) -> str | None:
    if difference.AP is None:
        return None
    text = format_value("change", difference.AP)
    if difference.interval is None:
        return text
    low, high = (format_value("change", bound) for bound in difference.interval)
    return f"{text} ({low} to {high}){CLEAR if difference.clear else ''}"


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
