"""Arrays and tensors from pickles of other people.

No code of such a file is run, and nothing that it makes is a real numpy or torch object before
all its numbers are checked: a pickle that could build `numpy.ndarray` itself can turn its bytes
into pointers, and one that chooses a tensor's offset can read memory that is not its own. A file
can name only the functions and small classes of this module, which keep what they are given.

`torch.load(weights_only=True)` is no replacement: it reads no arrays of numpy, and refuses
checkpoints with settings beside the weights.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lst_cli.weights.kinds import GIVE, DamagedError, WeightsError

_AS_FLOATS = "save them as float32: torch.save({n: t.float() for n, t in state_dict.items()}, FILE)"
_AS_DENSE = "save them as plain tensors: t.to_dense() or t.dequantize() of each"

_NUMBERS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
_MOST_DIMENSIONS = 32
_LARGEST = 2**40  # elements; their bytes have to be in the file, too

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.uint8,
}

# What torch.save writes for tensors of other kinds.
_OTHER_KINDS = {
    "torch._utils._rebuild_tensor_v3": ("float8 or integers without a sign", _AS_FLOATS),
    "torch._utils._rebuild_sparse": ("sparse tensors", _AS_DENSE),
    "torch._utils._rebuild_qtensor": ("quantised numbers", _AS_DENSE),
    "torch._utils._rebuild_meta_tensor": ("tensors without numbers", GIVE),
    "torch.Complex": ("complex numbers", _AS_FLOATS),
    "torch.Q": ("quantised numbers", _AS_DENSE),
    "torch.nested": ("nested tensors", _AS_DENSE),
}

# Settings, dates and paths that stand beside the weights in many checkpoints. They are read as
# empty tables.
_LEFT_OUT = (
    "argparse.", "collections.Counter", "collections.defaultdict", "datetime.",
    "detectron2.config.", "easydict.", "fvcore.common.config.", "lightning", "mmcv.utils.config.",
    "mmengine.config.", "mmengine.logging.", "omegaconf.", "pathlib.", "pytorch_lightning.",
    "torch.device", "torch.serialization._get_layout", "typing.", "yacs.config.",
)  # fmt: skip
_PLAIN = ("bool", "complex", "dict", "float", "frozenset", "int", "list", "object", "set", "tuple")

Storage = Callable[[str, torch.dtype, int], Tensor]
"""Gives the numbers of a torch storage by key, kind and count."""


@dataclass
class Array:
    """An array or a tensor of a file; while it is read, one whose numbers are still to come."""

    tensor: Tensor | None = None


def read_pickle(file: io.BytesIO, storage: Storage | None = None) -> Any:
    """Read plain values, arrays and tensors; the latter two are `Array` in what it returns.

    The file is read from its position to the end of the pickle. `storage` is None where the file
    has no torch storages. Raises a `WeightsError` if it is damaged or names anything but numbers.
    """
    try:
        return _Reader(file, storage).load()
    except (OSError, WeightsError):  # the former of a file with the numbers
        raise
    except Exception as error:  # of damaged bytes an unpickler raises many kinds
        raise DamagedError from error


def _word(value: Any) -> str:
    """A value of a file for an error: text and numbers only, for others may hold each other."""
    if isinstance(value, str | bytes):
        return repr(value[:20])
    small = isinstance(value, int) and abs(value) < 2**64
    return str(value) if small else f"a value of the kind {type(value).__name__.strip('_')}"


class _Numbers(NamedTuple):
    """A torch storage: its numbers in one row."""

    row: Tensor


@dataclass
class _DType:
    """`numpy.dtype`: a kind of number, and its byte order."""

    code: str
    order: str


class _Table(dict[Any, Any]):
    """A table of the file.

    Only names and small numbers are kept as keys: the hash of tuples of tuples can take for ever,
    and numbers can be chosen to have the same hash.
    """

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**48):
            super().__setitem__(key, value)


class _LeftOut(_Table):
    """An object whose content does not matter; it stays empty."""

    def __new__(cls, *_given: Any, **_named: Any) -> _LeftOut:
        return super().__new__(cls)

    def __init__(self, *_given: Any) -> None:
        super().__init__()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        """Leave out the entries of a list."""

    append = add = extend


class _Reader(pickle._Unpickler):
    """Python's own unpickler: that of C allocates as much memory as a file asks for."""

    def __init__(self, file: io.BytesIO, storage: Storage | None) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self._room = 4 * len(file.getbuffer()) + 2**20  # bytes
        self._known: dict[str, Any] = {
            "_codecs.encode": self._encode,
            "collections.OrderedDict": self._table,
            "numpy.dtype": _dtype,
            "numpy.ndarray": _no_array,
            "torch.Size": _size,
            "torch._utils._rebuild_parameter": lambda data, *rest: data,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
        }
        for home in ("builtins.", "__builtin__."):
            self._known[f"{home}bytes"] = self._known[f"{home}bytearray"] = self._encode
        for core in ("numpy.core.", "numpy._core."):
            self._known[f"{core}multiarray._reconstruct"] = lambda *given: Array()
            self._known[f"{core}multiarray.scalar"] = lambda dtype, data: self._array(
                data, dtype, (), "C"
            )
            self._known[f"{core}numeric._frombuffer"] = self._array

    def load_build(self: Any) -> None:
        """Give an object its state; a function or a class has none that a file may change."""
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, Array) and made.tensor is None:
            shape, dtype, fortran, data = state[-4:]  # a version stands before them
            made.tensor = self._array(data, dtype, shape, "F" if fortran else "C").tensor
        elif isinstance(made, _DType):
            # (version, byte order, subarray, names, fields, size, alignment, flags)
            order, *structured = state[1:5]
            order = order.decode("latin1") if isinstance(order, bytes) else order
            if order not in ("<", ">", "=", "|") or any(part is not None for part in structured):
                raise WeightsError("its arrays hold something else than numbers")
            made.order = ">" if order == ">" else "<"
        elif callable(made) or isinstance(made, Array | _Numbers | torch.dtype):
            raise WeightsError("it would change what it is read with")
        elif not isinstance(made, _Table):  # a table may have remarks of torch beside its entries
            raise DamagedError

    def load_marked(self: Any, make: Callable[[list[Any]], Any]) -> None:
        """Make something of the values since the last mark."""
        made = make(self.pop_mark())
        self.append(made)

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.EMPTY_DICT[0]: lambda self: self.append(_Table()),
        pickle.DICT[0]: lambda self: self.load_marked(_pairs),
        pickle.EMPTY_SET[0]: lambda self: self.append(_LeftOut()),
        pickle.FROZENSET[0]: lambda self: self.load_marked(_LeftOut),
    }

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in self._known:
            return self._known[full]
        if module in ("torch", "torch.cuda") and name in _STORAGES:
            return _STORAGES[name]
        plain = module in ("builtins", "__builtin__") and name in _PLAIN
        dtype = module == "torch" and isinstance(vars(torch).get(name), torch.dtype)
        if plain or dtype or full.startswith(_LEFT_OUT):
            return _LeftOut
        for start, (what, hint) in _OTHER_KINDS.items():
            if full.startswith(start):
                raise WeightsError(f"it holds {what}", hint)
        raise WeightsError(f"it would run {full[:100]}")

    def persistent_load(self, pid: Any) -> Any:
        what, kind, key, _place, count, *rest = pid
        known = what == "storage" and isinstance(kind, torch.dtype) and isinstance(key, str)
        if self._storage is None or not known:
            raise WeightsError("it refers to something that is not in it")
        row = self._storage(key, kind, _count(count))
        if rest and rest[0] is not None:  # a part of a storage, in files before torch 0.4
            row = self._strided(row, rest[0][1], (rest[0][2],), (1,))
        return _Numbers(row)

    def _spend(self, size: int) -> None:
        # One text may be made into an array a million times.
        self._room -= size
        if self._room < 0:
            raise WeightsError("it would take far more memory than its size")

    def _encode(self, text: str | bytes = b"", encoding: str = "latin1") -> bytes:
        # Early protocols write bytes as text.
        self._spend(len(text))
        if encoding not in ("latin1", "latin-1"):
            raise WeightsError(f"it holds text as {_word(encoding)}")
        return bytes(text) if isinstance(text, bytes) else text.encode("latin1")

    def _table(self, entries: list[Any] | tuple[Any, ...] = ()) -> _Table:
        self._spend(100 * len(entries))
        return _pairs([part for key, value in entries for part in (key, value)])

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> Array:
        if not isinstance(storage, _Numbers):
            raise WeightsError("it has a tensor without numbers")
        return Array(self._strided(storage.row, offset, size, stride))

    def _strided(self, row: Tensor, offset: Any, size: Any, stride: Any) -> Tensor:
        start, sides, steps = _count(offset), _size(size), _size(stride)
        count = math.prod(sides)
        if not count:
            return row.new_empty(sides)
        if start + sum((n - 1) * step for n, step in zip(sides, steps, strict=True)) >= row.numel():
            raise WeightsError("a tensor reaches beyond its storage")
        if count > row.numel():  # one number stands in many places
            self._spend(count * row.itemsize)
        return row.as_strided(sides, steps, start)

    def _array(self, data: Any, dtype: Any, shape: Any, order: Any) -> Array:
        if isinstance(data, str):  # Python 2's bytes
            data = self._encode(data)
        if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
            raise WeightsError("its arrays hold something else than numbers")
        sides = _size(shape if isinstance(shape, list | tuple) else (shape,))
        code = dtype.code.replace("b", "u")  # any byte is a number, but not any a truth value
        kind = np.dtype(dtype.order + code)
        needed = math.prod(sides) * kind.itemsize
        if needed != len(data):
            raise WeightsError(
                f"an array has {len(data):,} bytes, and {needed:,} would fill its shape"
            )
        self._spend(needed)
        numbers = np.frombuffer(data, kind).astype(kind.newbyteorder("="), copy=True)
        return Array(torch.from_numpy(numbers.reshape(sides, order="F" if order == "F" else "C")))


def _pairs(parts: list[Any]) -> _Table:
    table = _Table()
    for key, value in zip(parts[::2], parts[1::2], strict=True):
        table[key] = value
    return table


def _dtype(code: Any, *_flags: Any) -> _DType:
    text = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(text, str) or text.lstrip("<>=|") not in _NUMBERS:
        raise WeightsError(f"its arrays hold {_word(text)}, which is no plain number")
    return _DType(text.lstrip("<>=|"), ">" if text[0] == ">" else "<")


def _no_array(*_given: Any) -> None:
    # numpy itself writes it as a name only; called, it would take bytes for pointers.
    raise WeightsError("it would run numpy.ndarray")


def _size(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list | tuple) or len(given) > _MOST_DIMENSIONS:
        raise WeightsError("an array has no valid shape")
    return tuple(map(_count, given))


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise WeightsError(f"{_word(value)} is no valid size")
    return value
