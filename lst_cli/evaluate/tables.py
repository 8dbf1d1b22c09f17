"""AP of one evaluation, bin by bin, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

from lst_cli.ap.metrics import BinMetrics, Scores
from lst_cli.display.tables import Column, Table, bin_heading


def scores_table(scores: Scores, what: str = "Mask AP") -> Table:
    """Make the table of AP and its interval: all classes, and each bin of training instances."""
    scored = len(scores.per_class)
    means = {name: getattr(scores, name) for name in ("AP", "AP50", "AP75", "interval")}
    every = BinMetrics(
        bin="all", low=0, high=None, classes=scored, with_ground_truth=scored, **means
    )
    instances = " by training instances" if scores.bins else ""
    return Table.of(
        f"{what}{instances}, with intervals",
        (*scores.bins, every),
        (
            Column(
                "bin",
                "classes with",
                "text",
                lambda one: bin_heading(one.bin),
                description="training instances of a class",
            ),
            Column("with_ground_truth", "scored", "integer", description="with ground truth"),
            Column("AP", "AP"),
            Column("low", "from", get=_bound(0), description="lower bound of AP"),
            Column("high", "to", get=_bound(1), description="upper bound of AP"),
            Column("AP50", "AP50"),
            Column("AP75", "AP75"),
        ),
        "From and to: AP and 1.96 standard deviations to each side, over 200 evaluations of images "
        "drawn with replacement. Where they do not differ the images are too few to tell, and "
        "nothing is printed.",
    )


def _bound(end: int) -> Callable[[BinMetrics], float | None]:
    return lambda one: one.interval[end] if one.interval else None


def newest(phase: int) -> str:
    """Head of the table's title in a report that has several phases."""
    return f"Mask AP after {'the base phase' if phase == 0 else f'phase {phase}'}"


def means_table(found: dict[str, Scores]) -> Table:
    """Make the table of lvis-api's means: a row for masks, a row for boxes."""
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR")
    return Table.of(
        "LVIS AP",
        ({"of": name, **dict(scores)} for name, scores in found.items()),
        (
            Column("of", "", "text", itemgetter("of")),
            *(Column(name, name, get=itemgetter(name)) for name in names),
        ),
    )
