from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from lst_cli.errors import LstError
from lst_cli.workspace.atomic import (
    explain_os_error,
    remove_leftovers,
    replacing,
    write_text,
)  # fmt: skip
from lst_cli.workspace.store import Workspace


@pytest.mark.parametrize("text", ["naïve ≥\n", ""])
def test_text_is_written_as_utf8_and_directories_are_made(tmp_path, text):
    write_text(tmp_path / "a" / "b" / "file", text)
    assert (tmp_path / "a" / "b" / "file").read_bytes() == text.encode()


@pytest.mark.parametrize("name", ["x" * 255, "x" * 246, "é" * 127, "漢" * 85])
def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_told_in_one_line(tmp_path):
    with pytest.raises(LstError, match="the name is too long") as caught:
        write_text(tmp_path / ("x" * 256), "text")
    assert "shorter" in (caught.value.hint or "")


def test_an_exception_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stopped"), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        raise RuntimeError("stopped")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    if (child := os.fork()) == 0:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


KEPT = ["file", ".file", ".gitignore", "lst-ab_defg1.tmp", ".lock", ".lst-Abcdefgh.tmp",
        ".lst-ab_defg1.tmp2", ".model.v2.safetensors", ".file.Abcdefgh"]  # fmt: skip
OF_0_1 = [".manifest.json.ab_defg1", ".tmpAb3Xy9", ".bashrc.original"]  # or anybody's elsewhere


def test_only_what_a_killed_write_left_is_removed(tmp_path):
    for name in (*KEPT, *OF_0_1, ".lst-ab_defg1.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*KEPT, *OF_0_1])
    remove_leftovers(tmp_path, of_0_1=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(KEPT)
    remove_leftovers(tmp_path / "nowhere")


def test_a_file_that_is_being_written_is_no_leftover(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as temporary:
        temporary.write_text("new")
        remove_leftovers(tmp_path, of_0_1=True)
        assert temporary.exists()
    assert path.read_text() == "new"


def test_the_content_is_on_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("fsync"), fsync(number)))
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (order.append("replace"), replace(self, target))
    )
    write_text(tmp_path / "file", "content")
    assert order == ["fsync", "replace"]


def test_a_written_file_has_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("number", "reason", "hint"),
    [
        (errno.ENOSPC, "the disk is full", "free some space"),
        (errno.EDQUOT, "the disk quota is used up", "free some space"),
        (errno.EROFS, "the file system is read-only", "-w DIR"),
        (errno.EACCES, "permission denied", "-w DIR"),
        (errno.ENOTDIR, "a file is in the way", "-w DIR"),
        (errno.EIO, os.strerror(errno.EIO), "see that the disk is there"),
    ],
)
def test_the_systems_errors_become_one_sentence(tmp_path, number, reason, hint):
    with pytest.raises(LstError) as caught, explain_os_error(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert caught.value.message == f"cannot write {tmp_path / 'file'}: {reason}"
    assert hint in str(caught.value.hint)


def test_a_workspace_that_cannot_be_made_is_told_before_it_is_locked(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(LstError, match="a file is in the way"),
        Workspace(tmp_path / "file" / "below").locked(),
    ):
        pass
