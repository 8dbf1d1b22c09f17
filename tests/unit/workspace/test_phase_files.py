from __future__ import annotations

from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.phase_files import take_over_base, take_over_evaluation
from lst_cli.workspace.store import Workspace


def changed(split: Split, **update: Any) -> Split:
    """The split with other groups, say, and the plans and the number that go with them."""
    made = split.model_copy(update=update)
    plan = split.phases[0]
    plans = tuple(
        plan.model_copy(update={"phase": t, "classes": len(group)})
        for t, group in enumerate(made.groups)
        if t
    )
    return made.model_copy(update={"phases": plans, "base_classes": len(made.groups[0])})


@pytest.fixture
def other(tmp_path, split):
    """The same base classes, the others in one phase instead of two."""
    found = Workspace(tmp_path / "other")
    found.save_split(changed(split, groups=((4, 2), (5, 1, 3))))
    return found


@pytest.fixture
def source(workspace, begin):
    """A workspace whose base phase is done."""
    directory = workspace.phase(0)
    directory.root.mkdir(parents=True)
    directory.model.write_bytes(b"weights")
    directory.log.write_text("{}\n")
    begin(0, model=sha256_of(directory.model), seconds=9.0)
    return workspace


def test_a_base_phase_serves_a_split_that_differs_after_it_once(source, other):
    assert source.split.digest != other.split.digest
    manifest = take_over_base(other, source)
    assert other.done_phases() == [0]
    assert other.require_model(0) == manifest
    assert manifest.shared_from is not None
    assert manifest.shared_from.workspace == str(source.root.resolve())
    assert manifest.shared_from.split_sha256 == source.split.digest
    assert manifest.seconds == 9.0
    assert other.phase(0).log.read_text() == "{}\n"
    assert source.require_done(0).shared_from is None
    with pytest.raises(LstError, match="has a base phase already"):
        take_over_base(other, source)


@pytest.mark.parametrize(
    "change",
    [
        lambda split: {
            "groups": ((2, 4), (5, 1, 3)),
            "classes": tuple(split.classes[place] for place in (1, 0, 2, 3, 4)),
        },
        lambda split: {"groups": ((4,), (2, 5, 1, 3))},
        lambda split: {"train": split.train.model_copy(update={"sha256": "bb"})},
        lambda split: {"left_out_instances": 3},
    ],
)
def test_another_base_phase_is_not_taken_for_it(source, other, change):
    other.save_split(changed(other.split, **change(other.split)))
    with pytest.raises(LstError, match="is of other training data or other classes"):
        take_over_base(other, source)
    assert not other.phase(0).root.exists()


@pytest.mark.parametrize("what", ["val", "image_dirs"])
def test_what_training_does_not_read_may_differ(source, other, what):
    values = {"val": other.split.val.model_copy(update={"sha256": "cc"}), "image_dirs": ("b",)}
    other.save_split(other.split.model_copy(update={what: values[what]}))
    take_over_base(other, source)
    assert other.is_done(0)


def test_only_a_whole_and_finished_base_phase_is_taken_over(source, other, begin):
    source.phase(0).model.write_bytes(b"weigh")
    with pytest.raises(LstError, match="cut short or changed"):
        take_over_base(other, source)
    begin(0, done=False)
    with pytest.raises(LstError, match="phase 0 is not finished"):
        take_over_base(other, source)


def test_a_copy_that_was_cut_short_is_no_phase(source, other, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            Workspace, "save_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            take_over_base(other, source)
    assert other.manifest(0) is None
    take_over_base(other, source)
    assert other.is_done(0)


@pytest.mark.parametrize("val", ["aa", "cc"])
def test_an_evaluation_of_the_same_model_on_the_same_file_is_taken_over(source, other, val):
    file = other.split.val.model_copy(update={"sha256": val})
    other.save_split(other.split.model_copy(update={"val": file}))
    take_over_base(other, source)
    assert not take_over_evaluation(other, source), "there is none yet"
    source.phase(0).detections.write_text("[]")
    source.phase(0).metrics.write_text("{}")
    assert take_over_evaluation(other, source) == (val == "aa")
    assert other.phase(0).metrics.exists() == other.phase(0).detections.exists() == (val == "aa")
