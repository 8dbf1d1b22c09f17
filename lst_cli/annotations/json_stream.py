"""The lists of a large JSON file, record by record, without holding the file.

An annotation file is one object with a few long lists. Decoding it whole costs gigabytes,
most of them for segmentations nobody looks at yet, so it is read in small blocks. Each block is
cut between two records, and msgspec decodes the piece before the cut into typed records that
keep only wanted fields.

Where to cut is guessed first: the last ``}, {`` of the block. The guess may lie inside a string
or a nested list, and need not be trusted: a piece that begins at a record and is a valid list
when brackets are put around it ends at the end of a record. A piece that is not valid is cut
again by `find_cut`, which knows strings and depth; it is exact and slower.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from lst_cli.errors import LstError
from lst_cli.files import open_regular
from lst_cli.progress import Progress, silent

BLOCK_SIZE = 128 * 1024
"""Bytes read at once; larger blocks take new memory each time, which costs a tenth more."""


class Decoder(Protocol):
    """Decodes a list of records, with msgspec's errors."""

    def decode(self, text: bytes, /) -> list[Any]: ...  # noqa: D102


RAW: Decoder = msgspec.json.Decoder(list[msgspec.Raw])
"""Records as they stand in the file."""

Rows = tuple[str, int, list[Any]]
"""The key of a list, the row of the first of some records in it, and the records."""

LVIS_HINT = "give an LVIS or COCO annotation file, or repair it"

_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_IDENTIFIED: Any = msgspec.defstruct("Identified", [("id", msgspec.Raw, msgspec.Raw(b""))])
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOP = "the top level"
_QUOTE, _COMMA, _OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE = b'",[]{}'
_NO_SPACE = re.compile(rb"[^ \t\r\n]")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TOKEN = re.compile(_STRING.pattern + rb'|["\[\]{},]', re.DOTALL)
_NESTED_TOKEN = re.compile(_STRING.pattern + rb'|["\[\]{}]', re.DOTALL)
_LAST_BETWEEN_RECORDS = re.compile(rb".*\}[ \t\r\n]*(,)[ \t\r\n]*\{", re.DOTALL)
_KEY = re.compile(rb'"([^"\\]*)"[ \t\r\n]*:')
_NOT_A_NUMBER = re.compile(rb"-?(?:NaN|Infinity|nan|inf)")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
# In what msgspec says: the byte, the field, and types.
_BYTE = re.compile(r" \(byte (\d+)\)")
_WHERE = re.compile(r" - at `\$\[0\]\.?(.*)`$")
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


