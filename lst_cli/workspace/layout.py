"""Where everything lies in a workspace: every file name, once."""

from __future__ import annotations

import re
from pathlib import Path

SETTINGS = "lst.toml"
SPLIT = "split.json"
MANIFEST = "manifest.json"
REPLACED = "replaced"  # directory of finished phases that others took the place of


class PhaseDirectory:
    """The files of one phase."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / MANIFEST  # what the phase did; it is done only when this says so
        self.model = root / "model.safetensors"  # weights of the finished phase
        # Weights, optimizer and iteration of a phase that is under way.
        self.training_state = root / "training-state.safetensors"
        self.log = root / "log.jsonl"  # losses and rates, one JSON object a line
        self.tensorboard = root / "tensorboard"
        # Weights of the meta weight generator, detached from the model.
        self.generator = root / "generator.safetensors"
        # What the generator's attention made of the phase's classes, float32 (C, b).
        self.attention = root / "attention.npy"

        # Detections on the validation images in LVIS results format, and their AP. A part is of
        # an evaluation that is under way, one image a line.
        self.detections = root / "detections.json"
        self.detections_part = root / "detections.part.jsonl"
        self.metrics = root / "metrics.json"
        self.errors = root / "errors"  # directory of what tells where AP is lost
        # The same for AP_fixed, which takes more detections an image.
        self.fixed_detections = root / "detections-fixed.json"
        self.fixed_detections_part = root / "detections-fixed.part.jsonl"
        self.fixed_metrics = root / "metrics-fixed.json"
        self.fixed_errors = root / "errors-fixed"
        # The same for the model that `lst adopt` made the base phase from.
        self.original_detections = root / "original-detections.json"
        self.original_detections_part = root / "original-detections.part.jsonl"
        self.original_metrics = root / "original-metrics.json"
        self.instant = root / "instant.json"  # AP of the phase's classes before its first iteration

    def bank(self, sha256: str) -> Path:
        """Objects of the phase's classes, cut out: the bank of this digest."""
        return self.root / f"bank-{sha256[:16]}.safetensors"

    def banks(self) -> list[Path]:
        """All banks that are there: more than one after a killed command."""
        return sorted(self.root.glob("bank-*.safetensors"))

    def instant_part(self, way: str) -> Path:
        """Detections of one kind of rows while `lst eval --instant` is under way."""
        return self.root / f"instant-{way}.part.jsonl"


class Layout:
    """The files of a workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = root / SETTINGS  # of the user
        self.split = root / SPLIT  # class order, groups and inputs
        self.class_plot = root / "split-classes.png"  # training counts along the class order
        self.balance_plot = root / "split-balance.png"  # how balanced the phases' training sets are
        self.lock = root / ".lock"  # held by the one process that writes
        self.phases = root / "phases"
        self.report = root / "report"

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


def _directory_name(phase: int) -> str:
    return "00-base" if phase == 0 else f"{phase:02d}"


_SEED = re.compile(r"-seed(0|[1-9][0-9]{0,8})(-[0-9a-f]{8})?$")


class SweepLayout:
    """The files of a sweep: a workspace for every run, and a table over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.markdown = root / "sweep.md"  # the table for reading
        self.csv = root / "sweep.csv"  # the table for programs
        self.seeds_csv = root / "sweep-seeds.csv"  # likewise, every seed by itself
        self.json = root / "sweep.json"  # everything the table is made from

    def run(self, name: str, digest: str, seed: int) -> Path:
        """Workspace of a run; the digest is of what it is trained on, whatever its seed."""
        return self.root / f"{name}-seed{seed}-{digest}"

    def runs(self) -> list[Path]:
        """Workspaces of runs that are there, of other plans and versions of lst too."""
        return sorted(path for path in self.root.glob("*-seed*") if _SEED.search(path.name))

    def seeds(self) -> list[int]:
        """Seeds of the runs that are there, ascending."""
        return sorted({int(match[1]) for path in self.runs() if (match := _SEED.search(path.name))})

    def base(self, digest: str, seed: int) -> Path:
        """Workspace of a base phase that several runs may share."""
        return self.root / "bases" / f"{digest}-seed{seed}"


def traceback_file(workspace: Path) -> Path:
    """What a run of a sweep left that ended in an unknown error."""
    return workspace / "error.txt"
