"""Progress callbacks of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lst_cli.progress import Progress, silent
from lst_cli.train.plan import TrainingPlan


@dataclass(frozen=True)
class Events:
    """What a caller may want to hear of.

    Attributes:
        plan: The phase is about to start: the plan, and the iterations already done.
        note: A sentence worth reading, such as what became of the initial weights.
        iteration: A `training.loop.Report` after each iteration.
        prepare: Work before the first iteration: what, how much is done, of how much.
    """

    plan: Callable[[TrainingPlan, int], None] = lambda plan, start: None
    note: Callable[[str], None] = lambda text: None
    iteration: Callable[[Any], None] = lambda report: None
    prepare: Progress = silent
