"""`lst compare`, with phases that a trainer without torch has made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lst_cli.workspace.records import load_json, save_json
from lst_cli.workspace.store import Workspace
from tests.fixtures.reports import detect, made_up_metrics, read_csv

EVERY = {one: (one, 0.9) for one in range(1, 13)}


def evaluate(workspace: Workspace, phase: int, found: list[dict[str, Any]]) -> None:
    """Leave what `lst eval` would leave behind a phase; comparing reads no number of it."""
    workspace.phase(phase).detections.write_text(json.dumps(found))
    record = made_up_metrics(workspace, phase, {}) | {"detections": len(found)}
    save_json(record, workspace.phase(phase).metrics)


class Pair:
    """Two workspaces after phase 2: one found the base's classes, the other all but two."""

    def __init__(self, first, second, lst):
        self.first, self.second, self._lst = first, second, lst

    def __call__(self, *words):
        """`lst compare` with words, by default both workspaces."""
        return self._lst("compare", *(words or (self.first.root, self.second.root)))

    def json(self, *words):
        return self(*(words or (self.first.root, self.second.root)), "--json").ok().json


@pytest.fixture
def pair(runs, lst, small_lvis):
    first, second = runs.train("work-1"), runs.train("other")
    order = first.split.class_order
    for workspace, phase, found in ((first, 2, 5), (second, 2, 7), (first, 1, 5)):
        labels = {one: (one, 0.9) for one in order[:found]}
        evaluate(workspace, phase, detect(small_lvis.val, labels))
    return Pair(first, second, lst)


def rows_of(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in record["rows"]}


def test_two_workspaces_are_compared_and_the_picture_lies_in_the_first(pair):
    outcome = pair().ok()
    picture = pair.first.layout.report / "compare.png"
    assert outcome.out.splitlines()[-1] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not pair.second.layout.report.exists()
    rows = {row["row"]: row for row in read_csv(picture.with_suffix(".csv"))}
    assert rows["AP"]["difference(other)"].startswith("2")
    assert rows["AP"]["clear(other)"] == "*"
    assert "Mask AP of the same 9 classes in the same 8 images" in outcome.out
    assert "differs from" not in outcome.err


def test_numbers_are_those_of_classes_found_and_not(pair):
    record = pair.json()
    assert not pair.first.layout.report.exists()
    assert (record["format"], record["iou_type"], record["classes"]) == (1, "segm", 9)
    assert [run["phase"] for run in record["runs"]] == [2, 2]
    assert record["runs"][0]["image_passes"] == record["runs"][1]["image_passes"] > 0
    rows = rows_of(record)
    # Class order: 7, 9, 4, 2, 5 are the base, 11 and 6 phase 1, 1 and 10 phase 2; the validation
    # images hold nothing of class 10.
    assert (rows["AP"]["classes"], rows["AP"]["with_ground_truth"]) == (9, 8)
    assert [one["AP"] for one in rows["AP"]["estimates"]] == pytest.approx([5 / 8, 7 / 8])
    assert rows["AP"]["differences"][0]["AP"] == pytest.approx(2 / 8)
    assert [one["AP"] for one in rows["old"]["estimates"]] == pytest.approx([5 / 7, 1.0])
    assert [one["AP"] for one in rows["new"]["estimates"]] == [0.0, 0.0]
    # Training instances: 30, 22, 14, 9, 5; 4 and 3; 2 and 2.
    assert rows["<5"]["with_ground_truth"] == 3
    assert rows["<5"]["differences"][0]["AP"] == pytest.approx(2 / 3)
    assert rows["10-99"]["differences"][0] == {"AP": 0.0, "interval": None, "clear": False}


def test_a_run_with_itself_differs_in_nothing(pair):
    record = pair.json(pair.first.root, pair.first.root)
    assert len({run["name"] for run in record["runs"]}) == 2
    for row in record["rows"]:
        [difference] = row["differences"]
        if row["with_ground_truth"]:
            assert (difference["AP"], difference["clear"]) == (0.0, False)
            assert difference["interval"] in ([0.0, 0.0], None)  # None: all found, or nothing


def test_phases_of_one_workspace_are_compared_over_the_classes_both_have_seen(pair):
    root = pair.first.root
    record = pair.json(f"{root}:1", f"{root}:2")
    assert record["classes"] == 7
    assert [run["name"] for run in record["runs"]] == ["work-1:1", "work-1:2"]
    assert [run["classes"] for run in record["runs"]] == [7, 9]
    assert record["runs"][0]["image_passes"] < record["runs"][1]["image_passes"]
    assert "old" not in rows_of(record)  # what is new in phase 1 is old in phase 2
    differs = {one["key"]: (one["first"], one["this"]) for one in record["runs"][1]["differs"]}
    assert differs["phase"] == ("1", "2")
    assert set(differs) == {"phase", "classes of the phases"}