@dataclass(eq=False)
class ListStream:
    """One pass over a file whose top level is an object of lists, or one list.

    Iterating yields `Rows`. Keys may stand in any order. What has no decoder is checked to be JSON
    and dropped; text in it may be other than UTF-8.
    """

    path: Path
    decoders: Mapping[str, Decoder]  # for each key whose list is wanted
    _: KW_ONLY
    list_hint: str = ""  # if the top level is the list of the one key: what to give instead
    everything: bool = False  # yield raw what has no decoder, too; what is no list has row -1
    progress: Progress = silent  # called with bytes read and bytes in the file after each block
    digest: bool = False  # whether to compute `sha256`
    sha256: str = field(default="", init=False)  # of the file, known at the end

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256() if self.digest else None
        self._counts: dict[str, int] = {}  # records yielded, by key
        self._file: BinaryIO
        self._size = self._done = 0  # bytes in the file, and read
        self._buffer, self._position = b"", 0  # the next byte to parse, within the buffer

    def __iter__(self) -> Iterator[Rows]:
        """Yield the records; an `LstError` if the file is no JSON of this form with all lists."""
        try:
            with open_regular(self.path) as self._file:
                self._size = os.fstat(self._file.fileno()).st_size
                self._begin()
                yield from self._records(*self.decoders) if self.list_hint else self._members()
                if self._peek(None) is not None:
                    raise self._malformed("something stands behind the end of the top level")
        except FileNotFoundError as error:
            raise LstError(f"no such file: {self.path}", "give the path of the file") from error
        except OSError as error:
            raise LstError(
                f"cannot read {self.path}: {error.strerror or error}",
                "give a regular file that you can read",
            ) from error
        if self._hash is not None:
            self.sha256 = self._hash.hexdigest()

    def _begin(self) -> None:
        self._read_more()
        if self._buffer.startswith(b"\x1f\x8b"):
            packed = shlex.quote(str(self.path))
            raise LstError(f"{self.path} is compressed", f"gzip -dc < {packed} > NEW.json")
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            self._position = len(_BYTE_ORDER_MARK)
        first = self._peek(None)
        if first is None:
            raise LstError(f"{self.path} is empty", "copy or download it again")
        if first == (_OPEN if self.list_hint else _OPEN_LIST):
            what = "an object, not a list" if self.list_hint else "a list, not an object"
            hint = self.list_hint or "give an annotation file, not a file of detections"
            raise LstError(f"{self.path}: the top level is {what}", hint)

    def _members(self) -> Iterator[Rows]:
        byte = self._expect(b"{", "an object")
        if self._peek(_TOP) == _CLOSE:
            byte = self._expect(b"}", "}")
        while byte != _CLOSE:
            yield from self._member()
            byte = self._expect(b",}", "a comma or }")
        for key in self.decoders:
            if key not in self._counts:
                raise LstError(f'{self.path} has no list "{key}"', LVIS_HINT)

    def _member(self) -> Iterator[Rows]:
        if self._peek(_TOP) != _QUOTE:
            raise self._malformed("expected a key in quotes")
        while (match := _STRING.match(self._buffer, self._position)) is None:
            self._require_more("a key")
        try:
            key = msgspec.json.decode(match[0], type=str)
        except _NOT_DECODED as error:
            raise self._malformed("a key is not a string") from error
        self._position = match.end()
        self._expect(b":", "a colon")
        if key in self._counts:
            raise self._malformed(f'the key "{key}" stands twice')
        self._counts[key] = 0
        if self._peek(f'"{key}"') == _OPEN_LIST:
            yield from self._records(key)
            return
        if key in self.decoders:
            raise LstError(f'{self.path}: "{key}" is not a list', LVIS_HINT)
        while (cut := find_cut(self._buffer, self._position, first=True)) < 0:
            self._require_more(f'"{key}"')
        value = self._decode_or_explain(key, cut)
        if len(value) != 1:
            raise self._malformed(f'"{key}" has no value')
        self._position = cut
        if self.everything:
            yield key, -1, value

    def _records(self, key: str) -> Iterator[Rows]:
        byte = self._expect(b"[", "a list")
        self._counts[key] = 0
        while byte != _CLOSE_LIST:
            records, byte = self._next_records(key)
            if not records and (byte == _COMMA or self._counts[key]):
                raise self._malformed("a comma without a value beside it", -1)
            if self.everything or key in self.decoders:
                yield key, self._counts[key], records
            self._counts[key] += len(records)

    def _next_records(self, key: str) -> tuple[list[Any], int]:
        """Read records up to a comma or the end of their list, and that byte."""
        while True:
            guess = _LAST_BETWEEN_RECORDS.match(self._buffer, self._position)
            if guess is not None:
                try:
                    records = self._decode(key, guess.start(1))
                except _NOT_DECODED:
                    pass  # a bad guess or a bad file: the exact cut below will tell
                else:
                    self._position = guess.end(1)
                    return records, _COMMA
            elif len(self._buffer) - self._position < BLOCK_SIZE and self._read_more():
                continue  # to guess again, which is cheaper than the exact cut
            cut = find_cut(self._buffer, self._position)
            if cut >= 0:
                records = self._decode_or_explain(key, cut)
                self._position = cut
                return records, self._expect(b",]", "a comma or ]")
            # Else a missing quote would make the buffer grow to the size of the file.
            if len(self._buffer) - self._position >= BLOCK_SIZE:
                self._decode_or_explain(key, len(self._buffer), cut_short=True)
            self._require_more(f'"{key}"')

    def _decode(self, key: str, cut: int) -> list[Any]:
        piece = memoryview(self._buffer)[self._position : cut]
        return self.decoders.get(key, RAW).decode(b"".join((b"[", piece, b"]")))

    def _decode_or_explain(self, key: str, cut: int, *, cut_short: bool = False) -> list[Any]:
        try:
            return self._decode(key, cut)
        except _NOT_DECODED as error:
            # Close to the end of the buffer it may be a number or escape that is merely cut.
            byte = _BYTE.search(str(error))
            if cut_short and (byte is None or int(byte[1]) >= cut - self._position - 14):
                return []
            raise self._explain(key, self._buffer[self._position : cut]) from error

    def _explain(self, key: str, piece: bytes) -> LstError:
        """Name the record and field that are refused, by decoding the records one by one."""
        decoder, row, begin = self.decoders.get(key, RAW), self._counts[key], 0
        one_of = "category" if key == "categories" else key.removesuffix("s")
        while True:
            end = find_cut(piece, begin, first=True)
            record = piece[begin : end if end >= 0 else len(piece)]
            name = f"{one_of} in row {row}"
            if not record.strip():
                return self._malformed(f"{name}: a comma without a value beside it", begin)
            try:
                decoder.decode(b"[" + record + b"]")
            except RecursionError:
                return self._malformed(f'a value of "{key}" is nested too deeply', begin)
            except UnicodeDecodeError:
                text = record.decode("utf-8", "surrogateescape")  # bad bytes as U+DC80...
                at = len(_NOT_UTF8.split(text, 1)[0].encode())
                return self._malformed(f"{name}: not UTF-8 text", begin + at)
            except msgspec.ValidationError as error:
                where = _WHERE.search(str(error))
                name += _id(record) + (f", field {where[1]}" if where and where[1] else "")
                reason = _TYPES.sub(_in_words, _WHERE.sub("", str(error)))
                reason = reason.replace("a list of length 4", "four numbers")
                reason = reason[:1].lower() + reason[1:]
                return LstError(f"{self.path}: {name}: {reason}", self.list_hint or LVIS_HINT)
            except msgspec.DecodeError as error:
                byte = _BYTE.search(str(error))
                at = int(byte[1]) - 1 if byte else 0  # without the bracket before the record
                keys = _KEY.findall(record, 0, at)
                name += f", field {keys[-1].decode('utf-8', 'replace')}" if keys else ""
                # msgspec points behind the sign of -Infinity.
                number = _NOT_A_NUMBER.match(record, at - record[:at].endswith(b"-"))
                if number is None:
                    reason = _BYTE.sub("", str(error)).split(": ", 1)[-1]
                    return self._malformed(f"{name}: {reason}", begin + at)
                what = f"{number[0].decode()} is not a number ({self._place(begin + at)})"
                hint = "correct or remove it; JSON has neither NaN nor Infinity"
                return LstError(f"{self.path}: {name}: {what}", hint)
            begin, row = begin + len(record) + 1, row + 1

    def _malformed(self, reason: str, ahead: int = 0) -> LstError:
        """Say that the file is not JSON, where it is so many bytes ahead."""
        return LstError(
            f"{self.path} is not valid JSON: {reason} ({self._place(ahead)})",
            "repair the file, or copy or download it again",
        )

    def _place(self, ahead: int) -> str:
        """Line, from 1, and byte of the next byte to parse, or of one ahead of it."""
        line, offset = 1, self._done - len(self._buffer) + self._position + ahead
        with self.path.open("rb") as file:
            for start in range(0, offset, BLOCK_SIZE):
                line += file.read(min(BLOCK_SIZE, offset - start)).count(b"\n")
        return f"line {line}, byte {offset}"

    def _expect(self, wanted: bytes, what: str) -> int:
        """Step over the next byte, which must be one of these."""
        byte = self._peek(_TOP) or 0
        if byte not in wanted:
            raise self._malformed(f"expected {what}")
        self._position += 1
        return byte

    def _peek(self, inside: str | None) -> int | None:
        """Return the next byte that is not space; None at the end if that is allowed."""
        while (match := _NO_SPACE.search(self._buffer, self._position)) is None:
            self._position = len(self._buffer)
            if inside is not None:
                self._require_more(inside)
            elif not self._read_more():
                return None
        self._position = match.start()
        return self._buffer[self._position]

    def _require_more(self, inside: str) -> None:
        if not self._read_more():
            raise LstError(
                f"{self.path} ends after {self._done} bytes in the middle of {inside}",
                "the file is cut short: copy or download it again",
            )

    def _read_more(self) -> bool:
        rest = self._buffer[self._position :]
        # Doubling keeps the work linear when one record is longer than a block.
        block = self._file.read(max(BLOCK_SIZE, len(rest)))
        self._buffer, self._position = rest + block, 0
        self._done += len(block)
        if block:
            if self._hash is not None:
                self._hash.update(block)
            self.progress(f"reading {self.path.name}", self._done, self._size)
        return bool(block)


def find_cut(data: bytes, start: int, *, first: bool = False) -> int:
    """Find where whole elements of a JSON list or object end.

    That is the bracket that closes the list which `start` lies in; else the last comma between its
    elements, or the first; -1 when no element is complete.

    Example:
        >>> find_cut(b'{"a": "],{"}, {"b": [1, 2', 0)
        12
    """
    depth, comma = 0, -1
    while match := (_NESTED_TOKEN if depth else _TOKEN).search(data, start):
        start, token = match.end(), match[0]
        if token in b"{[":
            depth += 1
        elif token in b"}]":
            if depth == 0:
                return match.start()
            depth -= 1
        elif token == b",":
            comma = match.start()
            if first:
                break
        elif token == b'"':  # a string that goes on behind the end of data
            break
    return comma


def _in_words(types: re.Match[str]) -> str:
    kinds = [types[1]] if types[1] in _WORDS else types[1].removesuffix(" | null").split(" | ")
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds)


def _id(record: bytes) -> str:
    try:
        number = bytes(msgspec.json.decode(record, type=_IDENTIFIED).id)
    except _NOT_DECODED:
        return ""
    return f" (id {number.decode('utf-8', 'replace')})" if number else ""
