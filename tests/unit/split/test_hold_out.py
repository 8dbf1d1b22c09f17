from __future__ import annotations

import errno
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from lst_cli.check.check import check
from lst_cli.errors import LstError
from lst_cli.split import hold_out as recipe
from lst_cli.split.hold_out import HeldOut, hold_out_file
from lst_cli.train.before_training import read_checked


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def cut_of(small_lvis: Any, directory: Path, **options: Any) -> HeldOut:
    return hold_out_file(small_lvis.train_json, directory, **{"rare": 3, "share": 0.2, **options})


def images_by_class(document: dict[str, Any]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {one["id"]: set() for one in document["categories"]}
    for annotation in document["annotations"]:
        found[annotation["category_id"]].add(annotation["image_id"])
    return found


# --- what is written -----------------------------------------------------------------------------


def test_both_files_together_are_the_old_one(small_lvis: Any, tmp_path: Path) -> None:
    cut_of(small_lvis, tmp_path / "out")
    train, val = read(tmp_path / "out" / "train.json"), read(tmp_path / "out" / "val.json")
    for key in ("images", "annotations"):
        both = sorted(train[key] + val[key], key=lambda record: record["id"])
        assert both == small_lvis.train[key]
        assert train[key]
        assert val[key]
    for part in (train, val):
        inside = {image["id"] for image in part["images"]}
        assert {annotation["image_id"] for annotation in part["annotations"]} <= inside
        assert [one["id"] for one in part["categories"]] == list(range(1, 13))


def test_the_result_counts_what_is_in_the_files(small_lvis: Any, tmp_path: Path) -> None:
    cut = cut_of(small_lvis, tmp_path / "out")
    train, val = read(cut.train.path), read(cut.val.path)
    before = images_by_class(small_lvis.train)
    stays, judged = images_by_class(train), images_by_class(val)
    rare = {number for number, images in stays.items() if 0 < len(images) < 3}
    for part, document, classes in ((cut.train, train, stays), (cut.val, val, judged)):
        occurring = {number for number, images in classes.items() if images}
        assert part.images == len(document["images"])
        assert part.instances == len(document["annotations"])
        assert part.classes == len(occurring)
        assert part.rare == len(occurring & rare)
    assert cut.demoted == tuple(sorted(n for n in rare if len(before[n]) >= 3))
    assert cut.demoted
    assert cut.val.rare == len(cut.demoted)
    assert read(cut.train.path) != small_lvis.train


def test_counts_and_letters_are_those_of_the_training_part(small_lvis: Any, tmp_path: Path) -> None:
    for one in small_lvis.train["categories"]:
        one.update(image_count=777, instance_count=888, frequency="f", more={"x": [1.0, "ü"]})
    small_lvis.save()
    cut = cut_of(small_lvis, tmp_path / "out")
    train = read(cut.train.path)
    images = images_by_class(train)
    expected = [
        {
            **one,
            "image_count": len(images[one["id"]]),
            "instance_count": sum(a["category_id"] == one["id"] for a in train["annotations"]),
            "frequency": "r" if len(images[one["id"]]) <= 10 else "c",
        }
        for one in small_lvis.train["categories"]
    ]
    assert {one["frequency"] for one in expected} == {"r", "c"}
    assert train["categories"] == expected
    assert read(cut.val.path)["categories"] == expected
    assert list(train["categories"][0]) == list(small_lvis.train["categories"][0])


def test_no_field_is_put_where_there_was_none(few: Any, tmp_path: Path) -> None:
    for image_id, category_id in ((1, 3), (3, 3), (3, 7)):
        few.add(image_id, category_id)
    few.save()
    cut = hold_out_file(few.train_json, tmp_path / "out", rare=2, share=0.0)
    for part in (cut.train, cut.val):
        assert read(part.path)["categories"] == few.document["categories"]


def test_what_does_not_count_in_training_counts_nowhere(small_lvis: Any, tmp_path: Path) -> None:
    for one in small_lvis.train["categories"]:
        one["instance_count"] = 0
    for annotation in small_lvis.train["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 7)
    small_lvis.save()
    cut = cut_of(small_lvis, tmp_path / "out")
    assert read(cut.train.path)["categories"][6]["instance_count"] == 0
    assert cut.train.instances + cut.val.instances == 93 - 30


def test_other_members_stay_in_their_place(small_lvis: Any, tmp_path: Path) -> None:
    document = {
        "info": {"text": 'a "quoted" } and ], é', "list": [1, {"b": 2.50}]},
        "categories": small_lvis.train["categories"],
        "licenses": [{"id": 1}, {"id": 2}],
        "none": [],
        "annotations": small_lvis.train["annotations"],
        "year": 2019,
        "numbers": [1, 2, 3],
        "images": small_lvis.train["images"],
        "last": None,
    }
    small_lvis.train_json.write_text(json.dumps(document))
    cut = cut_of(small_lvis, tmp_path / "out")
    for part in (cut.train, cut.val):
        written = read(part.path)
        assert list(written) == list(document)
        for key in ("info", "licenses", "none", "year", "numbers", "last"):
            assert written[key] == document[key]


def test_members_longer_than_what_is_read_at_once_are_whole(
    small_lvis: Any, tmp_path: Path
) -> None:
    small_lvis.train["info"] = {"text": "x" * 1_500_000}
    small_lvis.train["licenses"] = [{"id": n, "text": "y" * 700_000} for n in range(3)]
    small_lvis.save()
    cut = cut_of(small_lvis, tmp_path / "out")
    assert read(cut.val.path)["info"] == small_lvis.train["info"]
    assert read(cut.train.path)["licenses"] == small_lvis.train["licenses"]


@pytest.mark.parametrize("layout", ["lvis-v1", "lvis-v0.5", "coco"])
def test_a_file_that_passes_the_checks_becomes_two_that_do(
    small_lvis: Any, tmp_path: Path, layout: str
) -> None:
    for image in small_lvis.train["images"]:
        if layout != "lvis-v1":
            image["file_name"] = image["coco_url"].rsplit("/", 1)[1]
        if layout == "coco":
            del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    small_lvis.save()
    before = check(small_lvis.train_json, small_lvis.train_json, [small_lvis.images])
    cut = cut_of(small_lvis, tmp_path / "out")
    after = check(cut.train.path, cut.val.path, [small_lvis.images])
    assert after.train is not None
    assert after.train.layout == layout
    assert after.ok
    kinds = [{one.kind for one in report.problems} for report in (before, after)]
    assert kinds[0] - {"train-is-val"} == kinds[1]


def test_the_same_seed_writes_the_same_files(small_lvis: Any, tmp_path: Path) -> None:
    written = []
    for seed in (1, 1, 2):
        cut = cut_of(small_lvis, tmp_path / "out", seed=seed, force=True)
        written.append((cut.train.path.read_bytes(), cut.val.path.read_bytes()))
    assert written[0] == written[1] != written[2]


def test_progress_names_what_is_done(small_lvis: Any, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    cut_of(
        small_lvis,
        tmp_path / "out",
        progress=lambda *call: calls.append(call),
    )
    size = small_lvis.train_json.stat().st_size
    assert calls == [
        ("reading train.json", size, size),
        ("masks of train.json", size, size),
        (f"writing {tmp_path / 'out'}", size, size),
    ]


def test_the_file_is_not_held_in_memory(small_lvis: Any, tmp_path: Path) -> None:
    for annotation in small_lvis.train["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h] * 5_000]
    small_lvis.save()
    size = small_lvis.train_json.stat().st_size
    assert size > 20_000_000
    cut_of(small_lvis, tmp_path / "first")  # what is loaded once
    tracemalloc.start()
    try:
        cut_of(small_lvis, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 4


# --- what is refused -----------------------------------------------------------------------------


def test_the_training_file_is_never_overwritten(small_lvis: Any, tmp_path: Path) -> None:
    before = small_lvis.train_json.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(small_lvis.folder)
    for directory in (small_lvis.folder, link):
        with pytest.raises(LstError, match=r"train\.json is the training file itself") as caught:
            cut_of(small_lvis, directory, force=True)
        assert caught.value.hint == "give another --out"
    small_lvis.train_json.rename(small_lvis.val_json)
    with pytest.raises(LstError, match=r"val\.json is the training file itself"):
        hold_out_file(small_lvis.val_json, small_lvis.folder, force=True)
    assert small_lvis.val_json.read_bytes() == before


@pytest.mark.parametrize("name", ["train.json", "val.json"])
def test_a_file_in_the_way_stays_without_force(small_lvis: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("old")
    with pytest.raises(LstError, match=f"{name} exists") as caught:
        cut_of(small_lvis, tmp_path / "out")
    assert "--force" in str(caught.value.hint)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    cut_of(small_lvis, tmp_path / "out", force=True)
    assert read(tmp_path / "out" / name)["images"]


def test_a_directory_in_the_way_is_not_replaced(small_lvis: Any, tmp_path: Path) -> None:
    (tmp_path / "out" / "val.json").mkdir(parents=True)
    with pytest.raises(LstError, match=r"val\.json is a directory"):
        cut_of(small_lvis, tmp_path / "out", force=True)


@pytest.mark.parametrize(
    ("place", "reason"), [("file", "is not a directory"), ("file/below", "a file is in the way")]
)
def test_a_place_that_is_no_directory_is_named(
    small_lvis: Any, tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(LstError, match=reason) as caught:
        cut_of(small_lvis, tmp_path / place)
    assert caught.value.hint == "give another --out"


def test_a_missing_file_is_named_and_no_directory_made(tmp_path: Path) -> None:
    with pytest.raises(LstError, match=r"no such file: .*gone\.json") as caught:
        hold_out_file(tmp_path / "gone.json", tmp_path / "out")
    assert caught.value.hint == "give the path of the file"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(small_lvis: Any, tmp_path: Path, share: float) -> None:
    with pytest.raises(LstError, match="the share to set aside is"):
        cut_of(small_lvis, tmp_path / "out", share=share)


def test_nothing_to_set_aside_is_said(small_lvis: Any, tmp_path: Path) -> None:
    with pytest.raises(LstError, match="no object can be set aside: with --rare 1000 "):
        cut_of(small_lvis, tmp_path / "out", rare=1000)
    small_lvis.train["annotations"] = []
    small_lvis.save()
    with pytest.raises(LstError, match='"annotations" is empty'):
        cut_of(small_lvis, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_meanwhile_leaves_nothing(
    small_lvis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def change(path: Path, **options: Any) -> Any:
        dataset = read_checked(path, **options)
        path.write_text(path.read_text() + " ")
        return dataset

    monkeypatch.setattr(recipe, "read_checked", change)
    with pytest.raises(LstError, match="changed while it was read"):
        cut_of(small_lvis, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# --- what goes wrong while writing ---------------------------------------------------------------


class _FullDisk:
    """A file on a disk that has no room left."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *what: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["train.json", "val.json"])
def test_a_full_disk_is_told_and_leaves_what_was_there(
    small_lvis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = tmp_path / "out"
    cut_of(small_lvis, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    open_file, opened = Path.open, []

    def full(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        file: Any = open_file(self, mode, *rest, **options)
        if self.suffix == ".tmp" and mode == "wb":
            opened.append(self)
            if len(opened) == ["train.json", "val.json"].index(name) + 1:
                return _FullDisk(file)
        return file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(LstError, match=f"cannot write .*{name}: the disk is full") as caught:
        cut_of(small_lvis, out, seed=1, force=True)
    assert "free some space" in str(caught.value.hint)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def failing_rename(name: str) -> Callable[[Path, Path], Path]:
    replace = Path.replace

    def rename(self: Path, target: Path) -> Path:
        if target.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        return replace(self, target)

    return rename


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["train.json", "val.json"])
def test_a_new_file_never_stands_beside_an_old_one_or_alone(
    small_lvis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: bool
) -> None:
    out = tmp_path / "out"
    before = {}
    if old:
        cut_of(small_lvis, out)
        before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(Path, "replace", failing_rename(name))
    with pytest.raises(LstError, match=f"cannot write .*{name}: permission denied") as caught:
        cut_of(small_lvis, out, seed=1, force=True)
    assert caught.value.hint == "give another --out"
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert after.items() <= before.items()


def test_a_kill_between_the_two_leaves_no_new_file_beside_an_old_one(
    small_lvis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    cut_of(small_lvis, out)
    old = {path.name: path.read_bytes() for path in out.iterdir()}
    states: list[dict[str, str]] = []
    replace = Path.replace

    def watch() -> None:
        found = {name: (out / name).read_bytes() for name in old if (out / name).exists()}
        states.append({n: "old" if data == old[n] else "new" for n, data in found.items()})

    def rename(self: Path, target: Path) -> Path:
        watch()
        done = replace(self, target)
        watch()
        return done

    monkeypatch.setattr(Path, "replace", rename)
    cut_of(small_lvis, out, seed=1, force=True)
    assert states[-1] == {"train.json": "new", "val.json": "new"}
    assert all(len(set(state.values())) < 2 for state in states)
    assert len(states) == 4
