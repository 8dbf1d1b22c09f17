"""A JSON object of lists, written record by record."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from lst_cli.workspace.atomic import explain_os_error


class ObjectOfLists:
    """A JSON object that is written piece by piece; errors name `path`, not the open file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._list: str | None = None  # the list that is open
        self._before = b"{"  # what is written before the next key
        self._between = b"\n"  # and before the next record of the list

    def extend(self, key: str, records: list[bytes]) -> None:
        """Add records to a list, which stays open as long as no other key comes."""
        if key != self._list:
            self._begin(key)
            self._write(b"[")
            self._list, self._between, self._before = key, b"\n", b"],\n"
        if records:
            self._write(self._between + b",\n".join(records))
            self._between = b",\n"

    def put(self, key: str, value: bytes) -> None:
        """Add anything else."""
        self._begin(key)
        self._write(value)
        self._before = b",\n"

    def finish(self) -> None:
        """Close the object and flush the file."""
        self._write(b"{}\n" if self._before == b"{" else self._before.rstrip(b",\n") + b"}\n")
        with explain_os_error(self._path):
            self._file.flush()

    def _begin(self, key: str) -> None:
        self._write(self._before + msgspec.json.encode(key) + b": ")

    def _write(self, data: bytes) -> None:
        with explain_os_error(self._path):
            self._file.write(data)
