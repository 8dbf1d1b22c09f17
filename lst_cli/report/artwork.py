"""Every picture of a report, drawn once for the page and for the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lst_cli.display import class_plots
from lst_cli.display.canvas import DARK, LIGHT, Theme, render
from lst_cli.display.panels import draw_panel
from lst_cli.display.records import Panel, ReplayBalance
from lst_cli.errors import LstError
from lst_cli.figures.attention import (
    attention_caption,
    attention_size,
    compose_attention,
    lay_out,
)
from lst_cli.progress import Progress, silent
from lst_cli.report import ap_plots
from lst_cli.report.data import ReportData


class Plot(NamedTuple):
    """One plot in both themes."""

    name: str  # its file name without suffix
    caption: str  # one sentence
    size: tuple[int, int]  # width and height on the page; the images have twice as many pixels
    light: bytes  # PNG for a light page, and for the file
    dark: bytes

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        return self.size[0] >= class_plots.WIDE_SIZE[0]


class Artwork(NamedTuple):
    """The plots, and one JPEG for each panel of the report that could be drawn."""

    plots: Sequence[Plot] = ()
    panels: Sequence[tuple[Panel, bytes]] = ()


def draw_artwork(
    data: ReportData,
    progress: Progress = silent,
    skip: Callable[[LstError], None] | None = None,
) -> Artwork:
    """Draw every plot and panel of a report; `skip` is called with why a panel is left out.

    Raises:
        LstError: If no phase has been evaluated, there is attention to draw and scikit-learn is
            not installed, or a panel cannot be drawn and there is no `skip`.
    """
    plots, panels = [], []
    planned = list(_plan_plots(data))
    total = len(planned) + len(data.panels)
    for done, (name, caption, size, draw) in enumerate(planned, start=1):
        plots.append(Plot(name, caption, size, light=draw(LIGHT), dark=draw(DARK)))
        progress("pictures", done, total)
    for done, panel in enumerate(data.panels, start=len(planned) + 1):
        try:
            panels.append((panel, draw_panel(panel)))
        except LstError as error:
            if skip is None:
                raise
            skip(error)
        progress("pictures", done, total)
    return Artwork(plots, panels)


def _plan_plots(
    data: ReportData,
) -> Iterator[tuple[str, str, tuple[int, int], Callable[[Theme], bytes]]]:
    """Name, caption, size and drawing of each plot."""
    metrics = data.metrics
    yield (
        "ap_by_bin",
        "Mask AP by bins of training instances after each phase. Bins overlap; a bin has no "
        "point before its first class is learned.",
        ap_plots.BIN_SIZE,
        lambda theme: ap_plots.plot_ap_by_bin(metrics, theme, joint=data.joint),
    )
    if not data.joint:  # where all classes are learned at once, none is old
        yield (
            "old_new",
            "Classes of earlier phases, of the phase itself, and both.",
            ap_plots.OLD_NEW_SIZE,
            lambda theme: ap_plots.plot_old_new(metrics, theme),
        )
    gap = " The gap between a dashed line and the thick one is what a phase's classes lost or "
    yield (
        "class_ap",
        "Every class with ground truth, after the last phase."
        + (f"{gap}gained since." if len(metrics) > 1 else ""),
        class_plots.WIDE_SIZE,
        lambda theme: ap_plots.plot_class_ap(data.classes, metrics, theme),
    )
    yield (
        "class_counts",
        "Training instances of each class, and where the phases begin.",
        class_plots.WIDE_SIZE,
        lambda theme: class_plots.plot_class_counts(data.classes, theme),
    )
    if data.replay:
        yield (
            "replay_balance",
            "Grey: instances of the seen classes in all their images. Colour: what the phase "
            f"trains on{_replay_clause(data.replay)}",
            class_plots.replay_size(len(data.replay)),
            lambda theme: class_plots.plot_replay_balance(data.replay, theme),
        )
    if data.attention is not None:
        attention, layout = data.attention, lay_out(data.attention)
        yield (
            "attention",
            attention_caption(attention, layout),
            attention_size(len(attention.classes)),
            lambda theme: render(compose_attention(attention, layout, theme)),
        )


def _replay_clause(balances: Sequence[ReplayBalance]) -> str:
    ways = sorted({balance.replay for balance in balances})
    if ways == ["balanced"]:
        return ", where old classes are replayed until they have as many instances as the new ones."
    return f" (step.replay = {', '.join(ways)})."
