from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lst_cli

Lst = Callable[..., Any]
ROOT = Path(lst_cli.__file__).parents[1]


def words(small_lvis: Any, out: Path, *more: object) -> list[object]:
    return ["hold-out", "--train", small_lvis.train_json, "--out", out, "--rare", 3, *more]


def test_the_cut_is_shown_and_the_next_command_goes_on(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    out = tmp_path / "a part"
    outcome = lst(*words(small_lvis, out))
    assert outcome.code == 0
    assert f"Rare: in fewer than 3 images of {out / 'train.json'}" in outcome.out
    found = lst(*words(small_lvis, out, "--force", "--json")).json
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
    done = lst(*command, "--json")
    assert done.code == 0, done.err


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_the_printed_split_fits_however_few_classes_are_left(
    lst: Lst, small_lvis: Any, tmp_path: Path, classes: int
) -> None:
    kept = (7, 9, 4, 2, 5)[:classes]
    found = small_lvis.train["annotations"]
    small_lvis.train["annotations"] = [one for one in found if one["category_id"] in kept]
    small_lvis.save()
    outcome = lst(*words(small_lvis, tmp_path / "out"))
    assert outcome.code == 0, outcome.err
    if classes == 1:
        assert "next:" not in outcome.out
        assert "it cannot be divided into phases" in outcome.err
        return
    command = shlex.split(outcome.out.splitlines()[-1].removeprefix("next: lst "))
    done = lst(*[str(small_lvis.images) if word == "DIR" else word for word in command])
    assert done.code == 0, done.err


def test_a_script_gets_everything(lst: Lst, small_lvis: Any, tmp_path: Path) -> None:
    outcome = lst(*words(small_lvis, tmp_path / "out", "--json"))
    assert outcome.code == 0
    assert outcome.err == ""
    found = outcome.json
    assert set(found) == {"format", "train", "val", "demoted", "skipped"}
    assert found["train"]["path"] == str(tmp_path / "out" / "train.json")
    assert found["train"]["images"] + found["val"]["images"] == 24
    assert found["train"]["instances"] + found["val"]["instances"] == 93
    assert found["train"]["classes"] == 11
    assert found["val"]["images"] == len(
        json.loads(Path(found["val"]["path"]).read_text())["images"]
    )


def test_a_cut_that_makes_no_class_rare_is_warned_of(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    for annotation in small_lvis.train["annotations"]:
        annotation["category_id"] = 7  # in all 24 images
    small_lvis.save()
    outcome = lst(*words(small_lvis, tmp_path / "out"))
    assert outcome.code == 0
    assert "0 classes became rare; 1 class can be evaluated" in outcome.err
    assert "warning: no rare class can be evaluated: give a larger --rare" in outcome.err


def test_the_input_is_never_replaced(lst: Lst, small_lvis: Any) -> None:
    before = small_lvis.train_json.read_bytes()
    outcome = lst(*words(small_lvis, small_lvis.folder, "--force"))
    assert outcome.error == f"error: {small_lvis.train_json} is the training file itself"
    assert outcome.hint == "give another --out"
    assert small_lvis.train_json.read_bytes() == before


def test_files_of_an_earlier_cut_are_replaced_on_demand(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert lst(*words(small_lvis, out)).code == 0
    outcome = lst(*words(small_lvis, out, "--seed", 1))
    assert outcome.code == 1
    assert outcome.error == f"error: {out / 'train.json'} exists"
    before = (out / "val.json").read_bytes()
    assert lst(*words(small_lvis, out, "--seed", 1, "--force")).code == 0
    assert (out / "val.json").read_bytes() != before


def test_a_missing_file_is_one_line(lst: Lst, tmp_path: Path) -> None:
    outcome = lst("hold-out", "--train", tmp_path / "gone.json", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert outcome.error == f"error: no such file: {tmp_path / 'gone.json'}"


def test_a_file_is_no_place_for_two(lst: Lst, small_lvis: Any) -> None:
    outcome = lst(*words(small_lvis, small_lvis.val_json))
    assert outcome.code == 1
    assert outcome.error == f"error: {small_lvis.val_json} is not a directory"


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--share", "1.5", "1.5 is not in the range 0<=x<=1"),
        ("--share", "-0.1", "-0.1 is not in the range 0<=x<=1"),
        ("--share", "some", "'some' is not a valid float"),
        ("--rare", "1", "1 is not in the range x>=2"),
        ("--seed", "-1", "-1 is not in the range x>=0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    lst: Lst, small_lvis: Any, tmp_path: Path, option: str, value: str, error: str
) -> None:
    outcome = lst(*words(small_lvis, tmp_path / "out", option, value))
    assert outcome.code == 2
    assert error in outcome.error
    assert outcome.hint == "lst hold-out --help"


def test_a_share_that_is_not_a_number_is_one_line(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    outcome = lst(*words(small_lvis, tmp_path / "out", "--share", "nan"))
    assert outcome.error == "error: the share to set aside is nan"


WITHOUT_TORCH = """
import sys
from lst_cli.cli.main import main

try:
    main()
finally:
    if "torch" in sys.modules:
        sys.exit(77)
"""


def test_a_cut_loads_no_torch(small_lvis: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words(small_lvis, tmp_path / "out"))],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
