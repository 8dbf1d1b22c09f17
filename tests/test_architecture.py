"""The shape of the package: what may import what, what imports without torch, what has help.

Each guard is followed by a test that the guard bites.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from lst_cli.cli.main import COMMANDS, cli
from lst_cli.cli.reference import help_contexts, render_reference

ROOT = Path(__file__).resolve().parent.parent
HELP = help_contexts(cli)

# Imports point down, never up. Rooms on one floor may see each other as long as no two need
# each other, except that the workspace is apart: no engine beside it may know the directory.
_FLOORS = (
    ("errors", "text", "progress", "libraries", "files", "ranks"),
    ("settings",),
    ("phases",),
    ("annotations", "images", "samples", "check", "weights", "modeling", "engine", "ap", "display",
     "workspace"),
    ("inputs",),
    ("split", "train", "adopt", "extend", "evaluate", "predict", "compare", "figures", "sweep",
     "report", "demo"),
    ("cli",),
)  # fmt: skip
FLOORS = {room: floor for floor, rooms in enumerate(_FLOORS) for room in rooms}
MOST_FILES = 19  # of a folder, its __init__ included
ANYONE_MAY_IMPORT = {
    "lst_cli", "lst_cli.errors", "lst_cli.workspace.atomic", "lst_cli.workspace.records",
}  # fmt: skip
ONLY_CLI = {"click", "rich"}
TORCH = {"torch", "torchvision", "detectron2", "timm", "fvcore"}
# Rooms with a file that needs torch; all others do without.
HEAVY = {"samples", "weights", "modeling", "engine", "train", "adopt", "extend", "evaluate",
         "predict", "figures", "sweep"}  # fmt: skip
# Loaded once before our modules are, each room in its own fork: what is tried is whether a room of
# ours stands alone, not whether numpy does, and torch takes seconds.
LIGHT_LIBRARIES = ("click", "matplotlib.figure", "msgspec", "numpy", "PIL.Image", "pydantic")
HEAVY_LIBRARIES = (*LIGHT_LIBRARIES, "torch", "torchvision", "detectron2.modeling", "timm")


# --- what imports what -----------------------------------------------------------------------


class Import(NamedTuple):
    """One import statement, in a function or not."""

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def read_package(root: Path) -> dict[str, str]:
    """The source of every module below `root`/lst_cli, by its dotted name."""
    sources = {}
    for path in sorted((root / "lst_cli").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text(encoding="utf-8")
    return sources


def find_imports(sources: Mapping[str, str]) -> Iterator[Import]:
    for importer, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(importer, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{importer}:{node.lineno}: relative import"
                assert node.module is not None
                for alias in node.names:
                    # `from package import name`: a module of ours, or a name in one
                    inner = f"{node.module}.{alias.name}"
                    yield Import(importer, node.lineno, inner if inner in sources else node.module)


def room(module: str) -> str:
    """`lst_cli.ap.metrics` lies in `ap`; `lst_cli` itself in `lst_cli`."""
    return module.split(".")[1] if "." in module else module


def find_violations(imports: Iterable[Import]) -> list[str]:
    """Every import that the layers forbid, and circles of rooms or of files."""
    found = []
    rooms: dict[str, set[str]] = {}
    files: dict[str, set[str]] = {}
    for one in imports:
        if one.importer in ("lst_cli", "lst_cli.__main__"):
            continue
        here, library = room(one.importer), one.imported.split(".")[0]
        if library != "lst_cli":
            if library in ONLY_CLI and here != "cli":
                found.append(f"{one}: only cli talks to the terminal")
            if library in TORCH and here == "workspace":
                found.append(f"{one}: the workspace is read without torch")
            continue
        there = room(one.imported)
        if one.importer != one.imported:
            files.setdefault(one.importer, set()).add(one.imported)
        if here == there or one.imported in ANYONE_MAY_IMPORT:
            continue
        if FLOORS[there] > FLOORS[here]:
            found.append(f"{one}: imports point down")
        elif FLOORS[there] == FLOORS[here] and "workspace" in (here, there):
            found.append(f"{one}: the workspace is apart")
        else:
            rooms.setdefault(here, set()).add(there)
    for kind, needs in (("rooms", rooms), ("files", files)):
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            found.append(f"{kind} that need each other: {' -> '.join(error.args[1])}")
    return found


def test_imports_point_down():
    assert find_violations(find_imports(read_package(ROOT))) == []


def test_every_room_has_a_floor():
    rooms = {room(module) for module in read_package(ROOT)} - {"lst_cli", "__main__"}
    assert rooms <= FLOORS.keys()


@pytest.mark.parametrize(
    ("importer", "statement", "reason"),
    [
        ("phases.order", "from lst_cli.annotations.read import Images", "imports point down"),
        ("settings.models", "from lst_cli import train", "imports point down"),
        ("engine.loop", "import lst_cli.cli.main", "imports point down"),
        ("annotations.read", "def f():\n import lst_cli.workspace.layout", "workspace is apart"),
        ("workspace.store", "from lst_cli.annotations import read", "workspace is apart"),
        ("workspace.store", "def f():\n import torch.nn", "without torch"),
        ("train.train", "from rich.table import Table", "only cli"),
        ("ap.metrics", "import click", "only cli"),
    ],
)
def test_a_forbidden_import_is_found(importer, statement, reason):
    package = dict.fromkeys(read_package(ROOT), "") | {f"lst_cli.{importer}": statement}
    (violation,) = find_violations(find_imports(package))
    assert importer in violation
    assert reason in violation


@pytest.mark.parametrize(
    ("kind", "other"),
    [("rooms", "lst_cli.modeling.build"), ("files", "lst_cli.annotations.records")],
)
def test_what_needs_each_other_is_found(kind, other):
    here = "lst_cli.annotations.read"
    found = find_violations(find_imports({here: f"import {other}", other: f"import {here}"}))
    assert any(one.startswith(f"{kind} that need") for one in found)


def test_no_folder_is_an_attic():
    files = Counter(path.parent for path in (ROOT / "lst_cli").rglob("*.py"))
    assert {folder: count for folder, count in files.items() if count > MOST_FILES} == {}


# --- every room stands alone; the light ones without torch ------------------------------------

IMPORT_EACH_ALONE = """
import importlib, os, sys, traceback

