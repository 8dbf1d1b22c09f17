"""Every picture of a report, drawn once for the page and for the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lst_cli.display.canvas import DARK, LIGHT, Theme
from lst_cli.display.class_plots import (
    WIDE_SIZE,
    plot_class_counts,
    plot_replay_balance,
    replay_size,
)
from lst_cli.display.panels import draw_panel
from lst_cli.display.records import Panel, ReplayBalance
from lst_cli.errors import LstError
from lst_cli.figures.attention import lay_out
from lst_cli.figures.attention_plot import attention_caption, attention_size, plot_attention
from lst_cli.progress import Progress, silent
from lst_cli.report.ap_plots import (
    BIN_SIZE,
    OLD_NEW_SIZE,
    plot_ap_by_bin,
    plot_class_ap,
    plot_old_new,
)
from lst_cli.report.data import ReportData


@dataclass(frozen=True)
class Plot:
    """One plot in both themes.

    Attributes:
        name: Its file name without suffix.
        caption: What it shows, one sentence.
        size: (width, height) on the page; the images have twice as many pixels.
        wide: Whether it takes the whole width of the page.
        light: PNG for a light page, and for the file.
        dark: PNG for a dark page.
    """

    name: str
    caption: str
    size: tuple[int, int]
    wide: bool
    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Artwork:
    """The plots, and one JPEG for each panel of the report that could be drawn."""

    plots: tuple[Plot, ...]
    panels: tuple[tuple[Panel, bytes], ...]


def _replay_clause(balances: Sequence[ReplayBalance]) -> str:
    ways = sorted({balance.replay for balance in balances})
    if ways == ["balanced"]:
        return ", where old classes are replayed until they stand level with the new."
    return f" (step.replay = {', '.join(ways)})."


def draw_artwork(
    data: ReportData,
    progress: Progress = silent,
    skip: Callable[[LstError], None] | None = None,
) -> Artwork:
    """Draw every plot and panel of a report.

    Args:
        data: The report.
        progress: Told how many pictures are done, and of how many.
        skip: Told why a panel cannot be drawn, which is left out then.

    Raises:
        LstError: If no phase has been evaluated, there is attention to draw and scikit-learn is
            not installed, or a panel cannot be drawn and there is no `skip`.
    """
    metrics = data.metrics
    jobs: list[tuple[str, str, tuple[int, int], bool, Callable[[Theme], bytes]]] = [
        (
            "ap_by_bin",
            "Mask AP by bins of training instances after each phase. Bins overlap; a bin has no "
            "point before its first class is learned.",
            BIN_SIZE,
            False,
            lambda theme: plot_ap_by_bin(metrics, theme, joint=data.joint),
        ),
        (
            "class_ap",
            "Every class with ground truth, after the last phase."
            if len(metrics) == 1
            else "Every class with ground truth, after the last phase. The gap between a dashed "
            "line and the thick one is what a phase's classes lost or gained since.",
            WIDE_SIZE,
            True,
            lambda theme: plot_class_ap(data.classes, metrics, theme),
        ),
        (
            "class_counts",
            "How the training data thins out, and where the phases begin.",
            WIDE_SIZE,
            True,
            lambda theme: plot_class_counts(data.classes, theme),
        ),
    ]
    if not data.joint:  # where all classes are learned at once, none is old
        job = (
            "old_new",
            "Classes of earlier phases, of the phase itself, and both.",
            OLD_NEW_SIZE,
            False,
            lambda theme: plot_old_new(metrics, theme),
        )
        jobs.insert(1, job)
    if data.replay:
        jobs.append(
            (
                "replay_balance",
                "Grey: instances of the seen classes in all their images. Colour: what the phase "
                f"trains on{_replay_clause(data.replay)}",
                replay_size(len(data.replay)),
                True,
                lambda theme: plot_replay_balance(data.replay, theme),
            )
        )
    if data.attention is not None:
        attention, layout = data.attention, lay_out(data.attention)
        jobs.append(
            (
                "attention",
                attention_caption(attention, layout),
                attention_size(len(attention.classes)),
                True,
                lambda theme: plot_attention(attention, layout, theme),
            )
        )
    total = len(jobs) + len(data.panels)
    plots = []
    for done, (name, caption, size, wide, draw) in enumerate(jobs, start=1):
        plots.append(Plot(name, caption, size, wide, light=draw(LIGHT), dark=draw(DARK)))
        progress("pictures", done, total)
    panels = []
    for done, panel in enumerate(data.panels, start=len(jobs) + 1):
        try:
            panels.append((panel, draw_panel(panel)))
        except LstError as error:
            if skip is None:
                raise
            skip(error)
        progress("pictures", done, total)
    return Artwork(tuple(plots), tuple(panels))
