"""New classes without training: rows from a few boxes, written into the model as it is."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lst_cli.ap.metrics import Way
from lst_cli.engine.checkpoint import load_model, save_model
from lst_cli.engine.device import choose_device, choose_workers, describe_device, place
from lst_cli.errors import LstError
from lst_cli.extend.calibration import (
    KNOWN_IMAGES,
    Calibration,
    read_known_images,
    read_own_regions,
)
from lst_cli.extend.plan import Learned, NewPhase
from lst_cli.inputs import ImagePaths, TrainingInput
from lst_cli.modeling.build import build_model, input_format
from lst_cli.modeling.grow import grow_state, random_rows
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.phases.classes import NO_LABEL
from lst_cli.phases.replay import step_data
from lst_cli.samples.loading import ImageInputs, SampleReader
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.settings.models import Settings
from lst_cli.train.network import load_generator, load_network
from lst_cli.train.support import Support, WrittenRows, save_attention, support_images
from lst_cli.workspace.manifest import NewClassCheck


class InstantClasses:
    """The classes of a phase, and the model of the phase before, which does not know them yet.

    Settings of today give device and workers.
    """

    def __init__(self, new_phase: NewPhase) -> None:
        workspace, phase, split = new_phase.workspace, new_phase.phase, new_phase.split
        settings, inputs = new_phase.settings, new_phase.inputs
        self._before = workspace.phase(phase - 1)
        self.trained = workspace.trained_settings(phase - 1)
        self._directory = workspace.phase(phase)
        self._seed = self.trained.seed * 1000 + phase
        self._progress = new_phase.progress
        self._base_classes = split.base_classes
        self._names = [record.name for record in split.classes]
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
        self._inputs, self._mapper = inputs, mapper

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

    def first_rows(self) -> Tensor:
        """Rows for training to begin with, shape (C, D): those that `write` would write."""
        rows, calibration = self.rows(self._best_way).rows, self._calibration()
        return rows if calibration is None else calibration.fit(rows, self._progress)

    @property
    def _best_way(self) -> Way:
        return "generated" if "generated" in self.ways else "mean-feature"

    def write(
        self, way: Way | None = None, *, fitted: bool = True, anyway: bool = False
    ) -> Learned:
        """Write the model of the phase.

        Rows come in one of the `ways`: by default from the generator that the phase before left,
        and else mean features (imprinting). They are `fitted` against images of the workspace,
        `anyway` not against regions there that score like objects of the class. The generator is
        copied, so that further classes can follow.

        Raises:
            LstError: If an image or a weight file cannot be used, or nothing can be written.
        """
        way = way or self._best_way
        rows, to = self.rows(way), self._directory
        learned = Learned(way, describe_device(self._device))
        calibration = self._calibration() if fitted else None
        if calibration is not None:
            once = calibration.fit_once(rows.rows)
            alike = calibration.alike(once)
            if anyway:
                calibration = replace(calibration, spared=alike)
                once = calibration.fit_once(rows.rows)
            turned = calibration.fit(rows.rows, self._progress, once=once)
            learned = replace(
                learned,
                checks=self._checks(calibration, rows.rows, turned, alike),
                known_images=len(calibration.known.ids),
                old_alarms=calibration.known.old_alarms,
            )
            rows = replace(rows, rows=turned)
        to.root.mkdir(parents=True, exist_ok=True)
        if rows.attention is not None:
            save_attention(to.attention, rows.attention)
            save_model(to.generator, load_model(self._before.generator, "lst step --mwg"))
        save_model(to.model, self.grown(rows))
        return learned

    def _calibration(self) -> Calibration | None:
        """What the rows are fitted to; None where no known image can be read."""
        model, support = self._model, self._support
        known = read_known_images(model, self._known_images())
        if known is None:
            return None
        own = read_own_regions(model, self._own_images(), support.new)
        predictor = model.roi_heads.box_predictor
        scale, bias = predictor.cls_score.scale, predictor.cls_score.bias
        return Calibration(
            own,
            known,
            float(scale.detach()),
            predictor.test_nms_thresh,
            class_loss=predictor.class_loss,
            bias=0.0 if bias is None else float(bias.detach()),
        )

    def _own_images(self) -> Iterator[dict[str, Any]]:
        """The images with the first few boxes of each new class."""
        support, most = self._support, self.trained.step.new_row_samples
        rows = support_images(self._inputs.occurrences, support.new, most)
        for done, item in enumerate(support.reader.images(rows), start=1):
            yield item
            self._progress("images of new classes", done, len(rows))

    def _known_images(self) -> Iterator[tuple[dict[str, Any], list[int], Tensor]]:
        """Some images that old classes were learned from, and old labels and all boxes in each.

        Images that cannot be read are skipped, and those in which a new class is annotated; these
        may have another id and path in the file of the new classes.
        """
        new, inputs = self._support.new, self._inputs
        found, instances = inputs.occurrences.images, inputs.dataset.instances
        labels = labels_with_crowds(inputs)
        shows_new = (labels >= new.start) & (labels < new.stop)
        own = np.unique(np.concatenate(found[new.start : new.stop]))
        is_own = _same_content(inputs.paths, own.tolist())
        known = np.unique(np.concatenate(found[: new.start]))
        known = np.setdiff1d(known, instances.image_index[shows_new])
        order = np.random.default_rng([self._seed, 5]).permutation(known)
        images = ImageInputs(inputs.dataset.images, order.tolist(), self._mapper)
        read = 0
        for position, row in enumerate(order.tolist()):
            if not inputs.paths.is_listed(row):
                continue
            item = images[position]
            if isinstance(item, LstError) or is_own(inputs.paths(row)):
                continue
            item["image_id"] = int(inputs.dataset.images.ids[row])
            there = np.flatnonzero(instances.image_index == row)
            boxes = torch.from_numpy(instances.boxes[there]).float().reshape(-1, 4)
            boxes = boxes[boxes.isfinite().all(dim=1)]
            old = labels[there][(labels[there] >= 0) & (labels[there] < new.start)]
            boxes[:, 2:] += boxes[:, :2]
            height, width = item["image"].shape[1:]
            across, down = width / item["width"], height / item["height"]
            boxes *= torch.tensor([across, down, across, down])
            yield item, old.tolist(), boxes
            read += 1
            self._progress("known images", read, min(KNOWN_IMAGES, len(order)))
            if read == KNOWN_IMAGES:
                return

    def _checks(
        self, calibration: Calibration, before: Tensor, after: Tensor, alike: Tensor
    ) -> tuple[NewClassCheck, ...]:
        own, known = calibration.own, calibration.known
        scores = [calibration.own_scores(rows) for rows in (before, after)]
        alarms = [replace(calibration, spared=None).alarms(rows) for rows in (before, after)]
        nearest_scores, nearest = own.old_scores.max(dim=1)
        return tuple(
            NewClassCheck(
                boxes=int(own.boxes[row]),
                own_score=(float(scores[0][row]), float(scores[1][row])),
                alarms_before=alarms[0][row].tolist(),
                alarms_after=alarms[1][row].tolist(),
                nearest=self._names[int(nearest[row])],
                nearest_score=min(float(nearest_scores[row]), 1.0),
                unannotated=tuple(
                    known.ids[image] for image in sorted(set(known.images[alike[:, row]].tolist()))
                ),
            )
            for row in range(len(before))
        )


def labels_with_crowds(inputs: TrainingInput) -> npt.NDArray[np.int64]:
    """Label of each annotation, shape (M,), also of those that are not usable, as crowds."""
    classes, usable = inputs.dataset.instances.category_index, inputs.labels >= 0
    label_of = np.full(len(inputs.dataset.categories.ids), NO_LABEL, dtype=np.int64)
    label_of[classes[usable]] = inputs.labels[usable]
    labels: npt.NDArray[np.int64] = label_of[classes]
    return labels


def _same_content(paths: ImagePaths, rows: Sequence[int]) -> Callable[[Path], bool]:
    """Whether a file equals one of these images; only files of equal length are compared."""
    by_length: dict[int, list[Path]] = defaultdict(list)
    for row in rows:
        with suppress(LstError, OSError):
            path = paths(row)
            by_length[path.stat().st_size].append(path)

    def is_among(path: Path) -> bool:
        alike = by_length.get(path.stat().st_size, [])
        return any(filecmp.cmp(path, other, shallow=False) for other in alike)

    return is_among
