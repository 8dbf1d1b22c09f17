"""AP of new classes before the first iteration (`instant.json`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lst_cli.ap.metrics import Metrics, Record
from lst_cli.errors import LstError
from lst_cli.workspace.records import load_record

Way = Literal["random", "mean-feature", "generated"]
"""How classifier rows of new classes are written without training."""

WAYS: dict[Way, str] = {
    "random": "random",
    "mean-feature": "mean feature",
    "generated": "generated",
}
"""What tables call them, the least informed first."""


class InstantMetrics(Record):
    """A phase's classes before any training, by how their classifier rows were written."""

    format: Literal[1] = 1
    phase: Annotated[int, Field(ge=1)]
    rows: Annotated[dict[Way, Metrics], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_phases(self) -> InstantMetrics:
        for way, metrics in self.rows.items():
            groups = [group.phase for group in metrics.segm.groups]
            if metrics.phase != self.phase or groups != list(range(self.phase + 1)):
                raise ValueError(f"the {way} rows were evaluated in another phase")
        return self


def load_instant(path: Path, phase: int) -> InstantMetrics | None:
    """Read what `lst eval --instant` wrote; None if there is no such file.

    Raises:
        LstError: If the file is damaged, of another format, or of another phase.
    """
    if not path.exists():
        return None
    hint = f"lst eval --instant --phase {phase}"
    found = load_record(InstantMetrics, path, hint)
    if found.phase != phase:
        raise LstError(f"{path}: phase: it is of phase {found.phase}", hint)
    return found
