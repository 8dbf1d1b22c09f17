from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import lst_cli
from lst_cli.cli.main import COMMANDS, cli

Lst = Callable[..., Any]
ROOT = Path(lst_cli.__file__).parents[1]
LIBRARIES = {
    "PIL", "cv2", "detectron2", "filelock", "lvis", "matplotlib", "msgspec", "numpy", "pycocotools",
    "pydantic", "scipy", "sklearn", "torch", "torchvision",
}  # fmt: skip


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_an_example_to_paste(lst: Lst, command: str) -> None:
    outcome = lst(command, "--help")
    assert outcome.code == 0
    examples = outcome.out.split("Examples:\n")[1].splitlines()
    assert examples
    for example in examples:
        assert re.match(rf" *lst {command}( |$)", example), example


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_example_is_made_of_options_the_command_has(lst: Lst, command: str) -> None:
    context = click.Context(cli)
    found = cli.get_command(context, command)
    assert found is not None
    known = {word for parameter in found.params for word in parameter.opts}
    examples = lst(command, "--help").out.split("Examples:\n")[1]
    assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", examples)) <= known


def test_the_help_shows_the_five_commands_line_by_line(lst: Lst) -> None:
    outcome = lst("--help")
    words = re.findall(r"^ *lst ([a-z-]+)", outcome.out, re.MULTILINE)
    assert words == ["split", "train-base", "step", "eval", "report"]
    assert "\b" not in outcome.out
    assert "\\b" not in outcome.out


def test_no_summary_is_cut_off(lst: Lst) -> None:
    assert "..." not in lst("--help").out.split("Commands:")[1].split("Examples:")[0]


def test_no_words_at_all_show_the_help(lst: Lst) -> None:
    outcome = lst()
    assert "train-base" in outcome.out + outcome.err
    assert "error" not in outcome.err


def loaded_by(*calls: str) -> set[str]:
    """Modules that `lst` has imported when it has printed something."""
    code = (
        "import sys; from lst_cli.cli.main import cli\n"
        "for call in sys.argv[1:]: cli(call.split(), standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *calls], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("call", ["--help", "--version", "step --help", "train-base --help"])
def test_the_lightest_calls_load_click_and_no_other_library(call: str) -> None:
    """How long it takes is measured by `make bench ARGS='-k start'`."""
    loaded = loaded_by(call)
    assert "click" in loaded
    assert not loaded & (LIBRARIES | {"rich", "lst_cli.workspace.store"})
    commands = {name for name in loaded if name.startswith("lst_cli.cli.commands.")}
    wanted = {call.split()[0].replace("-", "_")} if " " in call else set()
    assert commands == {f"lst_cli.cli.commands.{name}" for name in wanted}


def test_the_help_of_no_command_loads_a_library_for_numbers_or_pictures() -> None:
    # The defaults of hold-out stand beside its arrays.
    loaded = loaded_by(*(f"{command} --help" for command in COMMANDS if command != "hold-out"))
    assert "rich" in loaded
    assert not loaded & LIBRARIES


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_list_has_the_first_sentence_of_each_commands_help(command: str) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    assert COMMANDS[command] == found.get_short_help_str(200)


@pytest.mark.parametrize("words", [("--version",), ("-h",), ("split", "-h")])
def test_short_forms_work(lst: Lst, words: tuple[str, ...]) -> None:
    outcome = lst(*words)
    assert outcome.code == 0
    assert outcome.out


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (("stepp",), "there is no command 'stepp'; did you mean step?", "lst --help"),
        (("qqqq",), "there is no command 'qqqq'", "lst --help"),
        (("split", "--b", "x"), "Invalid value for '--b'", "lst split --help"),
        (("split", "--val", "v.json"), "Missing option '--train'", "lst split --help"),
        (("step", "--weights", "x"), "No such option '--weights'", "lst step --help"),
        (("step", "--replay", "some"), "'some' is not one of", "lst step --help"),
        (("eval", "--phase", "two"), "Invalid value for '--phase'", "lst eval --help"),
        (("status", "extra"), "Got unexpected extra argument (extra)", "lst status --help"),
        (("init", "--preset", "huge"), "'huge' is not one of", "lst init --help"),
        (("init", "--preset", "lite-papr"), "; did you mean lite-paper?", "lst init --help"),
        (("figure", "blance"), "; did you mean balance?", "lst figure --help"),
        (("step", "--replay", "Balanced"), "; did you mean balanced?", "lst step --help"),
        (("step", "--device", "CUDA"), "; did you mean cuda?", "lst step --help"),
        (("split", "--preset", "paper-r5O"), "; did you mean paper-r50?", "lst split --help"),
        (
            ("train-joint", "--row", "repeat"),
            "; did you mean repeat-factor?",
            "lst train-joint --help",
        ),
        (("score", "--iou-type", "seg"), "; did you mean segm?", "lst score --help"),
        (("split", "--phase", "3"), "--phases", "lst split --help"),
        (("demo", "--seed", "-1"), "-1 is not in the range 0<=x<=2147483647", "lst demo --help"),
    ],
)
def test_a_slip_is_one_line_and_a_hint(
    lst: Lst, words: tuple[str, ...], error: str, hint: str
) -> None:
    outcome = lst(*words)
    assert outcome.code == 2
    assert error in outcome.error
    assert outcome.hint == hint
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
def test_an_old_spelling_is_answered_with_the_new_command(lst: Lst, old: str, new: str) -> None:
    outcome = lst(*shlex.split(old))
    assert outcome.code == 1
    assert outcome.out == ""
    assert re.fullmatch(r"error: lst \w+ --\w+ is now lst \w+", outcome.error)
    assert outcome.hint == f"lst {new}"
    assert len(outcome.err.splitlines()) == 2


def test_the_base_has_two_names(lst: Lst, small_lvis: Any, tmp_path: Path) -> None:
    files = ("--train", small_lvis.train_json, "--val", small_lvis.val_json)
    words = ("split", *files, "--images", small_lvis.images, "--phases", "2", "--json")
    long, short = (lst(*words, name, "5", "-w", tmp_path / name).json for name in ("--base", "--b"))
    assert long == short
    assert len(long["groups"][0]) == 5
