from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lst_cli.display.objects import PanelObject
from lst_cli.display.tables import MISSING
from lst_cli.errors import LstError
from lst_cli.predict.loose_images import LooseImage
from lst_cli.predict.predict import (
    FoundImage,
    Predictions,
    found_table,
    name_pictures,
    objects_text,
    readable,
)
from lst_cli.workspace.atomic import write_bytes


def test_a_name_in_another_encoding_can_be_written():
    path = Path(os.fsdecode(b"caf\xe9.png"))
    assert readable(path) == "caf\N{REPLACEMENT CHARACTER}.png"
    found = Predictions(
        0, 0.3, (FoundImage(path, 1, 1, (), path),), ((path, LstError(f"{path}: cut")),)
    )
    assert json.dumps(found.as_dict(), ensure_ascii=False).encode()
    assert readable("é.png") == "é.png"


# --- the table ------------------------------------------------------------------------------------


def image(*names: str, path: str = "a.jpg") -> FoundImage:
    """With an object of each class name, scores falling from 0.9."""
    objects = [
        PanelObject(name, (0, 0, 1, 1), {}, 0.9 - 0.001 * place, sum(map(ord, name)))
        for place, name in enumerate(names)
    ]
    return FoundImage(Path(path), 6, 8, tuple(objects))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), MISSING),
        (("owl",), "1 owl"),
        (("candle", "owl", "owl"), "2 owl, 1 candle"),
        (("owl", "candle"), "1 owl, 1 candle"),  # the surer first
        (("owl",) * 1200, "1,200 owl"),
        (("A Seville orange, also bitter",), "1 A Seville orange, als…"),
        (tuple("abcdefghij"), "1 a, 1 b, 1 c, 1 d, 1 e, 1 f, 1 g, 1 h, 2 others"),
        (("a" * 20, "b" * 20, "c" * 20), f"1 {'a' * 20}, 2 others"),
        (("a" * 18, "b" * 18), f"1 {'a' * 18}, 1 other"),
        (("two\nlines",), "1 two lines"),
    ],
)
def test_objects_are_counted_by_class(names, text):
    assert objects_text(image(*names)) == text


def test_the_newest_classes_come_first_marked_and_are_never_among_the_others():
    assert objects_text(image("owl", "owl", *"abcdefgij"), ["j", "i"]).startswith("1 i*, 1 j*, 2 o")
    new = [letter * 20 for letter in "ijk"]
    text = objects_text(image("owl", "owl", *new), new)
    assert text == f"1 {new[0]}*, 1 {new[1]}*, 1 {new[2]}*, 2 others"
    found = found_table(Predictions(2, 0.3, (image("owl", "yak"),) * 21, newest=frozenset(["yak"])))
    assert found.texts()[0][1] == "1 yak*, 1 owl"
    assert found.remark == "* class of phase 2; … and 1 more image"
    found = found_table(Predictions(2, 0.3, (image("owl"),), newest=frozenset(["yak"])))
    assert found.remark == ""


@given(st.lists(st.sampled_from(["owl", "yak", "x" * 30, "a b", "candle", "emu"]), max_size=40))
def test_no_object_is_lost_and_the_text_is_short(names):
    text = objects_text(image(*names))
    counted = [int(part.split()[0]) for part in text.split(", ") if part != MISSING]
    assert sum(counted) == len(names)
    assert len(text) <= 40 + len(", 40 others")


def test_a_row_is_an_image_with_its_best_score_and_many_images_are_counted():
    long = image(path="/a/long/way/down/to/the/very/last.jpg")
    found = found_table(Predictions(3, 0.3, (image("owl", "yak"), long)))
    assert found.title == "phase 3: 2 objects of 2 classes in 2 images, scores of 0.3 and more"
    assert found.texts() == [
        ["a.jpg", "1 owl, 1 yak", "0.90"],
        ["…y/down/to/the/very/last.jpg", MISSING, MISSING],
    ]
    assert found.remark == ""
    found = found_table(Predictions(0, 0.25, (image("owl"),)))
    assert found.title == "base: 1 object of 1 class in 1 image, scores of 0.25 and more"
    found = found_table(Predictions(1, 0.3, (image("owl"),) * 25))
    assert (len(found.rows), found.remark) == (20, "… and 5 more images")
    assert "25 objects of 1 class in 25 images" in found.title


# --- names of pictures ---------------------------------------------------------------------------


def files(*names: str) -> list[LooseImage]:
    return [LooseImage(Path(str(place), name), Path(name)) for place, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "pictures"),
    [
        ((), []),
        (("a.png", "sub/a.png"), ["a.jpg", "sub/a.jpg"]),
        (("a.jpg", "a.png", "a.jpeg"), ["a.jpg", "a-2.jpg", "a-3.jpg"]),
        (("a.jpg", "A.JPG"), ["a.jpg", "A-2.jpg"]),
        (("a.jpg", "a-2.png", "a.png"), ["a.jpg", "a-2.jpg", "a-3.jpg"]),
        (("a", "a.b.png"), ["a.jpg", "a.b.jpg"]),
    ],
)
def test_a_picture_has_the_name_of_its_image(names, pictures):
    assert [path.as_posix() for path in name_pictures(files(*names))] == pictures


@given(st.lists(st.from_regex(r"(a|b)(-2)?(\.(jpg|png))?", fullmatch=True), max_size=12))
def test_no_picture_has_the_name_of_another(names):
    pictures = name_pictures(files(*names))
    assert len(set(pictures)) == len(names)
    assert {path.suffix for path in pictures} <= {".jpg"}


@pytest.mark.parametrize(
    "names",
    [
        ("x" * 255,),
        ("x" * 251 + ".png", "x" * 251 + ".jpg", "X" * 251 + ".jpg"),
        ("漢" * 84 + ".gi", "漢" * 84 + ".pn"),
        ("x" * 254 + "1", "x" * 254 + "2"),
    ],
)
def test_a_picture_of_an_image_with_the_longest_name_can_be_written(tmp_path, names):
    pictures = name_pictures(files(*names))
    for picture in pictures:
        write_bytes(tmp_path / picture, b"picture")
    assert len(list(tmp_path.iterdir())) == len({path.name.casefold() for path in pictures})
    assert pictures == name_pictures(files(*names))
