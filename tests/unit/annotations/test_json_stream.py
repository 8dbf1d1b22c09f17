from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lst_cli.annotations.json_problems import find_cut
from lst_cli.annotations.json_stream import ListStream
from lst_cli.errors import LstError


class Record(msgspec.Struct):
    id: int
    box: tuple[float, float] | None = None


DECODER: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[Record])


def ids_in(path: Path, block_size: int = 512 * 1024, **kwargs: Any) -> list[int]:
    """The ids of all records of the list "a"; rows must be told without gaps."""
    found: list[int] = []
    for key, row, records in ListStream(path, {"a": DECODER}, block_size=block_size, **kwargs):
        assert key == "a"
        assert row == len(found)
        found += [record.id for record in records]
    return found


def message_of(path: Path, block_size: int = 512 * 1024) -> str:
    with pytest.raises(LstError) as caught:
        ids_in(path, block_size)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("block_size", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        '{"a":[{"id":1},{"id":2},{"id":3}]}',
        '{"a" : [ {"id" : 1 } , {"id": 2}\n\t,\r\n{"id":3} ] }  \n',
        '{"x": [], "y": {"a": [{"id": 9}]}, "a": [{"id":1},{"id":2},{"id":3}], "z": null}',
        '{"z": [1, "],[", {"q": [2, 3]}], "a": [{"id":1},{"id":2},{"id":3}]}',
        '{"a": [{"s": "}, {", "id": 1}, {"s": "\\"}, {\\"", "id":2}, {"s": "\\\\", "id": 3}]}',
        '{"a": [{"n": [{"id": 5}, {"id": 6}], "id": 1}, {"id": 2, "n": [{}, {}]}, {"id": 3}]}',
        '{"v": -1.5e3, "w": "]}", "a": [{"id":1},{"id":2},{"id":3}]}',
        '\ufeff{"a": [{"id":1},{"id":2},{"id":3}]}',
    ],
)
def test_records_do_not_depend_on_blocks_or_spelling(
    write: Callable[..., Path], text: str, block_size: int
) -> None:
    assert ids_in(write(text), block_size) == [1, 2, 3]


@pytest.mark.parametrize("block_size", [1, 1 << 20])
def test_an_empty_list_has_no_records(write: Callable[..., Path], block_size: int) -> None:
    assert ids_in(write('{"a": [ ]}'), block_size) == []


def test_strings_longer_than_a_block_are_read_whole(write: Callable[..., Path]) -> None:
    path = write({"a": [{"id": 1, "s": "x" * 5000}, {"id": 2}], "info": ["y" * 5000]})
    assert ids_in(path, 100) == [1, 2]


def test_the_digest_is_that_of_the_bytes(write: Callable[..., Path]) -> None:
    path = write('{"a": []}  \n ')
    stream = ListStream(path, {"a": DECODER}, block_size=3, digest=True)
    assert list(stream) == [("a", 0, [])]
    assert stream.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_progress_ends_with_all_bytes(write: Callable[..., Path]) -> None:
    path = write({"a": [{"id": number} for number in range(50)]})
    calls: list[tuple[int, int | None]] = []
    ids_in(path, 100, progress=lambda what, done, total: calls.append((done, total)))
    size = path.stat().st_size
    assert calls[0] == (100, size)
    assert calls[-1] == (size, size)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


@pytest.mark.parametrize("block_size", [5, 1 << 20])
def test_every_cut_file_is_refused(write: Callable[..., Path], block_size: int) -> None:
    text = '{"i": {"b": 1}, "a": [{"id": 1, "s": "x"}, {"id": 2, "n": [1.5]}]}'
    for end in range(1, len(text)):
        message = message_of(write(text[:end]), block_size)
        assert f"ends after {end} bytes" in message, text[:end]


