"""Runs of `lst` in processes of their own that share one import of all, and may be killed."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import lst_cli
from lst_cli.demo.draw import Parameters, draw_demo
from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import NO_PLOTS
from tests.fixtures.outcome import Outcome

# Small enough for a second or two a phase: a thin network on images of 64 pixels.
TINY = (
    "preset=lite-paper", "model.config=timm/test_efficientnet", "model.pretrained=false",
    "device=cpu", "eval.detections=20",
    "data.workers=0", "data.min_size=[64]", "data.min_size_test=64",
    "base.epochs=1", "base.decay_epochs=[0.7]", "base.batch_size=2", "base.save_every=2",
    "base.warmup_iterations=2",
    "step.epochs=2", "step.decay_epochs=[]", "step.batch_size=2", "step.save_every=2",
    "detectron2.MODEL.FPN.OUT_CHANNELS=16", "detectron2.MODEL.ROI_BOX_HEAD.FC_DIM=32",
    "detectron2.MODEL.ROI_MASK_HEAD.CONV_DIM=16", "model.mask_mlp_hidden=8",
)  # fmt: skip

ENVIRONMENT = """
os.environ |= {{
    "RANK": "{0}", "LOCAL_RANK": "{0}", "WORLD_SIZE": "{1}", "LOCAL_WORLD_SIZE": "{1}",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "{2}",
    "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
}}
"""
RUN = """
import os, signal, sys

for number, path in ((1, {out!r}), (2, {err!r})):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
import torch
torch.set_num_threads(1)

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{first}

sys.argv = ["lst", *{words!r}]
from lst_cli.cli.main import main
main()
"""


@dataclass
class Started:
    """A process of `lst`."""

    process: Any
    out: Path
    err: Path

    def outcome(self, timeout: float = 100) -> Outcome:
        self.process.join(timeout=timeout)
        assert self.process.exitcode is not None, "the run hangs"
        return Outcome(self.process.exitcode, self.out.read_text(), self.err.read_text())


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Start `lst` in another process; `first` is Python to run there before."""
    processes = multiprocessing.get_context("forkserver")
    ours = [module.name for module in pkgutil.walk_packages(lst_cli.__path__, "lst_cli.")]
    drawing = ["figure", "backends.backend_agg", "backends.backend_pdf"]
    plots = [f"matplotlib.{module}" for module in drawing]
    processes.set_forkserver_preload([*ours, *plots, "torch.utils.tensorboard"])

    def call(*words: object, first: str = NO_PLOTS) -> Started:
        folder = tmp_path_factory.mktemp("run")
        out, err = folder / "out", folder / "err"
        source = RUN.format(
            out=str(out), err=str(err), first=first, words=[str(word) for word in words]
        )
        process = processes.Process(target=exec, args=(source, {}))
        process.start()
        return Started(process, out, err)

    return call


@pytest.fixture(scope="session")
def run(start):
    """Run `lst` in another process, see `start`."""

    def call(*words: object, first: str = NO_PLOTS) -> Outcome:
        return start(*words, first=first).outcome()

    return call


@pytest.fixture(scope="session")
def run_together(start):
    """Run `lst` as so many processes, as torchrun does; `first` is for all or a list for each."""

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    def call(count: int, *words: object, first: str | list[str] = "") -> list[Outcome]:
        # Kept here, as torchrun does, and not by the first process, which may be killed.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        before = [first] * count if isinstance(first, str) else first
        started = [
            start(*words, first=ENVIRONMENT.format(rank, count, store.port) + source)
            for rank, source in enumerate(before)
        ]
        left = [one.process for one in started]
        while left:
            multiprocessing.connection.wait([one.sentinel for one in left], timeout=100)
            if any(one.exitcode for one in left):  # one failed: torchrun ends the others
                for one in left:
                    one.join(timeout=10)
                    one.terminate()
            left = [one for one in left if one.exitcode is None]
        return [one.outcome() for one in started]

    return call


@dataclass
class Tiny:
    """A drawn set of six classes."""

    train_json: Path
    val_json: Path
    images: Path

    def split_words(self, workspace: Path, *more: str) -> list[object]:
        settings = [word for one in (*TINY, *more) for word in ("--set", one)]
        return [
            "split", "--train", self.train_json, "--val", self.val_json, "--images", self.images,
            "--b", 3, "--phases", 2, "-w", workspace, *settings,
        ]  # fmt: skip

    def joint_words(self, workspace: Path, *more: str) -> list[object]:
        words = self.split_words(workspace, *more)
        at = words.index("--b")
        return [*words[:at], "--joint", *words[at + 4 :]]


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A directory for all test processes of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "e2e-shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny(shared):
    with FileLock(shared / "tiny.lock"):
        drawn = draw_demo(
            shared / "tiny", Parameters(classes=6, size=64, head=7, val_per_class=1, per_image=2.5)
        )
    return Tiny(drawn.train_json, drawn.val_json, drawn.images_dir)


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a directory once for all test processes."""
    with FileLock(f"{folder}.lock"):
        done = folder.with_name(f"{folder.name}.done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of another process that failed
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def base_folder(shared, tiny, run):
    def make(folder: Path) -> None:
        for words in (tiny.split_words(folder), ["train-base", "-w", folder]):
            run(*words, first="").ok()  # with the plots, too

    return _made_once(shared / "base", make)


@pytest.fixture(scope="session")
def finished_folder(shared, base_folder, run):
    def make(folder: Path) -> None:
        shutil.copytree(base_folder, folder)
        for words in (["step", "--all"], ["eval", "--all-phases"], ["report"]):
            outcome = run(*words, "-w", folder).ok()
            (folder / f"{words[0]}.out").write_text(outcome.out)
            (folder / f"{words[0]}.err").write_text(outcome.err)

    return _made_once(shared / "finished", make)


@pytest.fixture
def based(base_folder, tmp_path):
    """A copy of a workspace whose base phase is done."""
    return Workspace(shutil.copytree(base_folder, tmp_path / "based"))


@pytest.fixture
def finished(finished_folder, tmp_path):
    """A copy of a workspace in which all five commands have run."""
    return Workspace(shutil.copytree(finished_folder, tmp_path / "finished"))


@pytest.fixture
def fresh(tiny, run, tmp_path):
    """A workspace that was split as the one whose base is done, and no more."""
    run(*tiny.split_words(tmp_path / "fresh")).ok()
    return Workspace(tmp_path / "fresh")


@pytest.fixture
def few_json(tiny, tmp_path):
    """Files of classes with new names; their objects are those of a known class."""
    document = json.loads(tiny.train_json.read_text())

    def write(boxes: int = 2, **names: int) -> Path:
        found = []
        for category_id in names.values():
            of_class = [a for a in document["annotations"] if a["category_id"] == category_id]
            found += of_class[:boxes]
        images = {one["image_id"] for one in found}
        content = {
            "images": [one for one in document["images"] if one["id"] in images],
            "annotations": found,
            "categories": [{"id": number, "name": name} for name, number in names.items()],
        }
        path = tmp_path / f"{'-'.join(names)}.json"
        path.write_text(json.dumps(content))
        return path

    return write
