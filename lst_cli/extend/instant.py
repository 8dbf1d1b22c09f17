"""New classes without training: rows from a few boxes, written into the model as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lst_cli.ap.metrics import Way
from lst_cli.engine.checkpoint import load_model, save_model
from lst_cli.engine.device import choose_device, choose_workers, describe_device, place
from lst_cli.inputs import TrainingInput
from lst_cli.modeling.build import build_model, input_format
from lst_cli.modeling.grow import grow_state, random_rows
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.phases.replay import step_data
from lst_cli.progress import Progress
from lst_cli.samples.loading import SampleReader
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.settings.models import Settings
from lst_cli.train.network import load_generator, load_network
from lst_cli.train.support import Support, WrittenRows, save_attention
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace


class InstantClasses:
    """The classes of a phase, and the model of the phase before, which does not know them yet.

    The split has to have the phase, and the training annotations its classes; the split of the
    workspace itself need not have them yet. Settings of today give device and workers.
    """

    def __init__(
        self,
        workspace: Workspace,
        phase: int,
        split: Split,
        settings: Settings,
        inputs: TrainingInput,
        progress: Progress,
    ) -> None:
        self._before = workspace.phase(phase - 1)
        self.trained = workspace.trained_settings(phase - 1)
        self._directory = workspace.phase(phase)
        self._seed = self.trained.seed * 1000 + phase
        self._progress = progress
        self._base_classes = split.base_classes
        new = split.labels_of(phase)
        self._device = choose_device(settings.device)
        model = load_network(self._before.model, self.trained, new.start)
        self._model = place(model, self._device).eval()
        data = step_data(inputs.occurrences, new, phase, settings.seed, "none")
        dataset = PhaseDataset(inputs.dataset, inputs.labels, new.stop, data)
        channels = input_format(self.trained)
        mapper = Mapper(inputs.paths, settings.data, channels=channels, seed=settings.seed)
        workers = choose_workers(settings.data.workers, self._device)
        self._support = Support(SampleReader(dataset, mapper, workers), new)

    @property
    def ways(self) -> Sequence[Way]:
        """How rows can be had; `generated` where the phase before left a generator."""
        known: list[Way] = ["random", "mean-feature"]
        return [*known, "generated"] if self._before.generator.exists() else known

    def rows(self, way: Way) -> WrittenRows:
        """Rows of the new classes, written in one of the `ways`.

        Raises:
            LstError: If an image or the generator cannot be used.
        """
        generator = torch.Generator().manual_seed(self._seed)
        model, support = self._model, self._support
        if way == "random":
            rows = random_rows(len(support.new), model.row_features, 0.01, generator)
            return WrittenRows(rows)
        if way == "mean-feature":
            most = self.trained.step.new_row_samples
            return support.mean_feature_rows(model, most, self._progress)
        size = (model.row_features, self._base_classes)
        writer = load_generator(self._before.generator, self.trained.mwg, size)
        return support.generated_rows(model, writer.to(model.device), self._progress)

    def network(self, rows: WrittenRows, settings: Settings) -> LstRCNN:
        """The model with the new classes, on the CPU, to be run with some test setting."""
        model = build_model(settings, self._support.new.stop)
        model.load_state_dict(self.grown(rows))
        return model

    def grown(self, rows: WrittenRows) -> dict[str, Tensor]:
        """Its weights, on the CPU; class-specific box regressors are the average of the old."""
        return grow_state(
            {name: tensor.cpu() for name, tensor in self._model.state_dict().items()},
            rows.rows,
            torch.Generator(),
            class_agnostic_boxes=self.trained.model.class_agnostic_boxes,
            average_boxes=True,
        )

    def write(self) -> tuple[Way, str]:
        """Write the model of the phase, and say how its rows came about and on which device.

        Rows come from the generator that the phase before left, and else are mean features
        (imprinting). The generator is copied, so that further classes can follow.

        Raises:
            LstError: If an image or a weight file cannot be used, or nothing can be written.
        """
        way: Way = "generated" if "generated" in self.ways else "mean-feature"
        rows, to = self.rows(way), self._directory
        to.root.mkdir(parents=True, exist_ok=True)
        if rows.attention is not None:
            save_attention(to.attention, rows.attention)
            save_model(to.generator, load_model(self._before.generator, "lst step --mwg"))
        save_model(to.model, self.grown(rows))
        return way, describe_device(self._device)
