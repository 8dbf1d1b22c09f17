from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lst_cli.annotations import json_stream
from lst_cli.annotations.json_stream import ListStream, find_cut
from lst_cli.errors import LstError


class Record(msgspec.Struct):
    id: int
    box: tuple[float, float] | None = None


THINGS: dict[str, Any] = {"things": msgspec.json.Decoder(list[Record])}


@pytest.fixture(autouse=True)
def block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of the size that a test is parametrized with."""
    if hasattr(request, "param"):
        monkeypatch.setattr(json_stream, "BLOCK_SIZE", request.param)


blocks = pytest.mark.parametrize("block_size", [5, 1 << 20], indirect=True)


def ids_in(path: Path, **options: Any) -> list[int]:
    """The ids of all records; rows must be counted without gaps."""
    found: list[int] = []
    for key, row, records in ListStream(path, THINGS, **options):
        assert (key, row) == ("things", len(found))
        found += [record.id for record in records]
    return found


def error_of(path: Path, **options: Any) -> LstError:
    with pytest.raises(LstError) as caught:
        ids_in(path, **options)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("block_size", [3, 4, 7, 64, 1 << 20], indirect=True)
@pytest.mark.parametrize(
    "text",
    [
        '[{"id":1},{"id":2},{"id":3}]',
        ' \n[ {"id" : 1 } , {"id": 2}\n\t,\r\n{"id":3} ]  \n',
        '[{"s": "}, {", "id": 1}, {"s": "\\"}, {\\"", "id":2}, {"s": "]\\\\", "id": 3}]',
        '[{"n": [{"id": 5}, {"id": 6}], "id": 1}, {"id": 2, "n": [{}, {}]}, {"id": 3}]',
        '[{"id": 1, "s": "' + "x" * 5000 + '"}, {"id": 2}, {"id": 3}]',
    ],
)
@pytest.mark.parametrize(
    "top",
    [
        "TEXT",
        "\ufeffTEXT",
        '{"things":TEXT}',
        '\ufeff{"things" : TEXT }  \n',
        '{"x": [], "y": {"things": [{"id": 9}]}, "things": TEXT, "z": null}',
        '{"z": [1, "],[", {"q": [2, 3]}], "things": TEXT}',
        '{"v": -1.5e3, "w": "]}", "info": ["' + "y" * 5000 + '"], "things": TEXT}',
    ],
)
def test_records_do_not_depend_on_blocks_or_spelling(write, text, top):
    hint = "" if "{" in top else "give a list"
    assert ids_in(write(top.replace("TEXT", text)), list_hint=hint) == [1, 2, 3]


@blocks
def test_an_empty_list_has_no_records(write):
    assert ids_in(write('{"things": [ ]}')) == []
    assert ids_in(write(" [\n] "), list_hint="give a list") == []


@pytest.mark.parametrize("block_size", [3], indirect=True)
def test_the_digest_is_that_of_the_bytes(write):
    path = write('{"things": []}  \n ')
    stream = ListStream(path, THINGS, digest=True)
    assert list(stream) == [("things", 0, [])]
    assert stream.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("block_size", [100], indirect=True)
def test_progress_ends_with_all_bytes(write):
    path = write({"things": [{"id": number} for number in range(50)]})
    calls: list[tuple[int, int | None]] = []
    ids_in(path, progress=lambda what, done, total: calls.append((done, total)))
    size = path.stat().st_size
    assert (calls[0], calls[-1]) == ((100, size), (size, size))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


@blocks
@pytest.mark.parametrize(
    ("text", "hint", "inside"),
    [
        ('{"i": {"b": 1}, "things": [{"id": 1, "s": "x"}, {"id": 2, "n": [1.5]}]}', "", ""),
        ('[{"id": 1, "s": "x"}, {"id": 2, "n": [1.5]}]', "give a list", ' of "things"'),
    ],
)
def test_every_cut_file_is_refused(write, text, hint, inside):
    for end in range(1, len(text)):
        message = error_of(write(text[:end]), list_hint=hint).message
        assert f"ends after {end} bytes in the middle{inside}" in message, text[:end]


@blocks
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        (b"\x1f\x8b\x08\x00rest", "is compressed"),
        ("hello", "is not valid JSON: expected an object (line 1, byte 0)"),
        ('{"a": []}'.encode("utf-16"), "expected an object"),
        ("[]", "the top level is a list, not an object"),
        ('{"b": []}', 'has no list "things"'),
        ("{}", 'has no list "things"'),
        ('{"things": {}}', '"things" is not a list'),
        ('{"things": null}', '"things" is not a list'),
        ('{"a": [], "a": []}', 'the key "a" stands twice'),
        ('{"things": []} x', "something stands behind the end of the top level (line 1, byte 15)"),
        ('{"a": [],}', "expected a key in quotes (line 1, byte 9)"),
        ('{"a" []}', "expected a colon (line 1, byte 5)"),
        ('{"a": [] "b": 1}', "expected a comma or } (line 1, byte 9)"),
        ('{"b": , "a": []}', '"b" has no value'),
        ('{"b": {"c": }, "a": []}', "is not valid JSON"),
        ('{"b": tru, "a": []}', "is not valid JSON"),
        ('{"things": [{"id": 1, "x": [1, 2}]}', "is not valid JSON"),
    ],
)
def test_what_is_no_object_of_lists_is_refused_with_its_place(write, text, reason):
    assert reason in error_of(write(text)).message


@blocks
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("null", "expected a list (line 1, byte 0)"),
        ('\n "[]"', "expected a list (line 2, byte 2)"),
        ('{"things": []}', "the top level is an object, not a list"),
        ("[] x", "something stands behind the end of the top level (line 1, byte 3)"),
        ("[][]", "something stands behind the end of the top level (line 1, byte 2)"),
        ("[,]", "a comma without a value beside it (line 1, byte 1)"),
        ('[{"id": 1},]', "thing in row 1: a comma without a value beside it (line 1, byte 11)"),
        ('[,{"id": 1}]', "is not valid JSON"),
        ('[{"id": 1},,{"id": 2}]', "is not valid JSON"),
        ('[{"id": 1} {"id": 2}]', "is not valid JSON"),
        ('[{"id": 1}}', "expected a comma or ] (line 1, byte 10)"),
        ('[{"id": 01}]', "is not valid JSON"),
        ('[{"id": 1}, 5]', "thing in row 1: expected an object, got a whole number"),
    ],
)
def test_what_is_no_list_of_records_is_refused_with_its_place(write, text, reason):
    error = error_of(write(text), list_hint="give a list")
    assert reason in error.message
    assert "not a list" not in reason or error.hint == "give a list"
    if text.startswith("[{"):
        assert reason.split(" (")[0] in error_of(write(f'{{"things": {text}}}')).message


@pytest.mark.parametrize("block_size", [16, 1 << 20], indirect=True)
def test_a_wrong_type_names_record_and_field(write):
    records: list[dict[str, Any]] = [{"id": number, "box": [1, 2]} for number in range(40)]
    records[33]["box"] = [1, "two"]
    message = error_of(write({"things": records})).message
    assert message.endswith("thing in row 33 (id 33), field box[1]: expected a number, got text")


@pytest.mark.parametrize("block_size", [16, 1 << 20], indirect=True)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["box", "ignored"])
def test_numbers_json_does_not_have_are_named_with_their_place(write, number, field):
    lines = [f'{{"id": {row}, "{field}": [1.5, 2]}}' for row in range(20)]
    lines[12] = f'{{"id": 12, "{field}": [1.5, {number}]}}'
    text = '{"things": [\n' + ",\n".join(lines) + "\n]}"
    message = error_of(write(text)).message
    assert f"thing in row 12, field {field}: {number} is not a number (line 14, " in message
    assert message.endswith(f"byte {text.index(number) + number.startswith('-')})")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"things": [{"id": 1, "x": DEEP}]}', "is nested too deeply"),
        (
            '{"things": [{"id": "one"}, {"id": 1, "x": DEEP}]}',
            'row 0 (id "one"), field id: expected a whole number',
        ),
        ('{"b": DEEP, "things": []}', "is nested too deeply"),
        ('{"b": {"c": DEEP}, "things": []}', "is nested too deeply"),
    ],
)
def test_values_within_values_without_end_are_refused(write, text, reason):
    assert reason in error_of(write(text.replace("DEEP", "[" * 10**5 + "]" * 10**5))).message


def test_text_that_is_not_utf8_is_refused(write):
    path = write(b'{"a": [{"id": 1, "name": "caf\xe9"}]}')
    named: Any = msgspec.json.Decoder(list[dict[str, Any]])
    with pytest.raises(LstError, match=r"row 0: not UTF-8 text \(line 1, byte 29\)"):
        list(ListStream(path, {"a": named}))


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    assert error_of(tmp_path / "nothing.json").message.startswith("no such file: ")
    assert "cannot read" in error_of(tmp_path).message


@pytest.mark.parametrize("block_size", [1000], indirect=True)
def test_a_broken_record_is_found_before_the_file_is_in_memory(write):
    text = json.dumps({"things": [{"id": row, "s": "abcdefgh"} for row in range(20_000)]})
    path = write(text.replace('{"id": 3, "s": "abc', '{"id": 3, "s": abc', 1))
    done: list[int] = []
    error = error_of(path, progress=lambda what, bytes_read, _: done.append(bytes_read))
    assert "row 3, field s" in error.message
    assert done[-1] <= 4000


def test_cuts_lie_between_elements_only():
    assert find_cut(b'{"a": [1, 2]}, {"b": 3}, {"c"', 0) == 23
    assert find_cut(b'{"a": [1, 2]}, {"b": 3}, {"c"', 0, first=True) == 13
    assert find_cut(b'{"a": "]"}], "x": [1, 2]', 0) == 10
    assert find_cut(b'{"a": ",', 0) == -1
    assert find_cut(b"", 0) == -1
    assert find_cut(b'"a,b", 2', 0, first=True) == 5
    assert find_cut(b'{"a": 1', 0, first=True) == -1