libraries, light, modules = (argument.split(",") for argument in sys.argv[1:])
for library in libraries:
    importlib.import_module(library)
if light == ["light"]:
    assert "torch" not in sys.modules, "a library that was thought light imports torch"
failed = []
for module in modules:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for one in module.split("+"):
                importlib.import_module(one)
            code = 2 if light == ["light"] and "torch" in sys.modules else 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        failed.append(module + (" imports torch" if code == 2 else " does not import alone"))
print("\\n".join(failed))
"""


def import_each_alone(
    modules: Iterable[str], *, light: bool, path: Path | None = None, libraries: str = ""
) -> list[str]:
    """Import each module in a process of its own; what failed, and why."""
    words = libraries or "os", "light" if light else "", ",".join(modules)
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH_ALONE, *words], capture_output=True, text=True,
        check=False, cwd=ROOT, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [f"{line}\n{done.stderr}" for line in done.stdout.split("\n") if line]


def rooms_of(*, light: bool) -> list[str]:
    """The modules of each room: no two files need each other, so that one process can try them."""
    modules = [module for module in read_package(ROOT) if (room(module) not in HEAVY) == light]
    return ["+".join(group) for _, group in groupby(modules, room)]


def test_light_modules_import_room_by_room_and_without_torch():
    libraries = ",".join(LIGHT_LIBRARIES)
    assert import_each_alone(rooms_of(light=True), light=True, libraries=libraries) == []


@pytest.mark.engine
def test_heavy_modules_import_room_by_room_even_if_opencv_lacks_its_libraries(tmp_path):
    # lvis brings OpenCV, which raises this on a server without a display; detectron2 tries it.
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object')")
    rooms, libraries = rooms_of(light=False), ",".join(HEAVY_LIBRARIES)
    assert import_each_alone(rooms, light=False, path=tmp_path, libraries=libraries) == []


def test_a_module_that_does_not_stand_alone_is_found(tmp_path):
    (tmp_path / "torch.py").touch()
    (tmp_path / "ring_one.py").write_text("from ring_two import b\na = 1\n")
    (tmp_path / "ring_two.py").write_text("from ring_one import a\nb = 2\n")
    (tmp_path / "loads_torch.py").write_text("import torch\n")
    (tmp_path / "fine.py").touch()
    names = ["fine", "fine+ring_one", "loads_torch"]
    ring, torch = import_each_alone(names, light=True, path=tmp_path)
    assert ring.startswith("fine+ring_one does not import alone")
    assert "circular import" in ring
    assert torch.startswith("loads_torch imports torch")
    assert len(import_each_alone(names, light=False, path=tmp_path)) == 1


# --- what a user reads -----------------------------------------------------------------------


@pytest.mark.parametrize("context", HELP, ids=[context.command_path for context in HELP])
def test_every_command_and_option_has_help(context):
    command = context.command
    assert command.help
    assert r"\b" not in command.help, "the mark that keeps lines apart is one character"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help"


def test_the_reference_page_is_current_and_has_every_command():
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == render_reference(cli), "run `make docs`"
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## lst", *(f"## lst {name}" for name in COMMANDS)]
