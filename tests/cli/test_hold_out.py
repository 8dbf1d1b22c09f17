from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Lst = Callable[..., Any]


@pytest.fixture
def hold_out(lst: Lst, small_lvis: Any, tmp_path: Path) -> Lst:
    out = tmp_path / "a part"

    def call(*more: object) -> Any:
        words = ("--train", small_lvis.train_json, "--out", out, "--rare", 3)
        return lst("hold-out", *words, *more)

    return call


def test_the_cut_is_shown_and_the_next_command_goes_on(lst, hold_out, small_lvis, tmp_path):
    out = tmp_path / "a part"
    outcome = hold_out().ok()
    assert f"Rare: in fewer than 3 images of {out / 'train.json'}" in outcome.out
    again = hold_out("--force", "--json")
    found = again.json
    for part in ("train", "val"):
        cells = [str(found[part][key]) for key in ("images", "instances", "classes", "rare")]
        (line,) = [row for row in outcome.out.splitlines() if row.startswith(found[part]["path"])]
        assert line.removeprefix(found[part]["path"]).split() == cells
    assert (
        f"{len(found['demoted'])} classes became rare; {found['val']['classes']} classes can be "
        f"evaluated, {found['val']['rare']} of them rare"
    ) in outcome.err
    last = outcome.out.splitlines()[-1]
    assert last.startswith("next: lst split ")
    command = shlex.split(last.removeprefix("next: lst ").replace("DIR", str(small_lvis.images)))
    assert command[command.index("-w") + 1] == str(out / "lst-workspace")
    lst(*command, "--json").ok()
    assert again.err == ""
    assert set(found) == {"format", "train", "val", "demoted", "skipped"}
    assert found["train"]["path"] == str(out / "train.json")
    assert found["train"]["images"] + found["val"]["images"] == 24
    assert found["val"]["images"] == len(json.loads((out / "val.json").read_text())["images"])


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_the_printed_split_fits_however_few_classes_are_left(lst, hold_out, small_lvis, classes):
    kept = (7, 9, 4, 2, 5)[:classes]
    found = small_lvis.train["annotations"]
    small_lvis.train["annotations"] = [one for one in found if one["category_id"] in kept]
    small_lvis.save()
    outcome = hold_out().ok()
    if classes == 1:
        assert "next:" not in outcome.out
        assert "it cannot be divided into phases" in outcome.err
        return
    command = shlex.split(outcome.out.splitlines()[-1].removeprefix("next: lst "))
    lst(*[str(small_lvis.images) if word == "DIR" else word for word in command]).ok()


def test_a_cut_that_makes_no_class_rare_is_warned_of(hold_out, small_lvis):
    for annotation in small_lvis.train["annotations"]:
        annotation["category_id"] = 7  # in all 24 images
    small_lvis.save()
    outcome = hold_out().ok()
    assert "0 classes became rare; 1 class can be evaluated" in outcome.err
    assert "warning: no rare class can be evaluated: give a larger --rare" in outcome.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--share", "1.5"), "1.5 is not in the range 0<=x<=1"),
        (("--share", "some"), "'some' is not a valid float"),
        (("--rare", "1"), "1 is not in the range x>=2"),
        (("--seed", "-1"), "-1 is not in the range x>=0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(hold_out, words, error):
    outcome = hold_out(*words)
    assert outcome.code == 2
    assert error in outcome.error
    assert outcome.hint == "lst hold-out --help"
