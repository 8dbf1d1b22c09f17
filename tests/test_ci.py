"""What `.ci` decides: `make setup`, detectron2, a second Python, what can be released.

pip and Python are played by small fakes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Answers as an interpreter of version $VERSION would, makes a .venv of itself, and notes what
# it was asked; `pip install` of the project fails while a file called `no-network` is there.
FAKE_PYTHON = """\
#!/usr/bin/env bash
echo "$*" >>asked
case "$*" in
  -c*) echo "$VERSION" ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip install"*--editable*) [ ! -e no-network ] ;;
  -) cat >/dev/null ;;
esac
"""


class FakeCheckout:
    """A directory with what `make setup` reads, and a fake interpreter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / ".ci", folder / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        (folder / "python").write_text(FAKE_PYTHON)
        (folder / "python").chmod(0o755)

    def setup(self, version: str = "3.12", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "CONSTRAINTS")}
        environment |= {"VERSION": version, "PYTHON": str(self.folder / "python"), **variables}
        return subprocess.run(
            ["bash", str(self.folder / ".ci" / "setup")], capture_output=True, text=True,
            check=False, env=environment, timeout=60,
        )  # fmt: skip

    def installs(self) -> list[str]:
        """The installations of the project that pip was asked for."""
        asked = self.folder / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return [line for line in lines if "--editable" in line]


@pytest.fixture
def checkout(tmp_path):
    return FakeCheckout(tmp_path)


def test_a_second_setup_installs_nothing(checkout):
    assert checkout.setup().returncode == 0
    second = checkout.setup()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(checkout.installs()) == 1


@pytest.mark.parametrize("changed", ["pyproject.toml", ".ci/constraints.txt", ".ci/detectron2.py"])
def test_setup_installs_again_when_what_it_reads_changed(checkout, changed):
    checkout.setup()
    with (checkout.folder / changed).open("a") as file:
        file.write("# changed\n")
    assert checkout.setup().returncode == 0
    assert len(checkout.installs()) == 2


def test_a_setup_that_failed_goes_on_when_run_again(checkout):
    (checkout.folder / "no-network").touch()
    failed = checkout.setup()
    assert failed.returncode != 0
    assert "run it again" in failed.stderr
    (checkout.folder / "no-network").unlink()
    assert checkout.setup().returncode == 0
    assert len(checkout.installs()) == 2


@pytest.mark.parametrize(
    ("version", "variables", "parts"),
    [
        *((one, {}, (f"is Python {one}, and 3.10 to 3.13 are supported", "PYTHON=python3.12"))
          for one in ("2.7", "3.9", "3.14")),
        ("3.12", {"PYTHON": "python-of-nowhere"}, ("python-of-nowhere does not run",)),
    ],
)  # fmt: skip
def test_setup_refuses_other_pythons_in_one_line(checkout, version, variables, parts):
    refused = checkout.setup(version, **variables)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert all(part in line for part in parts)
    assert not (checkout.folder / ".venv").exists()


def test_setup_holds_to_the_constraints_this_environment_was_made_with(checkout):
    checkout.setup()
    assert "--constraint .ci/constraints.txt" in checkout.installs()[0]
    checkout.setup(CONSTRAINTS="")
    assert "--constraint" not in checkout.installs()[1]
    checkout.setup()
    assert len(checkout.installs()) == 2


# --- detectron2 ------------------------------------------------------------------------------


class FakePip:
    """Plays every command: what the probes answer, what pip downloads, what it installed."""

    def __init__(self, probes: Sequence[int], wheel: bytes | None = b"a wheel") -> None:
        self.probes = list(probes)
        self.wheel = wheel
        self.installed: dict[str, bytes] = {}
        self.options: Sequence[str] = ()

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if "download" in command:
            if self.wheel is None:
                return subprocess.CompletedProcess(command, 1, "", "no route to the index")
            folder = Path(command[command.index("--dest") + 1])
            (folder / "sal_detectron2-0.7.2-cp310-none-any.whl").write_bytes(self.wheel)
        elif "install" in command:
            path = Path(command[-1])
            self.installed[path.name] = path.read_bytes()
            self.options = command
        else:
            code = self.probes.pop(0)
            return subprocess.CompletedProcess(command, code, "here/detectron2\n", "its error")
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def installer(monkeypatch, load_script):
    module = load_script("detectron2")
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(b"a wheel").hexdigest())
    monkeypatch.setattr(module, "has_upstream", lambda: False)
    return module


def test_a_detectron2_that_imports_is_left_alone(installer):
    pip = FakePip([0])
    assert "here/detectron2" in installer.install(pip)
    assert pip.installed == {}


@pytest.mark.parametrize("probe", [3, 1], ids=["absent", "cut short"])
def test_detectron2_is_installed_under_a_name_that_fits_every_python(installer, probe):
    pip = FakePip([probe, 0])
    assert "installed" in installer.install(pip)
    assert pip.installed == {"sal_detectron2-0.7.2-py3-none-any.whl": b"a wheel"}
    assert "--no-deps" in pip.options


@pytest.mark.parametrize(
    ("probes", "wheel", "upstream", "error"),
    [
        ([3], b"something else", False, "sha256"),
        ([3], None, False, "no route to the index"),
        ([1], b"a wheel", True, r"its error\n.*does not import"),  # somebody else's, and broken
        ([3, 1], b"a wheel", False, "does not import"),
    ],
)
def test_what_cannot_be_installed_is_an_error(
    installer, monkeypatch, probes, wheel, upstream, error
):
    monkeypatch.setattr(installer, "has_upstream", lambda: upstream)
    pip = FakePip(probes, wheel)
    with pytest.raises(SystemExit, match=error):
        installer.install(pip)
    assert (pip.installed == {}) == (probes != [3, 1])


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
def clean_checkout(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.2.0 - 2026-12-01\n\n## Unreleased\n"
    )
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_checkout_with_a_dated_heading_can_be_released(release, clean_checkout):
    assert release.obstacles(clean_checkout, "1.2.0") == []


@pytest.mark.parametrize("version", ["1.2.1", "1.2", "1.2.0.dev1", "1x2.0"])
def test_a_version_without_a_dated_heading_cannot(release, clean_checkout, version):
    (obstacle,) = release.obstacles(clean_checkout, version)
    assert f"## {version} - " in obstacle


def test_changes_that_are_not_committed_and_a_tag_stand_in_the_way(release, clean_checkout):
    git(clean_checkout, "tag", "v1.2.0")
    (clean_checkout / "new").touch()
    changes, tag = release.obstacles(clean_checkout, "1.2.0")
    assert "git status" in changes
    assert "v1.2.0" in tag


def test_an_archive_has_what_it_needs_and_nothing_else(release):
    whole = ["LICENSE", "PKG-INFO", "lst_cli/cli/main.py", "lst_cli/py.typed"]
    assert len(release.PLANS) == 9
    whole += [f"lst_cli/plans/{name}" for name in release.PLANS]
    assert release.complaints(whole) == []
    assert release.complaints(whole[:-1]) == [f"lacks lst_cli/plans/{release.PLANS[-1]}"]
    assert release.complaints([*whole, "tests/data/x.csv"]) == ["has tests/data/x.csv"]
