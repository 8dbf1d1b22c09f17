"""AP of one evaluation, bin by bin, and how sure it is."""

from __future__ import annotations

from lst_cli.ap.metrics import BinMetrics, Scores
from lst_cli.display.tables import Cell, Column, Table, bin_heading

INTERVAL_REMARK = (
    "From and to: AP and 1.96 standard deviations to each side, over 200 evaluations of images "
    "drawn anew with replacement. Where they do not differ the images are too few to tell, and "
    "nothing is printed."
)


def scores_table(scores: Scores, what: str = "Mask AP") -> Table:
    """Make the table of AP and its interval: all classes, and each bin of training instances.

    Args:
        scores: One evaluation.
        what: Head of its title.

    Returns:
        Rows with keys ``bin``, ``classes``, ``with_ground_truth``, ``AP``, ``low``, ``high``,
        ``AP50`` and ``AP75``; the last one is of all classes.
    """
    rows = [_bin_row(entry) for entry in scores.bins]
    low, high = scores.interval or (None, None)
    rows.append(
        {
            "bin": "all",
            "with_ground_truth": len(scores.per_class),
            "AP": scores.AP,
            "low": low,
            "high": high,
            "AP50": scores.AP50,
            "AP75": scores.AP75,
        }
    )
    instances = " by training instances" if scores.bins else ""
    return Table(
        f"{what}{instances}, with intervals",
        (
            Column("bin", "classes with", "text", description="training instances of a class"),
            Column("with_ground_truth", "scored", "integer", description="with ground truth"),
            Column("AP", "AP"),
            Column("low", "from", description="lower bound of AP"),
            Column("high", "to", description="upper bound of AP"),
            Column("AP50", "AP50"),
            Column("AP75", "AP75"),
        ),
        tuple(rows),
        INTERVAL_REMARK,
    )


def newest(phase: int) -> str:
    """Head of the table's title in a report that has several phases."""
    return f"Mask AP after {'the base phase' if phase == 0 else f'phase {phase}'}"


def means_table(found: dict[str, Scores]) -> Table:
    """Make the table of lvis-api's means: a row for masks, a row for boxes.

    Args:
        found: Scores by what they are of.
    """
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR")
    return Table(
        "LVIS AP",
        (Column("of", "", "text"), *(Column(name, name) for name in names)),
        tuple(
            {"of": of, **{name: getattr(scores, name) for name in names}}
            for of, scores in found.items()
        ),
    )


def _bin_row(entry: BinMetrics) -> dict[str, Cell]:
    low, high = entry.interval or (None, None)
    return {
        "bin": bin_heading(entry.bin),
        "classes": entry.classes,
        "with_ground_truth": entry.with_ground_truth,
        "AP": entry.AP,
        "low": low,
        "high": high,
        "AP50": entry.AP50,
        "AP75": entry.AP75,
    }
