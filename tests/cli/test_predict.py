"""`lst predict` as a user meets it, with a network that finds the same in every image."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from lst_cli.display.panels import draw_predictions
from lst_cli.errors import LstError
from lst_cli.predict import predict
from lst_cli.workspace.atomic import explain_os_error, write_bytes
from lst_cli.workspace.manifest import NewClassCheck


class Case:
    """The base and the first of three phases, and three photos: one lies on its side."""

    def __init__(self, here, workspace, photos, detector, files_below):
        self.here, self.workspace, self.photos = here, workspace, photos
        self.detector, self.files_below = detector, files_below
        self.folder = workspace.root / "predictions" / "01"

    def __call__(self, *words):
        return self.here("predict", *words)

    @property
    def files(self):
        return self.files_below(self.folder)

    @property
    def written(self):
        return json.loads((self.folder / "predictions.json").read_text())

    @property
    def everything(self):
        return self.files_below(self.photos), self.files_below(self.workspace.root)


@pytest.fixture
def case(here, workspace, fake_trainer, fake_detector, files_below, tmp_path):
    for command in ("train-base", "step"):
        here(command).ok()
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    grey = Image.new("RGB", (80, 60), (128, 128, 128))
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(folder / "a.png")
    grey.save(folder / "b.jpg", exif=exif)
    grey.save(folder / "more" / "a.jpg")
    return Case(here, workspace, folder, fake_detector, files_below)


def test_pictures_and_numbers_are_written_and_shown(case):
    with case.workspace.locked():  # as while the next phase is trained
        outcome = case(case.photos).ok()
    assert outcome.out.endswith(f"{case.folder}\n")
    title = "phase 1: 9 objects of 2 classes in 3 images, scores of 0.3 and more"
    assert title in outcome.out
    assert outcome.out.count("1 class 6*, 2 class 7") == 3  # the class of the phase first
    assert outcome.out.count("0.80") == 3
    assert case.files.keys() == {"a.jpg", "b.jpg", "more/a.jpg", "predictions.json"}
    written = case.written
    assert (written["format"], written["phase"], written["score"]) == (1, 1, 0.3)
    assert written["left_out"] == []
    pictures = {"a.png": "a.jpg", "b.jpg": "b.jpg", "more/a.jpg": "more/a.jpg"}
    assert {one["file"]: one["picture"] for one in written["images"]} == {
        str(case.photos / name): picture for name, picture in pictures.items()
    }
    turned = written["images"][1]
    assert (turned["width"], turned["height"]) == (60, 80)
    with Image.open(case.folder / "b.jpg") as picture:
        assert picture.size == (480, 640)
        red, _, blue = picture.convert("RGB").getpixel((200, 280))
    assert abs(red - blue) > 20  # in the mask
    assert [(one["class"], one["category_id"], one["score"]) for one in turned["objects"]] == [
        ("class 7", 7, 0.8), ("class 6", 6, 0.6), ("class 7", 7, 0.4),
    ]  # fmt: skip
    assert turned["objects"][0]["bbox"] == [0.0, 0.0, 30.0, 40.0]
    assert turned["objects"][0]["segmentation"]["size"] == [80, 60]
    assert turned["objects"][0]["segmentation"]["counts"]


def test_the_phase_is_run_as_it_was_trained_under_todays_test_setting(case):
    words = ["--set", "eval.detections=7", "--device", "cpu", "--score", "0.7", "--json"]
    for phase in (0, 1):
        found = case(case.photos, "--phase", phase, *words).ok().json
        assert found["phase"] == phase
        workspace, opened, settings = case.detector.opened[phase]
        assert (workspace.root, opened) == (case.workspace.root, phase)
        assert (settings.eval.detections, settings.device) == (7, "cpu")
        # What would be thrown away later need not be found at all.
        assert settings.eval.score_threshold == 0.7
        assert [len(one["objects"]) for one in found["images"]] == [1, 1, 1]
    found = case(case.photos, "--set", "eval.score_threshold=0.5", "--json").ok().json
    assert found["score"] == 0.5
    assert [one["score"] for one in found["images"][0]["objects"]] == [0.8, 0.6]


def test_json_is_what_the_file_holds_and_nothing_is_written(case):
    before = case.everything
    printed = case(case.photos, "--json").ok().json
    assert case.everything == before
    case(case.photos).ok()
    written = case.written
    for image in written["images"]:
        del image["picture"]
    assert printed == written


def test_an_added_phase_predicts_its_classes(case, few, fake_instant):
    case.here(*few.words("--class", "zebra")).ok()
    outcome = case(case.photos / "a.png").ok()
    assert "1 zebra*, 2 class 7" in outcome.out  # the newest class first
    assert "* class of phase 2" in outcome.out
    assert outcome.out.endswith("/predictions/02\n")


def test_one_class_alone_is_shown(case):
    outcome = case(case.photos, "--class", "class 6").ok()
    assert "phase 1: 3 objects of 1 class in 3 images" in outcome.out
    objects = [one["class"] for image in case.written["images"] for one in image["objects"]]
    assert objects == ["class 6"] * 3
    both = case(case.photos / "a.png", "--class", "class 6", "--class", "class 7", "--json").json
    assert len(both["images"][0]["objects"]) == 3


@pytest.mark.parametrize(("own", "told"), [(0.59, True), (0.6, False)])
def test_classes_that_score_low_are_named_with_their_score(case, few, fake_instant, own, told):
    zero = (0.0, 0.0)
    fake_instant.checks = (
        NewClassCheck(boxes=2, own_score=(1.0, own), alarms_before=zero, alarms_after=zero),
    )
    case.here(*few.words("--class", "zebra")).ok()
    assert ("score low (mean): zebra (0.59); a lower --score" in case(case.photos).err) == told
    assert "score low" not in case(case.photos, "--phase", 1).err


def test_the_same_command_again_replaces_its_pictures(case):
    # Nothing found is an answer too.
    assert "0 objects of 0 classes in 3 images" in case(case.photos, "--score", 1).ok().out
    empty = case.files
    case(case.photos).ok()
    assert case.files.keys() == empty.keys()
    assert all(case.files[name] != empty[name] for name in empty)


def test_pictures_below_the_images_are_no_images_next_time(case):
    for _ in range(2):
        assert "in 3 images" in case(case.photos, "-o", case.photos / "drawn").ok().out


# --- images that cannot be used ------------------------------------------------------------------


@pytest.fixture
def damaged(case):
    """One more image cut in its middle, and one that is none."""
    whole = (case.photos / "b.jpg").read_bytes()
    (case.photos / "cut.jpg").write_bytes(whole[: len(whole) - 200])
    (case.photos / "aa.jpg").write_text("no image")
    return case


@pytest.mark.parametrize("json_words", [[], ["--json"]])
def test_broken_images_are_named_and_the_others_are_done(damaged, json_words):
    outcome = damaged(damaged.photos, *json_words)
    assert "2 images were left out: " in outcome.error
    assert f"{damaged.photos / 'aa.jpg'}: it is text; " in outcome.error
    assert f"{damaged.photos / 'cut.jpg'}: " in outcome.error
    assert outcome.hint == (
        "download the image itself (1); copy or download it again (1); "
        "every reason is in predictions.json; the other images are done"
    )
    found = outcome.json if json_words else damaged.written
    assert [Path(one["file"]).name for one in found["images"]] == ["a.png", "b.jpg", "a.jpg"]
    assert [Path(one["file"]).name for one in found["left_out"]] == ["aa.jpg", "cut.jpg"]
    assert "it is text" in found["left_out"][0]["reason"]
    assert not (damaged.folder / "cut.jpg").exists()


@pytest.mark.parametrize("name", ["aa.jpg", "cut.jpg"])
def test_where_no_image_can_be_used_nothing_is_written(damaged, name):
    before = damaged.everything
    error = damaged(damaged.photos / name).error
    assert "no image can be used; the first: " in error
    assert name in error
    assert damaged.everything == before


# --- pictures that cannot be drawn or written ----------------------------------------------------


def test_a_picture_that_cannot_be_drawn_costs_one_picture(case, monkeypatch):
    def fail(panel, **options):
        if panel.title.endswith("b.jpg"):
            raise LstError(f"cannot draw {panel.title}: broken")
        return draw_predictions(panel, **options)

    case(case.photos).ok()
    monkeypatch.setattr(predict, "draw_predictions", fail)
    outcome = case(case.photos)
    why = f"cannot draw {case.photos / 'b.jpg'}: broken"
    assert outcome.error == f"error: 1 picture was not drawn: {why}"
    assert "predictions.json" in outcome.hint
    # The picture of the run before is not taken for one of this run.
    assert case.files.keys() == {"a.jpg", "more/a.jpg", "predictions.json"}
    images = case.written["images"]
    assert ["picture" in one for one in images] == [True, False, True]
    assert images[1]["not_drawn"].endswith("b.jpg: broken")
    assert len(images[1]["objects"]) == 3
    case(case.photos, "--json").ok()


@pytest.mark.parametrize(
    ("number", "error", "left"),
    [
        (errno.EIO, "1 picture was not drawn: cannot write ", {"b.jpg", "more/a.jpg"}),
        # The first picture is the last.
        (errno.ENOSPC, "the disk is full", set()),
        (errno.EDQUOT, "quota", set()),
        (errno.EROFS, "read-only", set()),
    ],
)
def test_a_picture_that_cannot_be_written_costs_one_picture_or_on_a_full_disk_all(
    case, monkeypatch, number, error, left
):
    def fail(path, data):
        if path == case.folder / "a.jpg":
            with explain_os_error(path):
                raise OSError(number, os.strerror(number), str(path))
        write_bytes(path, data)

    monkeypatch.setattr(predict, "write_bytes", fail)
    outcome = case(case.photos)
    assert error in outcome.error
    assert case.files.keys() == {"predictions.json", *left}


def test_the_numbers_are_kept_whatever_happens_to_the_pictures(case, monkeypatch):
    def kill(panel, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "draw_predictions", kill)
    assert case(case.photos).code == 130
    assert [len(image["objects"]) for image in case.written["images"]] == [3, 3, 3]
    assert not any("picture" in image for image in case.written["images"])


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("{photos}/gone.png", "photos/gone.png: no such file or directory", "name image files"),
        ("{photos}/empty", "photos/empty: no images in it", "JPEG, PNG"),
        ("{photos} --phase 2", "phase 2 is not finished", "lst step"),
        ("{photos} --phase 9", "phase 9 does not exist", "lst status"),
        ("{photos} --score 1.5", "score 1.5: scores lie between 0 and 1", "--score 0.3"),
        ("{photos} --score -0.1", "score -0.1: scores lie", "--score 0.3"),
        ("{photos} --score nan", "score nan: scores lie", "--score 0.3"),
        ("{photos} --class cat", "--class cat: no class of phase 1", "class "),
        ("{photos} --class 'class 3' --phase 0", "no class of phase 0", "class "),
        ("{photos} --json -o x", "--json prints and writes nothing", "one of them"),
        ("{photos} -o {photos}/a.png/x", "photos/a.png is a file", "-o DIR"),
        ("{photos} -o {photos}", "would read pictures there as input", "-o DIR"),
        ("{photos}/b.jpg -o {photos}", "b.jpg exists and is not a picture by", "-o DIR"),
        ("{photos}/a.png -o {photos}/mine", "predictions.json exists and", "-o DIR"),
        ("", "Missing argument", "lst predict --help"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(case, words, error, hint):
    (case.photos / "empty").mkdir()
    (case.photos / "mine").mkdir()
    (case.photos / "mine" / "predictions.json").write_text('[{"image_id": 1}]')
    before = case.everything
    outcome = case(*words.format(photos=case.photos).split())
    assert error in outcome.error
    assert hint in outcome.hint
    assert case.everything == before
    assert case.detector.opened == []


def test_what_is_found_before_the_work_stops_it(case, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda path, mode: mode == os.R_OK)
        assert "is not writable" in case(case.photos).error
    case.workspace.phase(1).model.write_text("w")
    assert "cut short or changed" in case(case.photos).error
    assert case.detector.opened == []
