from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lst_cli.check.check import check


@pytest.fixture
def content() -> dict[str, Any]:
    """One image with an object of each of two classes."""
    return {
        "images": [
            {
                "id": 1,
                "height": 6,
                "width": 8,
                "file_name": "a.png",
                "neg_category_ids": [],
                "not_exhaustive_category_ids": [],
            }
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [1, 1, 4, 4],
                "area": 16,
                "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]],
            },
            {
                "id": 2,
                "image_id": 1,
                "category_id": 2,
                "bbox": [5, 1, 2, 3],
                "area": 6,
                "segmentation": [[5, 1, 7, 1, 7, 4, 5, 4]],
            },
        ],
        "categories": [
            {"id": 1, "name": "cat", "frequency": "r"},
            {"id": 2, "name": "dog", "frequency": "r"},
        ],
    }


@pytest.fixture
def files(tmp_path: Path, content: dict[str, Any]) -> tuple[Path, Path, Path]:
    """A good training file, a good validation file, and the directory of their images."""
    train, val, images = tmp_path / "train.json", tmp_path / "val.json", tmp_path / "images"
    train.write_text(json.dumps(content))
    val.write_text(json.dumps(content).replace("a.png", "b.png"))
    images.mkdir()
    for shade, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (8, 6), (shade, 0, 0)).save(images / name)
    return train, val, images


def test_good_files_pass(files: tuple[Path, Path, Path]) -> None:
    train, val, images = files
    calls: list[tuple[str, int, int | None]] = []
    report = check(train, val, [images], progress=lambda *call: calls.append(call))
    assert report.ok
    assert report.problems == ()
    assert report.images_checked == 2
    what, done, total = calls[-1]
    assert what == "checking"
    assert done == total
    assert [call[1] for call in calls] == sorted(call[1] for call in calls)
    summary = report.as_dict()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["ok"]
    assert summary["train"]["usable_instances"] == 2


def test_one_run_shows_what_is_wrong_with_everything(
    files: tuple[Path, Path, Path], content: dict[str, Any]
) -> None:
    train, val, images = files
    bad = copy.deepcopy(content)
    bad["annotations"][0] |= {"bbox": [1, 1, 0, 4], "segmentation": [[1, 1, 5, 1]]}
    bad["categories"][0]["name"] = "cow"
    train.write_text(json.dumps(bad))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 7)).save(images / name)
    report = check(train, val, [images])
    assert not report.ok
    assert {(problem.kind, problem.where) for problem in report.errors} == {
        ("box-no-area", str(train)),
        ("short-polygon", str(train)),
        ("classes-differ", f"{train} and {val}"),
        ("one-class", f"{train} and {val}"),
        ("image-size", str(train)),
        ("image-size", str(val)),
    }
    assert {problem.kind for problem in report.problems} - {p.kind for p in report.errors} == {
        "class-without-instances",
        "class-not-learned",
        "shared-images",
    }


def test_a_file_that_cannot_be_read_is_a_problem_among_others(
    files: tuple[Path, Path, Path], content: dict[str, Any]
) -> None:
    train, val, images = files
    text = train.read_text()
    train.write_text(text[: len(text) // 2])
    content["annotations"][0]["segmentation"] = []
    val.write_text(json.dumps(content))
    report = check(train, val, [images])
    assert [(problem.kind, problem.where) for problem in report.problems] == [
        ("unreadable-file", str(train)),
        ("no-polygon", str(val)),
    ]
    assert "ends after" in report.problems[0].message
    assert report.problems[0].hint
    assert report.train is None
    assert report.images_checked == 1
    assert report.as_dict()["train"] is None
    missing = check(train.with_name("nothing.json"), val, [images])
    assert missing.errors[0].message.startswith("no such file")


def test_without_directories_the_current_one_is_looked_at_if_an_image_is_there(
    files: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val, images = files
    for place in (tmp_path, images):
        monkeypatch.chdir(place)
        assert check(train, val, []).as_dict() == check(train, val, [images]).as_dict()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    report = check(train, val, [])
    assert report.ok
    assert [problem.kind for problem in report.problems] == ["images-not-checked"]


def test_decoding_finds_what_headers_hide(files: tuple[Path, Path, Path]) -> None:
    train, val, images = files
    Image.effect_noise((8, 6), 100).save(images / "a.png")
    whole = (images / "a.png").read_bytes()
    (images / "a.png").write_bytes(whole[: len(whole) // 2 + 20])
    assert check(train, val, [images]).ok
    report = check(train, val, [images], decode=True)
    assert {problem.kind for problem in report.errors} == {"unreadable-image"}


def test_checking_does_not_import_torch() -> None:
    code = "import sys, lst_cli.check.check; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
