from __future__ import annotations

import json
from typing import Any

from PIL import Image

from lst_cli.check.check import check


def kinds(problems: Any, severity: str = "error") -> set[tuple[str, str]]:
    """Kind and place of all problems that are so bad."""
    return {(problem.kind, problem.where) for problem in problems if problem.severity == severity}


def test_good_files_pass(small_lvis):
    calls: list[tuple[str, int, int | None]] = []
    report = check(
        small_lvis.train_json,
        small_lvis.val_json,
        [small_lvis.images],
        progress=lambda *call: calls.append(call),
    )
    assert report.errors == ()
    assert {one.kind for one in report.problems} == {"class-without-instances", "class-not-learned"}
    assert report.images_checked == 32
    what, done, total = calls[-1]
    assert (what, done) == ("checking", total)
    files = small_lvis.train_json, small_lvis.val_json
    assert total == 2 * sum(file.stat().st_size for file in files) + 32 * 50_000
    assert [call[1] for call in calls] == sorted(call[1] for call in calls)
    summary = json.loads(json.dumps(report.as_dict()))
    assert summary["ok"] is True
    assert len(summary["problems"][0]["examples"]) == 1
    assert summary["train"]["usable_instances"] == len(small_lvis.train["annotations"])


def test_one_run_shows_what_is_wrong_with_everything(small_lvis):
    train, val = str(small_lvis.train_json), str(small_lvis.val_json)
    small_lvis.train["annotations"][0] |= {"bbox": [1, 1, 0, 4], "segmentation": [[1, 1, 5, 1]]}
    small_lvis.train["categories"][0]["name"] = "cow"
    small_lvis.save()
    for name in ("train/000002.png", "val/001001.png"):
        Image.new("RGB", (8, 7)).save(small_lvis.images / name)
    cut = small_lvis.images / "train/000003.png"
    Image.effect_noise((80, 60), 100).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    report, decoded = (
        check(small_lvis.train_json, small_lvis.val_json, [small_lvis.images], decode=decode)
        for decode in (False, True)
    )
    assert kinds(decoded.problems) == kinds(report.problems) | {("unreadable-image", train)}
    assert kinds(report.problems) == {
        ("box-no-area", train),
        ("short-polygon", train),
        ("classes-differ", f"{train} and {val}"),
        ("image-size", train),
        ("image-size", val),
    }
    assert ("shared-images", f"{train} and {val}") in kinds(report.problems, "warning")


def test_a_file_that_cannot_be_read_is_a_problem_among_others(small_lvis):
    train, val, images = small_lvis.train_json, small_lvis.val_json, small_lvis.images
    small_lvis.val["annotations"][0]["segmentation"] = []
    small_lvis.save()
    train.write_text(train.read_text()[:1000])
    report = check(train, val, [images])
    assert kinds(report.problems) == {("unreadable-file", str(train)), ("no-polygon", str(val))}
    assert "ends after" in report.problems[0].message
    assert report.problems[0].hint
    assert report.train is None
    assert report.images_checked == 8
    assert report.as_dict()["train"] is None
    assert report.as_dict()["ok"] is False
    missing = check(train.with_name("nothing.json"), val, [images])
    assert missing.errors[0].message.startswith("no such file")


def test_without_directories_the_current_one_is_looked_at_if_an_image_is_there(
    small_lvis, tmp_path, monkeypatch
):
    files = small_lvis.train_json, small_lvis.val_json
    expected = check(*files, [small_lvis.images]).as_dict()
    for place in (tmp_path, small_lvis.images):
        monkeypatch.chdir(place)
        assert check(*files, []).as_dict() == expected
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    report = check(*files, [])
    assert report.errors == ()
    assert ("images-not-checked", "") in kinds(report.problems, "warning")
