from __future__ import annotations

from dataclasses import replace

import pytest

from lst_cli.display.tables import class_table
from lst_cli.report.data import all_notes, headlines, mean_forgetting, rarest_bin

DASH = "\N{EN DASH}"


def test_the_headlines_are_the_last_phases(make_data):
    found = {one.name: (one.value, one.remark) for one in headlines(make_data().metrics)}
    assert found == {
        "Mask AP": ("24.8", "5 classes after phase 2"),
        "Rarest bin, <5": ("10.0", "1 class"),
        "Old / new classes": ("28.5 / 10.0", "phases before 2 / phase 2"),
        "Forgetting": ("1.5", "AP lost since learned, 4 classes; base 40.0 → 38.0"),
        "Box AP": ("12.4", "mask AP50 24.8"),
    }


def test_after_the_base_phase_there_is_nothing_to_forget(make_data):
    metrics = make_data(phases=(0,)).metrics
    assert mean_forgetting(metrics) is None
    found = {one.name: one.value for one in headlines(metrics)}
    assert found["Forgetting"] == DASH
    assert found["Old / new classes"] == f"{DASH} / 40.0"


def test_joint_training_has_no_old_classes_and_forgets_none(make_data):
    data = make_data(phases=(0,))
    data = replace(data, classes=[one for one in data.classes if one.phase == 0])
    assert data.joint
    found = {one.name: one.remark for one in headlines(data.metrics, joint=data.joint)}
    assert found["Mask AP"] == "2 classes after joint training"
    assert [name.split(",")[0] for name in found] == ["Mask AP", "Rarest bin", "Box AP"]
    assert not make_data().joint


def test_the_rarest_bin_is_one_with_ground_truth(make_data):
    # yak alone is in the bin =1 and has none.
    for found, expected in ((make_data(), "<5"), (make_data(phases=(0,)), ">=100")):
        rarest = rarest_bin(found.metrics)
        assert rarest is not None
        assert rarest.bin == expected


def test_a_demo_says_so_before_anything_else(make_data):
    data = make_data(demo=True, notes=["mine", "mine"])
    notes = all_notes(data)
    assert notes[0].startswith("This is a demo")
    assert notes[-1] == "mine"
    assert notes.count("mine") == 1


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"federated": False}, "The validation set has no federated labels: every image"),
        ({"phases": (1,)}, "The base phase is finished but not evaluated: lst eval --phase 0"),
        ({"phases": (1,)}, "Phase 2 is finished but not evaluated: lst eval --phase 2"),
        ({"phases": (0, 1)}, "Phase 1 of 2 is the newest evaluated one: the rarest"),
    ],
)
def test_what_a_reader_must_know_is_said_where_it_is_so(make_data, changes, note):
    assert any(one.startswith(note) for one in all_notes(make_data(**changes)))
    few = "AP(<5) rests on 1 class: small differences in it are chance."
    assert all_notes(make_data()) == [few]


def judged_on(make_data, *files):
    return [
        metrics.model_copy(update={"annotations_sha256": file * 64})
        for metrics, file in zip(make_data().metrics, files, strict=True)
    ]


def test_what_was_judged_on_other_images_is_nothing_to_forget(make_data):
    metrics = judged_on(make_data, "a", "a", "b")
    found = {one.name: (one.value, one.remark) for one in headlines(metrics)}
    assert found["Forgetting"] == (DASH, "needs two evaluated phases on one validation file")
    rows = class_table(make_data().classes, metrics).rows
    assert [row["change"] for row in rows[:4]] == [None] * 4
    # The base on other images than the rest: what it lost is not known.
    metrics = judged_on(make_data, "a", "b", "b")
    found = {one.name: (one.value, one.remark) for one in headlines(metrics)}
    assert found["Forgetting"] == ("1.0", "AP lost since learned, 2 classes")
