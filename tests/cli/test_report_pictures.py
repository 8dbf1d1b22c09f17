"""`lst report` where validation images cannot be shown."""

from __future__ import annotations

import pytest

from lst_cli.display import class_plots
from lst_cli.inputs import read_validation
from lst_cli.report import plots, report


@pytest.fixture(autouse=True)
def _no_report_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    for plot in ("plot_ap_by_bin", "plot_class_ap", "plot_old_new"):
        monkeypatch.setattr(plots, plot, lambda *args, **options: b"a plot")
    monkeypatch.setattr(class_plots, "plot_class_counts", lambda *args: b"a plot")


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_an_image_that_cannot_be_shown_costs_one_picture(lst, runs, damage):
    workspace = runs.train("run")
    runs.evaluate(workspace, 0.3)
    workspace.phase(2).detections.write_text("[]")
    val, find = read_validation(workspace, 2)
    rows = report._choose_images(
        val, workspace.split.class_order[: workspace.split.seen_classes(2)]
    )
    assert len(rows) > 1
    image = find(rows[0])
    whole = image.read_bytes()
    image.unlink()
    if damage == "cut":
        image.write_bytes(whole[: len(whole) // 2])
    outcome = lst("report", "-w", workspace.root)
    assert outcome.code == 1
    assert "error: 1 validation image is not shown: " in outcome.error
    assert image.name in outcome.error
    folder = workspace.layout.report
    assert len(list((folder / "panels").iterdir())) == len(rows) - 1
    for page in ("report.html", "report.md"):
        assert image.name not in (folder / page).read_text()
    image.write_bytes(whole)
    assert lst("report", "-w", workspace.root).code == 0
    assert len(list((folder / "panels").iterdir())) == len(rows)
