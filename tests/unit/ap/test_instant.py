from __future__ import annotations

import json

import pytest

from lst_cli.ap.metrics import InstantMetrics, load_instant
from lst_cli.errors import LstError


def _record(phase=2):
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR")
    group = {"classes": 2, "with_ground_truth": 1, "AP": 0.5}
    numbers = {
        **dict.fromkeys((*names, "old", "new", "all"), 0.5),
        "bins": [],
        "groups": [{"phase": t, **group} for t in range(phase + 1)],
        "per_class": {"7": 0.5},
    }
    counts = {"images": 3, "detections": 9, "seconds": 0.5, "federated": True}
    return {"format": 1, "phase": phase, **counts, "segm": numbers, "bbox": numbers}


def _content(phase=2, **rows):
    return {"format": 1, "phase": phase, "rows": rows or {"mean-feature": _record(phase)}}


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "instant.json"
    written = InstantMetrics.model_validate(_content(random=_record(), generated=_record()))
    path.write_text(written.model_dump_json(indent=1))
    assert json.loads(path.read_text())["format"] == 1
    found = load_instant(path, 2)
    assert found == written
    assert found is not None
    assert found.rows["generated"].segm.per_class == {7: 0.5}


def test_without_a_file_there_is_nothing(tmp_path):
    assert load_instant(tmp_path / "instant.json", 2) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not valid JSON"),
        ("[]", "no JSON object"),
        (json.dumps({**_content(), "format": 2}), "format: "),
        (json.dumps({**_content(), "rows": {}}), "rows: "),
        (json.dumps({**_content(), "more": 1}), "more: "),
        (json.dumps(_content(drawn=_record())), r"rows\.drawn\."),
        (json.dumps(_content(random={**_record(), "images": -1})), r"rows\.random\.images: "),
        (json.dumps(_content(random=_record(1))), "the random rows were evaluated in another"),
        (json.dumps(_content(phase=1)), "phase: it belongs to phase 1"),
        (json.dumps(_content(phase=0)), "phase: "),
    ],
)
def test_a_damaged_file_names_the_place_and_the_command(tmp_path, content, reason):
    path = tmp_path / "instant.json"
    path.write_text(content)
    with pytest.raises(LstError, match=rf"instant\.json: .*{reason}") as caught:
        load_instant(path, 2)
    assert caught.value.hint == "lst eval --instant --phase 2"
    assert "\n" not in caught.value.message


def test_a_group_that_is_missing_is_refused():
    record = _record()
    del record["segm"]["groups"][1]
    with pytest.raises(ValueError, match="the random rows were evaluated in another phase"):
        InstantMetrics.model_validate(_content(random=record))
