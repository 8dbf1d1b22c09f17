from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from lst_cli.display.objects import Panel, PanelObject, outline_of, ring_around, show_mask
from lst_cli.display.panels import (
    GAP,
    MOST_DRAWN,
    PANEL,
    PICTURE,
    choose_colours,
    choose_window,
    display_size,
    draw_detail,
    draw_panel,
    draw_predictions,
    read_comment,
)
from lst_cli.errors import LstError


def _pixels(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return np.asarray(image).astype(int)


def _rle(mask: np.ndarray) -> dict[str, Any]:
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": packed["size"], "counts": packed["counts"].decode("ascii")}


@pytest.mark.parametrize(
    ("size", "bounds", "shown"),
    [
        ((128, 128), PANEL, (320, 320)), ((400, 300), PANEL, (400, 300)),
        ((640, 480), PANEL, (560, 420)), ((300, 900), PANEL, (187, 560)),
        ((1, 2000), PANEL, (1, 560)), ((3000, 2000), PICTURE, (1280, 853)),
        ((800, 900), PICTURE, (800, 900)), ((1, 1), PICTURE, (640, 640)),
    ],
)  # fmt: skip
def test_small_images_are_enlarged_and_large_ones_reduced(size, bounds, shown):
    assert display_size(size, bounds) == shown


def test_a_panel_shows_ground_truth_left_and_predictions_right(panel):
    pixels = _pixels(draw_panel(replace(panel, predictions=())))
    assert pixels.shape == (240, 2 * 320 + GAP, 3)
    left, right = pixels[:, :320], pixels[:, 320 + GAP :]
    inside = left[100, 100]  # (20, 20) of the image, in the middle of the square
    assert inside[2] > inside[0] + 30
    assert np.abs(left[200:] - 128).max() <= 4  # what lies outside a mask keeps its colour
    assert np.abs(right[20:220, 20:300] - 128).max() <= 4


def test_a_class_has_the_same_colour_on_both_sides(panel):
    other = PanelObject("dog", (40.0, 10.0, 10.0, 10.0), [[40, 10, 50, 10, 50, 20, 40, 20]], 0.8)
    pixels = _pixels(draw_panel(replace(panel, predictions=[other, *panel.predictions])))
    assert np.abs(pixels[120, 100] - pixels[120, 320 + GAP + 100]).max() <= 6


def test_an_object_without_a_mask_is_drawn_as_its_box(panel):
    boxed = [replace(panel.ground_truth[0], segmentation=None)]
    pixels = _pixels(draw_panel(replace(panel, ground_truth=boxed)))
    assert pixels[100, 50, 2] > pixels[100, 50, 0] + 60  # left edge, x = 10
    assert np.abs(pixels[100, 100] - 128).max() <= 4


def test_the_ways_to_write_a_mask_give_the_same_mask():
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[1:4, 2:6] = 1
    runs = {"size": [6, 8], "counts": [13, 3, 3, 3, 3, 3, 3, 3, 14]}
    polygon = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]]
    for segmentation in (_rle(mask), runs, polygon):
        assert np.array_equal(show_mask(segmentation, (8, 6), (8, 6)), mask.astype(bool))


