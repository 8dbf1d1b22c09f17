"""A split that phases were added to: what it says, and what it said before."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.errors import LstError
from lst_cli.workspace.manifest import (
    ClassRecord,
    Extension,
    InputFile,
    PhaseManifest,
    PhasePlan,
    Split,
)
from lst_cli.workspace.records import load_record, save_record
from lst_cli.workspace.store import Workspace


def file(name: str) -> InputFile:
    return InputFile(path=f"/data/{name}", sha256=name, layout="coco", images=1, instances=2)


def record(category_id: int) -> ClassRecord:
    return ClassRecord(
        category_id=category_id, name=f"class {category_id}", instances=1, images=1,
        frequency="r", val_instances=0,
    )  # fmt: skip


def extend(split: Split, phase: int, *ids: int, val: InputFile | None = None) -> Split:
    added = Extension(
        phase=phase,
        train=file(f"few-{phase}.json"),
        image_dirs=(f"/images/{phase}",),
        classes=ids,
        val=val,
    )
    extended = split.extended(added, [record(number) for number in ids])
    return counted(extended) if split.phases else extended


def counted(split: Split) -> Split:
    """The split with plans for its phases."""
    plans = tuple(
        PhasePlan(
            phase=phase, classes=len(group), new_entries=len(group), replay_entries=0,
            mean_new_instances=1, iterations=1,
        )
        for phase, group in enumerate(split.groups) if phase
    )  # fmt: skip
    return split.model_copy(update={"phases": plans})


@pytest.fixture
def planned(split: Split) -> Split:
    return counted(split)


def test_planned_phases_move_up_behind_an_extension(split: Split) -> None:
    extended = extend(split, 2, 20, 10)
    assert extended.groups == ((4, 2), (5, 1), (20, 10), (3,))
    assert extended.class_order == [4, 2, 5, 1, 20, 10, 3]
    assert extended.labels_of(2) == range(4, 6)
    assert extended.labels_of(3) == range(6, 7)
    assert [extended.phase_of(label) for label in range(7)] == [0, 0, 1, 1, 2, 2, 3]
    assert extended.extension_at(2) is not None
    assert extended.extension_at(3) is None


def test_an_extension_may_come_behind_the_last_phase(split: Split) -> None:
    assert extend(split, 3, 7).groups == ((4, 2), (5, 1), (3,), (7,))


def test_the_digest_of_a_split_is_what_it_was_before_there_were_extensions(split: Split) -> None:
    assert split.digest == "ce91c782a55a9ea9c549628638358c118c463f44afba5e030136bc6c1a87e82d"
    assert "extensions" not in split.model_dump_json()


def test_earlier_phases_keep_their_digest_and_later_ones_do_not(split: Split) -> None:
    extended = extend(split, 2, 20)
    assert extended.digest_at(0) == extended.digest_at(1) == split.digest
    assert extended.digest_at(2) == extended.digest_at(3) == extended.digest != split.digest


def test_what_was_added_can_be_taken_away_again(planned: Split) -> None:
    first = extend(planned, 1, 20, 10)
    second = extend(first, 3, 7)
    assert second.up_to(3) is second
    assert second.up_to(2) == first
    assert second.up_to(0) == second.up_to(-1) == planned


def test_where_the_files_of_an_extension_lie_leaves_the_digest(split: Split) -> None:
    extended = extend(split, 2, 20, val=file("val"))
    (added,) = extended.extensions
    assert added.val is not None
    moved = added.model_copy(
        update={
            "image_dirs": ("/elsewhere",),
            "train": added.train.model_copy(update={"path": "/elsewhere/few.json"}),
            "val": added.val.model_copy(update={"path": "/elsewhere/val.json"}),
        }
    )
    assert extended.model_copy(update={"extensions": (moved,)}).digest == extended.digest
    other = added.model_copy(update={"train": file("others")})
    assert extended.model_copy(update={"extensions": (other,)}).digest != extended.digest


def test_the_newest_validation_file_counts_from_its_phase_on(split: Split) -> None:
    extended = extend(split, 2, 20, val=file("first"))
    extended = extend(extended, 3, 10)
    extended = extend(extended, 4, 7, val=file("second"))
    files = [extended.val_at(phase).sha256 for phase in range(6)]
    assert files == ["aa", "aa", "first", "first", "second", "second"]
    assert extended.val_image_dirs_at(1) == ("images",)
    assert extended.val_image_dirs_at(3) == ("/images/2", "images")
    assert extended.val_image_dirs_at(4) == ("/images/4", "images")


def test_an_excluded_class_that_was_added_is_left_out_no_more(split: Split) -> None:
    split = split.model_copy(update={"excluded": (record(20), record(21))})
    assert [one.category_id for one in extend(split, 2, 20).left_out] == [21]


def test_an_extended_split_survives_writing(tmp_path: Path, planned: Split) -> None:
    extended = extend(planned, 2, 20, val=file("val"))
    save_record(extended, tmp_path / "split.json")
    read = load_record(Split, tmp_path / "split.json", "")
    assert read == extended
    assert [read.digest_at(phase) for phase in range(4)] == [
        extended.digest_at(phase) for phase in range(4)
    ]


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_extensions_never_touch_the_digests_before_them_nor_lose_a_label(
    data: st.DataObject,
) -> None:
    split = Split(
        train=file("t"), val=file("v"), image_dirs=(), federated=False, base_classes=2,
        classes=tuple(record(number) for number in (4, 2, 5, 1, 3)),
        groups=((4, 2), (5, 1), (3,)), excluded=(), left_out_instances=0, phases=(),
    )  # fmt: skip
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
        assert [after.digest_at(t) for t in range(added)] == [
            before.digest_at(t) for t in range(added)
        ]


def test_manifests_stay_valid_when_a_phase_is_added_after_them(
    workspace: Workspace, begin: Callable[..., PhaseManifest]
) -> None:
    begin(0)
    begin(1)
    workspace.save_split(extend(workspace.split, 2, 20))
    assert workspace.done_phases() == [0, 1]
    assert workspace.next_phase() == 2
    begin(2, split_sha256=workspace.split.digest)
    assert workspace.done_phases() == [0, 1, 2]
    workspace.save_split(extend(workspace.split, 3, 21))
    assert workspace.done_phases() == [0, 1, 2]


def test_a_phase_that_rests_on_an_extension_is_refused_without_it(
    workspace: Workspace, begin: Callable[..., PhaseManifest]
) -> None:
    before = workspace.split
    workspace.save_split(extend(before, 2, 20))
    begin(2)
    workspace.save_split(before)
    with pytest.raises(LstError, match=r"split\.json changed after phase 2 was begun"):
        workspace.manifest(2)


def test_the_split_is_read_anew_under_the_lock(workspace: Workspace) -> None:
    assert len(workspace.split.groups) == 3
    Workspace(workspace.root).save_split(extend(workspace.split, 2, 20))
    with workspace.locked():
        assert len(workspace.split.groups) == 4
