"""Curves that cannot be written cost the curves, and not the training."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lst_cli.engine.loop import Report
from lst_cli.engine.tensorboard import scalars


def report(iteration: int) -> Report:
    return Report(iteration, 2000, {"total": 1.0}, 0.1, 1.0, {"gradient_norm": 2.0})


@contextmanager
def small_files(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 200])
def test_a_full_disk_ends_the_curves_with_one_warning(size, tmp_path, capfd):
    warnings: list[str] = []
    hook = threading.excepthook
    with small_files(size), scalars(tmp_path / "tb", 0, warnings.append) as write:
        for iteration in range(10, 1000, 10):
            write(report(iteration))
    [warning] = warnings
    assert warning.startswith(f"no more curves for TensorBoard: cannot write {tmp_path / 'tb'}: ")
    assert capfd.readouterr() == ("", "")
    assert threading.excepthook is hook


def test_a_file_in_the_way_is_told(tmp_path, capfd):
    warnings: list[str] = []
    (tmp_path / "tb").write_text("")
    with scalars(tmp_path / "tb", 0, warnings.append) as write:
        write(report(10))
    assert len(warnings) == 1
    assert capfd.readouterr() == ("", "")


def test_curves_that_can_be_written_bring_no_warning(tmp_path):
    warnings: list[str] = []
    with scalars(tmp_path / "tb", 0, warnings.append) as write:
        write(report(10))
    assert warnings == []
    assert len(list((tmp_path / "tb").iterdir())) == 1
