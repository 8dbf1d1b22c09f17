"""What is wrong with a JSON file, and where: one line a user can act on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from lst_cli.errors import LstError

NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that is not what it should be."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")
_WHERE = re.compile(r" - at `\$\[0\]\.?(.*)`$")
_NOT_A_NUMBER = re.compile(rb"-?(?:NaN|Infinity|nan|inf)")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_KEY = re.compile(rb'"([^"\\]*)"[ \t\r\n]*:')
_ONE_OF = {
    "images": "image",
    "annotations": "annotation",
    "categories": "category",
    "detections": "detection",
}
_TYPES = re.compile(r"`([^`]*)`")
_WORDS = {
    "bool | int | null": "0 or 1",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "array": "a list",
    "object": "an object",
}

_HINT = "give an LVIS or COCO annotation file, or repair it"
_HINTS = {
    "detections": "give a results file: a list of image_id, category_id, score, and bbox (x, y, "
    "width, height) or segmentation (compressed RLE)"
}


class _Identified(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw(b"")


def find_cut(data: bytes, start: int, *, first: bool = False) -> int:
    """Find where whole elements of a JSON list or object end.

    Args:
        data: Bytes of the list, possibly cut anywhere at the end.
        start: Where an element begins, or where the list ends.
        first: Whether to stop at the first comma.

    Returns:
        Position of the bracket that closes the list; else of the last comma
        between elements, or the first; -1 when no element is complete.

    Example:
        >>> find_cut(b'{"a": "],{"}, {"b": [1, 2', 0)
        12
    """
    depth, comma = 0, -1
    for match in _TOKEN.finditer(data, start):
        token = match.group()
        if token == b'"':  # a string that goes on behind the end of data
            break
        if token == b",":
            if depth == 0:
                comma = match.start()
                if first:
                    break
        elif token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            if depth == 0:
                return match.start()
            depth -= 1
    return comma


def malformed(path: Path, offset: int, reason: str) -> LstError:
    """Say that a file is not JSON, why, and in which line and byte."""
    return LstError(
        f"{path} is not valid JSON: {reason} ({_place(path, offset)})",
        "repair the file, or copy or download it again",
    )


def byte_of(error: Exception) -> int | None:
    """Where a decoder stopped, in bytes from the start; None if it does not tell."""
    found = _BYTE.search(str(error))
    return int(found.group(1)) if found else None


def explain(
    path: Path,
    key: str,
    row: int,
    start: int,
    piece: bytes,
    decoder: msgspec.json.Decoder[list[Any]],
) -> LstError:
    """Name the record and the field that a decoder refused.

    The records are decoded again, one by one; this happens once, before the program gives up.

    Args:
        path: The file.
        key: Name of the list.
        row: Position in the list of the first record of the piece.
        start: Where the piece begins in the file.
        piece: Records of the list.
        decoder: The decoder that refused them.
    """
    begin = 0
    while begin <= len(piece):
        end = find_cut(piece, begin, first=True)
        record = piece[begin : end if end >= 0 else len(piece)]
        name, offset = f"{_ONE_OF.get(key, repr(key) + ' value')} in row {row}", start + begin
        if not record.strip():
            return malformed(path, offset, f"{name}: a comma without a value beside it")
        try:
            decoder.decode(b"[" + record + b"]")
        except RecursionError:
            return malformed(path, offset, f'a value of "{key}" is nested too deeply')
        except UnicodeDecodeError:
            text = record.decode("utf-8", "surrogateescape")  # stands for bad bytes by U+DC80...
            at = len(_NOT_UTF8.split(text, 1)[0].encode())
            return malformed(path, offset + at, f"{name}: not UTF-8 text")
        except msgspec.ValidationError as error:
            field = _WHERE.search(str(error))
            name += _id(record) + (f", field {field[1]}" if field and field[1] else "")
            reason = _TYPES.sub(_in_words, _WHERE.sub("", str(error)))
            reason = reason.replace("a list of length 4", "four numbers")
            reason = reason[:1].lower() + reason[1:]
            return LstError(f"{path}: {name}: {reason}", _HINTS.get(key, _HINT))
        except msgspec.DecodeError as error:
            return _explain_syntax(path, name, offset, record, error)
        begin, row = begin + len(record) + 1, row + 1
    return malformed(path, start, f'a value of "{key}" is broken')


def _in_words(types: re.Match[str]) -> str:
    """What msgspec calls types, as a user calls them."""
    text = types.group(1)
    kinds = [text] if text in _WORDS else text.removesuffix(" | null").split(" | ")
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds)


def _explain_syntax(
    path: Path, name: str, offset: int, record: bytes, error: Exception
) -> LstError:
    at = (byte_of(error) or 1) - 1  # without the bracket before the record
    keys = _KEY.findall(record, 0, at)
    name += f", field {keys[-1].decode('utf-8', 'replace')}" if keys else ""
    # msgspec points behind the sign of -Infinity.
    number = _NOT_A_NUMBER.match(record, at - record[:at].endswith(b"-"))
    if number is None:
        reason = _BYTE.sub("", str(error)).split(": ", 1)[-1].strip()
        return malformed(path, offset + at, f"{name}: {reason}")
    return LstError(
        f"{path}: {name}: {number[0].decode()} is not a number ({_place(path, offset + at)})",
        "correct or remove it; JSON has neither NaN nor Infinity",
    )


def _id(record: bytes) -> str:
    try:
        number = bytes(msgspec.json.decode(record, type=_Identified).id)
    except NOT_DECODED:
        return ""
    return f" (id {number.decode('utf-8', 'replace')})" if number else ""


def _place(path: Path, offset: int) -> str:
    """Say in which line, from 1, the byte at an offset is."""
    line, left = 1, offset
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            line += block.count(b"\n")
            left -= len(block)
    return f"line {line}, byte {offset}"
