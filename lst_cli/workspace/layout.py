"""Where everything lies in a workspace: every file name, once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SETTINGS = "lst.toml"
SPLIT = "split.json"
MANIFEST = "manifest.json"
REPLACED = "replaced"
"""Directory of finished phases that others took the place of."""


@dataclass(frozen=True)
class PhaseDirectory:
    """The files of one phase.

    Attributes:
        root: The phase's directory.
    """

    root: Path

    @property
    def manifest(self) -> Path:
        """What the phase did; it is done only when this says so."""
        return self.root / MANIFEST

    @property
    def model(self) -> Path:
        """Weights of the finished phase."""
        return self.root / "model.safetensors"

    @property
    def training_state(self) -> Path:
        """Weights, optimizer and iteration of a phase that is under way."""
        return self.root / "training-state.safetensors"

    @property
    def log(self) -> Path:
        """Losses and rates, one JSON object a line."""
        return self.root / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.root / "tensorboard"

    @property
    def metrics(self) -> Path:
        """AP of the phase's model."""
        return self.root / "metrics.json"

    @property
    def fixed_detections(self) -> Path:
        """Detections for AP_fixed: more an image."""
        return self.root / "detections-fixed.json"

    @property
    def fixed_detections_part(self) -> Path:
        """The same of images that an unfinished evaluation has done, a line each."""
        return self.root / "detections-fixed.part.jsonl"

    @property
    def fixed_metrics(self) -> Path:
        """AP_fixed of the phase's model."""
        return self.root / "metrics-fixed.json"

    @property
    def fixed_errors(self) -> Path:
        """The same for AP_fixed."""
        return self.root / "errors-fixed"

    @property
    def errors(self) -> Path:
        """Directory of what tells where AP is lost."""
        return self.root / "errors"

    @property
    def generator(self) -> Path:
        """Weights of the meta weight generator, detached from the model."""
        return self.root / "generator.safetensors"

    @property
    def attention(self) -> Path:
        """What the generator's attention made of the phase's classes, float32 (C, b)."""
        return self.root / "attention.npy"

    @property
    def instant(self) -> Path:
        """AP of the phase's classes before its first iteration."""
        return self.root / "instant.json"

    def instant_part(self, way: str) -> Path:
        """Detections of one kind of rows while `lst eval --instant` is under way."""
        return self.root / f"instant-{way}.part.jsonl"

    @property
    def detections(self) -> Path:
        """Detections on the validation images, LVIS results format."""
        return self.root / "detections.json"

    @property
    def detections_part(self) -> Path:
        """Detections of an evaluation that is under way, one image a line."""
        return self.root / "detections.part.jsonl"


@dataclass(frozen=True)
class Layout:
    """The files of a workspace.

    Attributes:
        root: The workspace directory.
    """

    root: Path

    @property
    def settings(self) -> Path:
        """The user's settings."""
        return self.root / SETTINGS

    @property
    def split(self) -> Path:
        """Class order, groups and inputs."""
        return self.root / SPLIT

    @property
    def class_plot(self) -> Path:
        """Training counts along the class order."""
        return self.root / "split-classes.png"

    @property
    def balance_plot(self) -> Path:
        """How balanced the phases' training sets are."""
        return self.root / "split-balance.png"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes."""
        return self.root / ".lock"

    @property
    def phases(self) -> Path:
        """Directory of all phases."""
        return self.root / "phases"

    @property
    def report(self) -> Path:
        """Directory of the report."""
        return self.root / "report"

    def phase(self, phase: int) -> PhaseDirectory:
        """Files of phase t; phase 0 is the base."""
        return PhaseDirectory(self.phases / _directory_name(phase))

    def own_directories(self) -> list[Path]:
        """Directories in which every file is written under the lock, and by lst."""
        found = [self.report, self.phases]
        for _ in range(2):
            found += [path for one in found for path in one.glob("*/") if path not in found]
        return found

    def predictions(self, phase: int) -> Path:
        """Directory of what the model of phase t finds in any images."""
        return self.root / "predictions" / _directory_name(phase)


_SEED = re.compile(r"-seed(0|[1-9][0-9]{0,8})(-[0-9a-f]{8})?$")


def _directory_name(phase: int) -> str:
    return "00-base" if phase == 0 else f"{phase:02d}"


@dataclass(frozen=True)
class SweepLayout:
    """The files of a sweep: a workspace for every run, and a table over them.

    Attributes:
        root: The sweep's directory.
    """

    root: Path

    def run(self, name: str, digest: str, seed: int) -> Path:
        """Workspace of a run; the digest is of what it is trained on, whatever its seed."""
        return self.root / f"{name}-seed{seed}-{digest}"

    def runs(self) -> list[Path]:
        """Workspaces of runs that are there, of other plans and earlier versions of lst too."""
        return sorted(path for path in self.root.glob("*-seed*") if _SEED.search(path.name))

    def seeds(self) -> list[int]:
        """Seeds of the runs that are there, ascending."""
        return sorted({int(match[1]) for path in self.runs() if (match := _SEED.search(path.name))})

    def base(self, digest: str, seed: int) -> Path:
        """Workspace of a base phase that several runs may share."""
        return self.root / "bases" / f"{digest}-seed{seed}"

    @property
    def markdown(self) -> Path:
        """The table for reading."""
        return self.root / "sweep.md"

    @property
    def csv(self) -> Path:
        """The table for programs."""
        return self.root / "sweep.csv"

    @property
    def seeds_csv(self) -> Path:
        """The table for programs, every seed by itself."""
        return self.root / "sweep-seeds.csv"

    @property
    def json(self) -> Path:
        """Everything the table rests on."""
        return self.root / "sweep.json"


def traceback_file(workspace: Path) -> Path:
    """What a run of a sweep left that ended in no known problem."""
    return workspace / "error.txt"
