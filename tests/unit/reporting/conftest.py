from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from lst_cli.reporting.data import Panel, PanelObject, ReplayBalance, ReportClass, ReportPhase
from lst_cli.reporting.report_data import ReportData

# name, training instances, training images, phase; category_ids are 11, 12, ... 16.
CLASSES = (
    ("cat", 400, 200, 0),
    ("dog", 120, 90, 0),
    ("a|b <i>&_$", 12, 10, 1),
    ("owl", 9, 9, 1),
    ("emu", 4, 3, 2),
    ("yak", 1, 1, 2),
)
BINS = (("=1", 1, 2), ("<5", 1, 5), ("10-99", 10, 100), (">=100", 100, None))
AP = {11: 0.5, 12: 0.3, 13: 0.25, 14: 0.15, 15: 0.1}  # yak, 16, has no ground truth


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _numbers(phase: int, ap: Mapping[int, float]) -> dict[str, Any]:
    seen = [11 + row for row, record in enumerate(CLASSES) if record[3] <= phase]

    def mean(ids: Sequence[int]) -> float | None:
        return _mean([ap[one] for one in ids if one in ap])

    def count(ids: Sequence[int]) -> int:
        return sum(one in ap for one in ids)

    def group(number: int) -> list[int]:
        return [one for one in seen if CLASSES[one - 11][3] == number]

    bins = []
    for name, low, high in BINS:
        inside = [
            one
            for one in seen
            if low <= CLASSES[one - 11][1] and (high is None or CLASSES[one - 11][1] < high)
        ]
        bins.append(
            {
                "bin": name,
                "low": low,
                "high": high,
                "classes": len(inside),
                "with_ground_truth": count(inside),
                "AP": mean(inside),
                "AP50": mean(inside),
                "AP75": mean(inside),
            }
        )
    old = [one for number in range(phase) for one in group(number)]
    return {
        **dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "all"), mean(seen)),
        **{"APr": None, "APc": 0.2, "APf": 0.4},
        "old": mean(old),
        "new": mean(group(phase)),
        "bins": bins,
        "groups": [
            {
                "phase": number,
                "classes": len(group(number)),
                "with_ground_truth": count(group(number)),
                "AP": mean(group(number)),
            }
            for number in range(phase + 1)
        ],
        "per_class": {str(one): ap[one] for one in seen if one in ap},
    }


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """Make the metrics of a phase; every class loses 0.01 with every later phase."""

    def make(phase: int) -> dict[str, Any]:
        ap = {one: value - 0.01 * (phase - CLASSES[one - 11][3]) for one, value in AP.items()}
        return {
            "format": 1,
            "phase": phase,
            "images": 10,
            "detections": 300,
            "seconds": 1.5,
            "federated": True,
            "segm": _numbers(phase, ap),
            "bbox": _numbers(phase, {one: value / 2 for one, value in ap.items()}),
        }

    return make


@pytest.fixture
def make_data(make_record: Callable[..., dict[str, Any]]) -> Callable[..., ReportData]:
    """Make a report over the evaluated phases given, without pictures."""

    def make(phases: Sequence[int] = (0, 1, 2), **changes: Any) -> ReportData:
        content: dict[str, Any] = {
            "title": "Six animals",
            "settings": {"preset": "lite", "b": "2"},
            "classes": [
                ReportClass(11 + row, name, instances, images, phase)
                for row, (name, instances, images, phase) in enumerate(CLASSES)
            ],
            "metrics": [make_record(phase) for phase in phases],
            "phases": [
                ReportPhase(0, 2, 290, 0, 100, 61.0),
                ReportPhase(1, 2, 25, 6, 20, 3725.0),
                ReportPhase(2, 2, 9, 5, 10, None),
            ],
            "federated": True,
            "demo": False,
        }
        return ReportData(**{**content, **changes})

    return make


@pytest.fixture
def panel() -> Panel:
    """One grey image of 64 x 48 with a square on it, found with a score of 0.9."""
    polygon = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]
    box = (10.0, 10.0, 20.0, 20.0)
    return Panel(
        np.full((48, 64, 3), 128, dtype=np.uint8),
        "one.jpg",
        [PanelObject("cat", box, polygon)],
        [PanelObject("cat", box, polygon, 0.9)],
    )


@pytest.fixture
def balance() -> ReplayBalance:
    return ReplayBalance(1, before=[400, 120, 12, 9], after=[12, 12, 12, 9], old=2)


@pytest.fixture
def check_letters() -> Callable[[Any], None]:
    """See that a figure's letters can be read in print and lie on the page."""

    def check(figure: Any) -> None:
        figure.canvas.draw()
        page = figure.bbox
        assert page.width / figure.dpi <= 7.2
        found = [text for text in _letters_of(figure) if text.get_text().strip()]
        assert found
        for text in found:
            assert text.get_fontsize() >= 7, text.get_text()
            box = text.get_window_extent()
            inside = (
                box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
            )
            assert inside, f"cut off: {text.get_text()}"

    return check


def _letters_of(figure: Any) -> Iterator[Any]:
    yield from figure.texts
    for legend in (*figure.legends, *(axes.get_legend() for axes in figure.axes)):
        yield from legend.get_texts() if legend else ()
    for axes in figure.axes:
        if not axes.axison:
            continue
        yield from (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts)
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            # There are labels of ticks beyond the axes too; they are not drawn.
            yield from (t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high)
