"""The workspace: which phase is done, which is next, and who may write.

Answers come from the manifests alone, so that they are right after any crash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from lst_cli.config import Settings, load_settings
from lst_cli.errors import LstError
from lst_cli.workspace.atomic import explain_os_error
from lst_cli.workspace.layout import SETTINGS, SPLIT, Layout, PhaseDirectory
from lst_cli.workspace.manifest import PhaseManifest, Split, load_record

DEFAULT_DIRECTORY = "lst-workspace"


def find_workspace(given: str | os.PathLike[str] | None, start: Path | None = None) -> Path:
    """Choose the workspace directory.

    Args:
        given: What the user said (`-w` or `LST_WORKSPACE`), if anything.
        start: The current directory.

    Returns:
        The given directory; else the current one if it is a workspace; else `lst-workspace` in
        it. It need not exist.
    """
    if given:
        return Path(given)
    here = start or Path.cwd()
    if (here / SPLIT).exists() or (here / SETTINGS).exists():
        return here
    return here / DEFAULT_DIRECTORY


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Workspace:
    """A directory with a split and its phases.

    Attributes:
        root: The directory.
    """

    root: Path

    @property
    def layout(self) -> Layout:
        """File names of the workspace."""
        return Layout(self.root)

    def phase(self, phase: int) -> PhaseDirectory:
        """File names of a phase."""
        return self.layout.phase(phase)

    def settings(self, overrides: Sequence[str] = ()) -> Settings:
        """Settings of `lst.toml`, if there is one, with the given `key=value` words on top.

        Raises:
            LstError: If any setting is refused.
        """
        file = self.layout.settings
        return load_settings(file if file.exists() else None, overrides)

    @cached_property
    def split(self) -> Split:
        """The split.

        Raises:
            LstError: If there is none or it cannot be read.
        """
        mend = f"lst split --train TRAIN.json --images DIR -w {self.root}"
        if not self.layout.split.exists():
            raise LstError(f"{self.root} holds no split yet", mend)
        return load_record(Split, self.layout.split, mend)

    @cached_property
    def split_sha256(self) -> str:
        """Digest of the split file: phases trained on another split are refused."""
        return sha256_of(self.layout.split)

    @property
    def last_phase(self) -> int:
        """T, the last phase of the split."""
        return len(self.split.groups) - 1

    def manifest(self, phase: int) -> PhaseManifest | None:
        """The manifest of a phase, or None if it was never begun.

        Raises:
            LstError: If it cannot be read or belongs to another split.
        """
        directory = self.phase(phase)
        if not directory.manifest.exists():
            return None
        manifest = load_record(
            PhaseManifest, directory.manifest, f"remove {directory.root} and train the phase anew"
        )
        if manifest.split_sha256 != self.split_sha256:
            raise LstError(
                f"{self.layout.split} changed after phase {phase} was begun",
                f"put the old split back, or remove {self.layout.phases} and train anew",
            )
        return manifest

    def is_done(self, phase: int) -> bool:
        """Whether a phase is finished: its manifest says so."""
        manifest = self.manifest(phase)
        return manifest is not None and manifest.done

    def done_phases(self) -> list[int]:
        """Finished phases without a gap, from the base on."""
        done: list[int] = []
        for phase in range(self.last_phase + 1):
            if not self.is_done(phase):
                break
            done.append(phase)
        return done

    def next_phase(self) -> int | None:
        """The first phase that is not done, or None after the last."""
        done = len(self.done_phases())
        return done if done <= self.last_phase else None

    def newest_phase(self) -> int:
        """The last finished phase.

        Raises:
            LstError: If not even the base is finished.
        """
        done = self.done_phases()
        if not done:
            raise LstError(f"no phase of {self.root} is finished yet", "lst train-base")
        return done[-1]

    def require_done(self, phase: int) -> PhaseManifest:
        """The manifest of a finished phase.

        Raises:
            LstError: If the phase does not exist or is not finished; the hint is the command
                that comes next.
        """
        if not 0 <= phase <= self.last_phase:
            raise LstError(
                f"phase {phase} does not exist: the split has phases 0 to {self.last_phase}",
                "lst status",
            )
        manifest = self.manifest(phase)
        if manifest is None or not manifest.done:
            upcoming = self.next_phase()
            command = "lst train-base" if upcoming == 0 else "lst step"
            raise LstError(f"phase {phase} is not finished", command)
        return manifest

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace for writing.

        The operating system lets go of the lock when the process ends, however it ends.

        Raises:
            LstError: If another process holds it, or the directory cannot be written.
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
            yield
        finally:
            lock.release()
