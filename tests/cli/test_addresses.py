"""Addresses where a path belongs: told from files that are missing, in every command."""

from __future__ import annotations

import click
import pytest

from lst_cli.cli.main import COMMANDS, cli
from lst_cli.cli.options import LocalPath
from lst_cli.errors import LstError
from lst_cli.files import refuse_address


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_path_of_every_command_is_one_of_this_machine(command):
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    for parameter in found.params:
        if isinstance(parameter.type, click.Path):
            assert isinstance(parameter.type, LocalPath), parameter.name


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "https://host/a.jpg"],
        ["predict", "a.jpg", "s3://bucket/photos/", "-o", "out"],
        ["predict", "a.jpg", "-o", "gs://bucket/out"],
        ["check", "--train", "https://host/train.json"],
        ["check", "--train", "t.json", "--images", "http://host/images"],
        ["split", "--train", "ftp://host/t.json", "--val", "v.json", "--images", "."],
        ["score", "HTTPS://host/d.json"],
        ["compare", "https://host/a.json", "b.json"],
        ["sweep", "https://host/plan.toml"],
        ["status", "-w", "s3://bucket/work"],
    ],
)
def test_an_address_is_refused_in_words(lst, words):
    outcome = lst(*words)
    assert outcome.code == 1
    assert "is a URL; lst reads only local files" in outcome.error
    assert "download it first" in outcome.hint


@pytest.mark.parametrize(
    ("address", "path"),
    [("file:///a/b%20c.jpg", "give /a/b c.jpg"), ("file:/a/b.jpg", "give /a/b.jpg")],
)
def test_of_a_file_address_the_path_is_said(lst, address, path):
    outcome = lst("predict", address)
    assert outcome.error == f"error: {address}: is a URL, not a path"
    assert outcome.hint == path


@pytest.mark.parametrize("path", ["a.jpg", "work:2", "a:b/c", "/https://x", "", "~/a"])
def test_a_path_is_no_address(path):
    refuse_address(path)


def test_a_directory_with_the_name_of_a_scheme_is_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LstError):
        refuse_address("https:/a")
    (tmp_path / "https:" / "a").mkdir(parents=True)
    refuse_address("https:/a")
