"""The workspace: which phase is done, which is next, and who may write.

Answers come from the manifests alone, so that they are right after any crash.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.phases.bins import parse_bins
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import Settings
from lst_cli.settings.renamed import take_removed
from lst_cli.workspace.atomic import explain_os_error, remove_leftovers
from lst_cli.workspace.layout import SETTINGS, SPLIT, Layout, PhaseDirectory
from lst_cli.workspace.manifest import FORMAT, FORMATS, Adopted, PhaseManifest, Split
from lst_cli.workspace.records import load_record, save_record

DEFAULT_DIRECTORY = "lst-workspace"


def find_workspace(given: str | os.PathLike[str] | None) -> Path:
    """The given directory (`-w` or `LST_WORKSPACE`), which need not exist.

    Else the current directory if it is a workspace; else `lst-workspace` in it.
    """
    if given:
        return Path(given)
    here = Path.cwd()
    if (here / SPLIT).exists() or (here / SETTINGS).exists():
        return here
    return here / DEFAULT_DIRECTORY


def require_unchanged(path: Path, sha256: str | None, hint: str) -> None:
    """Raise an `LstError` if a file is missing or not as it was when its digest was recorded.

    Where lst 0.1 recorded none (None), the file need only be there.
    """
    try:
        whole = sha256_of(path) == sha256 if sha256 is not None else path.stat()
    except FileNotFoundError as error:
        raise LstError(f"{path}: missing", hint) from error
    except OSError as error:
        raise LstError(f"{path}: cannot be read: {error.strerror}", hint) from error
    if not whole:
        raise LstError(f"{path}: cut short or changed since lst wrote it", hint)


def _back_or(otherwise: str) -> str:
    return f"put the file back from a copy, or {otherwise}"


@dataclass(frozen=True)
class Workspace:
    """A directory with a split and its phases."""

    root: Path

    @property
    def layout(self) -> Layout:
        """File names of the workspace."""
        return Layout(self.root)

    def phase(self, phase: int) -> PhaseDirectory:
        """File names of a phase."""
        return self.layout.phase(phase)

    def settings(self, overrides: Sequence[str] = ()) -> Settings:
        """Settings of `lst.toml`, if there is one, with the given `key=value` words on top."""
        file = self.layout.settings
        settings = load_settings(file if file.exists() else None, overrides)
        on_line = any(word.partition("=")[0].strip() == "eval.bins" for word in overrides)
        # A mistake in the bins is reported before training, not after.
        parse_bins(settings.eval.bins, f"{'--set' if on_line else file.name}: eval.bins")
        return settings

    @cached_property
    def split(self) -> Split:
        """The split; an `LstError` if there is none."""
        hint = "lst split --train TRAIN.json --val VAL.json --images DIR"
        if not self.layout.split.exists():
            raise LstError(f"{self.root} has no split yet", hint)
        split = load_record(Split, self.layout.split, hint, FORMATS)
        if problem := split.find_problem():
            raise LstError(f"{self.layout.split}: {problem}", hint)
        return split

    def save_split(self, split: Split) -> None:
        """Write the split."""
        save_record(split.model_copy(update={"format": FORMAT}), self.layout.split)
        self.__dict__.pop("split", None)  # what was read before

    @property
    def adopted(self) -> Adopted | None:
        """The existing model that the base phase is; None if it is not one."""
        base = self.manifest(0)
        return None if base is None else base.adopted

    @property
    def joint(self) -> bool:
        """Whether all classes are trained at once: none was adopted or added."""
        return len(self.split.groups) == 1 and self.adopted is None

    @property
    def last_phase(self) -> int:
        """T, the last phase of the split."""
        return len(self.split.groups) - 1

    def manifest(self, phase: int) -> PhaseManifest | None:
        """The manifest of a phase, None if it was never begun; an LstError if of another split."""
        directory = self.phase(phase)
        if not directory.manifest.exists():
            return None
        hint = _back_or(f"move {directory.root} elsewhere and train the phase again")
        manifest = load_record(PhaseManifest, directory.manifest, hint, FORMATS)
        if manifest.split_sha256 != self.split.digest_at(phase):
            raise LstError(
                f"{self.layout.split} changed after phase {phase} was begun",
                f"put the old split back, or move {self.layout.phases} elsewhere and train again",
            )
        if problem := manifest.find_problem(phase, self.split):
            raise LstError(f"{directory.manifest}: {problem}", hint)
        return manifest

    def save_manifest(self, manifest: PhaseManifest) -> None:
        """Write the manifest of a phase."""
        current = manifest.model_copy(update={"format": FORMAT})
        save_record(current, self.phase(manifest.phase).manifest)

    def missing_generator(self, phase: int) -> str | None:
        """Why a phase cannot go on with a trained generator, or None if the one before left one."""
        left = [p for p in range(1, phase) if self.phase(p).generator.exists()]
        if not left:
            return "no trained generator in the workspace"
        if left[-1] == phase - 1:
            return None
        last = f"that of phase {left[-1]} is of another box head"
        return f"phase {phase - 1} left no generator, and {last}"

    def is_done(self, phase: int) -> bool:
        """Whether a phase is finished: its manifest says so."""
        manifest = self.manifest(phase)
        return manifest is not None and manifest.done

    def done_phases(self) -> list[int]:
        """Finished phases from the base on, each grown from the model of the one before."""
        done: list[int] = []
        model = None
        for phase in range(self.last_phase + 1):
            manifest = self.manifest(phase)
            if manifest is None or not manifest.done:
                break
            if manifest.previous_sha256 != model:
                self._refuse_false_digest(phase, manifest)
                break
            done.append(phase)
            model = manifest.model_sha256
        return done

    def _refuse_false_digest(self, phase: int, manifest: PhaseManifest) -> None:
        """Check that a finished phase is outdated, not the manifest before it damaged."""
        before = self.phase(phase - 1)
        if before.model.is_file() and sha256_of(before.model) == manifest.previous_sha256:
            raise LstError(
                f"{before.manifest}: model_sha256 is not that of {before.model.name}, from which "
                f"phase {phase} was grown: the manifest was changed or damaged",
                _back_or(f"write {manifest.previous_sha256} there"),
            )

    def next_phase(self) -> int | None:
        """The first phase that is not done, or None after the last."""
        done = len(self.done_phases())
        return done if done <= self.last_phase else None

    def training_command(self, phase: int) -> str:
        """The command that trains a phase of the split."""
        if phase > 0:
            return "lst step"
        return "lst train-joint" if self.split.joint else "lst train-base"

    def split_command(self, words: str) -> str:
        """The command that splits the same data in another way, into another workspace."""
        split = self.split
        files = [("--train", split.train.path), ("--val", split.val.path)]
        files += [("--images", directory) for directory in split.image_dirs]
        return f"lst split -w OTHER {words} " + " ".join(
            f"{option} {shlex.quote(path)}" for option, path in files
        )

    def newest_phase(self) -> int:
        """The last finished phase; an `LstError` if not even the base is finished."""
        done = self.done_phases()
        if not done:
            raise LstError(f"no phase of {self.root} is finished yet", self.training_command(0))
        return done[-1]

    def require_done(self, phase: int) -> PhaseManifest:
        """The manifest of a finished phase; for any other an `LstError` with the next command."""
        if not 0 <= phase <= self.last_phase:
            raise LstError(
                f"phase {phase} does not exist: the split has phases 0 to {self.last_phase}",
                "lst status",
            )
        manifest = self.manifest(phase)
        if manifest is None or not manifest.done:
            upcoming = self.next_phase() or 0
            raise LstError(f"phase {phase} is not finished", self.training_command(upcoming))
        return manifest

    def require_model(self, phase: int) -> PhaseManifest:
        """The manifest of a finished phase; an `LstError` if its weights are missing or changed."""
        manifest = self.require_done(phase)
        directory = self.phase(phase)
        again = f"move {directory.root} elsewhere and train the phase again"
        require_unchanged(directory.model, manifest.model_sha256, _back_or(again))
        return manifest

    def require_generator(self, phase: int) -> None:
        """Raise an `LstError` if the generator of a finished phase was changed or damaged."""
        file = self.phase(phase).generator
        if file.exists():
            hint = _back_or("move it elsewhere to start with a fresh generator")
            require_unchanged(file, self.require_done(phase).generator_sha256, hint)

    def trained_settings(self, phase: int) -> Settings:
        """Settings of a phase without removed ones; an LstError if today's refuse one."""
        manifest = self.manifest(phase)
        if manifest is None:
            raise LstError(f"phase {phase} was not begun", "lst status")
        try:
            return Settings.model_validate(take_removed(manifest.settings)[0])
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, ("settings", *first["loc"])))
            raise LstError(
                f"{self.phase(phase).manifest}: {key}: {first['msg']}",
                "use the lst that trained the phase",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace for writing; an `LstError` if another process holds it.

        Files that a killed writer left half-written are removed first.
        """
        with explain_os_error(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.layout.lock, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise LstError(
                    f"another lst is writing to {self.root}",
                    "wait until it has finished, or choose another workspace with -w DIR",
                ) from None
        try:
            with explain_os_error(self.root):
                remove_leftovers(self.root)
                for directory in self.layout.own_directories():
                    remove_leftovers(directory, of_0_1=True)
                for path in self.root.glob(f".{SPLIT}.????????"):  # of lst 0.1
                    path.unlink()
            self.__dict__.pop("split", None)  # whoever held the lock before may have written
            yield
        finally:
            lock.release()
