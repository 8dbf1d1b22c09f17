"""The lists of a large JSON file, record by record, without holding the file.

An annotation file is one object with a few long lists. Decoding it whole costs
gigabytes, most of them for segmentations nobody looks at yet, so it is read in
small blocks. Each block is cut between two records, and msgspec decodes the
piece before the cut into typed records that keep only wanted fields.

Where to cut is guessed first: the last ``}, {`` of the block. The guess may lie
inside a string or a nested list, and need not be trusted: a piece that begins at
a record and is a valid list when brackets are put around it ends at the end of
a record. A piece that is not valid is cut again by `find_cut`, which knows
strings and depth; it is exact and slower.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lst_cli.annotations.json_problems import (
    NOT_DECODED,
    byte_of,
    explain,
    find_cut,
    malformed,
)
from lst_cli.errors import LstError
from lst_cli.files import open_regular
from lst_cli.progress import Progress, silent

BLOCK_SIZE = 512 * 1024
"""Bytes read at once. Blocks that stay in the cache: 8 MiB were twice as slow."""

RAW: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[msgspec.Raw])
"""Records as they stand in the file."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LAST_BETWEEN_RECORDS = re.compile(rb".*\}[ \t\r\n]*(,)[ \t\r\n]*\{", re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_QUOTE, _COMMA, _COLON, _OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE = b'",:[]{}'
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOP = "the top level"
_NO_LVIS = "give an LVIS or COCO annotation file"


class ListStream:
    """One pass over a file whose top level is an object of lists.

    Iterating yields ``(key, first_row, records)``: some records of the list
    named key, the first of them at position first_row of that list. Keys may
    stand in any order. Lists and values under other keys are checked to be
    JSON and dropped. (Text in what is dropped may be other than UTF-8.)

    Args:
        path: The file.
        decoders: For each wanted key the msgspec decoder of a list of records.
        everything: Whether to yield what stands under other keys too, as raw
            records; a value that is no list is one record with first_row -1.
        block_size: Bytes read at once.
        progress: Called with bytes read and bytes in the file after each block.
        digest: Whether to compute the SHA-256 of the file along the way.
    """

    def __init__(
        self,
        path: Path,
        decoders: Mapping[str, msgspec.json.Decoder[list[Any]]],
        *,
        everything: bool = False,
        block_size: int = BLOCK_SIZE,
        progress: Progress = silent,
        digest: bool = False,
    ) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self.sha256 = ""
        self._decoders, self._everything = decoders, everything
        self._block_size, self._progress = block_size, progress
        self._hash = hashlib.sha256() if digest else None
        self._file: BinaryIO
        self._size = self._done = 0
        self._buffer = b""
        self._position = 0  # the next byte to parse, within the buffer
        self._base = 0  # where the buffer begins in the file

    def __iter__(self) -> Iterator[tuple[str, int, list[Any]]]:
        """Yield the records.

        Raises:
            LstError: If the file cannot be read, is not JSON, is cut short,
                has no object at the top or lacks one of the wanted lists.
        """
        try:
            with open_regular(self.path) as file:
                self._file = file
                self._size = os.fstat(file.fileno()).st_size
                self._skip_mark()
                yield from self._top()
                if self._peek(None) is not None:
                    raise self._malformed("something stands behind the end of the top level")
        except FileNotFoundError as error:
            raise LstError(f"no such file: {self.path}", "give the path of the file") from error
        except OSError as error:
            raise LstError(
                f"cannot read {self.path}: {error.strerror or error}",
                "give a regular file that you may read",
            ) from error
        if self._hash is not None:
            self.sha256 = self._hash.hexdigest()

    def _top(self) -> Iterator[tuple[str, int, list[Any]]]:
        if self._buffer[self._position] == _OPEN_LIST:
            raise LstError(
                f"{self.path}: the top level is a list, not an object",
                "give an annotation file with images, annotations and categories, "
                "not a file of detections",
            )
        self._expect(_OPEN, "an object")
        if self._peek(_TOP) == _CLOSE:
            self._position += 1
        else:
            yield from self._member()
            while self._expect((_COMMA, _CLOSE), "a comma or }") == _COMMA:
                yield from self._member()
        for key in self._decoders:
            if key not in self.counts:
                raise LstError(f'{self.path} has no list "{key}"', _NO_LVIS)

    def _member(self) -> Iterator[tuple[str, int, list[Any]]]:
        key = self._read_key()
        if key in self.counts:
            raise self._malformed(f'the key "{key}" stands twice')
        self.counts[key] = 0
        if self._peek(f'"{key}"') == _OPEN_LIST:
            yield from self._records(key)
            return
        if key in self._decoders:
            raise LstError(f'{self.path}: "{key}" is not a list', _NO_LVIS)
        while (cut := find_cut(self._buffer, self._position, first=True)) < 0:
            self._require_more(f'"{key}"')
        value = self._decode_or_explain(key, cut)
        if len(value) != 1:
            raise self._malformed(f'"{key}" has no value')
        self._position = cut
        if self._everything:
            yield key, -1, value

    def _skip_mark(self) -> None:
        while len(self._buffer) < len(_BYTE_ORDER_MARK) and self._read_more():
            pass
        if self._buffer.startswith(b"\x1f\x8b"):
            packed = shlex.quote(str(self.path))
            raise LstError(f"{self.path} is compressed", f"gzip -dc < {packed} > NEW.json")
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            self._position = len(_BYTE_ORDER_MARK)
        if self._peek(None) is None:
            raise LstError(f"{self.path} is empty", "copy or download it again")

    def _read_key(self) -> str:
        if self._peek(_TOP) != _QUOTE:
            raise self._malformed("expected a key in quotes")
        while (match := _STRING.match(self._buffer, self._position)) is None:
            self._require_more("a key")
        try:
            key = msgspec.json.decode(match.group(), type=str)
        except NOT_DECODED as error:
            raise self._malformed("a key is not a string") from error
        self._position = match.end()
        self._expect(_COLON, "a colon")
        return key

    def _records(self, key: str) -> Iterator[tuple[str, int, list[Any]]]:
        self._position += 1  # behind the opening bracket
        closed = False
        while not closed:
            start = self._base + self._position
            records, closed = self._next_records(key)
            if not records and not (closed and self.counts[key] == 0):
                raise malformed(self.path, start, "a comma without a value beside it")
            if self._everything or key in self._decoders:
                yield key, self.counts[key], records
            self.counts[key] += len(records)

    def _next_records(self, key: str) -> tuple[list[Any], bool]:
        """Read records up to a comma or, True, to the end of their list."""
        while True:
            guess = _LAST_BETWEEN_RECORDS.match(self._buffer, self._position)
            if guess is not None:
                try:
                    records = self._decode(key, guess.start(1))
                except NOT_DECODED:
                    pass  # a bad guess or a bad file: the exact cut below will tell
                else:
                    self._position = guess.end(1)
                    return records, False
            cut = find_cut(self._buffer, self._position)
            if cut >= 0:
                records = self._decode_or_explain(key, cut)
                self._position = cut
                return records, self._expect((_COMMA, _CLOSE_LIST), "a comma or ]") != _COMMA
            # Without this a quote missing early in a file would make the buffer grow
            # to the size of the file before anyone notices.
            if len(self._buffer) - self._position >= self._block_size:
                self._decode_or_explain(key, len(self._buffer), cut_short=True)
            self._require_more(f'"{key}"')

    def _decode(self, key: str, cut: int) -> list[Any]:
        piece = memoryview(self._buffer)[self._position : cut]
        return self._decoders.get(key, RAW).decode(b"".join((b"[", piece, b"]")))

    def _decode_or_explain(self, key: str, cut: int, *, cut_short: bool = False) -> list[Any]:
        try:
            return self._decode(key, cut)
        except NOT_DECODED as error:
            # Close to the end of the buffer it may be a number or escape that is merely cut.
            at = byte_of(error)
            if cut_short and (at is None or at >= cut - self._position - 14):
                return []
            piece, start = self._buffer[self._position : cut], self._base + self._position
            decoder = self._decoders.get(key, RAW)
            raise explain(self.path, key, self.counts[key], start, piece, decoder) from error

    def _expect(self, wanted: int | tuple[int, ...], what: str) -> int:
        """Step over the next byte, which must be one of these."""
        byte = self._peek(_TOP) or 0
        if byte not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            raise self._malformed(f"expected {what}")
        self._position += 1
        return byte

    def _peek(self, inside: str | None) -> int | None:
        """Return the next byte that is not space; None at the end if that is allowed."""
        while True:
            match = _SPACE.match(self._buffer, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._buffer):
                return self._buffer[self._position]
            if inside is not None:
                self._require_more(inside)
            elif not self._read_more():
                return None

    def _require_more(self, inside: str) -> None:
        if not self._read_more():
            raise LstError(
                f"{self.path} ends after {self._done} bytes in the middle of {inside}",
                "the file is cut short: copy or download it again",
            )

    def _read_more(self) -> bool:
        rest = self._buffer[self._position :]
        # Doubling keeps the work linear when one record is longer than a block.
        block = self._file.read(max(self._block_size, len(rest)))
        self._base += self._position
        self._position = 0
        self._buffer = rest + block if rest else block
        self._done += len(block)
        if block:
            if self._hash is not None:
                self._hash.update(block)
            self._progress(f"reading {self.path.name}", self._done, self._size)
        return bool(block)

    def _malformed(self, reason: str) -> LstError:
        return malformed(self.path, self._base + self._position, reason)


class TopListStream(ListStream):
    """One pass over a file whose top level is a list of records, as of detections.

    Iterating yields ``(key, first_row, records)`` as `ListStream` does.

    Args:
        path: The file.
        key: What errors call a record.
        decoder: Of a list of records.
        hint: What to give instead of a file with an object at its top.
        options: As for `ListStream`.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        decoder: msgspec.json.Decoder[list[Any]],
        *,
        hint: str,
        **options: Any,
    ) -> None:
        super().__init__(path, {key: decoder}, **options)
        self._key, self._hint = key, hint

    def _top(self) -> Iterator[tuple[str, int, list[Any]]]:
        if self._buffer[self._position] == _OPEN:
            raise LstError(f"{self.path}: the top level is an object, not a list", self._hint)
        if self._buffer[self._position] != _OPEN_LIST:
            raise self._malformed("expected a list")
        self.counts[self._key] = 0
        yield from self._records(self._key)
