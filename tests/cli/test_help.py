"""Help, typing errors, old spellings, and addresses where a path belongs."""

from __future__ import annotations

import re
import shlex
from typing import Any, get_args

import click
import pytest

from lst_cli.cli.main import COMMANDS, cli
from lst_cli.cli.options import LocalPath
from lst_cli.errors import LstError
from lst_cli.files import refuse_address
from lst_cli.settings.models import Head, Mask, NewRows, Replay, Sampling
from tests.fixtures.outcome import in_a_fresh_process

LIBRARIES = {
    "PIL", "cv2", "detectron2", "filelock", "lvis", "matplotlib", "msgspec", "numpy", "pycocotools",
    "pydantic", "scipy", "sklearn", "torch", "torchvision",
}  # fmt: skip


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_a_summary_in_the_list_and_examples_of_its_own_options(
    lst, monkeypatch, command
):
    monkeypatch.setenv("COLUMNS", "80")
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    assert COMMANDS[command][1] == found.get_short_help_str(200)
    outcome = lst(command, "--help").ok()
    assert max(map(len, outcome.out.splitlines())) <= 80
    examples = outcome.out.split("Examples:\n")[1]
    assert examples
    for example in examples.splitlines():
        assert re.match(rf" *lst {command}( |$)", example), example
    known = {word for parameter in found.params for word in parameter.opts}
    assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", examples)) <= known


def test_the_help_shows_the_five_commands_line_by_line_and_cuts_no_summary(lst, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = lst("--help")
    assert max(map(len, outcome.out.splitlines())) <= 80
    words = re.findall(r"^ *lst ([a-z-]+)", outcome.out, re.MULTILINE)
    assert words == ["split", "train-base", "step", "eval", "report"]
    assert "\b" not in outcome.out
    assert "\\b" not in outcome.out
    assert "..." not in outcome.out.split("Commands:")[1].split("Examples:")[0]
    bare = lst()
    assert "train-base" in bare.out + bare.err
    assert "error" not in bare.err


@pytest.mark.parametrize(
    ("calls", "commands"),
    [(["--help", "--version"], set()), (["step --help", "train-base -h"], {"train"})],
)
def test_the_lightest_calls_load_click_and_no_other_library(calls, commands):
    """How long it takes is measured by `make bench ARGS='-k start'`."""
    outcome, loaded = in_a_fresh_process(*map(str.split, calls))
    assert outcome.ok().out
    assert "click" in loaded
    assert not loaded & (LIBRARIES | {"rich", "lst_cli.workspace.store"})
    prefix = "lst_cli.cli.commands."
    assert {one.removeprefix(prefix) for one in loaded if one.startswith(prefix)} == commands


def test_the_help_of_no_command_loads_a_library_for_numbers_or_pictures():
    outcome, loaded = in_a_fresh_process(*([command, "--help"] for command in COMMANDS))
    assert outcome.ok().out
    assert "rich" in loaded
    assert not loaded & LIBRARIES


OTHERS = {
    "eval": "--annotations --train-counts --iou-type",
    "score": "--phase --all-phases --instant --device --set",
    "report": "--bins --iou-type --with",
}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("stepp", "there is no command 'stepp'; did you mean step?"),
        ("qqqq", "there is no command 'qqqq'"),
        ("split --b x", "Invalid value for '--b'"),
        ("split --val v.json", "Missing option '--train'"),
        ("split --preset paper-r5O", "; did you mean paper-r50?"),
        ("split --phase 3", "--phases"),
        ("step --weights x", "No such option '--weights'"),
        ("step --replay some", "'some' is not one of"),
        ("step --replay Balanced", "; did you mean balanced?"),
        ("step --device CUDA", "; did you mean cuda?"),
        ("eval --phase two", "Invalid value for '--phase'"),
        ("status extra", "Got unexpected extra argument (extra)"),
        ("figure blance", "; did you mean balance?"),
        ("train-joint --row repeat", "; did you mean repeat-factor?"),
        ("score --iou-type seg", "; did you mean segm?"),
        ("demo --seed -1", "-1 is not in the range 0<=x<=2147483647"),
        ("hold-out --share 1.5", "1.5 is not in the range 0<=x<=1"),
        ("hold-out --share some", "'some' is not a valid float"),
        ("hold-out --rare 1", "1 is not in the range x>=2"),
        ("hold-out --seed -1", "-1 is not in the range x>=0"),
        ("report work", "Got unexpected extra argument (work)"),
        # options of other commands
        *((f"{command} {option} 0", f"No such option '{option}'")
          for command, options in OTHERS.items() for option in options.split()),
    ],
)  # fmt: skip
def test_a_typing_error_is_one_line_and_a_hint(lst, words, error):
    outcome = lst(*words.split())
    assert outcome.code == 2
    assert error in outcome.error
    command = words.split()[0]
    assert outcome.hint == (f"lst {command} --help" if command in COMMANDS else "lst --help")
    assert len(outcome.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("eval --detections 'my r.json' --annotations v.json --errors",
         "score 'my r.json' --annotations v.json --errors"),
        ("eval --json --detections=r.json", "score --json r.json"),
        ("report --compare a:1 b --bins '=1'", "compare a:1 b --bins =1"),
        ("report -w a --figure tail --figure mwg --with b", "figure -w a tail mwg --with b"),
    ],
)  # fmt: skip
def test_an_old_spelling_is_answered_with_the_new_command(lst, old, new):
    outcome = lst(*shlex.split(old))
    assert outcome.code == 1
    assert outcome.out == ""
    assert re.fullmatch(r"error: lst \w+ --\w+ is now lst \w+", outcome.error)
    assert outcome.hint == f"lst {new}"
    assert len(outcome.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("command", "option", "setting"),
    [
        ("train-joint", "sampler", Sampling), ("train-joint", "head", Head),
        ("train-joint", "mask", Mask), ("step", "replay", Replay), ("step", "new_rows", NewRows),
    ],
)  # fmt: skip
def test_an_option_has_the_choices_of_its_setting(command, option, setting):
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    [choice] = [one.type for one in found.params if one.name == option]
    choices: Any = choice
    assert set(choices.choices) == set(get_args(setting))


# --- addresses where a path belongs --------------------------------------------------------------


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
