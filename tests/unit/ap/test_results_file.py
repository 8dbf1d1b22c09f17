from __future__ import annotations

import json
import re

import pytest

from lst_cli.ap.results_file import Boxed, Masked, ResultsFile, Scored
from lst_cli.errors import LstError

RLE = {"size": [4, 5], "counts": "62O1"}
ROW = {"image_id": 5, "category_id": 1, "score": 0.5, "bbox": [0, 1, 2, 3], "segmentation": RLE}


def file_of(folder, content):
    path = folder / "results.json"
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ResultsFile(path)


def rows_of(source, record=Boxed):
    return [one for _, records in source.blocks(record) for one in records]


def error_of(source, record=Boxed):
    with pytest.raises(LstError) as caught:
        rows_of(source, record)
    assert str(source.path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_every_row_is_read_with_the_fields_that_are_wanted(tmp_path):
    calls: list[tuple[int, int | None]] = []
    source = file_of(tmp_path, [ROW | {"score": n / 7, "image_id": n - 2} for n in range(5)])
    source = ResultsFile(source.path, lambda what, done, total: calls.append((done, total)))
    found = rows_of(source)
    assert calls == [(source.path.stat().st_size,) * 2]
    assert [(one.image_id, one.category_id, one.score) for one in found] == [
        (n - 2, 1, n / 7) for n in range(5)
    ]
    assert [one.bbox for one in found] == [(0, 1, 2, 3)] * 5
    assert not hasattr(rows_of(source, Scored)[0], "bbox")
    shapes = [source.decode_mask(0, one.segmentation) for one in rows_of(source, Masked)]
    assert shapes == [((4, 5), "62O1")] * 5


def test_a_file_is_read_in_blocks_with_the_row_of_the_first(tmp_path):
    source = file_of(tmp_path, [ROW | {"category_id": n, "note": "x" * 900} for n in range(2000)])
    blocks = list(source.blocks(Scored))
    assert len(blocks) > 2
    assert [one.category_id for _, block in blocks for one in block] == list(range(2000))
    assert all(block[0].category_id == first for first, block in blocks)


def test_more_fields_and_whole_numbers_do_no_harm(tmp_path):
    row = {"id": 3, "area": "?", "note": {"a": [1, {}]}, **ROW, "score": 1, "bbox": [1, 2, 3, 4]}
    (found,) = rows_of(file_of(tmp_path, [row]))
    assert (found.score, found.bbox) == (1.0, (1.0, 2.0, 3.0, 4.0))
    assert isinstance(found.score, float)


def test_an_empty_list_has_no_rows_and_a_byte_order_mark_is_passed_over(tmp_path):
    assert rows_of(file_of(tmp_path, " [ ]\n")) == []
    assert len(rows_of(file_of(tmp_path, "\ufeff" + json.dumps([ROW])))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("{}", "the top level is an object, not a list"),
        ("7", "is not valid JSON: expected a list"),
        (json.dumps([ROW, ROW])[:-25], 'ends after .* in the middle of "detections"'),
        ("[", "ends after 1 bytes"),
        (json.dumps([ROW]) + "]", "something stands behind the end of the top level"),
        (json.dumps([ROW]).replace("}]", "},]"), "a comma without a value"),
        (json.dumps([ROW]).encode("utf-16"), "expected a list"),
        ("[" * 10**5 + "]" * 10**5, "expected an object, got a list"),
        ('[{"image_id": ' + "[" * 10**5 + "]" * 10**5 + "}]", "detection in row 0"),
        ('[{"note": ' + "[" * 10**5 + "]" * 10**5 + "}]", "nested too deeply"),
        ([ROW, 7], "detection in row 1: expected an object, got a whole number"),
    ],
)
def test_what_is_no_list_of_detections_is_refused(tmp_path, content, message):
    error = error_of(file_of(tmp_path, content))
    assert re.search(message, error.message), error.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "5"}, "field image_id: expected a whole number, got text"),
        ({"image_id": 5.5}, "field image_id: expected a whole number, got a number"),
        ({"image_id": None}, "field image_id: expected a whole number, got null"),
        ({"image_id": 2**63}, "field image_id: expected a whole number <= 9223372036854775807"),
        ({"category_id": -(10**40)}, "field category_id: expected a whole number >= -92233720368"),
        ({"category_id": True}, "field category_id: expected a whole number, got true or false"),
        ({"score": "high"}, "field score: expected a number, got text"),
        ({"score": None}, "field score: expected a number, got null"),
        ({"score": 10**400}, "field score: number out of range"),
        ({"score": float("nan")}, "field score: NaN is not a number (line 1, byte "),
        ({"score": float("-inf")}, "field score: -Infinity is not a number (line 1, byte "),
        ({"bbox": [0, 0, float("inf"), 1]}, "field bbox: Infinity is not a number"),
        ({"bbox": [0, 0, 1]}, "field bbox: expected four numbers"),
        ({"bbox": [0, 0, 1, 1, 1]}, "field bbox: expected four numbers"),
        ({"bbox": {"x": 1}}, "field bbox: expected a list, got an object"),
        ({"bbox": [0, 0, 1, None]}, "field bbox[3]: expected a number, got null"),
    ],
)
def test_a_bad_field_is_named_with_its_row(tmp_path, change, message):
    error = error_of(file_of(tmp_path, [ROW, ROW, ROW | change]))
    assert f"detection in row 2, {message}" in error.message


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "bbox", "segmentation"])
def test_a_missing_field_is_named_with_its_row_unless_it_is_not_asked_for(tmp_path, key):
    source = file_of(tmp_path, [ROW, {name: ROW[name] for name in ROW if name != key}])
    error = error_of(source, Masked if key == "segmentation" else Boxed)
    assert f"detection in row 1: object missing required field {key}" in error.message
    if key in ("bbox", "segmentation"):
        assert error.hint == f"--iou-type {'segm' if key == 'bbox' else 'bbox'}"
        assert len(rows_of(source, Scored)) == 2


@pytest.mark.parametrize(
    "shape",
    [
        None, 7, "62O1", [], [[0, 0, 4, 0, 4, 4]], {}, {"size": [4, 5]}, {"counts": "62O1"},
        {"size": [4], "counts": "62O1"}, {"size": [4.5, 5], "counts": "62O1"},
        {"size": [4, 5], "counts": [6, 2, 12]}, {"size": [4, 5], "counts": None},
    ],
)  # fmt: skip
def test_other_shapes_than_compressed_runs_are_not_parsed(tmp_path, shape):
    source = file_of(tmp_path, [ROW | {"segmentation": shape}])
    (record,) = rows_of(source, Masked)
    with pytest.raises(LstError, match="detection 8 has a segmentation that is not a compressed"):
        source.decode_mask(8, record.segmentation)


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in error_of(ResultsFile(tmp_path / "none.json")).message
    with pytest.raises(LstError, match="it is a directory, not a regular file"):
        rows_of(ResultsFile(tmp_path))
