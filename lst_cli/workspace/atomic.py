"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lst_cli.errors import LstError

_FREE = "free some space, then run the same command again"
_ELSEWHERE = "choose another workspace with -w DIR"
_REASONS = {
    errno.ENOSPC: ("the disk is full", _FREE),
    errno.EDQUOT: ("the disk quota is used up", _FREE),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("permission denied", _ELSEWHERE),
    errno.EPERM: ("permission denied", _ELSEWHERE),
    errno.EEXIST: ("a file is in the way", _ELSEWHERE),
    errno.ENOTDIR: ("a file is in the way", _ELSEWHERE),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter name or directory"),
}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

# What `replacing` calls its files; short, so that it fits beside the longest name.
_TEMPORARY = re.compile(r"\.lst-[a-z0-9_]{8}\.tmp")
# What lst 0.1 left: its own temporary files, and those of the safetensors library.
_TEMPORARY_OF_0_1 = re.compile(r"\..+\.[a-z0-9_]{8}|\.tmp[A-Za-z0-9]{6}")
_cleared: set[Path] = set()  # directories in which this process has looked for leftovers


class NoRoomError(LstError):
    """Nothing can be written any more: another file has no better chance."""


@contextmanager
def explain_os_error(path: Path) -> Iterator[None]:
    """Raise an `LstError` that names the path and the reason instead of any `OSError`."""
    try:
        yield
    except OSError as error:
        unknown = (error.strerror or str(error), "see that the disk is there and can be written")
        reason, hint = _REASONS.get(error.errno or 0, unknown)
        kind = NoRoomError if error.errno in _NO_ROOM else LstError
        raise kind(f"cannot write {path}: {reason}", hint) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, to be written, that takes its place on success.

    The new content is flushed to disk before the rename, so that a crash or a full disk leaves
    the old file (or none) and never a cut one. The directory is made if it is missing.
    """
    with explain_os_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent not in _cleared:
            _cleared.add(path.parent)
            remove_leftovers(path.parent)
        descriptor, name = tempfile.mkstemp(prefix=".lst-", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file; see `replacing`."""
    write_bytes(path, text.encode("utf-8"))


def require_writable(*paths: Path) -> None:
    """Raise an `LstError` for the first of these files that cannot be written; nothing is made."""
    for path in paths:
        if path.is_dir():
            raise LstError(f"cannot write {path}: a directory is in the way", "move it away")
        there = next(parent for parent in path.parents if parent.exists())
        with explain_os_error(path):
            tempfile.TemporaryFile(dir=there).close()


def remove_leftovers(directory: Path, *, of_0_1: bool = False) -> None:
    """Remove what killed writes left in a directory; a file that is being written is locked.

    With `of_0_1` the names that lst 0.1 used are removed too: only for a directory that belongs to
    lst alone, and in which nobody is writing.
    """
    for path in directory.glob(".*"):
        if of_0_1 and _TEMPORARY_OF_0_1.fullmatch(path.name):
            path.unlink(missing_ok=True)
        elif _TEMPORARY.fullmatch(path.name):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _umask() -> int:
    # mkstemp makes private files; a workspace is often shared by a group.
    mask = os.umask(0)
    os.umask(mask)
    return mask
