"""`lst adopt`: from an existing Mask R-CNN to a workspace with its base phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lst_cli.adopt.distil import Adoption
from lst_cli.adopt.original import (
    Original,
    OriginalConfig,
    load_original,
    read_config,
    use_test_settings,
)
from lst_cli.adopt.plan import ModelClasses, image_passes, match_classes, read_names
from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset
from lst_cli.ap.metrics import Metrics
from lst_cli.display.tables import format_seconds
from lst_cli.engine.checkpoint import save_model
from lst_cli.engine.device import choose_device, choose_workers, describe_device
from lst_cli.errors import LstError
from lst_cli.evaluate.detector import Detector
from lst_cli.evaluate.evaluate import evaluate_phase, prepare_validation, run_detector
from lst_cli.evaluate.stored import EvaluationFiles, inference_settings, make_header
from lst_cli.images.finder import ImageFinder
from lst_cli.inputs import TrainingInput, label_instances
from lst_cli.modeling.build import input_format
from lst_cli.phases.replay import base_data
from lst_cli.progress import Progress, within
from lst_cli.samples.loading import SampleReader
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.settings.diff import differences
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import Role, Settings
from lst_cli.settings.nested import override_words, toml_value
from lst_cli.settings.presets import PRESETS
from lst_cli.split.init import render_settings
from lst_cli.split.split import make_split, read_datasets, warn_of_missing_images, write_split
from lst_cli.text import first_few
from lst_cli.train.before_training import check_found_images
from lst_cli.train.train import digests, now, versions
from lst_cli.workspace.atomic import require_writable, write_text
from lst_cli.workspace.manifest import FORMATS, Adopted, PhaseManifest, Split
from lst_cli.workspace.records import load_record
from lst_cli.workspace.store import Workspace

LEAST_AP = 0.01  # of an original that finds its classes
_OTHER = "choose a new workspace with -w DIR"


@dataclass(frozen=True)
class AdoptRequest:
    """What is adopted, and for which data."""

    weights: str
    config: str
    train: Path
    val: Path
    image_dirs: Sequence[Path]
    classes: Path | None = None  # names of the model's classes
    phases: int = 0  # later phases for classes that the model does not know
    preset: str | None = None
    image_passes: int | None = None
    skip_unusable: bool = False


@dataclass(frozen=True)
class _Plan:
    """All that is known before the model is shown an image."""

    request: AdoptRequest
    config: OriginalConfig
    original: Original
    classes: ModelClasses
    train: Dataset
    split: Split
    inputs: TrainingInput
    settings: Settings
    settings_text: str  # of lst.toml

    @property
    def rows(self) -> list[int]:
        """Row of the original for each label of the base."""
        return [self.classes.known[number] for number in self.split.groups[0]]

    @property
    def passes(self) -> int:
        images = len(self.train.images)
        return image_passes(self.request.image_passes, self.config.image_passes, images)


def adopt_model(
    workspace: Workspace,
    request: AdoptRequest,
    overrides: Sequence[str] = (),
    *,
    progress: Progress,
    note: Callable[[str], None],
) -> PhaseManifest:
    """Make a workspace whose base phase is an existing Mask R-CNN, and compare the two.

    `overrides` are `key=value` words. Nothing is written before the model is ready; after that an
    interrupted evaluation is continued by the same call. Raises an `LstError` if the model, a file
    or the workspace is refused.
    """
    plan = _decide(workspace, request, overrides, note)
    manifest = _adopted_before(workspace, plan)
    if manifest is None:
        manifest = _adopt(workspace, plan, progress, note)
    else:
        note(f"{workspace.root}: the model is adopted already; its evaluation continues")
    return _compare(workspace, plan, manifest, overrides, progress, note)


def _decide(
    workspace: Workspace,
    request: AdoptRequest,
    overrides: Sequence[str],
    note: Callable[[str], None],
) -> _Plan:
    names = None if request.classes is None else read_names(request.classes)
    config = read_config(request.config)
    settings, text = _settings(config, request.preset, overrides)
    choose_device(settings.device)
    image_passes(request.image_passes, config.image_passes, 1)
    _refuse_other_workspace(workspace, settings)
    original, notes = load_original(config, request.weights)
    train, val = read_datasets(
        request.train, request.val, skip_unusable=request.skip_unusable, warn=note
    )
    data_set, builtin = config.builtin_names
    classes = match_classes(original.classes, train.categories, names, builtin, data_set)
    warn_of_missing_images((train, val), ImageFinder(request.image_dirs), note)
    split, _ = make_split(
        train, val, request.image_dirs, None, request.phases, settings, [*classes.known]
    )
    inputs = label_instances(train, split.class_order, split.image_dirs)
    for one in (*notes, *_class_notes(classes, split, request.phases)):
        note(one)
    return _Plan(request, config, original, classes, train, split, inputs, settings, text)


def _settings(
    config: OriginalConfig, preset: str | None, overrides: Sequence[str]
) -> tuple[Settings, str]:
    """The settings of the workspace, and its lst.toml; what the model is cannot be changed."""
    of_preset = PRESETS.get(preset or "", {}).get("detectron2", {})
    facts = config.settings(of_preset)
    keys = facts.pop("detectron2")
    first = [f"preset={preset}"] if preset else []
    words = [*first, *override_words(facts)]
    words += [f"detectron2.{key}={toml_value(value)}" for key, value in keys.items()]
    settings = load_settings(None, words)
    own = [word for word in overrides if not word.startswith("device=")]
    chosen = load_settings(None, [*words, *overrides])
    fixed = ("head", "mask", "class_loss", "config", "class_agnostic_boxes", "canonical_box_size")
    ours, theirs = chosen.model, settings.model
    changed = [f"model.{key}" for key in fixed if getattr(ours, key) != getattr(theirs, key)]
    if chosen.detectron2 != settings.detectron2:
        changed.append("detectron2")
    if changed:
        raise LstError(
            f"--set {changed[0]}: the network is that of --config {config.name}", "leave it out"
        )
    return chosen, render_settings([*words, *own])


def _class_notes(classes: ModelClasses, split: Split, phases: int) -> list[str]:
    notes = [f"which row of the model is which class: by {classes.named_by}"]
    if classes.dropped:
        notes.append(f"not in the training file, so dropped: {first_few(classes.dropped, 10)}")
    if empty := [one.name for one in split.excluded if one.category_id in classes.known]:
        notes.append(f"without a training annotation, so dropped: {first_few(empty, 10)}")
    if classes.unknown:
        then = (
            f"learned in {count_of(phases, 'later phase', 'later phases')}"
            if phases
            else "left out; --phases 1 makes a later phase of them, lst extend adds them"
        )
        notes.append(f"unknown to the model: {first_few(classes.unknown, 10)}: {then}")
    return notes


def _refuse_other_workspace(workspace: Workspace, settings: Settings) -> None:
    """See that a directory holds nothing, or what such a call left there."""
    layout = workspace.layout
    base = _base(workspace)
    file = layout.settings
    roles: tuple[Role, ...] = ("weights", "detections", "display")
    # Not the text: another version of lst words its comments otherwise.
    differs = file.exists() and bool(differences(load_settings(file), settings, *roles))
    trained = base is not None and base.adopted is None
    if trained or (layout.split.exists() and (differs or base is None)):
        raise LstError(f"{workspace.root} is a workspace already", _OTHER)
    require_writable(layout.split)
    if differs:
        raise LstError(
            f"{file} exists already, with other settings than those of the model",
            f"{_OTHER}, and give settings by --preset and --set",
        )


def _adopted_before(workspace: Workspace, plan: _Plan) -> PhaseManifest | None:
    """The manifest that an earlier call with the same model and data wrote; None if none did.

    Raises an `LstError` if the workspace holds anything else.
    """
    base = _base(workspace)
    if base is None or base.adopted is None:
        return None
    made_of = base.split_sha256, base.adopted.weights_sha256
    if made_of != (plan.split.digest, plan.original.sha256):
        raise LstError(f"{workspace.root}: another model or other data is adopted", _OTHER)
    if not workspace.layout.split.exists():
        return None  # of a call that was stopped before its last step
    if base.adopted.adopted:
        raise LstError(f"{workspace.root}: the model is adopted already", "lst status")
    return workspace.require_done(0)


def _base(workspace: Workspace) -> PhaseManifest | None:
    """The manifest of a base phase, also where there is no split yet."""
    path = workspace.phase(0).manifest
    return load_record(PhaseManifest, path, _OTHER, FORMATS) if path.exists() else None


def _adopt(
    workspace: Workspace, plan: _Plan, progress: Progress, note: Callable[[str], None]
) -> PhaseManifest:
    """Train what differs, and write the workspace, its split last."""
    started, began = now(), time.perf_counter()
    settings, count = plan.settings, plan.passes
    device = choose_device(settings.device)
    data = base_data(plan.inputs.occurrences, plan.split.labels_of(0), settings.seed, "class-aware")
    parts, paths = plan.inputs.dataset.parts, plan.inputs.paths
    check_found_images(parts, paths, data.images(), progress=progress, has_split=False)
    dataset = PhaseDataset(plan.inputs.dataset, plan.inputs.labels, len(plan.rows), data)
    mapper = Mapper(
        plan.inputs.paths, settings.data, channels=input_format(settings), seed=settings.seed
    )
    reader = SampleReader(dataset, mapper, choose_workers(settings.data.workers, device))
    seconds = _estimate(plan, reader, device)
    note(
        f"{count_of(len(plan.rows), 'class', 'classes')}: classifier and masks are trained on "
        f"{count:,} images, then both models are evaluated on {plan.split.val.images:,}: about "
        f"{format_seconds(seconds)}"
    )
    note(f"the original was trained on {plan.config.image_passes:,} images, as its config says")
    torch.manual_seed(settings.seed)
    adoption = Adoption(plan.original, plan.rows, settings, device)
    kept = adoption.keep(reader.batches(range(count), 1), count, progress)
    other = kept.find_other_order()
    if other is not None:
        label, called = (plan.split.classes[place].name for place in other)
        raise LstError(
            f"the model's classes are in another order: most boxes of {label} are {called} to it",
            "give --classes FILE with the model's class names, one a line, in the model's order",
        )
    if exchanged := kept.find_exchanged():
        names = [one.name for one in plan.split.classes]
        pairs = [f"{names[label]} ({names[called]})" for label, called in exchanged]
        note(
            "the model calls most boxes of these classes by another class (in brackets), so the "
            f"order of its class names is likely wrong (--classes): {first_few(pairs, 5)}"
        )
    adoption.fit_rows(kept, progress)
    adoption.fit_masks(kept, progress)
    with workspace.locked():
        directory = workspace.phase(0)
        directory.root.mkdir(parents=True, exist_ok=True)
        write_text(workspace.layout.settings, plan.settings_text)
        save_model(directory.model, adoption.network.state_dict())
        manifest = PhaseManifest(
            phase=0,
            done=True,
            split_sha256=plan.split.digest,
            previous_sha256=None,
            new_classes=len(plan.rows),
            seen_classes=len(plan.rows),
            new_entries=len(data),
            replay_entries=0,
            replay_counts={},
            iterations=0,
            seed=settings.seed,
            settings=settings.model_dump(mode="json"),
            weights={"source": plan.request.weights},
            versions=versions(),
            device=describe_device(device),
            started=started,
            finished=now(),
            seconds=time.perf_counter() - began,
            adopted=Adopted(
                config=plan.config.name,
                weights_sha256=plan.original.sha256,
                classes=plan.original.classes,
                named_by=plan.classes.named_by,
                dropped=plan.classes.dropped,
                unknown=plan.classes.unknown,
                image_passes=count,
                image_passes_of_original=plan.config.image_passes,
            ),
            **digests(directory),
        )
        workspace.save_manifest(manifest)
    write_split(workspace, plan.split, plan.inputs, settings)
    return manifest


def _estimate(plan: _Plan, reader: SampleReader, device: torch.device) -> float:
    """Seconds that adopting and both evaluations take, measured with a few images."""
    trial = Adoption(plan.original, plan.rows, plan.settings, device)
    [first] = reader.batches(range(1), 1)
    seconds = trial.estimate(first, plan.passes)
    here = plan.settings.data.model_copy(update={"workers": 0})
    detector = Detector(
        trial.network, plan.settings.model_copy(update={"data": here}), plan.split.groups[0]
    )
    dataset, rows = plan.inputs.dataset, reader.dataset.data.images()[:3].tolist()
    began = time.perf_counter()
    for _ in detector.detect(dataset.images, plan.inputs.paths, rows):
        pass
    each = (time.perf_counter() - began) / len(rows)
    return seconds + 2 * plan.split.val.images * each


def _compare(
    workspace: Workspace,
    plan: _Plan,
    manifest: PhaseManifest,
    overrides: Sequence[str],
    progress: Progress,
    note: Callable[[str], None],
) -> PhaseManifest:
    """Evaluate the original and the adopted model on the same images, and record both."""
    settings = workspace.settings(overrides)
    original = _evaluate_original(workspace, plan, settings, within(progress, "original: "))
    ours = evaluate_phase(workspace, 0, settings, progress=within(progress, "adopted: ")).metrics
    assert manifest.adopted is not None
    if (ap := original.segm.AP) is not None and ap < LEAST_AP:
        note(
            f"the original has a mask AP of {100 * ap:.1f} on {Path(plan.split.val.path).name}: "
            "either its class names are in another order (--classes), or the images, the "
            "annotations or the config are not those of this model"
        )
    scores = {"original": _scores(original), "adopted": _scores(ours)}
    compared = manifest.model_copy(update={"adopted": manifest.adopted.model_copy(update=scores)})
    with workspace.locked():
        workspace.save_manifest(compared)
    return compared


def _evaluate_original(
    workspace: Workspace, plan: _Plan, settings: Settings, progress: Progress
) -> Metrics:
    of, began = workspace.phase(0), time.perf_counter()
    files = EvaluationFiles(
        of.original_detections, of.original_metrics, of.original_detections_part, of.errors
    )
    against = prepare_validation(workspace, 0, settings, outputs=files[:3], progress=progress)
    use = inference_settings(workspace.trained_settings(0), settings)
    header = make_header(plan.original.sha256, against.dataset.sha256, use)
    if files.metrics.exists():
        stored = load_record(Metrics, files.metrics, f"remove {files.metrics}")
        if stored.made_with == header.made_with:
            return stored

    def detector() -> Detector:
        original = plan.original.with_labels(plan.rows)
        use_test_settings(original, use)
        return Detector(original, use, plan.split.groups[0])

    return run_detector(against, files, header, detector, began=began, progress=progress)[0]


def _scores(metrics: Metrics) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: getattr(one, key) for key in ("AP", "AP50", "AP75")}
        for name, one in (("segm", metrics.segm), ("bbox", metrics.bbox))
    }
