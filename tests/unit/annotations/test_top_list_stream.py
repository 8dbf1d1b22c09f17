from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lst_cli.annotations.json_stream import TopListStream
from lst_cli.errors import LstError


class Record(msgspec.Struct):
    id: int
    box: tuple[float, float] | None = None


DECODER: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[Record])


def stream_of(path: Path, block_size: int = 512 * 1024, **keywords: Any) -> TopListStream:
    return TopListStream(
        path, "things", DECODER, hint="give a list of things", block_size=block_size, **keywords
    )


def ids_in(path: Path, block_size: int = 512 * 1024, **keywords: Any) -> list[int]:
    """The ids of all records; rows must be told without gaps."""
    found: list[int] = []
    stream = stream_of(path, block_size, **keywords)
    for key, row, records in stream:
        assert (key, row) == ("things", len(found))
        found += [record.id for record in records]
    assert stream.counts == {"things": len(found)}
    return found


def error_of(path: Path, block_size: int = 512 * 1024) -> LstError:
    with pytest.raises(LstError) as caught:
        ids_in(path, block_size)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("block_size", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        '[{"id":1},{"id":2},{"id":3}]',
        ' \n[ {"id" : 1 } , {"id": 2}\n\t,\r\n{"id":3} ]  \n',
        '[{"s": "}, {", "id": 1}, {"s": "\\"}, {\\"", "id":2}, {"s": "]\\\\", "id": 3}]',
        '[{"n": [{"id": 5}, {"id": 6}], "id": 1}, {"id": 2, "n": [{}, {}]}, {"id": 3}]',
        '\ufeff[{"id":1},{"id":2},{"id":3}]',
    ],
)
def test_records_do_not_depend_on_blocks_or_spelling(
    write: Callable[..., Path], text: str, block_size: int
) -> None:
    assert ids_in(write(text), block_size) == [1, 2, 3]


@pytest.mark.parametrize("block_size", [1, 1 << 20])
def test_an_empty_list_has_no_records(write: Callable[..., Path], block_size: int) -> None:
    assert ids_in(write(" [\n] "), block_size) == []


@pytest.mark.parametrize("block_size", [5, 1 << 20])
def test_every_cut_file_is_refused(write: Callable[..., Path], block_size: int) -> None:
    text = '[{"id": 1, "s": "x"}, {"id": 2, "n": [1.5]}]'
    for end in range(1, len(text)):
        message = error_of(write(text[:end]), block_size).message
        assert f'ends after {end} bytes in the middle of "things"' in message, text[:end]


@pytest.mark.parametrize("block_size", [5, 1 << 20])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("hello", "expected a list (line 1, byte 0)"),
        ("null", "expected a list (line 1, byte 0)"),
        ('\n "[]"', "expected a list (line 2, byte 2)"),
        ('{"a": []}', "the top level is an object, not a list"),
        ("[] x", "something stands behind the end of the top level (line 1, byte 3)"),
        ("[][]", "something stands behind the end of the top level (line 1, byte 2)"),
        ("[,]", "is not valid JSON"),
        ('[{"id": 1},]', "is not valid JSON"),
        ('[,{"id": 1}]', "is not valid JSON"),
        ('[{"id": 1},,{"id": 2}]', "is not valid JSON"),
        ('[{"id": 1} {"id": 2}]', "is not valid JSON"),
        ('[{"id": 1}}', "expected a comma or ]"),
        ('[{"id": NaN}]', "field id: NaN is not a number (line 1, byte 8)"),
    ],
)
def test_what_is_no_list_is_refused_with_its_place(
    write: Callable[..., Path], text: str, reason: str, block_size: int
) -> None:
    assert reason in error_of(write(text), block_size).message


def test_an_object_at_the_top_is_told_with_what_to_give_instead(write: Callable[..., Path]) -> None:
    assert error_of(write({"things": []})).hint == "give a list of things"


@pytest.mark.parametrize("block_size", [16, 1 << 20])
def test_a_wrong_type_names_record_and_field(write: Callable[..., Path], block_size: int) -> None:
    records = [{"id": number, "box": [1, 2]} for number in range(40)]
    records[33]["box"] = [1, "two"]
    message = error_of(write(json.dumps(records)), block_size).message
    assert message.endswith(
        "'things' value in row 33 (id 33), field box[1]: expected a number, got text"
    )


def test_progress_ends_with_all_bytes(write: Callable[..., Path]) -> None:
    path = write(json.dumps([{"id": number} for number in range(50)]))
    calls: list[tuple[int, int | None]] = []
    ids_in(path, 100, progress=lambda what, done, total: calls.append((done, total)))
    size = path.stat().st_size
    assert calls[0] == (100, size)
    assert calls[-1] == (size, size)


def test_a_broken_record_is_found_before_the_file_is_in_memory(write: Callable[..., Path]) -> None:
    text = json.dumps([{"id": number, "s": "abcdefgh"} for number in range(20_000)])
    path = write(text.replace('{"id": 3, "s": "abc', '{"id": 3, "s": abc', 1))
    done: list[int] = []
    with pytest.raises(LstError, match="row 3, field s"):
        ids_in(path, 1000, progress=lambda what, bytes_read, _: done.append(bytes_read))
    assert done[-1] <= 4000


def test_compressed_files_and_missing_ones_are_refused(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    assert "is compressed" in error_of(write(b"\x1f\x8b\x08\x00rest")).message
    assert "no such file" in error_of(tmp_path / "nothing.json").message
