"""New classes without training: rows from a few boxes, written into the model as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lst_cli.ap.instant import Way
from lst_cli.engine.checkpoint import load_model, save_tensors
from lst_cli.engine.device import choose_device, choose_workers, place
from lst_cli.inputs import TrainingInput
from lst_cli.modeling.build import build_model, input_format
from lst_cli.modeling.grow import grow_state
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.phases.replay import step_data
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.settings.models import Settings
from lst_cli.train.network import load_network
from lst_cli.train.new_rows import (
    WrittenRows,
    draw_rows,
    generate_rows,
    imprint_rows,
    load_generator,
)
from lst_cli.train.support import Support, save_attention
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.train.events import Events


class InstantClasses:
    """The classes of a phase, and the model that does not know them yet.

    Args:
        workspace: With phase - 1 finished.
        phase: The phase whose classes arrive.
        split: The split that has this phase.
        settings: Settings of today: device and workers.
        inputs: Training annotations, the phase's included.
        events: Progress callbacks.
    """

    def __init__(
        self,
        workspace: Workspace,
        phase: int,
        split: Split,
        settings: Settings,
        inputs: TrainingInput,
        events: Events,
    ) -> None:
        self.before = workspace.phase(phase - 1)
        self.trained = workspace.trained_settings(phase - 1)
        self.events = events
        self.phase = phase
        self.base_classes = split.base_classes
        new = split.labels_of(phase)
        device = choose_device(settings.device)
        before = load_network(self.before.model, self.trained, new.start)
        self.model = place(before, device).eval()
        data = step_data(inputs.occurrences, new, phase, settings.seed, "none")
        mapper = Mapper(
            inputs.paths,
            settings.data,
            channels=input_format(self.trained),
            seed=settings.seed,
        )
        self.support = Support(
            PhaseDataset(inputs.dataset, inputs.labels, new.stop, data),
            mapper,
            new,
            choose_workers(settings.data.workers, device),
        )

    @property
    def ways(self) -> Sequence[Way]:
        """How rows can be had; `generated` where the phase before left a generator."""
        known: list[Way] = ["random", "mean-feature"]
        return [*known, "generated"] if self.before.generator.exists() else known

    def rows(self, way: Way) -> WrittenRows:
        """Rows of the new classes.

        Args:
            way: One of `ways`.

        Raises:
            LstError: If an image or the generator cannot be used.
        """
        generator = torch.Generator().manual_seed(self.trained.seed * 1000 + self.phase)
        model, tell = self.model, self.events.prepare
        if way == "random":
            return draw_rows(model, len(self.support.new), generator)
        if way == "mean-feature":
            most = self.trained.step.new_row_samples
            return imprint_rows(model, self.support, most, tell)
        writer = load_generator(
            self.before.generator, self.trained.mwg, model.row_features, self.base_classes
        )
        return generate_rows(model, self.support, writer.to(model.device), tell)

    def network(self, rows: WrittenRows, settings: Settings) -> LstRCNN:
        """The model with the new classes, on the CPU.

        Args:
            rows: Their rows.
            settings: What to build: those it was trained with, but for the test setting.
        """
        model = build_model(settings, self.support.new.stop)
        model.load_state_dict(self.grown(rows))
        return model

    def grown(self, rows: WrittenRows) -> dict[str, Tensor]:
        """Its weights, on the CPU; class-specific box regressors are the average of the old."""
        state = {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}
        return grow_state(
            state,
            rows.rows,
            torch.Generator(),
            class_agnostic_boxes=self.trained.model.class_agnostic_boxes,
            average_boxes=True,
        )


def write_instant_model(
    workspace: Workspace,
    phase: int,
    split: Split,
    settings: Settings,
    inputs: TrainingInput,
    *,
    events: Events,
) -> Literal["generated", "mean-feature"]:
    """Write the model of a phase that trains nothing.

    Rows come from the generator that the phase before left, and else are mean features
    (imprinting). The generator is handed on, so that further classes can follow.

    Args:
        workspace: With phase - 1 finished.
        phase: The phase to write; its directory is made.
        split: The split that has this phase; the workspace's own need not yet.
        settings: Settings of today: device and workers.
        inputs: Training annotations, the phase's included.
        events: Progress callbacks.

    Returns:
        How the rows came about.

    Raises:
        LstError: If an image or a weight file cannot be used, or nothing can be written.
    """
    classes = InstantClasses(workspace, phase, split, settings, inputs, events)
    way: Literal["generated", "mean-feature"] = (
        "generated" if "generated" in classes.ways else "mean-feature"
    )
    rows = classes.rows(way)
    directory = workspace.phase(phase)
    directory.root.mkdir(parents=True, exist_ok=True)
    if rows.attention is not None:
        save_attention(directory.attention, rows.attention)
        save_tensors(directory.generator, load_model(classes.before.generator, "lst step --mwg"))
    save_tensors(directory.model, classes.grown(rows))
    return way
