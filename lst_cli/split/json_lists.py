"""A JSON object of lists, written record by record."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from lst_cli.workspace.atomic import explain_os_error


class ObjectOfLists:
    """A JSON object that is written piece by piece.

    Args:
        path: Where it is to be read about in errors.
        file: Where it is written to.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._begun = False
        self._list: str | None = None  # the list that is open
        self._empty = True

    def extend(self, key: str, records: list[bytes]) -> None:
        """Add records to a list, which stays open as long as no other key comes."""
        if key != self._list:
            self._begin(key)
            self._write(b"[")
            self._list, self._empty = key, True
        if records:
            self._write((b"\n" if self._empty else b",\n") + b",\n".join(records))
            self._empty = False

    def put(self, key: str, value: bytes) -> None:
        """Add anything else."""
        self._begin(key)
        self._write(value)

    def finish(self) -> None:
        """Write what is due to the disk."""
        self._end_list()
        self._write(b"}\n" if self._begun else b"{}\n")
        with explain_os_error(self._path):
            self._file.flush()

    def _begin(self, key: str) -> None:
        self._end_list()
        self._write((b",\n" if self._begun else b"{") + msgspec.json.encode(key) + b": ")
        self._begun = True

    def _end_list(self) -> None:
        if self._list is not None:
            self._write(b"]")
            self._list = None

    def _write(self, data: bytes) -> None:
        with explain_os_error(self._path):
            self._file.write(data)
