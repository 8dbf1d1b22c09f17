"""Curves that cannot be written cost the curves, and not the training."""

from __future__ import annotations

import resource
import threading

import pytest

from lst_cli.engine.loop import Report
from lst_cli.engine.tensorboard import scalars


def report(iteration: int) -> Report:
    return Report(iteration, 2000, {"total": 1.0}, 0.1, 1.0, {"gradient_norm": 2.0})


@pytest.mark.parametrize("size", [0, 200])
def test_a_full_disk_ends_the_curves_with_one_warning(size, tmp_path, capfd):
    warnings: list[str] = []
    hook = threading.excepthook
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with scalars(tmp_path / "tb", 0, warnings.append) as write:
            for iteration in range(10, 1000, 10):
                write(report(iteration))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    [warning] = warnings
    assert warning.startswith(f"no more curves for TensorBoard: cannot write {tmp_path / 'tb'}: ")
    assert capfd.readouterr() == ("", "")
    assert threading.excepthook is hook


@pytest.mark.parametrize("in_the_way", [True, False])
def test_only_a_file_in_the_way_brings_a_warning(in_the_way, tmp_path, capfd):
    warnings: list[str] = []
    if in_the_way:
        (tmp_path / "tb").write_text("")
    with scalars(tmp_path / "tb", 0, warnings.append) as write:
        write(report(10))
    assert len(warnings) == in_the_way
    assert (tmp_path / "tb").is_dir() is not in_the_way
    assert capfd.readouterr() == ("", "")
