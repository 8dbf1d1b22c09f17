"""Fixtures for tests of several rooms: a small LVIS set drawn in code, `lst` as a user calls it."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lst_cli.cli.main import main
from lst_cli.split import split
from lst_cli.workspace.store import Workspace
from tests.fixtures.outcome import Outcome

FIXTURES = Path(__file__).parent / "fixtures"
pytest_plugins = [f"tests.fixtures.{path.stem}" for path in sorted(FIXTURES.glob("*.py"))]

CI = Path(__file__).resolve().parents[1] / ".ci"

WIDTH, HEIGHT = 80, 60
# Training instances of the categories with ids 1 to 12; the last has none.
COUNTS = (2, 9, 1, 14, 5, 3, 30, 1, 22, 2, 4, 0)


def _document(counts: Sequence[int], split: str, images: range, first: int) -> dict[str, Any]:
    """Boxes on a grid, no two alike in an image, dealt over the images one by one."""
    annotations = []
    for place, category in enumerate(np.repeat(np.arange(len(counts)) + 1, counts).tolist()):
        turn, image = divmod(place, len(images))
        x, y = 2.0 + 13 * (turn % 6), 2.0 + 14 * (turn // 6)
        w, h = 8.0 + category % 3, 9.0 + category % 4
        annotations.append(
            {
                "id": first + place, "image_id": images[image], "category_id": category,
                "bbox": [x, y, w, h], "area": w * h,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
        )  # fmt: skip
    held = {number: set[int]() for number in images}
    for annotation in annotations:
        held[annotation["image_id"]].add(annotation["category_id"])
    return {
        "info": {"description": "twelve categories of rectangles"},
        "licenses": [],
        "categories": [
            {"id": number, "name": f"class {number}", "synset": f"class_{number}.n.01",
             "frequency": "f" if count > 10 else "c" if count > 2 else "r"}
            for number, count in enumerate(COUNTS, 1)
        ],
        "images": [
            {
                "id": number, "height": HEIGHT, "width": WIDTH,
                "coco_url": f"http://images.invalid/{split}/{number:06d}.png",
                "neg_category_ids": sorted({3, 5, 8} - held[number]),
                "not_exhaustive_category_ids": [7] if number % 5 == 0 else [],
            }
            for number in images
        ],
        "annotations": annotations,
    }  # fmt: skip


def _draw_image(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), colour).save(path)


class SmallLvis:
    """A drawn LVIS v1-format set on disk; `train` and `val` may be edited and saved again."""

    def __init__(self, folder: Path, train: dict[str, Any], val: dict[str, Any]) -> None:
        self.folder, self.train, self.val = folder, train, val
        self.train_json, self.val_json = folder / "train.json", folder / "val.json"
        self.images = folder / "images"

    def save(self) -> None:
        self.train_json.write_text(json.dumps(self.train))
        self.val_json.write_text(json.dumps(self.val))

    def split_words(self, base: int = 5, phases: int = 3) -> list[str]:
        """What follows `lst` to split it."""
        files = ["--train", self.train_json, "--val", self.val_json, "--images", self.images]
        return ["split", *map(str, files), "--b", str(base), "--phases", str(phases)]

    def joint_words(self) -> list[str]:
        """The same for joint training."""
        return [*self.split_words()[:-4], "--joint"]


@pytest.fixture(scope="session")
def small_lvis_content():
    val_counts = [2 if number not in (8, 10) else 0 for number in range(1, 13)]
    train, val = range(1, 25), range(1001, 1009)
    return _document(COUNTS, "train", train, 1), _document(val_counts, "val", val, 5001)


@pytest.fixture
def small_lvis(tmp_path, small_lvis_content):
    lvis = SmallLvis(tmp_path / "small-lvis", *copy.deepcopy(small_lvis_content))
    for image in (*lvis.train["images"], *lvis.val["images"]):
        where = image["coco_url"].removeprefix("http://images.invalid/")
        _draw_image(lvis.images / where, (image["id"] % 256, 90, 160))
    lvis.save()
    return lvis


@pytest.fixture
def no_plots(monkeypatch):
    """Splits draw no plots, which take most of the time."""
    for plot in ("plot_class_counts", "plot_replay_balance"):
        monkeypatch.setattr(split, plot, lambda _: b"a plot")


@pytest.fixture
def split_workspace(small_lvis, tmp_path, no_plots):
    """The small LVIS set split into a base of five classes and three phases of two."""
    workspace = Workspace(tmp_path / "work")
    files = small_lvis.train_json, small_lvis.val_json, [small_lvis.images]
    split.split_dataset(workspace, split.SplitRequest(*files, 5, 3), workspace.settings())
    return workspace


@pytest.fixture(scope="session")
def lvis_counts():
    """Instances and images of every class of LVIS v0.5, as a CSV file."""
    return Path(__file__).parent / "data" / "lvis_v0.5_train_category_counts.csv"


@pytest.fixture(scope="session")
def load_script():
    """Loads a script in `.ci` under a name of its own: one of them is called detectron2."""

    def load(name: str) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location(f"ci_{name}", CI / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(CI)  # one imports another
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def lst(monkeypatch, capsys):
    """Call `lst` in this process as the console script does."""
    monkeypatch.delenv("LST_WORKSPACE", raising=False)

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["lst", *map(str, words)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            logging.disable(logging.NOTSET)
        return Outcome(code, *capsys.readouterr())

    return call


@dataclass
class FakeTrainer:
    """A trainer without torch: counts iterations, writes a few bytes."""

    runs: list[tuple[int, int, str | None]] = field(default_factory=list)  # phase, first iteration
    stop_after: int | None = None  # iterations, after which the next run is interrupted
    fail_in_prepare: Exception | None = None  # what the next run raises before it begins
    unusable: tuple[int, ...] = ()  # images that a phase that begins cannot cut objects out of

    def __call__(self, job: Any) -> FakeRun:
        if self.fail_in_prepare is not None:
            error, self.fail_in_prepare = self.fail_in_prepare, None
            raise error
        return FakeRun(self, job)


class FakeRun:
    """A job in the hands of the fake trainer."""

    def __init__(self, trainer: FakeTrainer, job: Any) -> None:
        self.trainer, self.plan, self.seed = trainer, job.plan, job.settings.seed
        self.freezes_backbone = "backbone" in job.settings.step.freeze
        self.directory = job.workspace.phase(job.plan.phase)
        self.device_name = "a fake device"
        self.weight_report: dict[str, Any] | None = None
        self.left_out = trainer.unusable if job.left_out is None else job.left_out
        self.start = 0
        if self.directory.training_state.exists():
            self.start = int(self.directory.training_state.read_text())
        elif job.weights is not None:
            self.weight_report = {"source": job.weights, "matched": ["all"]}
        trainer.runs.append((self.plan.phase, self.start, job.weights))

    def estimate(self) -> float | None:
        return 90.0 if self.freezes_backbone else None

    def leave_bank(self) -> str | None:
        return None

    def train(self, on_iteration: Callable[[Any], None]) -> float:
        for done in range(self.start + 1, self.plan.iterations + 1):
            on_iteration(
                types.SimpleNamespace(
                    iteration=done, iterations=self.plan.iterations, losses={"total": 1 / done},
                    details={}, lr=0.1, seconds=done / 4,
                )
            )  # fmt: skip
            if self.trainer.stop_after == done - self.start:
                self.trainer.stop_after = None
                self.directory.training_state.write_text(str(done))
                raise KeyboardInterrupt
        self.directory.model.write_text(f"weights of phase {self.plan.phase}, seed {self.seed}")
        return self.plan.iterations / 4


@pytest.fixture
def fake_trainer(monkeypatch):
    """Every training in this process is the fake trainer's."""
    trainer = FakeTrainer()
    monkeypatch.setattr("lst_cli.train.train.load_trainer", lambda: trainer)
    return trainer


