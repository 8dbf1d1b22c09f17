"""What decides something in `.ci`: which second Python, what can be released."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# --- a second Python -----------------------------------------------------------------------------


@pytest.fixture
def second(load_script):
    return load_script("second_python")


def test_an_interpreter_that_runs_and_is_another_is_chosen(second):
    found = [("3.10", Path("stand-in")), ("3.11", Path("own")), ("3.12", Path("fine"))]
    answers = {"stand-in": "", "own": "3.11", "fine": "3.12"}
    assert second.choose(found, "3.11", lambda path: answers[str(path)]) == Path("fine")
    assert second.choose(found[:2], "3.11", lambda path: answers[str(path)]) is None


def test_interpreters_are_looked_for_on_path_and_below_pyenv(second, monkeypatch, tmp_path):
    below = tmp_path / "versions" / "3.12.1" / "bin"
    below.mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "/one:/two")
    expected = [
        (version, Path(folder) / f"python{version}")
        for version in ("3.10", "3.13", "3.12", "3.11")
        for folder in ("/one", "/two")
    ]
    expected.insert(6, ("3.12", below / "python3.12"))
    assert list(second.candidates()) == expected


def test_an_interpreter_tells_its_version_and_anything_else_none(second, tmp_path):
    assert second.version_of(Path(sys.executable)) == "{}.{}".format(*sys.version_info[:2])
    assert second.version_of(tmp_path / "absent") == ""
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\nexit 127\n")
    stand_in.chmod(0o755)
    assert second.version_of(stand_in) == ""


def test_all_that_is_declared_is_installed_but_torch_and_what_is_built_on_it(second):
    declared = {
        "click>=8.1": "click>=8.1",
        "torch>=2.6": None,
        "torchvision>=0.21": None,
        "timm>=1": None,
        "tomli>=2.0; python_version < '3.11'": "tomli>=2.0; python_version < '3.11'",
        'ruff>=0.9; extra == "dev"': "ruff>=0.9",
        "tomli; python_version < '3.11' and extra == 'dev'": "tomli; python_version < '3.11'",
    }
    assert second.requirements(declared) == [one for one in declared.values() if one]


def test_without_a_second_python_nothing_is_run_and_nothing_fails(second, monkeypatch, capsys):
    monkeypatch.setattr(second, "candidates", list)
    assert second.main([]) == 0
    assert "no second Python" in capsys.readouterr().out


@pytest.mark.parametrize(("installed", "code"), [(False, 0), (True, 3)])
def test_only_tests_that_fail_are_a_failure(second, monkeypatch, installed, code):
    monkeypatch.setattr(second, "choose", lambda *_: Path("python3.10"))
    monkeypatch.setattr(second, "install", lambda _: installed)
    monkeypatch.setattr(
        second.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 3)
    )
    assert second.main([]) == code


# --- releases ------------------------------------------------------------------------------------


@pytest.fixture
def release(load_script):
    return load_script("release")


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.invalid")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.2.0 - 2026-12-01\n\n## Unreleased\n"
    )
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_checkout_with_a_dated_heading_can_be_released(release, checkout):
    assert release.obstacles(checkout, "1.2.0") == []


@pytest.mark.parametrize("version", ["1.2.1", "1.2", "1.2.0.dev1", "1x2.0"])
def test_a_version_without_a_dated_heading_cannot(release, checkout, version):
    (obstacle,) = release.obstacles(checkout, version)
    assert f"## {version} - " in obstacle


def test_changes_that_are_not_committed_and_a_tag_stand_in_the_way(release, checkout):
    git(checkout, "tag", "v1.2.0")
    (checkout / "new").touch()
    changes, tag = release.obstacles(checkout, "1.2.0")
    assert "git status" in changes
    assert "v1.2.0" in tag


def test_an_archive_has_what_it_needs_and_nothing_else(release):
    whole = ["LICENSE", "PKG-INFO", "lst_cli/cli/main.py", "lst_cli/py.typed"]
    assert len(release.PLANS) == 6
    whole += [f"lst_cli/plans/{name}" for name in release.PLANS]
    assert release.complaints(whole) == []
    assert release.complaints(whole[:-1]) == [f"lacks lst_cli/plans/{release.PLANS[-1]}"]
    assert release.complaints([*whole, "tests/data/x.csv"]) == ["has tests/data/x.csv"]
