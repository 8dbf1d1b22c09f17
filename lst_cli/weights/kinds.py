"""What a file given as weights is, told from its first bytes; torch is not imported here."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

from lst_cli.errors import LstError
from lst_cli.files import (
    hint_for_missing,
    kind_by_start,
    refuse_address,
    require_regular,
    scheme_of,
)

GIVE = "give a .pkl, .pth or .safetensors of a Mask R-CNN"
AGAIN = "download it again"
_ALONE = "it holds more than numbers; save the weights alone: torch.save(state_dict, FILE)"
_LARGEST = 2**35  # bytes; a Mask R-CNN has less than a hundredth
_FETCHED = ("http", "https", "ftp", "detectron2", "catalog")
_HINTS = {"pointer": "git lfs pull", "packed": "unpack it first: 7z x FILE"}


class WeightsError(Exception):
    """Why a file is refused, in a few words, and what to do."""

    def __init__(self, reason: str, hint: str = _ALONE) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint

    def about(self, source: str) -> LstError:
        """The error that the user sees."""
        return LstError(f"--weights {source}: {self.reason}", self.hint)


class DamagedError(WeightsError):
    """The bytes are not those that were written."""

    def __init__(self) -> None:
        super().__init__("it is damaged or cut short", f"{AGAIN}; {GIVE}")


def require_weights(source: str | None) -> None:
    """Raise an `LstError` if a file holds no weights; an address is not fetched yet."""
    if source is not None and not is_fetched(source):
        try:
            require_likely(Path(source))
        except WeightsError as error:
            raise error.about(source) from error


def is_fetched(source: str) -> bool:
    """Whether weights are at an address to be fetched; an `LstError` if that is impossible."""
    scheme = scheme_of(source)
    if scheme == "file":
        refuse_address(source)
    if scheme is None or scheme in _FETCHED:
        return scheme is not None
    kinds = ", ".join(f"{one}://" for one in _FETCHED)
    raise LstError(
        f"--weights {source}: lst cannot fetch this kind of URL, only {kinds}",
        "download it first, then give the file",
    )


def require_likely(path: Path) -> None:
    """Raise a `WeightsError` if a file is missing, cannot be read, or holds no weights."""
    try:
        require_regular(path)
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"more than {_LARGEST // 2**30} GiB", GIVE)
        other = _other_format(path)
    except IsADirectoryError as error:
        inside = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".pth", ".pkl"))
        hint = (
            f"--weights {shlex.quote(str(inside[0]))}"
            if inside
            else "give the file in it, or a workspace"
        )
        raise WeightsError("is a directory", hint) from error
    except OSError as error:
        reason = str(error.strerror or error).lower()
        raise WeightsError(reason, hint_for_missing(str(path), GIVE)) from error
    if other is not None:
        raise WeightsError(f"is {other[0]}", other[1])


def _other_format(path: Path) -> tuple[str, str] | None:
    """What a file is that holds no weights we can read, and what to do; None if it may."""
    with path.open("rb") as file:
        head = file.read(1024)
    shell = shlex.quote(str(path))
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "empty", f"{AGAIN}; {GIVE}"
    if is_safetensors(head):
        return None
    if head.startswith(b"PK\3\4"):
        return _other_archive(path)
    if found := kind_by_start(head):
        what, sort = found
        hint = _HINTS.get(sort, GIVE)
        if (tool := what.removeprefix("compressed by ")) != what:
            hint = f"unpack it first: {tool} -dc < FILE > NEW.pth, or tar -xf FILE"
        return what, hint.replace("FILE", shell)
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<!--")):
        return "a web page, not the file itself", "download what the page links to"
    if start.startswith(b"<"):
        refused = b"<error" in head.lower()
        return ("the refusal of a server" if refused else "XML"), f"{AGAIN}, or {GIVE}"
    if head[257:262] == b"ustar":
        return "a tar archive", f"unpack it first: tar -xf {shell}"
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and (b"onnx" in head or b"torch" in head)):
        return "an ONNX model", "give the weights it was exported from"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model", GIVE
    if start[:1] == b"{" and b"\0" not in start:
        return "JSON, such as the index of a checkpoint in parts", GIVE
    text = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    # The first protocol of pickles is printable, too: a table, a list or a name.
    return ("text", GIVE) if text and not head.startswith((b"(", b"c")) else None


def _other_archive(path: Path) -> tuple[str, str] | None:
    if not zipfile.is_zipfile(path):
        return "a zip archive cut short", f"{AGAIN}; {GIVE}"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # of broken bytes zipfile raises many kinds
        raise DamagedError from error
    if any(name.endswith("/constants.pkl") for name in names):
        state = f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')"
        return "a TorchScript program", f"save its weights alone: {state}"
    if any(name.endswith("/data.pkl") for name in names):
        return None
    if any(name.endswith(".weights.h5") for name in names):
        return "a Keras model", GIVE
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of numpy arrays (.npz)", GIVE
    return "a zip archive without weights of torch", f"unzip {shlex.quote(str(path))}"


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as one of safetensors: a size, and a table in JSON."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27