@pytest.mark.parametrize("block_size", [5, 1 << 20])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("hello", "is not valid JSON: expected an object (line 1, byte 0)"),
        ("[]", "the top level is a list, not an object"),
        ('{"b": []}', 'has no list "a"'),
        ("{}", 'has no list "a"'),
        ('{"a": {}}', '"a" is not a list'),
        ('{"a": null}', '"a" is not a list'),
        ('{"a": [], "a": []}', 'the key "a" stands twice'),
        ('{"a": []} x', "something stands behind the end of the top level (line 1, byte 10)"),
        ('{"a": [],}', "expected a key in quotes (line 1, byte 9)"),
        ('{"a" []}', "expected a colon (line 1, byte 5)"),
        ('{"a": [] "b": 1}', "expected a comma or } (line 1, byte 9)"),
        ('{"b": , "a": []}', '"b" has no value'),
        ('{"b": {"c": }, "a": []}', "is not valid JSON"),
        ('{"b": tru, "a": []}', "is not valid JSON"),
        (
            '{"a": [{"id": 1},]}',
            "'a' value in row 1: a comma without a value beside it (line 1, byte 17)",
        ),
        ('{"a": [,{"id": 1}]}', "is not valid JSON"),
        ('{"a": [{"id": 1},,{"id": 2}]}', "is not valid JSON"),
        ('{"a": [{"id": 1} {"id": 2}]}', "is not valid JSON"),
        ('{"a": [{"id": 1}}', "expected a comma or ] (line 1, byte 16)"),
        ('{"a": [{"id": 01}]}', "is not valid JSON"),
        ('{"a": [{"id": 1, "x": [1, 2}]}', "is not valid JSON"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(
    write: Callable[..., Path], text: str, reason: str, block_size: int
) -> None:
    assert reason in message_of(write(text), block_size)


@pytest.mark.parametrize("block_size", [16, 1 << 20])
def test_a_wrong_type_names_record_and_field(write: Callable[..., Path], block_size: int) -> None:
    records = [{"id": number, "box": [1, 2]} for number in range(40)]
    records[33]["box"] = [1, "two"]
    message = message_of(write({"a": records}), block_size)
    assert message.endswith(
        "'a' value in row 33 (id 33), field box[1]: expected a number, got text"
    )


def test_a_record_that_is_no_object_is_named(write: Callable[..., Path]) -> None:
    message = message_of(write('{"a": [{"id": 1}, 5]}'))
    assert message.endswith("'a' value in row 1: expected an object, got a whole number")


@pytest.mark.parametrize("block_size", [16, 1 << 20])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["box", "ignored"])
def test_numbers_json_does_not_have_are_named_with_their_place(
    write: Callable[..., Path], block_size: int, number: str, field: str
) -> None:
    lines = [f'{{"id": {row}, "{field}": [1.5, 2]}}' for row in range(20)]
    lines[12] = f'{{"id": 12, "{field}": [1.5, {number}]}}'
    text = '{"a": [\n' + ",\n".join(lines) + "\n]}"
    message = message_of(write(text), block_size)
    assert f"'a' value in row 12, field {field}: {number} is not a number (line 14, " in message
    place = text.index(number) + number.startswith("-")
    assert message.endswith(f"byte {place})")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [{"id": 1, "x": DEEP}]}',
        '{"a": [{"id": "one"}, {"id": 1, "x": DEEP}]}',
        '{"b": DEEP, "a": []}',
        '{"b": {"c": DEEP}, "a": []}',
    ],
)
def test_values_within_values_without_end_are_refused(
    write: Callable[..., Path], text: str
) -> None:
    message = message_of(write(text.replace("DEEP", "[" * 10**5 + "]" * 10**5)))
    assert (
        "is nested too deeply" in message
        or 'row 0 (id "one"), field id: expected a whole number' in message
    )


def test_text_that_is_not_utf8_is_refused(write: Callable[..., Path]) -> None:
    path = write(b'{"a": [{"id": 1, "name": "caf\xe9"}]}')
    named = msgspec.json.Decoder(list[dict[str, Any]])
    with pytest.raises(LstError, match=r"row 0: not UTF-8 text \(line 1, byte 29\)"):
        list(ListStream(path, {"a": named}))


def test_compressed_files_and_utf16_are_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(LstError, match="is compressed"):
        ids_in(write(b"\x1f\x8b\x08\x00rest"))
    assert "expected an object" in message_of(write('{"a": []}'.encode("utf-16")))


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LstError, match=r"no such file: .*nothing\.json"):
        ids_in(tmp_path / "nothing.json")
    with pytest.raises(LstError, match="cannot read"):
        ids_in(tmp_path)


def test_a_broken_record_is_found_before_the_file_is_in_memory(write: Callable[..., Path]) -> None:
    records = [{"id": number, "s": "abcdefgh"} for number in range(20_000)]
    text = json.dumps({"a": records}).replace('{"id": 3, "s": "abc', '{"id": 3, "s": abc', 1)
    path = write(text)
    done: list[int] = []
    with pytest.raises(LstError, match="row 3, field s"):
        ids_in(path, 1000, progress=lambda what, bytes_read, _: done.append(bytes_read))
    assert done[-1] <= 4000


def test_cuts_lie_between_elements_only() -> None:
    assert find_cut(b'{"a": [1, 2]}, {"b": 3}, {"c"', 0) == 23
    assert find_cut(b'{"a": [1, 2]}, {"b": 3}, {"c"', 0, first=True) == 13
    assert find_cut(b'{"a": "]"}], "x": [1, 2]', 0) == 10
    assert find_cut(b'{"a": ",', 0) == -1
    assert find_cut(b"", 0) == -1
    assert find_cut(b'"a,b", 2', 0, first=True) == 5
    assert find_cut(b'{"a": 1', 0, first=True) == -1
