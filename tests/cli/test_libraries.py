"""What a process meets: missing and broken libraries, no torch, signals."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lst_cli import libraries
from lst_cli.errors import LstError
from lst_cli.libraries import explain_import, require
from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import exit_code_of_a_terminated_worker
from tests.fixtures.outcome import in_a_fresh_process


def forget(name, monkeypatch):
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)


class Blocker:
    """Keeps a library from being found."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *more: Any) -> None:
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def block(monkeypatch):
    """Keep a library from being imported."""

    def without(name):
        forget(name, monkeypatch)
        monkeypatch.setattr(sys, "meta_path", [Blocker(name), *sys.meta_path])

    return without


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a library of such code before the real one."""

    def instead(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        forget(name, monkeypatch)
        monkeypatch.syspath_prepend(str(tmp_path))

    return instead


NEEDED = [
    *(("train-base", name)
      for name in ("detectron2", "torch", "torchvision", "timm", "pycocotools", "fvcore")),
    *((words, "torch") for words in ("eval", "predict photo.jpg", "demo", "extend --train x")),
    ("eval --reference", "lvis"),
    ("demo", "matplotlib"),
    ("report", "matplotlib"),
    ("figure attention", "sklearn"),
    ("score {0}/val.json --annotations {0}/val.json", "pycocotools"),
    ("score {0}/val.json --annotations {0}/val.json --reference", "lvis"),
    ("split --force --train {0}/train.json --val {0}/val.json --b 3 --phases 2", "matplotlib"),
    ("sweep table1 --train {0}/train.json --val {0}/val.json --b 3 --phases 2 --dir {1}/s",
     "detectron2"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "name"), NEEDED)
def test_a_missing_library_is_one_line_and_nothing_is_begun(
    lst, workspace, small_lvis, block, tmp_path, words, name
):
    block(name)
    root = tmp_path / "demo" if words == "demo" else workspace.root
    before = sorted(tmp_path.rglob("*"))
    place = [] if words.startswith(("sweep", "score")) else ["-w", root]
    filled = words.format(small_lvis.folder, tmp_path).split()
    outcome = lst(filled[0], *place, *filled[1:])
    assert outcome.code == 1
    assert outcome.error == f"error: the library {name} is not installed"
    assert outcome.hint.startswith("make setup, or ")
    assert len(outcome.err.splitlines()) == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("detectron2", "python .ci/detectron2.py, in a checkout of lst"),
        ("torch", "pip install torch"),
        ("sklearn", "pip install scikit-learn"),
        ("hydra", "pip install hydra-core"),
    ],
)
def test_the_hint_says_what_installs_it(block, name, install):
    block(name)
    with pytest.raises(LstError) as caught:
        require("json", name)
    assert caught.value.hint == f"make setup, or {install}"


BROKEN = [
    'raise ImportError("libcudart.so.11: cannot open shared object file")',
    'raise OSError("libtorch_cuda.so: cannot open shared object file")',
    'raise RuntimeError("operator torchvision::nms does not exist")',
    "import json; json.nothing",
    "from . import gone",
    "import nobody_has_this",
]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("torchvision", code) for code in BROKEN),
        *((name, BROKEN[0]) for name in ("detectron2", "matplotlib", "sklearn")),
    ],
)
def test_a_broken_library_is_one_line(monkeypatch, install, lst, name, code):
    install(name, code)
    code_of_ours = compile(f"import {name}", libraries.__file__, "exec")

    def fail(_: object) -> None:
        exec(code_of_ours, {"__name__": "lst_cli.train.something"})

    monkeypatch.setattr("lst_cli.report.status.read_status", fail)
    outcome = lst("status")
    assert outcome.code == 1
    assert outcome.error.startswith(f"error: the library {name} is installed and cannot be import")
    wanted = "build detectron2 again" if name == "detectron2" else "--force-reinstall"
    assert wanted in outcome.hint


def test_the_innermost_broken_library_is_named(install):
    install("torchvision", "1 / 0")
    install("detectron2", "import torchvision")
    with pytest.raises(ZeroDivisionError) as caught:
        exec("import detectron2", {"__name__": "lst_cli.modeling.build"})
    error = explain_import(caught.value)
    assert error is not None
    assert error.message.startswith("the library torchvision is installed and cannot be imported")


@pytest.mark.parametrize(
    ("name", "broken"),
    [*((name, False) for name in ("numpy", "pydantic", "msgspec", "rich", "filelock")),
     ("pydantic_core", True), ("rich", True)],
)  # fmt: skip
def test_a_library_that_every_command_needs_is_one_line_too(name, broken, tmp_path, workspace):
    start = f"import sys\n{inspect.getsource(Blocker)}\nsys.meta_path.insert(0, Blocker({name!r}))"
    if broken:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(BROKEN[0])
        start = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    words = ["lst", "status", "-w", str(workspace.root)]
    start = f"from __future__ import annotations\n{start}\nsys.argv = {words}"
    run = f"{start}\nfrom lst_cli.cli.main import main\nmain()"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    message, hint = done.stderr.splitlines()
    assert message.startswith(f"error: the library {name} is ")
    assert "pip install" in hint


@pytest.mark.parametrize(
    "code",
    [
        "import lst_cli.gone",
        "from lst_cli.errors import Nothing",
        "import nobody_has_this",
        "raise ImportError('a bug')",
        "1 / 0",
        "import torch_of_ours",
    ],
)
def test_a_mistake_of_ours_keeps_its_traceback(code):
    with pytest.raises((ImportError, ZeroDivisionError)) as caught:
        exec(code, {"__name__": "lst_cli.train.something"})
    assert explain_import(caught.value) is None


# --- no torch where no network is needed ---------------------------------------------------------


@pytest.mark.parametrize("command", ["train-base", "step"])
def test_a_dry_run_loads_no_torch_and_writes_nothing(
    here, workspace, fake_trainer, files_below, command
):
    if command == "step":
        here("train-base")
    before = files_below(workspace.root)
    words = [command, "-w", workspace.root, "--dry-run"]
    outcome, loaded = in_a_fresh_process([*words, "--json"], words)
    assert "torch" not in loaded
    assert files_below(workspace.root) == before
    plan, end = json.JSONDecoder().raw_decode(outcome.ok().out)
    assert plan["iterations"] == (30 if command == "train-base" else 32)
    assert plan["replay_counts"] == (
        {} if command == "train-base" else {"7": 3, "9": 4, "4": 4, "2": 4, "5": 4}
    )
    assert "iterations" in outcome.out[end:]


def test_other_commands_without_a_network_load_no_torch(workspace, small_lvis, tmp_path):
    at, out = ["-w", workspace.root], tmp_path / "out"
    outcome, loaded = in_a_fresh_process(
        ["status", *at], ["check", *at], ["init", "--print", *at],
        [*small_lvis.split_words(), "-w", tmp_path / "new"],
        ["hold-out", "--train", small_lvis.train_json, "--out", out, "--rare", 3],
    )  # fmt: skip
    assert outcome.ok().out
    assert "torch" not in loaded


@pytest.mark.engine
def test_that_torch_was_loaded_is_seen(workspace, tmp_path, monkeypatch):
    (tmp_path / "torch.py").touch()  # the real one takes seconds
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    words = ["train-base", "-w", workspace.root, "--set", "model.config=none"]
    assert "torch" in in_a_fresh_process(words)[1]


# --- signals -------------------------------------------------------------------------------------


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def _stop_while_writing(number: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def stop(path: Path, data: bytes) -> int:
        if path.parent == workspace.root:
            write_bytes(path, data[:2])
            os.kill(os.getpid(), number)
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", stop)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_command_that_is_stopped_says_so_and_leaves_nothing(
    number, code, workspace, small_lvis, lst, monkeypatch
):
    before = {path: path.read_bytes() for path in workspace.root.iterdir()}
    with monkeypatch.context() as patch:
        _stop_while_writing(number, workspace, patch)
        outcome = lst(*small_lvis.split_words(base=4), "-w", workspace.root)
    assert outcome.code == code
    assert outcome.error == f"error: stopped by {signal.Signals(number).name}"
    assert outcome.hint == "run the same command again to continue"
    assert {path: path.read_bytes() for path in workspace.root.iterdir()} == before
    assert signal.getsignal(number) == signal.SIG_DFL
    assert lst(*small_lvis.split_words(base=4), "-w", workspace.root).code == 0


def test_an_ignored_hangup_does_not_stop_a_command(workspace, small_lvis, lst, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _stop_while_writing(signal.SIGHUP, workspace, monkeypatch)
        assert lst(*small_lvis.split_words(), "-w", workspace.root).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_worker_ends_by_the_signal_without_a_word(workspace, lst, monkeypatch):
    codes = []

    def with_a_worker(*args: Any, **others: Any) -> Any:
        codes.append(exit_code_of_a_terminated_worker())
        raise LstError("enough", "lst")

    monkeypatch.setattr("lst_cli.report.status.read_status", with_a_worker)
    assert lst("status", "-w", workspace.root).code == 1
    assert codes == [-signal.SIGTERM]
