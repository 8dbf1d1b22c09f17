"""`lst predict` as a user meets it, with a network that finds the same in every image."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lst_cli.errors import LstError
from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]


def files_below(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def trained(lst: Lst, workspace: Workspace, fake_trainer: Any, fake_detector: Any) -> Workspace:
    """The base and the first of three phases."""
    for command in ("train-base", "step"):
        assert lst(command, "-w", workspace.root).code == 0
    return workspace


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images in a directory, one more below it; one of them lies on its side."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    grey = Image.new("RGB", (80, 60), (128, 128, 128))
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(folder / "a.png")
    grey.save(folder / "b.jpg", exif=exif)
    grey.save(folder / "more" / "a.jpg")
    return folder


def test_pictures_and_numbers_are_written_and_shown(
    lst: Lst, trained: Workspace, photos: Path, fake_detector: Any
) -> None:
    outcome = lst("predict", photos, "-w", trained.root)
    assert outcome.code == 0, outcome.err
    folder = trained.root / "predictions" / "01"
    assert outcome.out.endswith(f"{folder}\n")
    title = "phase 1: 9 objects of 2 classes in 3 images, scores of 0.3 and more"
    assert title in outcome.out
    assert outcome.out.count("2 class 7, 1 class 6") == 3
    assert outcome.out.count("0.80") == 3
    assert files_below(folder).keys() == {"a.jpg", "b.jpg", "more/a.jpg", "predictions.json"}
    written = json.loads((folder / "predictions.json").read_text())
    assert (written["format"], written["phase"], written["score"]) == (1, 1, 0.3)
    assert written["left_out"] == []
    assert [(one["file"], one["picture"]) for one in written["images"]] == [
        (str(photos / name), picture)
        for name, picture in (
            ("a.png", "a.jpg"), ("b.jpg", "b.jpg"), ("more/a.jpg", "more/a.jpg")
        )
    ]  # fmt: skip
    turned = written["images"][1]
    assert (turned["width"], turned["height"]) == (60, 80)
    with Image.open(folder / "b.jpg") as picture:
        assert picture.size == (480, 640)
        red, _, blue = picture.convert("RGB").getpixel((200, 280))
    assert abs(red - blue) > 20  # in the mask
    assert [(one["class"], one["category_id"], one["score"]) for one in turned["objects"]] == [
        ("class 7", 7, 0.8), ("class 6", 6, 0.6), ("class 7", 7, 0.4),
    ]  # fmt: skip
    assert turned["objects"][0]["bbox"] == [0.0, 0.0, 30.0, 40.0]
    assert turned["objects"][0]["segmentation"]["size"] == [80, 60]


def test_the_phase_is_run_as_it_was_trained_under_todays_test_setting(
    lst: Lst, trained: Workspace, photos: Path, fake_detector: Any
) -> None:
    words = ["--set", "eval.detections=7", "--device", "cpu", "--score", "0.7", "--json"]
    for phase in (0, 1):
        outcome = lst("predict", photos, "-w", trained.root, "--phase", phase, *words)
        assert outcome.json["phase"] == phase
        workspace, opened, settings = fake_detector.opened[phase]
        assert (workspace.root, opened) == (trained.root, phase)
        assert (settings.eval.detections, settings.device) == (7, "cpu")
        # What would be thrown away later need not be found at all.
        assert settings.eval.score_threshold == 0.7
        objects = [len(one["objects"]) for one in outcome.json["images"]]
        assert objects == [1, 1, 1]


def test_a_threshold_of_the_workspace_holds_here_too(
    lst: Lst, trained: Workspace, photos: Path
) -> None:
    words = ["--set", "eval.score_threshold=0.5", "--json"]
    found = lst("predict", photos / "a.png", "-w", trained.root, *words).json
    assert found["score"] == 0.5
    assert [one["score"] for one in found["images"][0]["objects"]] == [0.8, 0.6]


def test_json_is_what_the_file_holds_and_nothing_is_written(
    lst: Lst, trained: Workspace, photos: Path
) -> None:
    before = files_below(trained.root)
    printed = lst("predict", photos, "-w", trained.root, "--json").json
    assert files_below(trained.root) == before
    lst("predict", photos, "-w", trained.root)
    written = json.loads((trained.layout.predictions(1) / "predictions.json").read_text())
    for image in written["images"]:
        del image["picture"]
    assert printed == written


def test_an_added_phase_predicts_its_classes(
    lst: Lst, trained: Workspace, few: Any, fake_instant: Any, photos: Path
) -> None:
    assert lst(*few.words("-w", trained.root, "--class", "zebra")).code == 0
    outcome = lst("predict", photos / "a.png", "-w", trained.root)
    assert outcome.code == 0, outcome.err
    assert "2 class 7, 1 zebra" in outcome.out
    assert outcome.out.endswith("/predictions/02\n")


def test_images_of_one_name_have_a_picture_each(
    lst: Lst, trained: Workspace, photos: Path, tmp_path: Path
) -> None:
    words = ["-w", trained.root, "-o", tmp_path / "drawn"]
    outcome = lst("predict", photos / "a.png", photos / "more" / "a.jpg", *words)
    assert outcome.code == 0, outcome.err
    assert files_below(tmp_path / "drawn").keys() == {"a.jpg", "a-2.jpg", "predictions.json"}


def test_nothing_found_is_an_answer_too(lst: Lst, trained: Workspace, photos: Path) -> None:
    outcome = lst("predict", photos / "a.png", "-w", trained.root, "--score", 1)
    assert outcome.code == 0, outcome.err
    assert "0 objects of 0 classes in 1 image" in outcome.out
    assert (trained.layout.predictions(1) / "a.jpg").exists()


def test_the_same_command_again_replaces_its_pictures(
    lst: Lst, trained: Workspace, photos: Path
) -> None:
    lst("predict", photos, "-w", trained.root, "--score", 1)
    empty = files_below(trained.layout.predictions(1))
    assert lst("predict", photos, "-w", trained.root).code == 0
    full = files_below(trained.layout.predictions(1))
    assert full.keys() == empty.keys()
    assert all(full[name] != empty[name] for name in full)


def test_pictures_below_the_images_are_no_images_next_time(
    lst: Lst, trained: Workspace, photos: Path
) -> None:
    for _ in range(2):
        outcome = lst("predict", photos, "-w", trained.root, "-o", photos / "drawn")
        assert "in 3 images" in outcome.out


def test_a_phase_can_be_used_while_the_next_one_is_trained(
    lst: Lst, trained: Workspace, photos: Path
) -> None:
    with trained.locked():
        assert lst("predict", photos, "-w", trained.root).code == 0


# --- images that cannot be used ------------------------------------------------------------------


@pytest.fixture
def damaged(photos: Path) -> Path:
    """One more image cut in its middle, and one that is none."""
    whole = (photos / "b.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) - 200])
    (photos / "aa.jpg").write_text("no image")
    return photos


@pytest.mark.parametrize("json_words", [[], ["--json"]])
def test_broken_images_are_named_and_the_others_are_done(
    lst: Lst, trained: Workspace, damaged: Path, json_words: list[str]
) -> None:
    outcome = lst("predict", damaged, "-w", trained.root, *json_words)
    assert outcome.code == 1
    assert "2 images were left out: " in outcome.error
    assert f"{damaged / 'aa.jpg'}: it is text; " in outcome.error
    assert f"{damaged / 'cut.jpg'}: " in outcome.error
    assert outcome.hint == (
        "download the image itself (1); copy or download it again (1); "
        "every reason is in predictions.json; the other images are done"
    )
    folder = trained.layout.predictions(1)
    found = outcome.json if json_words else json.loads((folder / "predictions.json").read_text())
    names = [Path(one["file"]).name for one in found["images"]]
    assert names == ["a.png", "b.jpg", "a.jpg"]
    assert [Path(one["file"]).name for one in found["left_out"]] == ["aa.jpg", "cut.jpg"]
    assert "it is text" in found["left_out"][0]["reason"]
    assert not (folder / "cut.jpg").exists()


@pytest.mark.parametrize("name", ["aa.jpg", "cut.jpg"])
def test_where_no_image_can_be_used_nothing_is_written(
    lst: Lst, trained: Workspace, damaged: Path, name: str
) -> None:
    before = files_below(trained.root)
    outcome = lst("predict", damaged / name, "-w", trained.root)
    assert "no image can be used; the first: " in outcome.error
    assert name in outcome.error
    assert files_below(trained.root) == before


# --- pictures that cannot be drawn or written ----------------------------------------------------


@pytest.fixture
def undrawable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `b.jpg` no picture can be made."""
    from lst_cli.display.panels import draw_predictions as draw
    from lst_cli.predict import predict

    def fail(panel: Any, **options: Any) -> bytes:
        if panel.title.endswith("b.jpg"):
            raise LstError(f"cannot draw {panel.title}: broken")
        return draw(panel, **options)

    monkeypatch.setattr(predict, "draw_predictions", fail)


