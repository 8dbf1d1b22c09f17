"""Run the tests that need no torch with another Python than that of .venv, if there is one.

The interpreters python3.10 to python3.13 are looked for on PATH and among pyenv's versions.
The first that fits gets an environment in .venv/second with everything but torch and what is
built on it. Where there is none, or nothing can be installed, this says so and succeeds: only
tests that fail are a failure.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv" / "second"
# The oldest first: it is the one that new code most easily leaves behind.
VERSIONS = ("3.10", "3.13", "3.12", "3.11")
NEED_TORCH = re.compile("torch|timm|efficientnet")
# Commands look whether these are there before they begin. Here they are, and cannot be imported,
# so that all the rest of a command is tested, with a fake for what trains.
STAND_INS = ("torch", "torchvision", "timm", "huggingface_hub", "detectron2")
STAND_IN = """raise ModuleNotFoundError("No module named 'torch'", name="torch")\n"""


def candidates() -> Iterator[tuple[str, Path]]:
    """Every file that may be an interpreter, with the version that it should have."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [Path(folder) for folder in os.get_exec_path()]
    for version in VERSIONS:
        folders_of_pyenv = sorted(pyenv.glob(f"{version}.*/bin"))
        for folder in (*folders, *folders_of_pyenv):
            yield version, folder / f"python{version}"


def version_of(python: Path) -> str:
    """Ask an interpreter for its version; empty if it does not run."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def choose(
    found: Iterable[tuple[str, Path]], own: str, ask: Callable[[Path], str] = version_of
) -> Path | None:
    """Choose the first interpreter that runs and is not of the version `own`.

    A file of that name may be a stand-in that does not run (pyenv has such), so each is asked.
    """
    for version, python in found:
        if version != own and ask(python) == version:
            return python
    return None


def requirements(declared: Iterable[str]) -> list[str]:
    """What the tests without torch need: all requirements, extras included, but those of torch."""
    extra = re.compile(r"""\s*(;|\band\b)\s*extra\s*==\s*['"].*?['"]""")
    return [extra.sub("", line) for line in declared if not NEED_TORCH.match(line)]


def install(python: Path) -> bool:
    """Make the environment; say whether that was possible."""
    own = ENVIRONMENT / "bin" / "python"
    pip: list[str | Path] = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    declared = importlib.metadata.requires("lst-cli") or []
    commands: list[list[str | Path]] = [
        [python, "-m", "venv", "--clear", ENVIRONMENT],
        [*pip, "--upgrade", "pip"],
        [*pip, "--constraint", ROOT / ".ci" / "constraints.txt", *requirements(declared)],
    ]
    if any(subprocess.run(command, check=False).returncode != 0 for command in commands):
        return False
    (packages,) = ENVIRONMENT.glob("lib/python*/site-packages")
    for name in STAND_INS:
        (packages / f"{name}.py").write_text(STAND_IN)
    return True


def main(words: list[str]) -> int:
    """Find, install, test; give the exit code of pytest, or 0 if no tests could be run."""
    own = "{}.{}".format(*sys.version_info[:2])
    python = choose(candidates(), own)
    if python is None:
        print(f"no second Python: none of {', '.join(VERSIONS)} but {own} was found")
        return 0
    print(f"second Python: {python}", flush=True)
    if not install(python):
        print("the second Python's packages could not be installed: its tests were not run")
        return 0
    plugins = ("-p", "without_torch", "-p", "no:cacheprovider")
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "pytest", "-q", *plugins, *words, "tests"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / '.ci'}"}
    return subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
