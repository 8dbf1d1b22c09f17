from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lst_cli.predict.loose_images import LooseImage
from lst_cli.predict.predict import name_pictures
from lst_cli.workspace.atomic import write_bytes


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
