"""A phase that is continued ends with the very weights of one that never stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lst_cli.annotations.joined import join_datasets
from lst_cli.annotations.read import read_dataset
from lst_cli.demo.draw import draw_demo
from lst_cli.engine.checkpoint import (
    load_training_state,
    restore_optimizer,
    save_training_state,
)
from lst_cli.engine.loop import train
from lst_cli.engine.optim import build_optimizer, freeze
from lst_cli.modeling.build import build_model
from lst_cli.modeling.distillation import Distillation
from lst_cli.modeling.grow import grow_state, random_rows
from lst_cli.modeling.teacher import Teacher
from lst_cli.phases.replay import Occurrences, base_data, step_data
from lst_cli.samples.loading import iterate_batches
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.settings.load import build_settings
from lst_cli.settings.models import Settings

pytestmark = pytest.mark.engine

NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)
# On a drawn set, with real networks: 4 classes, 3 in the base, 1 new.
OLD, SEEN, ITERATIONS, STOP = 3, 4, 6, 4


@pytest.fixture(scope="module")
def settings() -> Settings:
    schedule = {"batch_size": 2, "rois_per_image": 16, "save_every": STOP, "lr": 1e-3}
    return build_settings(
        {
            "preset": "lite",
            "model": {"mask_mlp_hidden": 8},
            "data": {"min_size": [56, 64], "max_size": 96, "min_size_test": 64},
            "base": schedule,
            # The pyramid is trained, so that the teacher needs its own.
            "step": {**schedule, "optimizer": "sgd", "freeze": ["backbone.bottom_up"]},
            "detectron2": {
                "MODEL.FPN.OUT_CHANNELS": 16,
                "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
                "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
                "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
                "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [24], [48]],
                "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
            },
        }
    )


@pytest.fixture(scope="module")
def start_phase(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int, int], tuple[Any, Any, Callable[[int], Iterator[Any]]]]:
    """Network, teacher and batches of a phase, all made anew."""
    folder = tmp_path_factory.mktemp("loop") / "set"
    drawn = draw_demo(folder, classes=SEEN, size=64, head=10, val_per_class=1)
    dataset = read_dataset(drawn.train_json)
    counts = np.bincount(dataset.instances.category_index)
    rank = np.empty_like(counts)
    rank[np.argsort(-counts, kind="stable")] = np.arange(SEEN)
    labels = rank[dataset.instances.category_index].astype(np.int64)
    occurrences = Occurrences.of(dataset.instances.image_index.astype(np.int64), labels, SEEN)

    def find(row: int) -> Path:
        name = dataset.images.file_names[row] or dataset.images.coco_urls[row]
        return next(folder.rglob(Path(name).name))

    def start(phase: int, seed: int) -> tuple[Any, Any, Callable[[int], Iterator[Any]]]:
        torch.manual_seed(seed)
        seen = OLD if phase == 0 else SEEN
        model = build_model(settings, seen, rois_per_image=16)
        teacher = None
        if phase == 0:
            data = base_data(occurrences, range(OLD), seed=0)
            model.backbone.bottom_up.load_imagenet()
        else:
            data = step_data(occurrences, range(OLD, SEEN), phase=1, seed=0)
            torch.manual_seed(0)
            previous = build_model(settings, OLD, rois_per_image=16)
            generator = torch.Generator().manual_seed(0)
            rows = random_rows(SEEN - OLD, 32, 0.01, generator)
            state = previous.state_dict()
            model.load_state_dict(grow_state(state, rows, generator, class_agnostic_boxes=True))
            freeze(model, settings.step.freeze)
            teacher = Teacher(
                previous.backbone,
                previous.roi_heads,
                student_trains_bottom_up=False,
                student_trains_backbone=True,
            )
        entries = PhaseDataset(join_datasets([dataset]), labels, seen, data)
        mapper = Mapper(find, settings.data, channels="RGB", seed=0)

        def batches(first: int) -> Iterator[Any]:
            return iterate_batches(
                entries, mapper, start=first, iterations=ITERATIONS, batch_size=2, workers=0
            )

        return model, teacher, batches

    return start


@pytest.mark.parametrize("phase", [0, 1])
def test_resumed_training_gives_the_very_weights_of_an_uninterrupted_run(
    phase: int, settings: Settings, start_phase: Callable[..., Any], tmp_path: Path
) -> None:
    schedule = settings.schedule(phase)
    path = tmp_path / "state"
    losses: list[dict[str, float]] = []

    def go(seed: int, state: Any, save: Callable[..., None]) -> dict[str, torch.Tensor]:
        model, teacher, batches = start_phase(phase, seed)
        if state is not None:
            model.load_state_dict(state.model)
        optimizer = build_optimizer(model, schedule)
        first = 0
        if state is not None:
            restore_optimizer(model, optimizer, state.optimizer)
            first = state.iteration
        train(
            model,
            batches(first),
            optimizer,
            NO_SCALER,
            schedule,
            phase=phase,
            start=first,
            iterations=ITERATIONS,
            seed=0,
            seconds=0.0,
            distillation=Distillation(teacher) if teacher else None,
            on_iteration=lambda report: losses.append(report.losses),
            save=lambda done, seconds: save(model, optimizer, done, seconds),
        )
        tensors: dict[str, torch.Tensor] = model.state_dict()
        return tensors

    def store(model: Any, optimizer: Any, done: int, seconds: float) -> None:
        save_training_state(path, model, optimizer, NO_SCALER, done, seconds)

    whole = go(0, None, store)
    state = load_training_state(path, "mend")
    assert state.iteration == STOP
    assert any(not torch.equal(whole[name], tensor) for name, tensor in state.model.items())

    # Other first weights and another stand of torch's generator: all comes from the state.
    resumed = go(77, state, lambda *arguments: None)
    assert losses[STOP:ITERATIONS] == losses[ITERATIONS:]
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert ("loss_distill" in losses[0]) is (phase == 1)
