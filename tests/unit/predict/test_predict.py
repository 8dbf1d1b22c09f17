from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lst_cli.errors import LstError
from lst_cli.predict.loose_images import LooseImage, LooseImages, measure_images
from lst_cli.predict.predict import gather, name_pictures
from lst_cli.workspace.atomic import write_bytes
from lst_cli.workspace.store import Workspace


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
def test_a_picture_has_the_name_of_its_image(names: tuple[str, ...], pictures: list[str]) -> None:
    assert [path.as_posix() for path in name_pictures(files(*names))] == pictures


@given(st.lists(st.from_regex(r"(a|b)(-2)?(\.(jpg|png))?", fullmatch=True), max_size=12))
def test_no_picture_has_the_name_of_another(names: list[str]) -> None:
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
def test_a_picture_of_an_image_with_the_longest_name_can_be_written(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    pictures = name_pictures(files(*names))
    for picture in pictures:
        write_bytes(tmp_path / picture, b"picture")
    assert len(list(tmp_path.iterdir())) == len({path.name.casefold() for path in pictures})
    assert pictures == name_pictures(files(*names))


def detection(image_id: int, category_id: int, score: float) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": score,
        "bbox": [1.0, 2.0, 3.0, 4.0],
        "segmentation": {"size": [60, 80], "counts": f"{score}"},
    }


@pytest.fixture
def three(tmp_path: Path) -> LooseImages:
    for name in "abc":
        Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    return measure_images(
        [LooseImage(path, Path(path.name)) for path in paths],
        lambda image, error: pytest.fail(f"{image}: {error}"),
    )


def test_detections_come_to_their_image_the_best_first(
    split_workspace: Workspace, three: LooseImages
) -> None:
    detections = [
        detection(2, 7, 0.4),
        detection(0, 9, 0.29),
        detection(2, 4, 0.9),
        detection(0, 9, 0.3),
    ]
    left_out = {three.files[1].path: LstError("it is cut short")}
    found = gather(split_workspace.split, 0, three, 0.3, detections, left_out)
    assert [image.path.name for image in found.images] == ["a.png", "c.png"]
    assert [[(one.name, one.score) for one in image.objects] for image in found.images] == [
        [("class 9", 0.3)],
        [("class 4", 0.9), ("class 7", 0.4)],
    ]
    assert found.images[1].objects[0].rle == {"size": [60, 80], "counts": "0.9"}
    assert (found.images[0].height, found.images[0].width) == (60, 80)
    assert found.left_out == tuple(left_out.items())


def test_images_without_detections_are_kept(split_workspace: Workspace, three: LooseImages) -> None:
    found = gather(split_workspace.split, 0, three, 0.3, [], {})
    assert [image.objects for image in found.images] == [(), (), ()]
