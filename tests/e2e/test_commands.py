"""All commands with real networks, a few iterations each, on the CPU."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from lst_cli.workspace.records import load_json
from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine


def rows(workspace: Workspace, phase: int) -> int:
    with safe_open(workspace.phase(phase).model, framework="np") as file:
        return int(file.get_slice("roi_heads.box_predictor.cls_score.weight").get_shape()[0])


def test_the_network_grows_by_the_classes_of_each_phase_and_logs_its_losses(finished):
    assert [len(group) for group in finished.split.groups] == [3, 2, 1]
    assert [rows(finished, phase) for phase in range(3)] == [4, 6, 7]  # background is the last
    for phase in range(3):
        iterations = finished.require_done(phase).iterations
        logged = [json.loads(line) for line in finished.phase(phase).log.read_text().splitlines()]
        assert [entry["iteration"] for entry in logged] == list(range(1, iterations + 1))
        assert all(("loss_distill" in entry) == (phase > 0) for entry in logged)
        assert list(finished.phase(phase).tensorboard.iterdir())
        assert not finished.phase(phase).training_state.exists()


def test_eval_prints_what_a_script_needs(finished, run):
    outcome = run("eval", "-w", finished.root, "--json").ok()
    metrics = outcome.json
    assert metrics == load_json(finished.phase(2).metrics, "")
    assert (metrics["format"], metrics["phase"]) == (1, 2)
    for kind in ("segm", "bbox"):
        assert [one["bin"] for one in metrics[kind]["bins"]][:3] == ["=1", "<5", "<10"]
        assert [one["phase"] for one in metrics[kind]["groups"]] == [0, 1, 2]
        ids = {str(number) for number in finished.split.class_order}
        assert metrics[kind]["per_class"].keys() <= ids
    for phase in range(3):
        seen = set(finished.split.class_order[: finished.split.seen_classes(phase)])
        found = json.loads(finished.phase(phase).detections.read_text())
        assert {one["category_id"] for one in found} <= seen
    assert len(found) == metrics["detections"] > 0
    assert {"image_id", "category_id", "bbox", "score", "segmentation"} <= found[0].keys()


def test_eval_of_all_phases_prints_a_row_for_each(finished):
    printed = (finished.root / "eval.out").read_text()
    table = printed.split("AP of each phase's classes over time")[0]
    assert re.findall(r"^(base|\d)\b", table, re.MULTILINE) == ["base", "1", "2"]
    assert printed.splitlines()[-1].startswith("next: lst report -w ")


def test_the_report_has_all_its_formats_and_a_page_that_needs_nothing(finished):
    folder = finished.layout.report
    for name in ("report.md", "report.csv", "report.json", "report.tex", "report.html"):
        assert (folder / name).stat().st_size > 0
    page = (folder / "report.html").read_text()
    assert "data:image/" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert (finished.root / "report.out").read_text().endswith("report.html\n")


def test_no_library_talks_to_the_user(finished, run):
    for command in ("step", "eval", "report"):
        text = (finished.root / f"{command}.err").read_text()
        for line in text.splitlines():
            assert re.match(
                r"(device: cpu|phase \d|wrote|images:|mask AP|box AP|mean|pictures)", line
            ), line


def test_a_phase_runs_without_replay(based, run):
    outcome = run(
        "step", "-w", based.root, "--replay", "none", "--new-rows", "random", "--json"
    ).ok()
    (manifest,) = outcome.json
    assert manifest["settings"]["step"]["replay"] == "none"
    assert manifest["replay_entries"] == 0
    assert rows(based, 1) == 6


def test_a_model_of_our_own_can_be_the_first_weights(fresh, finished, run):
    words = ("train-base", "-w", fresh.root, "--weights", finished.root)
    wide = run(*words, "--set", "detectron2.MODEL.FPN.OUT_CHANNELS=24")
    assert "the network is timm/test_efficientnet" in wide.error
    assert "is (16," in wide.error
    outcome = run(*words, "--json").ok()
    assert "class-specific dropped" in outcome.err
    weights = outcome.json[0]["weights"]
    last = finished.newest_phase()
    assert weights["source"] == str(finished.phase(last).model)
    assert weights["sha256"] == finished.manifest(last).model_sha256
    assert any(name.startswith("backbone.") for name in weights["matched"])
    assert any("cls_score" in name for name in weights["dropped"])


def test_the_presets_network_starts_from_the_weights_of_its_package(fresh, based, run):
    words = ("--set", "model.config=Base-RCNN-FPN.yaml", "--set", "model.pretrained=true")
    (manifest,) = run("train-base", "-w", fresh.root, *words, "--json").ok().json
    assert "efficientnet-lite0" in manifest["weights"]["source"]
    assert based.manifest(0).weights is None, "the network of the other tests starts from nothing"
    assert based.manifest(0).versions["timm"]


# --- what goes wrong ----------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_training(fresh, run):
    outcome = run(
        "train-base", "-w", fresh.root, "--set", "base.lr=1000", "--set", "base.clip_gradients=0"
    )
    assert "training diverged at iteration" in outcome.error
    assert not fresh.is_done(0)


def test_a_network_or_weights_that_are_refused_leave_no_phase_begun(fresh, run):
    file = fresh.root / "weights.pkl"
    file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for words, part in (
        (("--set", "detectron2.MODEL.NO_SUCH=1"), "MODEL.NO_SUCH"),
        (("--set", "model.config=nothing.yaml"), "model.config: "),
        (("--weights", file), "it would run os.system"),
    ):
        assert part in run("train-base", "-w", fresh.root, *words).error
        assert fresh.manifest(0) is None


def test_an_evaluation_that_is_killed_keeps_the_old_metrics(finished, run):
    before = finished.phase(2).metrics.read_bytes()
    first = "import lst_cli.evaluate.evaluate as e; e.Validation.measure = kill"
    assert run("eval", "-w", finished.root, first=first).code == -9
    assert finished.phase(2).metrics.read_bytes() == before
    assert run("eval", "-w", finished.root).code == 0


# --- predict --------------------------------------------------------------------------------------


def test_any_image_is_predicted_as_it_is_when_evaluated(finished, tiny, run):
    evaluated = json.loads(finished.phase(2).detections.read_text())
    images = {one["id"]: one for one in json.loads(tiny.val_json.read_text())["images"]}
    chosen = sorted({one["image_id"] for one in evaluated})[:2]
    names = [Path(images[one]["coco_url"]).name for one in chosen]
    paths = [next(tiny.images.rglob(name)) for name in names]
    scores = sorted(one["score"] for one in evaluated if one["image_id"] in chosen)
    score = (scores[-6] + scores[-5]) / 2  # the five best of both images

    outcome = run("predict", *paths, "-w", finished.root, "--score", score).ok()
    folder = finished.layout.predictions(2)
    assert outcome.out.endswith(f"{folder}\n")
    found = json.loads((folder / "predictions.json").read_text())
    assert sum(len(one["objects"]) for one in found["images"]) == 5
    for image_id, image in zip(chosen, found["images"], strict=True):
        expected = [
            one for one in evaluated if one["image_id"] == image_id and one["score"] >= score
        ]
        keys = ("category_id", "bbox", "segmentation")
        assert [[one[key] for key in keys] for one in image["objects"]] == [
            [pytest.approx(one["bbox"], abs=1e-3) if key == "bbox" else one[key] for key in keys]
            for one in expected
        ]
        with Image.open(folder / image["picture"]) as picture:
            assert picture.size == (640, 640)
