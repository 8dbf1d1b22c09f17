"""`lst figure tail`: what runs make of objects of the rarest classes."""

from __future__ import annotations

import json

import pytest

from lst_cli.figures import tail_data
from tests.fixtures.reports import detect, read_csv


@pytest.fixture
def pair(runs, small_lvis):
    """One run finds class 1, the other takes it for class 7 and finds class 6."""
    first, second = runs.train("first"), runs.train("second", "--no-distill")
    for run, ap, labels in (
        (first, 0.5, {1: (1, 0.75)}),
        (second, 0.25, {1: (7, 0.5), 6: (6, 0.25)}),
    ):
        runs.evaluate(run, ap)
        for phase in (1, 2):
            run.phase(phase).detections.write_text(json.dumps(detect(small_lvis.val, labels)))
    return first, second


def test_tail_shows_the_rarest_classes_of_all_runs_and_what_they_make_of_an_object(
    lst, pair, tmp_path
):
    first, second = pair
    words = ("figure", "tail", "-w", first.root, "--with", second.root)
    outcome = lst(*words, "-o", tmp_path / "paper").ok()
    picture = tmp_path / "paper" / "figures" / "tail.png"
    assert outcome.out.splitlines()[-1] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = read_csv(picture.with_suffix(".csv"))
    # Fewer than ten training instances and ground truth, the rarest first.
    assert [(row["class"], row["training_instances"]) for row in rows[::2]] == [
        ("class 1", "2"), ("class 6", "3"), ("class 11", "4"), ("class 5", "5"), ("class 2", "9"),
    ]  # fmt: skip
    right, wrong = rows[:2]
    assert [row["run"] for row in (right, wrong)] == ["first", "second"]
    assert [row["AP"] for row in (right, wrong)] == ["50.0000", "25.0000"]
    assert (right["answer"], right["score"], right["IoU"]) == ("class 1", "0.75", "1")
    assert (wrong["answer"], wrong["answer_score"], wrong["score"]) == ("class 7", "0.5", "")
    assert right["image"] == wrong["image"] != rows[2]["image"]
    nothing, found = rows[2:4]
    assert (nothing["answer"], found["answer"], found["score"]) == ("", "class 6", "0.25")
    assert "The 5 rarest classes with ground truth (2 to 9 training instances)" in " ".join(
        outcome.err.split()
    )


def test_tail_takes_classes_that_all_runs_have_seen(lst, pair, tmp_path):
    first, second = pair
    second.phase(2).metrics.unlink()  # its newest evaluation is of phase 1
    words = ("figure", "tail", "--json", "-w", first.root, "--with", second.root)
    rows = lst(*words).json["tail"]["rows"]
    assert [row["class"] for row in rows[::2]] == ["class 6", "class 11", "class 5", "class 2"]


def test_tail_without_rare_classes_shows_the_rarest_there_are(lst, pair, monkeypatch):
    rows = lst("figure", "tail", "--json", "-w", pair[1].root).json["tail"]["rows"]
    # Class 5 has no object in an image that shows none of these.
    shown = [row["class"] for row in rows if row.get("image")]
    assert shown == ["class 1", "class 6", "class 11", "class 2"]
    monkeypatch.setattr(tail_data, "TAIL", 2)
    monkeypatch.setattr(tail_data, "FALLBACK_CLASSES", 2)
    outcome = lst("figure", "tail", "-w", pair[0].root).ok()
    told = " ".join(outcome.err.split())
    assert "The 2 rarest classes" in told
    assert "None has fewer than 2 training instances." in told


def test_tail_with_a_results_file_is_refused(lst, pair):
    file = pair[1].phase(2).detections
    outcome = lst("figure", "tail", "-w", pair[0].root, "--with", file)
    assert outcome.error == f"error: {file} is not a workspace"


def test_tail_of_other_validation_files_is_refused(lst, runs, pair):
    first, second = pair
    runs.change_split(second, lambda split: split["val"].update(sha256="0" * 64))
    for figure in ("tail", "distill"):
        outcome = lst("figure", figure, "-w", first.root, "--with", second.root)
        assert "evaluated on different validation files" in outcome.error
