from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lst_cli.annotations.read import read_dataset
from lst_cli.ap.results_file import ResultsFile, Scored
from lst_cli.errors import LstError
from lst_cli.evaluate.measure import read_train_counts
from lst_cli.figures.attention import load_attention
from lst_cli.files import LONGEST_NAME, open_regular, read_regular, require_regular, shorten_name
from lst_cli.images.decode import load_image
from lst_cli.settings.nested import read_toml


def make_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def make_socket(path: Path) -> Path:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:  # its own path may be too long for a socket
        server.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)
    return path


def make_directory(path: Path) -> Path:
    path.mkdir()
    return path


def link(path: Path, to: object) -> Path:
    path.symlink_to(str(to))
    return path


NO_FILES: dict[str, Callable[[Path], Path]] = {
    "pipe": make_pipe,
    "socket": make_socket,
    "directory": make_directory,
    "link to a pipe": lambda path: link(path, make_pipe(path.with_name("pipe"))),
    "link to itself": lambda path: link(path, path),
    "link to what is not there": lambda path: link(path, "gone"),
    "device": lambda path: Path("/dev/zero"),
    "terminal": lambda path: Path("/dev/tty"),
    "file of the kernel": lambda path: Path("/proc/self/maps"),
    "endless file of the kernel": lambda path: Path("/proc/kmsg"),
    "setting of the kernel": lambda path: Path("/sys/kernel/uevent_seqnum"),
    "long name": lambda path: path.with_name("x" * 300 + path.suffix),
    "long path": lambda path: path.parent.joinpath(*["y" * 200] * 30, path.name),
    "null byte": lambda path: path.with_name(f"a\0b{path.suffix}"),
    "half a letter": lambda path: path.with_name(f"a\ud800b{path.suffix}"),
    "below a file": lambda path: Path(__file__) / path.name,
}
READERS: dict[str, Callable[[Path], object]] = {
    "annotations": read_dataset,
    "image": lambda path: load_image(path),
    "settings": read_toml,
    "results": lambda path: list(ResultsFile(path).blocks(Scored)),
    "counts": read_train_counts,
    "attention": lambda path: load_attention(path, 1, ["a"], ["b"], "lst step"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=list(NO_FILES))
@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
def test_only_regular_files_are_read_and_the_others_named_in_one_line(tmp_path, read, make):
    path = make(tmp_path / "given.csv")
    with pytest.raises(LstError) as caught:
        read(path)
    assert path.name in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("make", NO_FILES.values(), ids=list(NO_FILES))
def test_what_is_no_regular_file_is_refused_for_libraries_too(tmp_path, make):
    path = make(tmp_path / "given")
    for see in (require_regular, open_regular):
        with pytest.raises(OSError, match=r".") as caught:
            see(path)
        assert caught.value.strerror


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link") == b"text"


def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    pipe = make_pipe(tmp_path / "pipe")
    monkeypatch.setattr("lst_cli.files.require_regular", lambda path: None)
    with pytest.raises(OSError, match="named pipe"):
        open_regular(pipe)


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "é" * 200 + ".png", "漢" * 100 + ".tar.gz"])
def test_a_long_name_is_shortened_to_one_that_fits_and_is_its_own(tmp_path, name):
    short = shorten_name(name)
    assert len(os.fsencode(short)) <= LONGEST_NAME
    assert short == shorten_name(name) != shorten_name("y" + name)
    assert Path(short).suffix == Path(name).suffix
    (tmp_path / short).touch()
