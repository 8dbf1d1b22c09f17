"""The part of training that needs torch: networks, batches, states."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch.nn.modules.batchnorm import _BatchNorm

from lst_cli import ranks
from lst_cli.engine import processes
from lst_cli.engine.checkpoint import (
    TrainingState,
    load_training_state,
    restore,
    save_model,
    save_training_state,
)
from lst_cli.engine.device import (
    choose_device,
    choose_workers,
    describe_device,
    place,
    seed_iteration,
)
from lst_cli.engine.loop import Report, Span, train
from lst_cli.engine.optim import Learner, freeze, freeze_other_rows
from lst_cli.engine.tensorboard import scalars
from lst_cli.errors import LstError
from lst_cli.modeling.build import build_model, input_format
from lst_cli.modeling.distillation import Teacher
from lst_cli.modeling.episodes import Episodes, FeatureBank
from lst_cli.modeling.frozen import find_frozen
from lst_cli.modeling.grow import grow_state, random_rows
from lst_cli.modeling.heads.roi_heads import IGNORED
from lst_cli.modeling.parts import Counts, Part
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.samples.loading import Batch, SampleReader
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.train.bank import leave_bank
from lst_cli.train.initial import is_of_same_classes, name_networks
from lst_cli.train.network import load_generator, load_network
from lst_cli.train.pasting import Pasting, load_pasting
from lst_cli.train.plan import Job, classes_with_more, shown_per_epoch
from lst_cli.train.support import Support, save_attention
from lst_cli.weights.load import load_weights
from lst_cli.workspace.training_log import logged_iterations


class PhaseRun:
    """A job whose networks are built: continued from a saved state, grown, or new."""

    start: int  # iterations already done
    device_name: str
    weight_report: dict[str, Any] | None = None  # of initial weights, if some were loaded
    left_out: tuple[int, ...]  # see `Pasting`

    def __init__(self, job: Job) -> None:
        self._job, plan, settings = job, job.plan, job.settings
        phase, step, schedule = plan.phase, settings.step, settings.schedule(plan.phase)
        self._files = job.workspace.phase(phase)
        self._restart = f"{job.workspace.training_command(phase)} --restart"
        self._device = choose_device(settings.device)
        self.device_name = describe_device(self._device)
        pasting = load_pasting(job)
        self.left_out = () if pasting is None else pasting.left_out
        self._reader = _make_reader(job, pasting, self._device)
        old = plan.seen_classes - plan.new_classes
        self._support = Support(self._reader, range(old, plan.seen_classes))

        seed_iteration(settings.seed, phase, 2**31)
        previous = None
        if phase > 0:
            file = job.workspace.phase(phase - 1).model
            previous = place(load_network(file, settings, old), self._device)
        elif settings.base.distill_weight:
            file = Path(job.weights or "")
            previous = place(load_network(file, settings, plan.seen_classes), self._device)
        model = build_model(settings, plan.seen_classes, rois_per_image=schedule.rois_per_image)
        if ranks.world() > 1 and any(isinstance(one, _BatchNorm) for one in model.modules()):
            raise LstError(
                "batch normalisation that is trained depends on how processes share a batch",
                "use FrozenBN or GN for the keys of [detectron2] that end in NORM, or one process",
            )
        state = self._saved_state()
        found = {"saved state": state and (state.iteration, state.seconds)}
        processes.require_same({**found, "images to paste objects of": self.left_out})
        begins = state is None and ranks.is_first()  # the other processes get what it makes
        if begins and phase == 0:
            self._initialise(model)
        elif begins and previous is not None:
            model.load_state_dict(self._grown(previous))
        if phase > 0 and step.mwg:
            model.episodes = self._build_episodes(model)
        if settings.model.class_loss != "softmax":
            model.roi_heads.box_predictor.class_loss.instances = torch.from_numpy(
                shown_per_epoch(job)
            )
        place(model, self._device)
        freeze(model, schedule.freeze)
        if phase > 0 and step.freeze_old_rows:
            freeze_other_rows(model.roi_heads.box_predictor.cls_score.weight, self._support.new)
        if job.quick:
            model.frozen = find_frozen(model, settings.extend.feature_cache)
        if begins and model.episodes is not None:
            self._fill_bank(model, model.episodes)
        processes.copy_from_first(model)
        self._teacher = None if previous is None else self._build_teacher(previous, model)
        self._model: LstRCNN = model
        self._learner = Learner.of(model, schedule)
        self.start, self._seconds = 0, 0.0
        if state is not None:
            try:
                restore(self._learner, state)
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                raise self._other_state(f"it does not fit the phase: {error}") from error
            self.start, self._seconds = state.iteration, state.seconds

    def estimate(self) -> float | None:
        """Seconds that training will take, measured; None where features are not computed once."""
        frozen, model, plan = self._model.frozen, self._model, self._job.plan
        left = plan.iterations - self.start
        if frozen is None or model.episodes is not None or not left:
            return None
        [batch] = self._reader.batches(range(self.start, self.start + 1), plan.batch_size)
        spent = []
        model.train()
        for _ in range(2):  # with the features, and without
            began = time.perf_counter()
            with EventStorage():
                loss = torch.stack([*model.losses(batch, self._teacher).values()]).sum()
                loss.backward()  # type: ignore[no-untyped-call]
            spent.append(time.perf_counter() - began)
        model.zero_grad(set_to_none=True)
        views = len(self._job.data.images()) * (2 if self._job.settings.data.flip else 1)
        first = max(spent[0] - spent[1], 0.0) / len(batch)
        return left * spent[1] + min(views, left * len(batch)) * first

    def train(self, on_iteration: Callable[[Report], None]) -> float:
        """Train to the end of the phase and write its model; seconds, earlier runs included."""
        settings, plan, schedule = self._job.settings, self._job.plan, self._learner.schedule
        model, episodes = self._model, self._model.episodes
        span = Span(plan.phase, settings.seed, self.start, plan.iterations, self._seconds)
        left = range(span.start, span.iterations)
        batches = self._reader.batches(left, schedule.batch_size)
        if episodes is not None and episodes.kept is None:
            mwg, new = settings.mwg, self._support.new
            support: Any = self._reader.episodes(left, new, shots=mwg.shots, seed=settings.seed)
        else:
            support = repeat(None, len(left))
        curves: Any = nullcontext(lambda result: None)
        if ranks.is_first():
            curves = scalars(self._files.tensorboard, self.start, self._job.events.note)
        with curves as write:

            def report(result: Report) -> None:
                if episodes is not None:
                    episodes.keep()
                write(result)
                on_iteration(result)

            seconds = train(
                self._learner,
                zip(batches, support, strict=True),
                lambda pair: model.losses(pair[0], self._teacher, pair[1], self._part(pair[0])),
                span,
                on_iteration=report,
                save=self._save_state,
            )
            if episodes is not None and left:
                # Writing the rows reads all images once more: a crash there loses no training.
                self._save_state(span.iterations, seconds)
            if not ranks.is_first():
                return seconds
            if self._learner.average is not None:
                self._learner.average.replace_weights()
            if episodes is not None:
                self._detach(episodes)
        save_model(self._files.model, model.state_dict())
        return seconds

    def _part(self, batch: Batch) -> Part | None:
        """How the images of this process are a part of a batch."""
        if not self._job.by_image:
            return None
        sizes = [item["image"].shape[-2:] for item in batch]
        height, width = processes.largest([max(side) for side in zip(*sizes, strict=True)])
        seed = (self._job.settings.seed, self._job.plan.phase)
        return Part(
            seed, (int(height), int(width)), lambda own: Counts(*map(int, processes.sums(own)))
        )

    def leave_bank(self) -> str | None:
        """Write the bank of the finished phase; its digest, None where none is wanted."""
        job = self._job
        given = (job.workspace, job.workspace.split, job.plan.phase, job.inputs, job.settings)
        return leave_bank(*given, job.events.prepare)

    def _save_state(self, iteration: int, seconds: float) -> None:
        if ranks.is_first():
            save_training_state(self._files.training_state, self._learner, iteration, seconds)

    def _saved_state(self) -> TrainingState | None:
        path = self._files.training_state
        if not path.exists():
            return None
        state = load_training_state(path, self._restart)
        logged = logged_iterations(self._files.log)
        if state.iteration > self._job.plan.iterations or not (
            state.verified or state.iteration <= logged or not logged
        ):
            raise self._other_state(f"it is of iteration {state.iteration}")
        return state

    def _other_state(self, why: str) -> LstError:
        path = self._files.training_state
        return LstError(f"{path}: no state of this phase: {why}", self._restart)

    def _initialise(self, model: LstRCNN) -> None:
        """Give the base phase its first weights."""
        weights, note = self._job.weights, self._job.events.note
        settings, bottom_up = self._job.settings, model.backbone.bottom_up
        if weights is not None:
            same = is_of_same_classes(weights, self._job.workspace.split, settings)
            networks = name_networks(weights, settings)
            report = load_weights(model, weights, networks, same_classes=same)
            self.weight_report = asdict(report)
            note(str(report))
        elif settings.model.pretrained and hasattr(bottom_up, "load_imagenet"):
            self.weight_report = bottom_up.load_imagenet()
        else:
            note(
                "no --weights: the backbone starts from random values with frozen batch "
                "normalisation, and training usually diverges; the paper starts from a "
                "COCO-trained Mask R-CNN"
            )

    def _grown(self, previous: LstRCNN) -> dict[str, torch.Tensor]:
        """Weights of the model before, with room for the new classes."""
        settings, step = self._job.settings, self._job.settings.step
        generator = torch.Generator().manual_seed(settings.seed * 1000 + self._job.plan.phase)
        if step.new_rows == "fitted" and not step.mwg and self._job.fitted_rows is not None:
            rows = self._job.fitted_rows(self._job)
        elif step.new_rows != "random" and not step.mwg:
            most, progress = step.new_row_samples, self._job.events.prepare
            rows = self._support.mean_feature_rows(previous, most, progress).rows
        else:
            rows = random_rows(len(self._support.new), previous.row_features, 0.01, generator)
        return grow_state(
            {name: tensor.cpu() for name, tensor in previous.state_dict().items()},
            rows,
            generator,
            class_agnostic_boxes=settings.model.class_agnostic_boxes,
        )

    def _build_teacher(self, previous: LstRCNN, model: LstRCNN) -> Teacher | None:
        """What distils the phase before, or in phase 0 the initial weights; None for nothing."""
        base, step = self._job.settings.base, self._job.settings.step
        weight, regions, classes = step.distill_weight, step.distill_regions, None
        if self._job.plan.phase == 0:
            weight, regions = base.distill_weight, "sampled"
            classes = classes_with_more(self._job, base.few_instances)
        if not weight:
            return None
        return Teacher(
            previous.backbone,
            previous.roi_heads,
            model.backbone,
            weight=weight,
            regions=regions,
            classes=classes,
        ).to(self._device)

    def _build_episodes(self, model: LstRCNN) -> Episodes:
        """What writes rows in this phase; its generator goes on from the phase before."""
        workspace, mwg, new = self._job.workspace, self._job.settings.mwg, self._support.new
        file = workspace.phase(self._job.plan.phase - 1).generator
        size = (model.row_features, workspace.split.base_classes)
        bank = None
        if mwg.support == "bank":
            shape = model.roi_heads.pooled_shape
            bank = FeatureBank(classes=len(new), places=mwg.bank_size, shape=shape)
        return Episodes(
            load_generator(file, mwg, size, self._job.settings.seed),
            new=new,
            shots=mwg.shots,
            boxes=mwg.boxes,
            kept=bank,
            learn_offsets=mwg.learn_offsets,
        )

    def _fill_bank(self, model: LstRCNN, episodes: Episodes) -> None:
        if episodes.kept is None:
            return
        what, progress = "support features of new classes", self._job.events.prepare
        most, boxes = episodes.kept.places, episodes.boxes
        for labels, pooled in self._support.pooled(model, what, progress, most=most, boxes=boxes):
            episodes.kept.add(labels, pooled)
        # A split holds classes with usable boxes only, and they were looked for.
        assert episodes.kept.added.min() > 0

    @torch.no_grad()
    def _detach(self, episodes: Episodes) -> None:
        """Put the rows into the model: averages over all boxes of a class in D_t."""
        model, new, progress = self._model, self._support.new, self._job.events.prepare
        written = self._support.generated_rows(model, episodes.generator, progress)
        assert written.attention is not None
        rows = written.rows
        if episodes.offsets is not None:
            rows += episodes.offsets.cpu()
        weight = model.roi_heads.box_predictor.cls_score.weight
        weight[new.start : new.stop] = rows.to(weight)
        save_model(self._files.generator, episodes.generator.state_dict())
        save_attention(self._files.attention, written.attention)
        model.episodes = None


def _make_reader(job: Job, pasting: Pasting | None, device: torch.device) -> SampleReader:
    plan, settings, inputs = job.plan, job.settings, job.inputs
    others = settings.step.other_objects
    dataset = PhaseDataset(
        inputs.dataset,
        inputs.labels,
        plan.seen_classes,
        job.data,
        others=others,
        future=settings.schedule(plan.phase).future_classes,
        pasting=pasting,
        partial_labels=inputs.partial_labels() if settings.model.binary else None,
    )
    mapper = Mapper(
        inputs.paths,
        settings.data,
        channels=input_format(settings),
        seed=settings.seed,
        others=plan.seen_classes if others == "background" else IGNORED,
        rules=settings.paste,
    )
    workers = choose_workers(settings.data.workers, device)
    return SampleReader(dataset, mapper, workers, pin_memory=device.type == "cuda")
