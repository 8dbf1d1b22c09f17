from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.settings.models import Settings
from lst_cli.workspace import store
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.store import Workspace, find_workspace

# --- which directory -----------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["split.json", "lst.toml"])
def test_the_workspace_is_given_or_the_current_directory_or_one_in_it(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    assert find_workspace(None) == find_workspace("") == tmp_path / "lst-workspace"
    (tmp_path / file).touch()
    assert find_workspace(None) == find_workspace("") == tmp_path
    assert find_workspace("there") == Path("there")


# --- which phase ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "begun", "upcoming"),
    [
        ([], [], 0),
        ([], [0], 0),
        ([0], [], 1),
        ([0], [1], 1),
        ([0, 1], [], 2),
        ([0, 1, 2], [], None),
        ([1], [], 0),  # a gap: the base was removed
        ([0, 2], [], 1),
        ([0, 2], [1], 1),
    ],
)
def test_the_next_phase_is_decided_from_manifests_alone(workspace, begin, done, begun, upcoming):
    for phase in done:
        begin(phase)
    for phase in begun:
        begin(phase, done=False)
    assert workspace.next_phase() == upcoming
    assert workspace.done_phases() == list(range(3 if upcoming is None else upcoming))
    assert workspace.last_phase == 2


def test_a_phase_grown_from_a_model_that_was_trained_again_is_due_again(workspace, begin):
    begin(0)
    begin(1, model="another model 1")
    begin(2)
    assert workspace.done_phases() == [0, 1]
    assert workspace.next_phase() == 2


def test_the_newest_phase_needs_one_that_is_finished(workspace, begin):
    with pytest.raises(LstError, match=r"no phase of .* is finished yet") as caught:
        workspace.newest_phase()
    assert caught.value.hint == "lst train-base"
    begin(0)
    begin(1)
    assert workspace.newest_phase() == 1


@pytest.mark.parametrize(
    ("done", "asked", "message", "hint"),
    [
        ([], -1, "the split has phases 0 to 2", "lst status"),
        ([], 3, "the split has phases 0 to 2", "lst status"),
        ([], 0, "phase 0 is not finished", "lst train-base"),
        ([], 2, "phase 2 is not finished", "lst train-base"),
        ([0], 1, "phase 1 is not finished", "lst step"),
        ([0], 2, "phase 2 is not finished", "lst step"),
    ],
)
def test_a_phase_that_is_not_finished_names_the_command_that_comes_next(
    workspace, begin, done, asked, message, hint
):
    for phase in done:
        begin(phase)
    with pytest.raises(LstError, match=message) as caught:
        workspace.require_done(asked)
    assert caught.value.hint == hint


def test_a_split_changed_after_training_began_is_refused(workspace, begin, split):
    begin(0)
    classes = tuple(split.classes[place] for place in (0, 1, 4, 3, 2))
    groups = ((4, 2), (3, 1), (5,))
    workspace.save_split(split.model_copy(update={"groups": groups, "classes": classes}))
    for ask in (workspace.next_phase, lambda: workspace.is_done(0)):
        with pytest.raises(LstError, match=r"split\.json changed after phase 0 was begun"):
            ask()


def test_a_workspace_without_a_split_says_how_to_make_one(tmp_path):
    with pytest.raises(LstError, match="has no split yet") as caught:
        _ = Workspace(tmp_path).split
    assert str(caught.value.hint).startswith("lst split --train")


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"the weights", None), (b"the wei", "cut short or changed"), (b"", "cut short or changed"),
     (b"the weightz", "cut short or changed"), (None, "missing")],
)  # fmt: skip
def test_only_weights_that_are_whole_are_accepted(workspace, begin, content, problem):
    begin(0, model=hashlib.sha256(b"the weights").hexdigest())
    if content is not None:
        workspace.phase(0).model.write_bytes(content)
    if problem is None:
        assert workspace.require_model(0).phase == 0
    else:
        with pytest.raises(LstError, match=rf"model\.safetensors: {problem}"):
            workspace.require_model(0)


def test_the_digest_is_that_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


# --- settings ------------------------------------------------------------------------------------


def test_settings_come_from_the_workspace_if_it_has_any(workspace):
    assert workspace.settings() == Settings()
    workspace.layout.settings.write_text("seed = 3\n")
    assert workspace.settings().seed == 3
    assert workspace.settings(["seed=4"]).seed == 4
    with pytest.raises(LstError, match="cannot read the bin 'ten'"):
        workspace.settings(["eval.bins=<5,ten"])


def test_settings_of_a_phase_come_back_and_those_of_another_lst_are_refused(workspace, begin):
    begin(0, settings=Settings(seed=8).model_dump(mode="json"))
    assert workspace.trained_settings(0) == Settings(seed=8)
    begin(0, settings={"base": {"tempo": 3, "batch_size": 1}})
    with pytest.raises(LstError, match=r"manifest\.json: settings\.base\.tempo"):
        workspace.trained_settings(0)
    with pytest.raises(LstError, match="phase 1 was not begun"):
        workspace.trained_settings(1)


# --- one writer ----------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from lst_cli.workspace.store import Workspace

with Workspace(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_refused_until_the_first_ends(workspace):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workspace.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(store.__file__).parents[2],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        message = f"another lst is writing to {workspace.root}"
        with pytest.raises(LstError, match=message) as caught, workspace.locked():
            pass
        assert "wait until it has finished" in str(caught.value.hint)
        other.kill()  # the system lets go of the lock, whatever became of the process
    with workspace.locked():
        pass


def test_locking_makes_the_directory_and_the_lock_is_released_after_an_error(tmp_path):
    workspace = Workspace(tmp_path / "new" / "deep")
    with pytest.raises(RuntimeError, match="broken"), workspace.locked():
        raise RuntimeError("broken")
    with workspace.locked():
        assert workspace.root.is_dir()


def test_locking_clears_away_what_a_killed_writer_left(workspace):
    phase, report = workspace.phase(0).root, workspace.layout.report
    left = [
        workspace.root / ".lst-a1b2c3d4.tmp",
        workspace.root / ".split.json.a1b2c3d4",  # this one and the next two are of lst 0.1
        phase / ".model.safetensors.a1b2c3d4",
        phase / ".tmpAb3Xy9",
        phase / ".lst-a1b2c3d4.tmp",
        phase / "errors" / ".lst-a1b2c3d4.tmp",
        report / "plots" / ".lst-a1b2c3d4.tmp",
    ]
    kept = [workspace.root / ".bashrc.original", workspace.root / "images" / ".lst-a1b2c3d4.tmp"]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with workspace.locked():
        assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in kept)


def test_whoever_writes_into_a_directory_clears_it(tmp_path):
    left = tmp_path / ".lst-a1b2c3d4.tmp"
    left.touch()
    write_text(tmp_path / "sweep.md", "")
    assert not left.exists()