def test_a_picture_that_cannot_be_drawn_costs_one_picture(
    lst: Lst, trained: Workspace, photos: Path, request: pytest.FixtureRequest
) -> None:
    assert lst("predict", photos, "-w", trained.root).code == 0
    request.getfixturevalue("undrawable")
    outcome = lst("predict", photos, "-w", trained.root)
    assert outcome.code == 1
    assert outcome.error == (
        f"error: 1 picture was not drawn: cannot draw {photos / 'b.jpg'}: broken"
    )
    assert "predictions.json" in outcome.hint
    folder = trained.layout.predictions(1)
    # The picture of the run before is not taken for one of this run.
    assert files_below(folder).keys() == {"a.jpg", "more/a.jpg", "predictions.json"}
    images = json.loads((folder / "predictions.json").read_text())["images"]
    assert ["picture" in one for one in images] == [True, False, True]
    assert images[1]["not_drawn"].endswith("b.jpg: broken")
    assert len(images[1]["objects"]) == 3
    assert lst("predict", photos, "-w", trained.root, "--json").code == 0


def test_a_picture_that_cannot_be_written_costs_one_picture(
    lst: Lst, trained: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_write("b.jpg", errno.EIO, monkeypatch)
    outcome = lst("predict", photos, "-w", trained.root)
    assert "1 picture was not drawn: cannot write " in outcome.error
    assert files_below(trained.layout.predictions(1)).keys() == {
        "a.jpg", "more/a.jpg", "predictions.json"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")],
)
def test_on_a_full_disk_the_first_picture_is_the_last(
    lst: Lst, trained: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch,
    number: int, reason: str,
) -> None:  # fmt: skip
    fail_to_write("a.jpg", number, monkeypatch)
    outcome = lst("predict", photos, "-w", trained.root)
    assert outcome.code == 1
    assert outcome.error.startswith("error: cannot write ")
    assert reason in outcome.error
    assert files_below(trained.layout.predictions(1)).keys() == {"predictions.json"}


def test_the_numbers_are_kept_whatever_happens_to_the_pictures(
    lst: Lst, trained: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lst_cli.predict import predict

    def kill(panel: Any, **options: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "draw_predictions", kill)
    assert lst("predict", photos, "-w", trained.root).code == 130
    found = json.loads((trained.layout.predictions(1) / "predictions.json").read_text())
    assert [len(image["objects"]) for image in found["images"]] == [3, 3, 3]
    assert not any("picture" in image for image in found["images"])


def fail_to_write(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file of this name be impossible to write."""
    from lst_cli.predict import predict
    from lst_cli.workspace.atomic import explain_os_error, write_bytes

    def fail(path: Path, data: bytes) -> None:
        if path.name == name:
            with explain_os_error(path):
                raise OSError(number, os.strerror(number), str(path))
        write_bytes(path, data)

    monkeypatch.setattr(predict, "write_bytes", fail)


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["{photos}/gone.png"], "photos/gone.png: no such file or directory", "name image files"),
        (["{photos}/empty"], "photos/empty: no images in it", "JPEG, PNG"),
        (["{photos}", "--phase", "2"], "phase 2 is not finished", "lst step"),
        (["{photos}", "--phase", "9"], "phase 9 does not exist", "lst status"),
        (["{photos}", "--score", "1.5"], "score 1.5: scores lie between 0 and 1", "--score 0.3"),
        (["{photos}", "--score", "-0.1"], "score -0.1: scores lie", "--score 0.3"),
        (["{photos}", "--score", "nan"], "score nan: scores lie", "--score 0.3"),
        (["{photos}", "--json", "-o", "x"], "--json prints and writes nothing", "one of them"),
        (["{photos}", "-o", "{photos}/a.png/x"], "photos/a.png is a file", "-o DIR"),
        (["{photos}", "-o", "{photos}"], "would be taken for images next time", "-o DIR"),
        (["{photos}/b.jpg", "-o", "{photos}"], "b.jpg is there, and not a picture by", "-o DIR"),
        (["{photos}/a.png", "-o", "{photos}/mine"], "predictions.json is there, and", "-o DIR"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(
    lst: Lst,
    trained: Workspace,
    photos: Path,
    fake_detector: Any,
    words: list[str],
    error: str,
    hint: str,
) -> None:
    (photos / "empty").mkdir()
    (photos / "mine").mkdir()
    (photos / "mine" / "predictions.json").write_text('[{"image_id": 1}]')
    before = files_below(photos), files_below(trained.root)
    outcome = lst("predict", *(word.format(photos=photos) for word in words), "-w", trained.root)
    assert error in outcome.error
    assert hint in outcome.hint
    assert (files_below(photos), files_below(trained.root)) == before
    assert fake_detector.opened == []


def test_a_directory_that_may_not_be_written_is_told_before_the_work(
    lst: Lst, trained: Workspace, photos: Path, fake_detector: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.R_OK)
    outcome = lst("predict", photos, "-w", trained.root)
    assert "is not writable" in outcome.error
    assert fake_detector.opened == []


def test_a_model_that_was_cut_short_is_refused(
    lst: Lst, trained: Workspace, photos: Path, fake_detector: Any
) -> None:
    trained.phase(1).model.write_text("w")
    assert "cut short or changed" in lst("predict", photos, "-w", trained.root).error
    assert fake_detector.opened == []


def test_nothing_is_predicted_before_the_base(lst: Lst, workspace: Workspace, photos: Path) -> None:
    outcome = lst("predict", photos, "-w", workspace.root)
    assert "is finished yet" in outcome.error
    assert outcome.hint == f"lst train-base -w {workspace.root}"


def test_images_have_to_be_named(lst: Lst, trained: Workspace) -> None:
    outcome = lst("predict", "-w", trained.root)
    assert outcome.code == 2
    assert "Missing argument" in outcome.error
