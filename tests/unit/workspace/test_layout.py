from __future__ import annotations

from pathlib import Path

from lst_cli.workspace.layout import Layout


def test_phases_lie_beside_each_other_in_order() -> None:
    layout = Layout(Path("w"))
    roots = [layout.phase(phase).root for phase in (0, 1, 2, 10)]
    assert roots == [Path("w/phases") / name for name in ("00-base", "01", "02", "10")]
    assert sorted(roots) == roots


def test_predictions_lie_beside_the_phases_under_the_same_names() -> None:
    layout = Layout(Path("w"))
    for phase in (0, 3):
        assert layout.predictions(phase) == Path("w/predictions") / layout.phase(phase).root.name


def test_no_two_files_share_a_name() -> None:
    layout = Layout(Path("w"))
    files = [layout.settings, layout.split, layout.class_plot, layout.balance_plot, layout.lock]
    phase = layout.phase(1)
    files += [
        phase.manifest, phase.model, phase.training_state, phase.log, phase.tensorboard,
        phase.metrics, phase.detections,
    ]  # fmt: skip
    assert len(set(files)) == 12
    assert all(path.is_relative_to("w") for path in files)
