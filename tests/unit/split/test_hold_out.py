from __future__ import annotations

import errno
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.annotations import json_stream
from lst_cli.check.check import check
from lst_cli.errors import LstError
from lst_cli.phases.hold_out import HoldOutRule
from lst_cli.split import hold_out as room
from lst_cli.split.hold_out import HeldOut, hold_out_file
from lst_cli.train.before_training import read_checked

Cut = Callable[..., HeldOut]
NAMES = ("train.json", "val.json")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def cut_of(small_lvis: Any, out: Path) -> Cut:
    def cut(
        directory: Path = out, rare: int = 3, share: float = 0.2, seed: int = 0, **options: Any
    ) -> HeldOut:
        rule = HoldOutRule(rare, share, seed)
        return hold_out_file(small_lvis.train_json, directory, rule, **options)

    return cut


def parts(cut: HeldOut) -> list[Any]:
    return [json.loads(part.path.read_text()) for part in (cut.train, cut.val)]


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()} if out.exists() else {}


def images_by_class(document: dict[str, Any]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {one["id"]: set() for one in document["categories"]}
    for annotation in document["annotations"]:
        found[annotation["category_id"]].add(annotation["image_id"])
    return found


# --- what is written -----------------------------------------------------------------------------


def test_both_files_together_are_the_old_one(small_lvis, cut_of):
    train, val = parts(cut_of())
    for key in ("images", "annotations"):
        both = sorted(train[key] + val[key], key=lambda record: record["id"])
        assert both == small_lvis.train[key]
        assert train[key]
        assert val[key]
    for part in (train, val):
        inside = {image["id"] for image in part["images"]}
        assert {annotation["image_id"] for annotation in part["annotations"]} <= inside
        assert [one["id"] for one in part["categories"]] == list(range(1, 13))


def test_the_result_counts_what_is_in_the_files(small_lvis, cut_of):
    cut = cut_of()
    documents = parts(cut)
    before = images_by_class(small_lvis.train)
    rare = {n for n, images in images_by_class(documents[0]).items() if 0 < len(images) < 3}
    for part, document in zip((cut.train, cut.val), documents, strict=True):
        occurring = {number for number, images in images_by_class(document).items() if images}
        counts = len(document["images"]), len(document["annotations"]), len(occurring)
        assert (part.images, part.instances, part.classes) == counts
        assert part.rare == len(occurring & rare)
    assert cut.demoted == tuple(sorted(n for n in rare if len(before[n]) >= 3))
    assert cut.val.rare == len(cut.demoted) > 0


def test_counts_and_letters_are_those_of_the_training_part(small_lvis, cut_of):
    for one in small_lvis.train["categories"]:
        one.update(image_count=777, instance_count=888, frequency="f", more={"x": [1.0, "ü"]})
    small_lvis.save()
    train, val = parts(cut_of())
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
    assert train["categories"] == val["categories"] == expected
    assert list(train["categories"][0]) == list(small_lvis.train["categories"][0])


def test_no_field_is_put_where_there_was_none(few, out):
    for image_id, category_id in ((1, 3), (3, 3), (3, 7)):
        few.add(image_id, category_id)
    few.save()
    for part in parts(hold_out_file(few.train_json, out, HoldOutRule(rare=2, share=0.0))):
        assert part["categories"] == few.document["categories"]


def test_what_does_not_count_in_training_counts_nowhere(small_lvis, cut_of):
    for one in small_lvis.train["categories"]:
        one["instance_count"] = 0
    for annotation in small_lvis.train["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 7)
    small_lvis.save()
    cut = cut_of()
    assert parts(cut)[0]["categories"][6]["instance_count"] == 0
    assert cut.train.instances + cut.val.instances == 93 - 30


def test_an_image_that_is_listed_twice_stays_in_training_if_either_entry_does(small_lvis, cut_of):
    twice = small_lvis.train["images"][::2]
    small_lvis.train["images"] += [{**image, "id": image["id"] + 100} for image in twice]
    small_lvis.save()
    for share in (0.5, 0.0):
        written = parts(cut_of(share=share, force=True))
        train, val = ({one["coco_url"] for one in part["images"]} for part in written)
        assert val
        assert not train & val
    assert {image["coco_url"] for image in twice} <= train  # no entry is drawn at random


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_other_members_stay_whole_and_in_their_place(small_lvis, cut_of, monkeypatch, block):
    monkeypatch.setattr(json_stream, "BLOCK_SIZE", block)
    others = {
        "info": {"text": 'a "quoted" } and ], é' + "x" * 150, "list": [1, {"b": 2.50}]},
        "licenses": [{"id": n, "text": "y" * 70} for n in range(3)],
        "none": [],
        "year": 2019,
        "numbers": [1, 2, 3],
        "last": None,
    }
    train = small_lvis.train
    document = {key: others.get(key, train.get(key)) for key in (
        "info", "categories", "licenses", "none", "annotations", "year", "numbers", "images", "last"
    )}  # fmt: skip
    small_lvis.train_json.write_text(json.dumps(document))
    for part in parts(cut_of()):
        assert list(part) == list(document)
        assert {key: part[key] for key in others} == others


@pytest.mark.parametrize("layout", ["lvis-v1", "lvis-v0.5", "coco"])
def test_a_file_that_passes_the_checks_becomes_two_that_do(small_lvis, cut_of, layout):
    for image in small_lvis.train["images"]:
        if layout != "lvis-v1":
            image["file_name"] = image["coco_url"].rsplit("/", 1)[1]
        if layout == "coco":
            del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    small_lvis.save()
    before = check(small_lvis.train_json, small_lvis.train_json, [small_lvis.images])
    cut = cut_of()
    after = check(cut.train.path, cut.val.path, [small_lvis.images])
    assert after.train is not None
    assert after.train.layout == layout
    assert after.errors == ()
    kinds = [{one.kind for one in report.problems} for report in (before, after)]
    assert kinds[0] - {"train-is-val"} == kinds[1]


def test_the_same_seed_writes_the_same_files(cut_of, out):
    written = []
    for seed in (1, 1, 2):
        cut_of(seed=seed, force=True)
        written.append(contents(out))
    assert written[0] == written[1] != written[2]


def test_progress_names_what_is_done(small_lvis, cut_of, out):
    calls: list[tuple[Any, ...]] = []
    cut_of(progress=lambda *call: calls.append(call))
    size = small_lvis.train_json.stat().st_size
    stages = ("reading train.json", "masks of train.json", f"writing {out}")
    assert calls == [(stage, size, size) for stage in stages]


def test_the_file_is_not_held_in_memory(small_lvis, cut_of, monkeypatch):
    monkeypatch.setattr(json_stream, "BLOCK_SIZE", 1 << 17)
    for annotation in small_lvis.train["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h] * 2_000]
    small_lvis.save()
    size = small_lvis.train_json.stat().st_size
    assert size > 8_000_000
    cut_of()  # what is loaded once
    tracemalloc.start()
    try:
        cut_of(force=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 4


# --- what is refused -----------------------------------------------------------------------------


def test_the_training_file_is_never_overwritten(small_lvis, cut_of, tmp_path):
    before = small_lvis.train_json.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(small_lvis.folder)
    for directory in (small_lvis.folder, link):
        with pytest.raises(LstError, match=r"train\.json is the training file itself") as caught:
            cut_of(directory, force=True)
        assert caught.value.hint == "give another --out"
    small_lvis.train_json.rename(small_lvis.val_json)
    with pytest.raises(LstError, match=r"val\.json is the training file itself"):
        hold_out_file(small_lvis.val_json, small_lvis.folder, HoldOutRule(), force=True)
    assert small_lvis.val_json.read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_the_way_stays_without_force(cut_of, out, name):
    out.mkdir()
    (out / name).write_text("old")
    with pytest.raises(LstError, match=f"{name} exists") as caught:
        cut_of()
    assert "--force" in str(caught.value.hint)
    assert contents(out) == {name: b"old"}
    cut_of(force=True)
    assert contents(out).keys() == set(NAMES)
    assert b"old" not in contents(out).values()


def test_a_place_that_cannot_be_written_is_named(cut_of, out, tmp_path):
    (out / "val.json").mkdir(parents=True)
    with pytest.raises(LstError, match=r"val\.json is a directory"):
        cut_of(force=True)
    (tmp_path / "file").write_text("old")
    for place, reason in (("file", "is not a directory"), ("file/below", "a file is in the way")):
        with pytest.raises(LstError, match=reason) as caught:
            cut_of(tmp_path / place)
        assert caught.value.hint == "give another --out"


def test_what_gives_no_part_is_told_and_leaves_nothing(small_lvis, cut_of, out, tmp_path):
    with pytest.raises(LstError, match=r"no such file: .*gone\.json") as caught:
        hold_out_file(tmp_path / "gone.json", out, HoldOutRule())
    assert caught.value.hint == "give the path of the file"
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(LstError, match="the share to set aside is"):
            cut_of(share=share)
    with pytest.raises(LstError, match="no object can be set aside: with --rare 1000 "):
        cut_of(rare=1000)
    small_lvis.train["annotations"] = []
    small_lvis.save()
    with pytest.raises(LstError, match='"annotations" is empty'):
        cut_of()
    assert not out.exists()


def test_a_file_that_changes_meanwhile_leaves_nothing(cut_of, out, monkeypatch):
    def change(path: Path, **options: Any) -> Any:
        dataset = read_checked(path, **options)
        path.write_text(path.read_text() + " ")
        return dataset

    monkeypatch.setattr(room, "read_checked", change)
    with pytest.raises(LstError, match="changed while it was read"):
        cut_of()
    assert contents(out) == {}


# --- what goes wrong while writing ---------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_told_and_leaves_what_was_there(cut_of, out, monkeypatch, name):
    cut_of()
    before = contents(out)
    open_file, opened = Path.open, []

    def full(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if self.suffix == ".tmp" and mode == "wb":
            opened.append(self)
            if len(opened) == NAMES.index(name) + 1:
                return open("/dev/full", "wb", buffering=0)  # noqa: PTH123
        return open_file(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(LstError, match=f"cannot write .*{name}: the disk is full") as caught:
        cut_of(seed=1, force=True)
    assert "free some space" in str(caught.value.hint)
    assert contents(out) == before


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_new_file_never_stands_beside_an_old_one_or_alone(cut_of, out, monkeypatch, name, old):
    if old:
        cut_of()
    before, replace = contents(out), Path.replace

    def rename(self: Path, target: Path) -> Path:
        if target.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(LstError, match=f"cannot write .*{name}: permission denied") as caught:
        cut_of(seed=1, force=True)
    assert caught.value.hint == "give another --out"
    assert contents(out).items() <= before.items()


def test_a_kill_between_the_two_leaves_no_new_file_beside_an_old_one(cut_of, out, monkeypatch):
    cut_of()
    old = contents(out)
    states: list[dict[str, bool]] = []
    replace = Path.replace

    def watch() -> None:
        found = {name: data for name, data in contents(out).items() if name in old}
        states.append({name: data == old[name] for name, data in found.items()})

    def rename(self: Path, target: Path) -> Path:
        watch()
        done = replace(self, target)
        watch()
        return done

    monkeypatch.setattr(Path, "replace", rename)
    cut_of(seed=1, force=True)
    assert states[-1] == dict.fromkeys(NAMES, False)
    assert all(len(set(state.values())) < 2 for state in states)
    assert len(states) == 4
