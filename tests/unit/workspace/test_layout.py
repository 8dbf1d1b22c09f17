from __future__ import annotations

from pathlib import Path

from lst_cli.workspace.layout import Layout


def test_phases_and_their_predictions_lie_beside_each_other_in_order():
    layout = Layout(Path("w"))
    roots = [layout.phase(phase).root for phase in (0, 1, 2, 10)]
    assert roots == [Path("w/phases") / name for name in ("00-base", "01", "02", "10")]
    assert sorted(roots) == roots
    for phase, root in zip((0, 1, 2, 10), roots, strict=True):
        assert layout.predictions(phase) == Path("w/predictions") / root.name


def test_no_two_files_share_a_name():
    files = [*vars(Layout(Path("w"))).values(), *vars(Layout(Path("w")).phase(1)).values()]
    assert len(set(files)) == len(files) > 20
    assert all(path.is_relative_to("w") for path in files)