@pytest.fixture
def files_below():
    """The content of every file below a directory."""

    def read(root: Path) -> dict[str, bytes]:
        found = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    return read


@pytest.fixture
def as_lst_0_1():
    """Rewrite a file of the workspace as lst 0.1 would have it, changed: without a checksum."""

    def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
        content = json.loads(path.read_text())
        del content["checksum"]
        content["format"] = 1
        for key in ("generator_sha256", "attention_sha256", "detections_sha256"):
            content.pop(key, None)
        change(content)
        path.write_text(json.dumps(content))

    return rewrite


class FewImages:
    """A COCO-format file of classes that nobody planned; `document` may be edited and saved."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.folder, self.document = folder, document
        self.train_json, self.images = folder / "few.json", folder / "few-images"

    def add(self, image_id: int, category_id: int) -> dict[str, Any]:
        """One more annotation, returned to be edited."""
        found = self.document["annotations"]
        x = 2.0 + 12 * (len(found) % 6)
        annotation = {
            "id": len(found) + 1, "image_id": image_id, "category_id": category_id,
            "bbox": [x, 3.0, 9.0, 11.0], "area": 99.0, "iscrowd": 0,
            "segmentation": [[x, 3.0, x + 9, 3.0, x + 9, 14.0]],
        }  # fmt: skip
        found.append(annotation)
        return annotation

    def save(self) -> None:
        self.train_json.write_text(json.dumps(self.document))

    def words(self, *more: object) -> list[object]:
        """What follows `lst` to add the classes."""
        return ["extend", "--train", self.train_json, "--images", self.images, *more]


@pytest.fixture
def few(tmp_path):
    """Three images with 2 zebras, 1 yak and 3 of class 12, whose ids mean others elsewhere."""
    names = {3: "zebra", 40: "yak", 7: "class 12"}
    images = [
        {"id": number, "height": HEIGHT, "width": WIDTH, "file_name": f"few-{number}.png"}
        for number in (1, 2, 3)
    ]
    categories = [{"id": number, "name": name} for number, name in names.items()]
    document = {"images": images, "categories": categories, "annotations": []}
    drawn = FewImages(tmp_path / "few", document)
    for image_id, category in ((1, 3), (2, 3), (2, 40), (1, 7), (1, 7), (3, 7)):
        drawn.add(image_id, category)
    for number in (1, 2, 3):
        _draw_image(drawn.images / f"few-{number}.png", (10, number, 200))
    drawn.save()
    return drawn
