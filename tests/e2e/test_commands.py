"""All five commands with real networks, a few iterations each, on the CPU."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from safetensors import safe_open

from lst_cli.workspace.records import load_json
from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine
Run = Callable[..., Any]


def rows(workspace: Workspace, phase: int) -> int:
    with safe_open(workspace.phase(phase).model, framework="np") as file:
        return int(file.get_slice("roi_heads.box_predictor.cls_score.weight").get_shape()[0])


def losses(workspace: Workspace, phase: int) -> list[dict[str, float]]:
    lines = workspace.phase(phase).log.read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_the_network_grows_by_the_classes_of_each_phase(finished: Workspace) -> None:
    groups = [len(group) for group in finished.split.groups]
    assert groups == [3, 2, 1]
    assert [rows(finished, phase) for phase in range(3)] == [4, 6, 7]  # background is the last


def test_losses_are_logged_for_every_iteration(finished: Workspace) -> None:
    for phase in range(3):
        manifest = finished.require_done(phase)
        logged = losses(finished, phase)
        assert [entry["iteration"] for entry in logged] == list(range(1, manifest.iterations + 1))
        assert all(("loss_distill" in entry) == (phase > 0) for entry in logged)
        assert list(finished.phase(phase).tensorboard.iterdir())
        assert not finished.phase(phase).training_state.exists()


def test_eval_prints_what_a_script_needs(finished: Workspace, run: Run) -> None:
    outcome = run("eval", "-w", finished.root, "--json")
    assert outcome.code == 0, outcome.err
    metrics = outcome.json
    assert metrics == load_json(finished.phase(2).metrics, "")
    assert (metrics["format"], metrics["phase"]) == (1, 2)
    for kind in ("segm", "bbox"):
        keys = {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "old", "new"}
        assert keys | {"all", "bins", "groups", "per_class"} <= metrics[kind].keys()
        assert [one["bin"] for one in metrics[kind]["bins"]][:3] == ["=1", "<5", "<10"]
        assert {"classes", "with_ground_truth", "AP"} <= metrics[kind]["bins"][0].keys()
        assert [one["phase"] for one in metrics[kind]["groups"]] == [0, 1, 2]
        ids = {str(number) for number in finished.split.class_order}
        assert metrics[kind]["per_class"].keys() <= ids
    found = json.loads(finished.phase(2).detections.read_text())
    assert len(found) == metrics["detections"] > 0
    assert {one["category_id"] for one in found} <= set(finished.split.class_order)
    assert {"image_id", "category_id", "bbox", "score", "segmentation"} <= found[0].keys()


def test_a_phase_detects_only_classes_it_has_seen(finished: Workspace) -> None:
    for phase in range(3):
        seen = set(finished.split.class_order[: finished.split.seen_classes(phase)])
        found = json.loads(finished.phase(phase).detections.read_text())
        assert {one["category_id"] for one in found} <= seen


def test_eval_of_all_phases_prints_a_row_for_each(finished: Workspace) -> None:
    printed = (finished.root / "eval.out").read_text()
    table = printed.split("What became of each phase's classes")[0]
    assert re.findall(r"^(base|\d)\b", table, re.MULTILINE) == ["base", "1", "2"]
    assert printed.splitlines()[-1].startswith("next: lst report -w ")


def test_the_report_has_all_its_formats_and_a_page_that_needs_nothing(finished: Workspace) -> None:
    folder = finished.layout.report
    for name in ("report.md", "report.csv", "report.json", "report.tex", "report.html"):
        assert (folder / name).stat().st_size > 0
    page = (folder / "report.html").read_text()
    assert "data:image/" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert (finished.root / "report.out").read_text().endswith("report.html\n")


def test_the_report_prints_json(finished: Workspace, run: Run) -> None:
    outcome = run("report", "-w", finished.root, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json == json.loads((finished.layout.report / "report.json").read_text()) or (
        outcome.json.keys()
        == json.loads((finished.layout.report / "report.json").read_text()).keys()
    )


def test_no_library_talks_to_the_user(finished: Workspace, run: Run) -> None:
    for command in ("step", "eval", "report"):
        text = (finished.root / f"{command}.err").read_text()
        for line in text.splitlines():
            assert re.match(r"(phase \d|wrote|images:|mask AP|box AP|mean|pictures)", line), line


@pytest.mark.parametrize("replay", ["none", "all"])
def test_a_phase_runs_with_other_replay(based: Workspace, run: Run, replay: str) -> None:
    outcome = run("step", "-w", based.root, "--replay", replay, "--new-rows", "random", "--json")
    assert outcome.code == 0, outcome.err
    (manifest,) = outcome.json
    assert manifest["settings"]["step"]["replay"] == replay
    old = based.split.classes[:3]
    images = sum(record.images for record in old)
    assert manifest["replay_entries"] == (images if replay == "all" else 0)
    assert rows(based, 1) == 6


def test_the_same_commands_give_the_same_weights(
    based: Workspace, finished: Workspace, run: Run
) -> None:
    assert run("step", "-w", based.root, "--all").code == 0
    for phase in (1, 2):
        ours, theirs = based.phase(phase).model, finished.phase(phase).model
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_model_of_our_own_can_be_the_first_weights(
    fresh: Workspace, based: Workspace, run: Run
) -> None:
    model = based.phase(0).model
    outcome = run("train-base", "-w", fresh.root, "--weights", model, "--json")
    assert outcome.code == 0, outcome.err
    weights = outcome.json[0]["weights"]
    assert weights["source"] == str(model)
    assert any(name.startswith("backbone.") for name in weights["matched"])
    assert any("cls_score" in name for name in weights["dropped"])


# --- what goes wrong -----------------------------------------------------------------------------


def error_of(outcome: Any) -> str:
    lines = outcome.err.splitlines()
    assert outcome.code == 1
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert lines[-1].startswith("  try: ")
    assert "Traceback" not in outcome.err
    return str(error)


def test_a_loss_that_is_no_number_stops_the_training(fresh: Workspace, run: Run) -> None:
    outcome = run(
        "train-base", "-w", fresh.root, "--set", "base.lr=1000", "--set", "base.clip_gradients=0"
    )
    assert "training diverged at iteration" in error_of(outcome)
    assert not fresh.is_done(0)


def test_a_network_that_detectron2_refuses_leaves_no_phase_begun(
    fresh: Workspace, run: Run
) -> None:
    outcome = run("train-base", "-w", fresh.root, "--set", "detectron2.MODEL.NO_SUCH=1")
    assert "MODEL.NO_SUCH" in error_of(outcome)
    assert fresh.manifest(0) is None
    outcome = run("train-base", "-w", fresh.root, "--set", "model.config=nothing.yaml")
    assert "model.config: " in error_of(outcome)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "weights.pkl: No such file"),
        (b"cos\nsystem\n(S'true'\ntR.", "it would run os.system"),
    ],
)
def test_weights_that_cannot_be_used_leave_no_phase_begun(
    fresh: Workspace, run: Run, content: bytes | None, part: str
) -> None:
    file = fresh.root / "weights.pkl"
    if content is not None:
        file.write_bytes(content)
    outcome = run("train-base", "-w", fresh.root, "--weights", file)
    assert part.lower() in error_of(outcome).lower()
    assert fresh.manifest(0) is None


def test_a_graphics_card_that_is_not_there_is_told(based: Workspace, run: Run) -> None:
    outcome = run(
        "step",
        "-w",
        based.root,
        "--device",
        "cuda",
        first="torch.cuda.is_available = lambda: False",
    )
    assert "device cuda: torch finds no usable GPU" in error_of(outcome)
    assert based.manifest(1) is None


def test_an_image_that_is_gone_when_it_is_evaluated_keeps_the_old_metrics(
    finished: Workspace, run: Run
) -> None:
    before = finished.phase(2).metrics.read_bytes()
    empty = finished.root / "empty"
    empty.mkdir()
    split = finished.split.model_copy(update={"image_dirs": (str(empty),)})
    finished.save_split(split)
    outcome = run("eval", "-w", finished.root)
    assert "not found" in error_of(outcome)
    assert finished.phase(2).metrics.read_bytes() == before


def test_an_evaluation_that_is_killed_keeps_the_old_metrics(finished: Workspace, run: Run) -> None:
    before = finished.phase(2).metrics.read_bytes()
    first = "import lst_cli.evaluate.validation as v; v.Validation.measure = kill"
    assert run("eval", "-w", finished.root, first=first).code == -9
    assert finished.phase(2).metrics.read_bytes() == before
    assert run("eval", "-w", finished.root).code == 0
