from __future__ import annotations

from pathlib import Path

from lst_cli.workspace.layout import Layout


def test_phases_lie_beside_each_other_in_order():
    layout = Layout(Path("w"))
    roots = [layout.phase(phase).root for phase in (0, 1, 2, 10)]
    assert roots == [Path("w/phases") / name for name in ("00-base", "01", "02", "10")]
    assert sorted(roots) == roots


def test_predictions_lie_beside_the_phases_under_the_same_names():
    layout = Layout(Path("w"))
    for phase in (0, 3):
        assert layout.predictions(phase) == Path("w/predictions") / layout.phase(phase).root.name


def test_no_two_files_share_a_name():
    files = [*vars(Layout(Path("w"))).values(), *vars(Layout(Path("w")).phase(1)).values()]
    assert len(set(files)) == len(files) > 20
    assert all(path.is_relative_to("w") for path in files)
