"""The lists of a large JSON object, record by record, without holding the file.

An annotation file is one object with a few long lists. Decoding it whole costs
gigabytes, most of them for segmentations nobody looks at yet, so it is read in
small blocks. Each block is cut between two records and the piece in front of
the cut is decoded by msgspec into typed records that keep only wanted fields.

Where to cut is guessed first: the last ``}, {`` of the block. The guess may lie
inside a string or a nested list, and it does not have to be trusted: a piece
that begins at a record and is a valid list when brackets are put around it ends
at the end of a record. A piece that is not valid is cut again with a tokenizer
that knows strings and depth, which is exact and slower.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lst_cli.annotations.json_problems import PieceError, explain_decode_error, malformed
from lst_cli.annotations.json_tokens import find_cut, find_end
from lst_cli.errors import LstError
from lst_cli.files import open_regular

Progress = Callable[[int, "int | None"], None]
"""What library code calls with (done, total); total is None when unknown."""

BLOCK_SIZE = 512 * 1024
"""Bytes read at once. Blocks that stay in the cache: 8 MiB were twice as slow."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BETWEEN_RECORDS = re.compile(rb"\}[ \t\r\n]*(,)[ \t\r\n]*\{")
_SPACE = re.compile(rb"[ \t\r\n]*")
_QUOTE, _COMMA, _COLON, _OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE = b'",:[]{}'
_GUESSES = 64  # closing braces looked at before the tokenizer takes over
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ANYTHING: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[msgspec.Raw])


