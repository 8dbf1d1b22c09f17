from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from lst_cli.cli.main import COMMANDS as MODULES
from lst_cli.cli.main import cli
from lst_cli.errors import LstError
from lst_cli.workspace.hints import COMMANDS, hints_for, name_workspace


def test_the_commands_are_those_that_take_a_workspace():
    takes = {
        name
        for name in MODULES
        if (command := cli.get_command(click.Context(cli), name))
        and any("-w" in parameter.opts for parameter in command.params)
    }
    assert takes - {"demo"} == set(COMMANDS)


@pytest.mark.parametrize(
    ("hint", "wanted"),
    [
        ("lst step", "lst step -w 'my work'"),
        ("lst step --restart", "lst step -w 'my work' --restart"),
        ("lst eval, then lst report", "lst eval -w 'my work', then lst report -w 'my work'"),
        ("look: `lst check`; mend it", "look: `lst check -w 'my work'`; mend it"),
        ("lst eval -w other", "lst eval -w other"),
        ("lst eval -w a; lst step", "lst eval -w a; lst step -w 'my work'"),
        ("lst eval --workspace a", "lst eval --workspace a"),
        ("lst step --help", "lst step --help"),
        ("`lst init --print` shows all", "`lst init --print` shows all"),
        ("lst sweep --list", "lst sweep --list"),
        ("lst demo --seed 1", "lst demo --seed 1"),
        ("the lst that wrote it", "the lst that wrote it"),
        ("another lst is writing", "another lst is writing"),
        ("lst steps", "lst steps"),
        ("/opt/lst step", "/opt/lst step"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_command_gets_the_workspace_that_it_does_not_name(hint, wanted):
    assert name_workspace(hint, Path("my work")) == wanted
    assert name_workspace(wanted, Path("another")) == wanted


@pytest.mark.parametrize("name", ["it's", "a b", "$HOME", "x;y", "täglich"])
def test_a_shell_reads_the_directory_as_it_is(name):
    assert shlex.split(name_workspace("lst eval", Path(name))) == ["lst", "eval", "-w", name]


def test_an_error_about_another_workspace_names_that():
    with pytest.raises(LstError) as caught, hints_for(Path("other")):
        raise LstError("nothing", "lst step")
    assert caught.value.hint == "lst step -w other"
    with pytest.raises(LstError) as plain, hints_for(Path("other")):
        raise LstError("nothing")
    assert plain.value.hint is None