def test_settings_that_differ_are_told(pair, tmp_path):
    path = pair.second.phase(2).manifest
    manifest = load_json(path, "")
    manifest["settings"]["step"]["lr"] = 0.125
    manifest["settings"]["data"]["workers"] = 7
    manifest["settings"]["mwg"]["bank_size"] = 9  # no run uses the generator
    save_json(manifest, path)
    outcome = pair(pair.first.root, pair.second.root, "-o", tmp_path / "out").ok()
    old = pair.first.trained_settings(2).step.lr
    assert f"other differs from work-1: step.lr {old:.6g} -> 0.125\n" in outcome.err
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"compare.csv", "compare.md", "compare.png"}
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "Mask AP of the same 9 classes" in page
    assert "other differs from work-1: step.lr" in page
    assert not pair.first.layout.report.exists()


def test_a_results_file_is_compared_with_a_workspace(pair, small_lvis, tmp_path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps(detect(small_lvis.val, EVERY)))
    record = pair.json(results, pair.first.root, "-o", tmp_path / "out")
    assert [run["phase"] for run in record["runs"]] == [None, 2]
    assert [run["classes"] for run in record["runs"]] == [None, 9]
    assert record["runs"][1]["differs"] == []
    assert rows_of(record)["AP"]["estimates"][0]["AP"] == pytest.approx(1.0)
    assert rows_of(record)["AP"]["differences"][0]["AP"] == pytest.approx(-3 / 8)
    assert (tmp_path / "out" / "compare.csv").exists()


def test_results_files_alone_need_annotations_and_give_bins_with_counts(lst, small_lvis, tmp_path):
    files = []
    for name, shift in (("still", 0.0), ("moved", 3.0)):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(detect(small_lvis.val, EVERY, shift=shift)))
    words = ["compare", *files, "--iou-type", "bbox"]
    outcome = lst(*words)
    assert outcome.error.startswith("error: --annotations is required")
    assert outcome.hint == "--annotations VAL.json"
    words += ["--annotations", small_lvis.val_json]
    outcome = lst(*words).ok()
    assert "-o DIR writes compare.md, compare.csv" in outcome.err
    assert "--train-counts" in outcome.err
    assert "instances" not in outcome.out
    words += ["--train-counts", small_lvis.train_json, "--bins", "<5,>=5", "--json"]
    outcome = lst(*words).ok()
    rows = rows_of(outcome.json)
    assert outcome.json["iou_type"] == "bbox"
    assert (rows["<5"]["classes"], rows[">=5"]["classes"]) == (6, 5)
    assert rows["AP"]["differences"][0]["AP"] < -0.1
    assert rows["AP"]["differences"][0]["clear"]


# --- what is refused -------------------------------------------------------------------------


def test_what_cannot_be_compared_is_named(pair, tmp_path):
    root = pair.first.root
    (tmp_path / "broken.json").write_text('[{"image_id": 1')
    for words, error, hint in (
        ([], "a comparison needs two or more runs, not 1", "lst compare A B"),
        (["nowhere"], "nowhere: no such workspace or results file", "DIR:PHASE"),
        ([root / "phases"], f"{root / 'phases'} is not a workspace: it has no split", ""),
        ([f"{root}:7"], "phase 7 does not exist: the split has phases 0 to 3", ""),
        ([tmp_path / "broken.json"], str(tmp_path / "broken.json"), ""),
    ):
        outcome = pair(root, *words)
        assert outcome.error.startswith(f"error: {error}")
        assert hint in outcome.hint


def test_what_was_not_evaluated_is_named(pair):
    first, second = pair.first.root, pair.second.root
    pair.second.phase(2).metrics.unlink()
    outcome = pair()
    assert outcome.error == f"error: no phase of {second} has been evaluated"
    assert outcome.hint == f"lst eval -w {second}"
    outcome = pair(first, f"{second}:1")
    assert outcome.error == f"error: phase 1 of {second} has not been evaluated"
    assert outcome.hint == f"lst eval -w {second} --phase 1"


def test_other_validation_images_are_refused(pair, runs, tmp_path, small_lvis):
    runs.change_split(pair.second, lambda split: split["val"].update(sha256="0" * 64))
    outcome = pair()
    assert "were evaluated on different validation files" in outcome.error
    assert outcome.hint == "take runs with the same validation file"
    small_lvis.val["annotations"].pop()
    other = tmp_path / "other.json"
    other.write_text(json.dumps(small_lvis.val))
    outcome = pair(pair.first.root, pair.first.root, "--annotations", other)
    assert "is not the validation file that" in outcome.error


def test_classes_that_nobody_shares_are_refused(pair, runs):
    def move(split: dict[str, Any]) -> None:
        for one in split["classes"]:
            one["category_id"] += 100
        split["groups"] = [[one + 100 for one in group] for group in split["groups"]]

    runs.change_split(pair.second, move)
    roots = f"{pair.first.root}, {pair.second.root}"
    assert pair().error == f"error: no class was seen by all of {roots}"