class ListStream:
    """One pass over a file whose top level is an object of lists.

    Iterating yields ``(key, first_row, records)``: some records of the list
    named key, the first of them at position first_row of that list. Keys may
    stand in any order. Lists and values under other keys are checked to be
    JSON and dropped. (Text in what is dropped may be other than UTF-8.)

    Args:
        path: The file.
        decoders: For each wanted key the msgspec decoder of a list of records.
        block_size: Bytes read at once.
        progress: Called with bytes read and bytes in the file after each block.
        digest: Whether to compute the SHA-256 of the file along the way.
    """

    def __init__(
        self,
        path: Path,
        decoders: Mapping[str, msgspec.json.Decoder[list[Any]]],
        *,
        block_size: int = BLOCK_SIZE,
        progress: Progress | None = None,
        digest: bool = False,
    ) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self.sha256 = ""
        self._decoders = decoders
        self._block_size = block_size
        self._progress = progress
        self._hash = hashlib.sha256() if digest else None
        self._file: BinaryIO
        self._size = 0
        self._done = 0
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
                yield from self._members()
        except FileNotFoundError as error:
            raise LstError(f"no such file: {self.path}", "give the path of the file") from error
        except OSError as error:
            raise LstError(
                f"cannot read {self.path}: {error.strerror or error}",
                "give a regular file that you may read",
            ) from error
        if self._hash is not None:
            self.sha256 = self._hash.hexdigest()

    def _members(self) -> Iterator[tuple[str, int, list[Any]]]:
        self._open_object()
        first = True
        while True:
            byte: int | None = self._peek("the top-level object")
            if first and byte == _CLOSE:
                break
            key = self._read_key()
            if key in self.counts:
                raise self._malformed(f'the key "{key}" stands twice')
            first = False
            self.counts[key] = 0
            if self._peek(f'"{key}"') == _OPEN_LIST:
                self._position += 1
                yield from self._records(key)
            elif key in self._decoders:
                raise LstError(
                    f'{self.path}: "{key}" is not a list', "give an LVIS or COCO annotation file"
                )
            else:
                self._skip_value(key)
            byte = self._peek("the top-level object")
            if byte == _CLOSE:
                break
            if byte != _COMMA:
                raise self._malformed("expected a comma or }")
            self._position += 1
        self._position += 1
        if self._peek(None) is not None:
            raise self._malformed("something stands behind the end of the object")
        for key in self._decoders:
            if key not in self.counts:
                raise LstError(
                    f'{self.path} has no list "{key}"', "give an LVIS or COCO annotation file"
                )

    def _open(self) -> int:
        """Return the first byte that is not space, behind a byte order mark; nothing is parsed."""
        while len(self._buffer) < len(_BYTE_ORDER_MARK) and self._read_more():
            pass
        if self._buffer.startswith(b"\x1f\x8b"):
            raise LstError(f"{self.path} is compressed", f"gunzip {self.path}")
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            self._position = len(_BYTE_ORDER_MARK)
        byte = self._peek(None)
        if byte is None:
            raise LstError(f"{self.path} is empty", "copy or download it again")
        return byte

    def _open_object(self) -> None:
        byte = self._open()
        if byte == _OPEN_LIST:
            raise LstError(
                f"{self.path}: the top level is a list, not an object",
                "give an annotation file with images, annotations and categories, "
                "not a file of detections",
            )
        if byte != _OPEN:
            raise self._malformed("expected an object")
        self._position += 1

    def _read_key(self) -> str:
        if self._peek("the top-level object") != _QUOTE:
            raise self._malformed("expected a key in quotes")
        while (match := _STRING.match(self._buffer, self._position)) is None:
            if not self._read_more():
                raise self._truncated("a key")
        try:
            key = msgspec.json.decode(match.group(), type=str)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._malformed("a key is not a string") from error
        self._position = match.end()
        if self._peek("the top-level object") != _COLON:
            raise self._malformed("expected a colon")
        self._position += 1
        return key

    def _records(self, key: str) -> Iterator[tuple[str, int, list[Any]]]:
        decoder = self._decoders.get(key, _ANYTHING)
        wanted = key in self._decoders
        row, closed = 0, False
        while not closed:
            start = self._base + self._position
            records, closed = self._next_records(key, row, decoder)
            if not records and not (closed and row == 0):
                raise malformed(self.path, start, "a comma without a value beside it")
            if wanted:
                yield key, row, records
            row += len(records)
            self.counts[key] = row

    def _next_records(
        self, key: str, row: int, decoder: msgspec.json.Decoder[list[Any]]
    ) -> tuple[list[Any], bool]:
        while True:
            guess = self._guess_cut()
            if guess >= 0:
                try:
                    records = self._decode(decoder, guess, key, row)
                except PieceError:
                    pass  # a bad guess or a bad file: the exact cut below will tell
                else:
                    self._position = guess + 1
                    return records, False
            cut, closed = find_cut(self._buffer, self._position)
            if cut >= 0:
                try:
                    records = self._decode(decoder, cut, key, row)
                except PieceError as problem:
                    raise explain_decode_error(problem) from problem
                if closed and self._buffer[cut] != _CLOSE_LIST:
                    raise malformed(self.path, self._base + cut, "expected a comma or ]")
                self._position = cut + 1
                return records, closed
            self._refuse_hopeless(decoder, key, row)
            if not self._read_more():
                raise self._truncated(f'"{key}"')

    def _guess_cut(self) -> int:
        end = len(self._buffer)
        for _ in range(_GUESSES):
            end = self._buffer.rfind(b"}", self._position, end)
            if end < 0:
                return -1
            match = _BETWEEN_RECORDS.match(self._buffer, end)
            if match is not None:
                return match.start(1)
        return -1

    def _decode(
        self, decoder: msgspec.json.Decoder[list[Any]], cut: int, key: str, row: int
    ) -> list[Any]:
        piece = memoryview(self._buffer)[self._position : cut]
        payload = b"".join((b"[", piece, b"]"))
        try:
            return decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            start = self._base + self._position
            raise PieceError(self.path, key, row, start, payload, decoder, error) from error

    def _refuse_hopeless(
        self, decoder: msgspec.json.Decoder[list[Any]], key: str, row: int
    ) -> None:
        """Refuse a block without the end of a record when its content is broken.

        Without this a quote missing early in a file would make the buffer grow
        to the size of the file before anyone notices.
        """
        if len(self._buffer) - self._position < self._block_size:
            return
        try:
            self._decode(decoder, len(self._buffer), key, row)
        except PieceError as problem:
            # Close to the end of the buffer it may be a number or escape that is merely cut.
            if problem.at is not None and problem.at < len(problem.payload) - 16:
                raise explain_decode_error(problem) from problem

    def _skip_value(self, key: str) -> None:
        while True:
            cut = find_end(self._buffer, self._position)
            if cut >= 0:
                break
            if not self._read_more():
                raise self._truncated(f'"{key}"')
        try:
            records = self._decode(_ANYTHING, cut, key, 0)
        except PieceError as problem:
            raise explain_decode_error(problem) from problem
        if len(records) != 1:
            raise self._malformed(f'"{key}" has no value')
        self._position = cut

    def _peek(self, inside: str | None) -> int | None:
        """Return the next byte that is not space; None at the end if that is allowed."""
        while True:
            match = _SPACE.match(self._buffer, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._buffer):
                return self._buffer[self._position]
            if not self._read_more():
                if inside is None:
                    return None
                raise self._truncated(inside)

    def _read_more(self) -> bool:
        rest = self._buffer[self._position :]
        # Doubling keeps the work linear when one record is longer than a block.
        block = self._file.read(max(self._block_size, len(rest)))
        self._base += self._position
        self._position = 0
        self._buffer = rest + block if rest else block
        if not block:
            return False
        self._done += len(block)
        if self._hash is not None:
            self._hash.update(block)
        if self._progress is not None:
            self._progress(self._done, self._size)
        return True

    def _malformed(self, reason: str) -> LstError:
        return malformed(self.path, self._base + self._position, reason)

    def _truncated(self, inside: str) -> LstError:
        return LstError(
            f"{self.path} ends after {self._done} bytes in the middle of {inside}",
            "the file is cut short: copy or download it again",
        )


class TopListStream(ListStream):
    """One pass over a file whose top level is a list of records, as of detections.

    Iterating yields ``(key, first_row, records)`` as `ListStream` does.

    Args:
        path: The file.
        key: What errors call a record.
        decoder: Of a list of records.
        hint: What to give instead of a file with an object at its top.
        progress: Called with bytes read and bytes in the file after each block.
        digest: As for `ListStream`.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        decoder: msgspec.json.Decoder[list[Any]],
        *,
        hint: str,
        block_size: int = BLOCK_SIZE,
        progress: Progress | None = None,
        digest: bool = False,
    ) -> None:
        super().__init__(
            path, {key: decoder}, block_size=block_size, progress=progress, digest=digest
        )
        self._key, self._hint = key, hint

    def _members(self) -> Iterator[tuple[str, int, list[Any]]]:
        byte = self._open()
        if byte == _OPEN:
            raise LstError(f"{self.path}: the top level is an object, not a list", self._hint)
        if byte != _OPEN_LIST:
            raise self._malformed("expected a list")
        self._position += 1
        self.counts[self._key] = 0
        yield from self._records(self._key)
        if self._peek(None) is not None:
            raise self._malformed("something stands behind the end of the list")
