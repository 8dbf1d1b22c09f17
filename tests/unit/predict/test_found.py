from __future__ import annotations

import json
import os
from pathlib import Path

from lst_cli.display.records import PanelObject
from lst_cli.errors import LstError
from lst_cli.predict.found import FoundImage, Predictions, readable

OWL = PanelObject("owl", (1.0, 2.0, 3.0, 4.0), {"size": [6, 8], "counts": "04"}, 0.5, 7)


def test_predictions_are_what_the_file_holds():
    image = FoundImage(Path("d/a.png"), 6, 8, (OWL,), Path("a.jpg"))
    found = Predictions(3, 0.25, (image,), ((Path("d/b.png"), LstError("it is empty")),))
    assert found.as_dict() == {
        "format": 1,
        "phase": 3,
        "score": 0.25,
        "images": [
            {
                "file": "d/a.png",
                "picture": "a.jpg",
                "width": 8,
                "height": 6,
                "objects": [
                    {
                        "class": "owl",
                        "category_id": 7,
                        "score": 0.5,
                        "bbox": [1.0, 2.0, 3.0, 4.0],
                        "segmentation": {"size": [6, 8], "counts": "04"},
                    }
                ],
            }
        ],
        "left_out": [{"file": "d/b.png", "reason": "it is empty"}],
    }


def test_without_a_picture_none_is_named():
    (image,) = Predictions(0, 0.3, (FoundImage(Path("a.png"), 6, 8, ()),)).as_dict()["images"]
    assert image == {"file": "a.png", "width": 8, "height": 6, "objects": []}


def test_a_name_in_another_encoding_can_be_written():
    path = Path(os.fsdecode(b"caf\xe9.png"))
    assert readable(path) == "caf\N{REPLACEMENT CHARACTER}.png"
    found = Predictions(
        0, 0.3, (FoundImage(path, 1, 1, (), path),), ((path, LstError(f"{path}: cut")),)
    )
    assert json.dumps(found.as_dict(), ensure_ascii=False).encode()
    assert readable("é.png") == "é.png"