def test_an_outline_lies_in_the_mask_and_a_ring_around_it():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:5, :4] = True
    assert (mask & ~outline_of(mask, 1)).nonzero()[0].tolist() == [2, 2, 3, 3]  # also at the border
    assert ring_around(mask, 1).sum() == 4 + 4 + 4


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        ({"size": [5, 5], "counts": [25]}, r"cat on one\.jpg.*\[5, 5\] on \[48, 64\]"),
        ({"size": [48, 64]}, r"cannot draw one\.jpg: 'counts'"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(panel, mask, error):
    wrong = [PanelObject("cat", (0, 0, 5, 5), mask)]
    with pytest.raises(LstError, match=error):
        draw_panel(replace(panel, ground_truth=wrong))


def test_an_unreadable_image_is_named_with_a_way_to_find_the_others(tmp_path, panel):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    for name in ("gone.jpg", "broken.png"):
        with pytest.raises(LstError, match=name) as caught:
            draw_panel(replace(panel, image=tmp_path / name))
        assert "lst check" in (caught.value.hint or "")


def test_many_objects_in_one_place_do_not_fail_for_want_of_room(panel):
    crowd = [
        PanelObject(f"class {n} " + "x" * n, (30.0, 20.0, 4.0, 4.0), None, 0.5) for n in range(60)
    ]
    assert draw_panel(replace(panel, predictions=crowd))


def test_predictions_alone_have_a_picture_to_themselves(panel):
    pixels = _pixels(draw_predictions(replace(panel, ground_truth=())))
    assert pixels.shape == (480, 640, 3)
    assert np.abs(pixels[200, 200] - 128).max() > 30  # (20, 20) of the image, in the mask
    assert np.array_equal(pixels, _pixels(draw_predictions(panel)))  # what is there is not drawn


def test_an_object_in_a_picture_has_its_box_beside_its_mask():
    mask = [[10.0, 10, 30, 10, 10, 30]]  # a triangle: the lower right corner is the box's alone
    found = PanelObject("cat", (10.0, 10.0, 20.0, 20.0), mask, 0.9)
    grey = np.full((64, 64, 3), 128, np.uint8)
    pixels = _pixels(draw_predictions(Panel(grey, "image", predictions=[found])))
    corner = pixels[270:303, 270:303]
    assert corner[-4:, -4:, 2].max() > corner[-4:, -4:, 0].min() + 40
    assert np.abs(corner[:20, :20] - 128).max() <= 4
    boxless = _pixels(draw_panel(Panel(grey, "image", predictions=[found])))[:, 320 + GAP :]
    assert np.abs(boxless[145:, 145:] - 128).max() <= 6


def test_a_comment_is_found_again_and_nothing_where_there_is_none(tmp_path, panel):
    (tmp_path / "ours.jpg").write_bytes(draw_predictions(panel, comment="made here"))
    (tmp_path / "other.jpg").write_bytes(draw_panel(panel))
    (tmp_path / "text.jpg").write_text("not an image")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert read_comment(tmp_path / "ours.jpg") == "made here"
    for name in ("other.jpg", "text.jpg", "a.png", "gone.jpg", "."):
        assert read_comment(tmp_path / name) == ""


# --- pictures that are hard to draw --------------------------------------------------------------


@pytest.mark.parametrize("draw", [draw_panel, draw_predictions])
@pytest.mark.parametrize("size", [(560, 560), (1280, 900), (65, 1)])
def test_the_finest_texture_can_be_written(panel, draw, size):
    gravel = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    assert _pixels(draw(Panel(gravel, "gravel"))).size


@pytest.mark.parametrize("error", [ValueError("two\nlines"), MemoryError()])
def test_what_an_encoder_raises_is_one_sentence(panel, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("PIL.Image.Image.save", fail)
    with pytest.raises(LstError, match=r"^cannot draw one\.jpg: [^\n]+$"):
        draw_predictions(panel)


def test_objects_of_a_class_have_colours_of_their_own():
    objects = [PanelObject("sheep", (4.0 * n, 0.0, 3.0, 3.0), None, 0.9) for n in range(7)]
    dogs = [PanelObject("dog", (4.0 * n, 9.0, 3.0, 3.0), None, 0.8) for n in range(7)]
    colours = [colour for _, colour in choose_colours([*objects, *dogs], ["sheep", "dog"])]
    assert len(set(colours)) == 14
    apart = min(
        sum(abs(a - b) for a, b in zip(one, other, strict=True))
        for group in (colours[:7], colours[7:])
        for one, other in itertools.combinations(group, 2)
    )
    assert apart > 40
    for red, _, blue in colours[:7]:
        assert blue > red  # all of them some blue


def test_of_more_objects_than_a_picture_holds_the_most_confident_are_drawn():
    objects = [PanelObject("a", (0.0, 0.0, 2.0, 2.0), None, n / 5000) for n in range(5000)]
    drawn = [one.score for one, _ in choose_colours(objects, ["a"])]
    assert drawn == [n / 5000 for n in range(4999, 4999 - MOST_DRAWN, -1)]


def test_an_image_is_drawn_as_its_annotations_see_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    Image.new("RGB", (80, 40)).save(path, exif=exif)
    for size, shape in (((40, 80), (320, 640)), ((80, 40), (640, 320)), (None, (640, 320))):
        assert _pixels(draw_predictions(Panel(path, "a", size=size))).shape[:2] == shape


def test_a_mask_of_a_much_larger_image_is_the_same_picked_out():
    rng = np.random.default_rng(0)
    smooth = np.asarray(
        Image.fromarray(rng.integers(0, 256, (6, 8), dtype=np.uint8)).resize((800, 600))
    )
    for mask in (smooth > 128, smooth <= 128, smooth > 256, smooth >= 0):
        runs = {"size": [600, 800], "counts": np.diff(
            np.flatnonzero(np.diff(mask.T.reshape(-1).astype(int), prepend=0, append=2)),
            prepend=0,
        ).tolist()}  # fmt: skip
        for one in (_rle(mask), runs):
            found = show_mask(one, (800, 600), (80, 60))
            assert found.tolist() == mask[5::10, 5::10].tolist()


@pytest.mark.parametrize("counts", ["", "1", "o", "~~", "5" * 40, "oooooooooooo1"])
def test_broken_run_lengths_of_a_large_image_are_refused(counts):
    with pytest.raises(ValueError, match="run"):
        show_mask({"size": [600, 800], "counts": counts}, (800, 600), (80, 60))


# --- details ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 900), st.integers(1, 900), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_a_window_lies_in_the_image_and_holds_the_whole_object(wide, high, x, y, w, h):
    box = (x * wide, y * high, w * (1 - x) * wide, h * (1 - y) * high)
    left, top, width, height = choose_window(box, (wide, high))
    assert 0 <= left < left + width <= wide
    assert 0 <= top < top + height <= high
    # To the pixel: a box may end in the middle of one.
    assert left <= box[0] + 1
    assert top <= box[1] + 1
    assert left + width >= box[0] + box[2] - 1
    assert top + height >= box[1] + box[3] - 1


def test_only_the_mask_is_coloured_and_only_in_the_window():
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    one = PanelObject("a", (10, 10, 20, 10), [[10, 10, 30, 10, 30, 20, 10, 20]])
    drawn = draw_detail(Panel(image, "an image"), one.box, [(one, (0, 0, 255))], 600)
    assert drawn.shape == (400, 600, 3)
    assert drawn[150, 200].tolist() == [0, 0, 89]  # inside: a share of the colour
    assert drawn[101, 200].tolist() == [0, 0, 255]  # its border: all of it
    assert drawn[98, 200].tolist() == [255, 255, 255]  # around it: white, to be seen in grey
    assert drawn[300, 200].tolist() == [0, 0, 0]
    image = np.zeros((200, 300, 3), dtype=np.uint8)
    elsewhere = (250, 150, 9, 9)
    assert not draw_detail(Panel(image, "an image"), elsewhere, [(one, (0, 0, 255))], 100).any()
