"""What is wrong with a JSON file, and where: one line a user can act on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from lst_cli.errors import LstError

_BYTE = re.compile(r"\(byte (\d+)\)")
_WHERE = re.compile(r" - at `\$\[(\d+)\](.*)`$")
_NOT_A_NUMBER = re.compile(rb"-?(?:NaN|Infinity|nan|inf)")
_KEY = re.compile(rb'"([^"\\]*)"[ \t\r\n]*:')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)
_LISTS: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_ONE_OF = {
    "images": "image",
    "annotations": "annotation",
    "categories": "category",
    "detections": "detection",
}

_HINT = "give an LVIS or COCO annotation file, or repair it"
_HINTS = {
    "detections": "give a results file: a list of image_id, category_id, score, and bbox (x, y, "
    "width, height) or segmentation (compressed RLE)"
}


class _Identified(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw(b"")


class PieceError(Exception):
    """A piece of a list that msgspec refused.

    Args:
        path: The file.
        key: The list's key.
        row: Position in the list of the first record of the piece.
        start: Where the piece begins in the file.
        payload: The piece as it was decoded: one opening bracket in front of it.
        decoder: The decoder that refused it.
        cause: What msgspec raised.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        row: int,
        start: int,
        payload: bytes,
        decoder: msgspec.json.Decoder[list[Any]],
        cause: Exception,
    ) -> None:
        super().__init__(str(cause))
        self.path = path
        self.key = key
        self.row = row
        self.start = start
        self.payload = payload
        self.decoder = decoder
        self.cause = cause
        found = _BYTE.search(str(cause))
        self.at = int(found.group(1)) if found else None

    @property
    def malformed(self) -> bool:
        """Whether it is not JSON, rather than JSON of another type than wanted."""
        return isinstance(self.cause, msgspec.DecodeError) and not isinstance(
            self.cause, msgspec.ValidationError
        )


def malformed(path: Path, offset: int, reason: str) -> LstError:
    """Say that a file is not JSON and where it stops being JSON.

    Args:
        path: The file.
        offset: Bytes in front of the offending one.
        reason: What is wrong there.
    """
    return LstError(
        f"{path} is not valid JSON: {reason} (line {_line(path, offset)}, byte {offset})",
        "repair the file, or copy or download it again",
    )


def explain_decode_error(problem: PieceError) -> LstError:
    """Name the record and the field that a decoder stumbled over.

    Records in front of the offending one are looked at again, one by one;
    this happens once, just before the program gives up.
    """
    if isinstance(problem.cause, UnicodeDecodeError):
        return _explain_encoding(problem)
    if isinstance(problem.cause, RecursionError):
        return malformed(
            problem.path, problem.start, f'a value of "{problem.key}" is nested too deeply'
        )
    if problem.malformed:
        return _explain_malformed(problem)
    return _explain_type(problem)


def record_name(key: str, row: int, record: bytes | None = None) -> str:
    """Name a record by its position in its list and, if it has one, its id.

    Example:
        >>> record_name("images", 3, b'{"id": 17, "height": "a"}')
        'image in row 3 (id 17)'
    """
    name = f"{_ONE_OF.get(key, repr(key) + ' value')} in row {row}"
    if record is not None:
        try:
            number = bytes(msgspec.json.decode(record, type=_Identified).id)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return name
        if number:
            name += f" (id {number.decode('utf-8', 'replace')})"
    return name


def _explain_type(problem: PieceError) -> LstError:
    message, record = str(problem.cause), None
    where = _WHERE.search(message)
    row = problem.row + (int(where.group(1)) if where else 0)
    try:
        pieces = _LISTS.decode(problem.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pieces = []  # broken further on as well; msgspec's own index must do
    for index, raw in enumerate(pieces):
        try:
            problem.decoder.decode(b"[" + bytes(raw) + b"]")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            message, row, record = str(error), problem.row + index, bytes(raw)
            break
    where = _WHERE.search(message)  # now of the one record, without the others
    reason = _WHERE.sub("", message).replace("`", "")
    reason = reason[:1].lower() + reason[1:]
    field = where.group(2).lstrip(".") if where else ""
    at = f"{record_name(problem.key, row, record)}{f', field {field}' if field else ''}"
    return LstError(f"{problem.path}: {at}: {reason}", _HINTS.get(problem.key, _HINT))


def _explain_malformed(problem: PieceError) -> LstError:
    if problem.at is None:
        return malformed(
            problem.path, problem.start, f'a value of "{problem.key}" ends early or is broken'
        )
    before = problem.payload[: problem.at]
    # msgspec points behind the sign of -Infinity.
    begin = problem.at - before.endswith(b"-")
    offset = problem.start + problem.at - 1  # the payload has a bracket in front
    commas, record = _commas(before)
    row = problem.row + commas
    number = _NOT_A_NUMBER.match(problem.payload, begin)
    keys = _KEY.findall(before, record)
    field = f", field {keys[-1].decode('utf-8', 'replace')}" if keys else ""
    if number is None:
        reason = _BYTE.sub("", str(problem.cause)).split(": ", 1)[-1].strip()
        return malformed(problem.path, offset, f"{record_name(problem.key, row)}{field}: {reason}")
    return LstError(
        f"{problem.path}: {record_name(problem.key, row)}{field}: {number.group().decode()} is not "
        f"a number (line {_line(problem.path, offset)}, byte {offset})",
        "correct or remove it; JSON has neither NaN nor Infinity",
    )


def _explain_encoding(problem: PieceError) -> LstError:
    try:
        problem.payload.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = problem.start + error.start - 1
        commas, _ = _commas(problem.payload[: error.start])
        name = record_name(problem.key, problem.row + commas)
        return malformed(problem.path, offset, f"{name}: not UTF-8 text")
    return malformed(problem.path, problem.start, f'a text in "{problem.key}" is not UTF-8')


def _commas(payload: bytes) -> tuple[int, int]:
    """Count the commas between the records of a piece that begins with a bracket.

    Returns:
        How many there are, and where the record behind the last one begins.
    """
    depth, commas, record = 0, 0, 1
    for match in _TOKEN.finditer(payload, 1):
        token = match.group()
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif token == b"," and depth == 0:
            commas, record = commas + 1, match.end()
    return commas, record


def _line(path: Path, offset: int) -> int:
    """Return the line, from 1, of the byte at an offset."""
    line, left = 1, offset
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            line += block.count(b"\n")
            left -= len(block)
    return line
