"""A flipped bit in a finished workspace is refused in one line, or changes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lst_cli.ap.metrics import InstantMetrics, Metrics
from lst_cli.ap.results_file import Boxed
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_metrics, stored_detections
from lst_cli.figures.shown_objects import read_found
from lst_cli.files import sha256_of
from lst_cli.report.report import gather
from lst_cli.report.status import read_status
from lst_cli.report.write import report_json
from lst_cli.workspace.records import load_json, save_json, save_record
from lst_cli.workspace.store import Workspace

FILES = (
    "split.json",
    "phases/00-base/manifest.json",
    "phases/01/manifest.json",
    "phases/02/manifest.json",
    "phases/02/metrics.json",
    "phases/02/instant.json",
    "phases/02/detections.json",
    "phases/02/model.safetensors",
)


@pytest.fixture
def finished(runs):
    """Base and two phases, evaluated, with detections."""
    workspace: Workspace = runs.train("finished")
    runs.evaluate(workspace, 0.5)
    for phase in range(3):
        directory = workspace.phase(phase)
        found = [
            {"image_id": 1001 + n, "category_id": 7, "score": 0.5 + n / 100,
             "bbox": [1.0, 2.0, 30.0, 4.0], "segmentation": {"size": [60, 80], "counts": "PPYn1"}}
            for n in range(5)
        ]  # fmt: skip
        directory.detections.write_text(json.dumps(found))
        record = load_json(directory.metrics, "")
        record["detections_sha256"] = sha256_of(directory.detections)
        record["made_with"] = {"model_sha256": workspace.require_done(phase).model_sha256}
        save_record(Metrics.model_validate(record), directory.metrics)
    rows = {"mean-feature": load_metrics(workspace, 2)}
    instant = InstantMetrics.model_validate({"phase": 2, "rows": rows})
    save_record(instant, workspace.phase(2).instant)
    return workspace


def told(root: Path) -> Any:
    """What `lst status`, `lst report` and whoever reads detections or grows a model learn."""
    workspace = Workspace(root)
    metrics = load_metrics(workspace, 2)
    assert metrics is not None
    boxes = [
        (one.image_id, one.category_id, one.score, one.bbox)
        for _, block in stored_detections(workspace, 2, metrics).blocks(Boxed)
        for one in block
    ]
    return (
        asdict(read_status(workspace)),
        report_json(gather(workspace, pictures=False)),
        boxes,
        read_found(workspace, 2, [1001, 1003]),
        [workspace.require_model(phase).model_dump() for phase in range(3)],
    )


def damages(data: bytes, seed: str) -> Iterator[bytes]:
    """The data with a bit flipped, or another digit somewhere."""
    chance = random.Random(seed)
    for place in chance.sample(range(8 * len(data)), min(60, 8 * len(data))):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged)
    digits = [place for place, byte in enumerate(data) if chr(byte) in "0123456789"]
    for place in chance.sample(digits, min(20, len(digits))):
        other = chance.choice([one for one in b"0123456789" if one != data[place]])
        yield data[:place] + bytes([other]) + data[place + 1 :]


@pytest.mark.parametrize("name", FILES)
def test_damage_is_refused_or_changes_nothing(name, finished):
    path, right = finished.root / name, told(finished.root)
    data, tried, same, refused = path.read_bytes(), 0, 0, 0
    for damaged in damages(data, name):
        path.write_bytes(damaged)
        tried += 1
        try:
            same += told(finished.root) == right
        except LstError as error:
            refused += str(finished.root) in error.message and bool(error.hint)
    assert same + refused == tried >= 60
    assert refused >= 40  # spaces between the tokens of JSON matter to nobody
    path.write_bytes(data)
    assert told(finished.root) == right


@pytest.mark.parametrize("name", [one for one in FILES if "manifest" in one or "split" in one])
def test_the_check_itself_cannot_be_switched_off(name, finished, lst):
    path = finished.root / name
    text = path.read_text()
    lines = [line for line in text.splitlines(True) if "checksum" not in line]
    for changed in (
        text.replace('"checksum"', '"checksul"'),
        text.replace('"format": 2', '"format": 1'),
        "".join(lines)[:-4] + "\n}",
        "[" * 100_000,
        text + "{}",
    ):
        path.write_text(changed)
        assert str(path) in lst("status", "-w", finished.root).error, changed[:200]


WRONG_METRICS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m.update(phase=1), "phase: it belongs to phase 1"),
    (
        lambda m: m.update(made_with={"model_sha256": "0" * 64}),
        "made_with.model_sha256: it is of another model",
    ),
    (lambda m: m["segm"]["groups"].pop(0), "its classes are not those of the split"),
    (lambda m: m["bbox"]["groups"][1].update(classes=3), "its classes are not those of the split"),
    (lambda m: m["bbox"]["per_class"].update({"8": 0.5}), "its classes are not those of the split"),
]


def test_metrics_of_another_phase_model_or_split_are_refused(finished, lst):
    path = finished.phase(2).metrics
    whole = path.read_bytes()
    for change, message in WRONG_METRICS:
        path.write_bytes(whole)
        record = load_json(path, "")
        change(record)
        save_json(record, path)
        outcome = lst("status", "-w", finished.root)
        assert f"metrics.json: {message}" in outcome.error
        assert outcome.hint == f"lst eval -w {finished.root} --phase 2"


# --- manifests and splits of lst 0.1, which have no checksum ------------------------------------

WRONG_MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no batch_size": (lambda m: m["settings"]["step"].pop("batch_size"), "batch_size"),
    "batch_size null": (lambda m: m["settings"]["step"].update(batch_size=None), "batch_size"),
    "batch_size true": (lambda m: m["settings"]["step"].update(batch_size=True), "batch_size"),
    "batch_size 0": (lambda m: m["settings"]["step"].update(batch_size=0), "batch_size"),
    "step null": (lambda m: m["settings"].update(step=None), "batch_size"),
    "step a list": (lambda m: m["settings"].update(step=[]), "batch_size"),
    "settings null": (lambda m: m.update(settings=None), "settings"),
    "settings empty": (lambda m: m.update(settings={}), "batch_size"),
    "iterations null": (lambda m: m.update(iterations=None), "iterations"),
    "iterations below 0": (lambda m: m.update(iterations=-1), "iterations"),
    "seconds NaN": (lambda m: m.update(seconds=float("nan")), "seconds"),
    "model null": (lambda m: m.update(model_sha256=None), "model_sha256"),
    "model empty": (lambda m: m.update(model_sha256=""), "model_sha256"),
    "previous null": (lambda m: m.update(previous_sha256=None), "previous_sha256"),
    "another phase": (lambda m: m.update(phase=2), "phase"),
    "fewer classes": (lambda m: m.update(seen_classes=3), "seen_classes"),
    "weights without source": (lambda m: m.update(weights={}), "weights.source"),
    "counts null": (lambda m: m.update(replay_counts=None), "replay_counts"),
    "a count below 0": (lambda m: m.update(replay_counts={"4": -1}), "replay_counts.4"),
}  # fmt: skip


def test_a_manifest_of_the_first_version_is_read_as_a_whole(finished, as_lst_0_1, lst):
    path = finished.phase(1).manifest
    whole = path.read_bytes()
    as_lst_0_1(path, lambda content: None)
    assert lst("status", "-w", finished.root).code == 0
    for kind, (change, key) in WRONG_MANIFESTS.items():
        path.write_bytes(whole)
        as_lst_0_1(path, change)
        for command in ("status", "report", "step"):
            error = lst(command, "-w", finished.root).error
            assert f"{path}: " in error, kind
            assert key in error, kind
    assert finished.phase(1).model.exists()


WRONG_SPLITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no phases": (lambda s: s.update(phases=[]), "phases"),
    "phases null": (lambda s: s.update(phases=None), "phases"),
    "a phase too few": (lambda s: s["phases"].pop(), "phases"),
    "phases out of order": (lambda s: s["phases"].reverse(), "phases"),
    "no groups": (lambda s: s.update(groups=[]), "groups"),
    "an empty group": (lambda s: s["groups"].append([]), "groups"),
    "a class in two groups": (lambda s: s["groups"][1].append(s["groups"][0][0]), "groups"),
    "a class in no group": (lambda s: s["groups"][1].pop(), "groups"),
    "no classes": (lambda s: s.update(classes=[]), "groups"),
    "another base": (lambda s: s.update(base_classes=2), "base_classes"),
    "a count below 0": (lambda s: s["classes"][0].update(instances=-1), "classes.0.instances"),
    "an extension of nothing": (
        lambda s: s.update(extensions=[{"phase": 9, "train": s["train"], "image_dirs": [],
                                        "classes": [1]}]), "extensions"),
}  # fmt: skip


def test_a_split_of_the_first_version_is_read_as_a_whole(workspace, as_lst_0_1, lst):
    path = workspace.layout.split
    whole = path.read_bytes()
    for kind, (change, key) in WRONG_SPLITS.items():
        path.write_bytes(whole)
        as_lst_0_1(path, change)
        for command in ("status", "report", "train-base"):
            assert f"split.json: {key}" in lst(command, "-w", workspace.root).error, kind


# --- nothing that is finished is lost ------------------------------------------------------------


def test_a_flipped_digit_before_a_finished_phase_is_seen_and_loses_nothing(
    finished, as_lst_0_1, lst
):
    other = "0" * 64
    as_lst_0_1(finished.phase(0).manifest, lambda m: m.update(model_sha256=other))
    before = sorted(path for path in finished.root.rglob("*") if path.suffix != ".lock")
    for words in (["status"], ["step", "--restart"], ["step"], ["eval"], ["report"]):
        error = lst(*words, "-w", finished.root).error
        assert "00-base/manifest.json: model_sha256 is not that of model.safetensors" in error
    assert sorted(path for path in finished.root.rglob("*") if path.suffix != ".lock") == before


def test_restart_looks_at_everything_before_it_moves_a_finished_phase(
    finished, as_lst_0_1, lst, small_lvis
):
    # The base was trained again: phase 1 is outdated, and finished.
    base = finished.phase(0)
    base.model.write_bytes(b"other weights")
    base.metrics.unlink()
    record = load_json(base.manifest, "")
    save_json({**record, "model_sha256": sha256_of(base.model)}, base.manifest)
    assert lst("status", "-w", finished.root, "--json").json["phases"][1]["state"] == "outdated"
    model = finished.phase(1).model
    base.model.write_bytes(b"damaged")
    assert "00-base/model.safetensors" in lst("step", "--restart", "-w", finished.root).error
    assert model.exists()
    base.model.write_bytes(b"other weights")
    image = next((small_lvis.images / "train").iterdir())
    image.rename(image.with_suffix(".away"))
    assert lst("step", "--restart", "-w", finished.root).code == 1
    assert model.exists()
    image.with_suffix(".away").rename(image)
    old = model.read_bytes()
    outcome = lst("step", "--restart", "-w", finished.root).ok()
    kept = finished.root / "replaced" / "01-1"
    assert str(kept) in outcome.err
    assert (kept / "model.safetensors").read_bytes() == old


def test_another_split_moves_finished_phases_and_a_damaged_manifest_is_no_other_split(
    finished, small_lvis, lst
):
    manifest = finished.phase(1).manifest
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b'"seed": 0', b'"seed": 1'))
    for words in ([], ["--force"]):
        error = lst(*small_lvis.split_words(), *words, "-w", finished.root).error
        assert f"{manifest}: changed or damaged" in error
    manifest.write_bytes(whole)
    lst(*small_lvis.split_words(base=4), "--force", "-w", finished.root).ok()
    assert (finished.root / "replaced" / "phases-1" / "01" / "model.safetensors").exists()
    assert not finished.layout.phases.exists()
