from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.extend import undo
from lst_cli.extend.extend import extend_workspace
from lst_cli.extend.plan import NewFiles
from lst_cli.extend.undo import undo_extension
from lst_cli.train.train import train_phase
from lst_cli.workspace.store import Workspace


def contents(workspace: Workspace) -> dict[str, bytes]:
    """Every file of a workspace but the lock and what was set aside."""
    return {
        str(path.relative_to(workspace.root)): path.read_bytes()
        for path in sorted(workspace.root.rglob("*"))
        if path.is_file() and path.name != ".lock" and "replaced" not in path.parts
    }


@pytest.fixture
def trained(split_workspace: Workspace, fake_trainer: Any) -> Workspace:
    """The base and the first of three phases are done."""
    for phase in (0, 1):
        train_phase(split_workspace, phase, split_workspace.settings())
    return split_workspace


@pytest.fixture
def extend(trained: Workspace, few: Any, fake_instant: Any) -> Callable[..., None]:
    def call(*names: str, finetune: bool = False, words: tuple[str, ...] = ()) -> None:
        files = NewFiles(few.train_json, [few.images], val=few.val, names=names)
        settings = trained.settings(words)
        extend_workspace(trained, settings, files, finetune=finetune, learn=fake_instant)

    few.val = None
    return call


@pytest.mark.parametrize("way", ["instant", "finetuned", "interrupted"])
def test_an_extension_that_is_undone_leaves_every_byte_as_it_was(
    trained, extend, fake_trainer, way
):
    trained.save_split(trained.split)
    before = contents(trained)
    fake_trainer.stop_after = 2 if way == "interrupted" else None
    try:
        # Lengths of phases by which the plans are counted again.
        extend(finetune=way != "instant", words=("step.epochs=7",) if way != "instant" else ())
    except KeyboardInterrupt:
        assert way == "interrupted"
    trained.phase(2).metrics.write_text("{}")
    assert len(trained.split.groups) == 5
    undone = undo_extension(trained)
    assert (undone.phase, [one.name for one in undone.classes]) == (
        2,
        ["class 12", "zebra", "yak"],
    )
    assert contents(trained) == before
    kept = [trained.root / "replaced" / "02-1"] if way != "interrupted" else []
    assert list(undone.kept_in) == kept
    assert (trained.root / "replaced").exists() == bool(kept)
    assert all((place / "metrics.json").exists() for place in kept)
    # The planned phase is in its old place, and can be trained.
    fake_trainer.stop_after = None
    train_phase(trained, 2, trained.settings())
    assert trained.done_phases() == [0, 1, 2]


STEPS: list[tuple[Any, str]] = [(undo, "set_aside"), (undo, "drop"), (Workspace, "save_split")]


@pytest.mark.parametrize("finetune", [True, False])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_the_same_call_completes_one_that_was_killed(
    trained, extend, fake_trainer, monkeypatch, step, after, finetune
):
    before = contents(trained)
    if finetune:  # unfinished
        fake_trainer.stop_after = 2
        with pytest.raises(KeyboardInterrupt):
            extend(finetune=True)
    else:
        extend()
    owner, name = step
    whole = getattr(owner, name)

    def kill(*given: Any) -> None:
        if after:
            whole(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill)
        with pytest.raises(KeyboardInterrupt):
            undo_extension(trained)
    workspace = Workspace(trained.root)
    if workspace.split.extensions:
        assert undo_extension(workspace).phase == 2
    assert contents(trained) == before
    assert [place.name for place in trained.root.glob("replaced/*")] == (
        [] if finetune else ["02-1"]
    )
    with pytest.raises(LstError, match="no classes that were added"):
        undo_extension(workspace)


def test_extensions_are_undone_one_by_one_from_the_last(trained, extend):
    states = []
    for name in ("zebra", "yak", "class 12"):
        states.append(contents(trained))
        extend(name)
    for state, name in zip(reversed(states), ("class 12", "yak", "zebra"), strict=True):
        assert [one.name for one in undo_extension(trained).classes] == [name]
        assert contents(trained) == state
    with pytest.raises(LstError, match="no classes that were added with lst extend"):
        undo_extension(trained)


def test_a_validation_file_of_the_extension_goes_with_it(trained, extend, few, small_lvis):
    few.val = small_lvis.folder / "other-val.json"
    few.val.write_text(small_lvis.val_json.read_text() + " ")
    before = contents(trained)
    extend()
    assert trained.split.val_at(2).path == str(few.val)
    undo_extension(trained)
    assert trained.split.val_at(2).path == str(small_lvis.val_json)
    assert contents(trained) == before


@pytest.mark.parametrize("begun", [1, None])
def test_a_later_phase_is_never_lost(trained, extend, fake_trainer, tmp_path, begun):
    extend()
    fake_trainer.stop_after = begun
    try:
        train_phase(trained, 3, trained.settings())
    except KeyboardInterrupt:
        assert begun
    state = contents(trained)
    with pytest.raises(LstError, match='03: this phase was trained after "class 12", ') as caught:
        undo_extension(trained)
    assert caught.value.hint is not None
    assert f"move {trained.phase(3).root} elsewhere" in caught.value.hint
    assert contents(trained) == state
    trained.phase(3).root.rename(tmp_path / "elsewhere")
    undo_extension(trained)
    assert trained.done_phases() == [0, 1]


def test_nothing_is_made_where_there_is_no_workspace(tmp_path: Path):
    with pytest.raises(LstError, match="no split yet"):
        undo_extension(Workspace(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_plans_that_were_not_kept_are_counted_again(trained, extend):
    before = trained.split
    extend()
    split = trained.split
    old = split.model_copy(
        update={"extensions": (split.extensions[0].model_copy(update={"before": ()}),)}
    )
    assert old.digest == split.digest
    trained.save_split(old)
    undo_extension(trained)
    assert trained.split == before
