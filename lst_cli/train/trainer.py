"""What training needs torch for, and what a caller may follow while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lst_cli.inputs import TrainingInput
from lst_cli.phases.replay import PhaseData
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.train.plan import TrainingPlan
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class Events:
    """Progress callbacks of training."""

    # The phase is about to start: the plan, and the iterations already done.
    plan: Callable[[TrainingPlan, int], None] = lambda plan, start: None
    # A sentence worth reading, such as which initial weights were used.
    note: Callable[[str], None] = lambda text: None
    # An `engine.loop.Report` after each iteration.
    iteration: Callable[[Any], None] = lambda report: None
    # Work before the first iteration: what, how much is done, of how much.
    prepare: Progress = silent


@dataclass(frozen=True)
class Job:
    """A phase to be trained, as decided without torch."""

    workspace: Workspace
    plan: TrainingPlan
    settings: Settings  # with the epochs that the phase really has
    inputs: TrainingInput
    data: PhaseData
    weights: str | None  # the file of initial weights
    events: Events


class Trainer(Protocol):
    """A job whose networks are built."""

    start: int  # iterations already done
    device_name: str
    weight_report: dict[str, Any] | None  # of initial weights, where some were loaded

    def train(self, on_iteration: Callable[[Any], None]) -> float:
        """Train to the end and write the model; the seconds it took, earlier runs included."""
        ...
