"""A split that phases were added to: what it says, and what it said before."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lst_cli.errors import LstError
from lst_cli.workspace.manifest import ClassRecord, Extension, InputFile, Split
from lst_cli.workspace.store import Workspace


def file(name: str) -> InputFile:
    return InputFile(path=f"/data/{name}", sha256=name, layout="coco", images=1, instances=2)


def record(category_id: int) -> ClassRecord:
    return ClassRecord(
        category_id=category_id, name=f"class {category_id}", instances=1, images=1,
        frequency="r", val_instances=0,
    )  # fmt: skip


def extend(split: Split, phase: int, *ids: int, val: InputFile | None = None) -> Split:
    """The split with a phase of these classes, and with the plans that go with its phases."""
    added = Extension(
        phase=phase, train=file(f"few-{phase}.json"), image_dirs=(f"/images/{phase}",),
        classes=ids, val=val,
    )  # fmt: skip
    extended = split.extended(added, [record(number) for number in ids])
    plans = tuple(
        split.phases[0].model_copy(update={"phase": phase, "classes": len(group)})
        for phase, group in enumerate(extended.groups) if phase
    )  # fmt: skip
    return extended.model_copy(update={"phases": plans})


def test_planned_phases_move_up_behind_an_extension(split):
    extended = extend(split, 2, 20, 10)
    assert extended.groups == ((4, 2), (5, 1), (20, 10), (3,))
    assert extended.class_order == [4, 2, 5, 1, 20, 10, 3]
    assert extended.labels_of(2) == range(4, 6)
    assert extended.labels_of(3) == range(6, 7)
    assert [extended.phase_of(label) for label in range(7)] == [0, 0, 1, 1, 2, 2, 3]
    assert extended.extension_at(2) is not None
    assert extended.extension_at(3) is None


def test_the_digest_of_a_split_is_what_it_was_before_there_were_extensions(split):
    assert split.digest == "ce91c782a55a9ea9c549628638358c118c463f44afba5e030136bc6c1a87e82d"
    assert "extensions" not in split.model_dump_json()


def test_where_the_files_of_an_extension_lie_leaves_the_digest(split):
    extended = extend(split, 2, 20, val=file("val"))
    (added,) = extended.extensions
    assert added.val is not None
    train, val = (one.model_copy(update={"path": "/elsewhere"}) for one in (added.train, added.val))
    for change, moved in (
        ({"image_dirs": ("/elsewhere",), "train": train, "val": val}, True),
        ({"train": file("others")}, False),
    ):
        changed = extended.model_copy(update={"extensions": (added.model_copy(update=change),)})
        assert (changed.digest == extended.digest) == moved


def test_the_newest_validation_file_counts_from_its_phase_on(split):
    extended = extend(split, 2, 20, val=file("first"))
    extended = extend(extended, 3, 10)
    extended = extend(extended, 4, 7, val=file("second"))
    files = [extended.val_at(phase).sha256 for phase in range(6)]
    assert files == ["aa", "aa", "first", "first", "second", "second"]
    assert extended.val_image_dirs_at(1) == ("images",)
    assert extended.val_image_dirs_at(3) == ("/images/2", "images")
    assert extended.val_image_dirs_at(4) == ("/images/4", "images")


def test_an_excluded_class_that_was_added_is_left_out_no_more(split):
    split = split.model_copy(update={"excluded": (record(20), record(21))})
    assert [one.category_id for one in extend(split, 2, 20).left_out] == [21]


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_extensions_never_touch_the_digests_before_them_nor_lose_a_label(split, data):
    phase, number, history = 0, 100, [split]
    for _ in range(data.draw(st.integers(0, 4))):
        phase = data.draw(st.integers(phase + 1, len(split.groups)))
        size = data.draw(st.integers(1, 3))
        split = extend(split, phase, *range(number, number + size))
        number += size
        history.append(split)
    labels = [label for t in range(len(split.groups)) for label in split.labels_of(t)]
    assert labels == list(range(len(split.classes)))
    for t, group in enumerate(split.groups):
        assert tuple(split.class_order[label] for label in split.labels_of(t)) == group
    for before, after in pairwise(history):
        added = after.extensions[-1].phase
        assert after.up_to(added - 1) == before
        assert after.digest != before.digest
        assert after.up_to(-1) == history[0]
        for t in range(added):
            assert after.digest_at(t) == before.digest_at(t)


def test_manifests_stay_valid_when_a_phase_is_added_after_them(workspace, begin):
    begin(0)
    begin(1)
    workspace.save_split(extend(workspace.split, 2, 20))
    assert workspace.done_phases() == [0, 1]
    assert workspace.next_phase() == 2
    begin(2, split_sha256=workspace.split.digest)
    assert workspace.done_phases() == [0, 1, 2]
    workspace.save_split(extend(workspace.split, 3, 21))
    assert workspace.done_phases() == [0, 1, 2]


def test_a_phase_that_rests_on_an_extension_is_refused_without_it(workspace, begin):
    before = workspace.split
    workspace.save_split(extend(before, 2, 20))
    begin(2)
    workspace.save_split(before)
    with pytest.raises(LstError, match=r"split\.json changed after phase 2 was begun"):
        workspace.manifest(2)


def test_the_split_is_read_anew_under_the_lock(workspace):
    assert len(workspace.split.groups) == 3
    Workspace(workspace.root).save_split(extend(workspace.split, 2, 20))
    with workspace.locked():
        assert len(workspace.split.groups) == 4
