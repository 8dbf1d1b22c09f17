from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle
import re
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lst_cli.errors import LstError  # noqa: E402
from lst_cli.weights.kinds import DamagedError, WeightsError  # noqa: E402
from lst_cli.weights.load import read_weights  # noqa: E402
from lst_cli.weights.pickles import Array, read_pickle  # noqa: E402

RECONSTRUCT: Any = np.zeros(1).__reduce__()[0]
SCALAR = np.float32(1).__reduce__()[0]


class Call:
    """Pickled, it is a call of a function, and a state that BUILD gives to the result."""

    def __init__(self, function: Callable[..., Any], *given: Any, state: Any = None) -> None:
        self.parts = (function, given) if state is None else (function, given, state)

    def __reduce__(self) -> Any:
        return self.parts


def read(data: bytes, rows: dict[str, Any] | None = None) -> Any:
    return read_pickle(
        io.BytesIO(data), None if rows is None else lambda key, dtype, count: rows[key]
    )


def array_with(shape: Any, dtype: Any, data: Any) -> Call:
    state = (1, shape, dtype, False, data)
    return Call(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)


def dtype_with(code: str, *state: Any) -> Call:
    return Call(np.dtype, code, False, True, state=(3, *state))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("code", ["?", "i1", "u2", ">i4", "<i8", "f2", ">f4", "f8"])
def test_an_array_of_numbers_is_read_as_numpy_wrote_it(code, protocol):
    array = np.arange(24).reshape(2, 3, 4).astype(code)
    for one in (array, np.asfortranarray(array), array[:0], array[0, 0, 1], array.reshape(24)[5]):
        found = read(pickle.dumps({"a": [one]}, protocol))["a"][0]
        assert isinstance(found, Array)
        assert found.tensor is not None
        np.testing.assert_array_equal(found.tensor.numpy().astype(one.dtype), one)


@pytest.mark.parametrize("home", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_of_older_and_newer_numpy_are_read(home):
    content = pickle.dumps(np.arange(3.0), 2)
    content = re.sub(rb"cnumpy\._?core\.multiarray\n", b"c" + home + b"\n", content)
    assert home in content
    assert read(content).tensor.tolist() == [0, 1, 2]


OBJECT = dtype_with("f8", "|", None, None, None, -1, -1, 0)
STRUCTURED = dtype_with("f8", "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 16)
SUBARRAY = dtype_with("f8", "|", (np.dtype("f8"), (2,)), None, None, 16, 8, 0)
EIGHT = b"\x41" * 8

DOUBLE = np.dtype("f8")

ATTACKS: dict[str, Any] = {
    "an array of objects made directly": Call(np.ndarray, (1,), "O8", EIGHT),
    "an array with an offset before its bytes": Call(np.ndarray, (1,), "f8", EIGHT, -64),
    "an array with strides": Call(np.ndarray, (9,), "f8", EIGHT, 0, (1 << 20,)),
    "an object dtype": array_with((1,), Call(np.dtype, "O8", False, True), EIGHT),
    "an object dtype by name": array_with((1,), Call(np.dtype, "object"), [1]),
    "an object dtype by BUILD": array_with((1,), OBJECT, [1]),
    "fields": array_with((1,), STRUCTURED, EIGHT),
    "a part of a dtype": array_with((1,), SUBARRAY, EIGHT * 2),
    "an unknown byte order": array_with((1,), dtype_with("f8", "?", None, None, None), EIGHT),
    "a copied dtype with cleared flags": array_with(
        (1,), dtype_with("O8", "|", None, None, None, -1, -1, 0), EIGHT
    ),
    "dates": array_with((1,), Call(np.dtype, "M8[ns]"), EIGHT),
    "void": array_with((1,), Call(np.dtype, "V8"), EIGHT),
    "text": array_with((1,), Call(np.dtype, "U2"), EIGHT),
    "bytes": array_with((1,), Call(np.dtype, "S8"), EIGHT),
    "complex numbers": array_with((1,), Call(np.dtype, "c8"), EIGHT),
    "a list of fields": array_with((1,), Call(np.dtype, [("a", "O")]), EIGHT),
    "too few bytes": array_with((2,), DOUBLE, EIGHT),
    "too many bytes": array_with((1,), DOUBLE, EIGHT * 2),
    "a negative side": array_with((-1,), DOUBLE, EIGHT),
    "two negative sides": array_with((-1, -1), DOUBLE, EIGHT),
    "a million million numbers": array_with((10**12,), DOUBLE, EIGHT),
    "a product beyond 64 bits": array_with((2**33, 2**33), DOUBLE, b""),
    "a side beyond 64 bits": array_with((2**70, 0), DOUBLE, b""),
    "many dimensions": array_with((1,) * 65, DOUBLE, EIGHT),
    "a side of a fraction": array_with((1.0,), DOUBLE, EIGHT),
    "no bytes": array_with((1,), DOUBLE, None),
    "a scalar of an object": Call(SCALAR, Call(np.dtype, "O8"), EIGHT),
    "a scalar of two": Call(SCALAR, DOUBLE, EIGHT * 2),
    "a command": Call(os.system, "true"),
    "an evaluation": Call(eval, "1"),
    "an import": Call(__import__, "os"),
    "another function of numpy": Call(np.fromfile, "/etc/hostname"),
    "a function of torch": Call(torch.load, "/etc/hostname"),
}

RAW = {
    "BUILD on a function": b"c_codecs\nencode\n}b.",
    "BUILD on a class": b"cargparse\nNamespace\n}b.",
    "an attribute of a function": b"cnumpy\ndtype\nN}X\x08\0\0\0__call__Ns\x86b.",
    "an object of a function": b"cnumpy\ndtype\n)\x81.",
    "another codec": b"c_codecs\nencode\nX\1\0\0\0aX\6\0\0\0utf-16\x86R.",
    "an extension": b"\x80\2\x82\1.",
    "something outside": b"Pstorage\n.",
    "a value outside": b"K\1Q.",
    "much memory at once": b"\x80\5\x96" + struct.pack("<Q", 2**60) + b".",
    "a number of many digits": b"I" + b"9" * 10_000 + b"\n.",
    "a value that is not there": b"h\7.",
    "nothing": b"",
    "only a begin": b"\x80\2",
    "an attribute of a module": b"\x80\4\x8c\5numpy\x8c\x0bdtype.mro__\x93.",
    "one text a thousand times as bytes": b"(X\x00\x00\x10\x00"
    + b"a" * 2**20
    + b"\x94"
    + b"c_codecs\nencode\nh\0\x85R" * 1000
    + b"l.",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_reach_beyond_its_numbers_is_refused(attack, protocol):
    with pytest.raises(WeightsError) as caught:
        read(pickle.dumps({"model": ATTACKS[attack]}, protocol))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attack", RAW)
def test_a_pickle_that_bends_its_reader_is_refused(attack):
    with pytest.raises(WeightsError):
        read(RAW[attack])


@pytest.mark.parametrize("value", [b"]", b")", b"N", b"K\1"])
def test_a_state_for_what_has_none_is_damage_and_no_attack(value):
    with pytest.raises(DamagedError):
        read(value + b"}b.")


@pytest.mark.parametrize(
    "data",
    [b"]r\xff\xff\xff\xff.", b"]" * 10**5 + b"a" * (10**5 - 1) + b"."],
    ids=["a far place in the memo", "deep lists"],
)
def test_odd_pickles_of_plain_values_cost_nothing(data):
    assert isinstance(read(data), list)


ROW = {"0": torch.arange(6.0)}

# Tuples of the same tuple twice, and so on: their hash and their text take for ever.
TWINS = b")" + b"2\x86" * 60
ONE_HASH = b"".join(
    b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") for n in range(1, 20_001)
)


@pytest.mark.parametrize(
    "data",
    [
        b"}" + TWINS + b"K\1s.",
        b"(" + TWINS + b"K\1d.",
        b"}(" + TWINS + b"K\1u.",
        b"\x8f(" + TWINS + b"\x90.",
        b"(" + TWINS + b"\x91.",
        b"ccollections\nOrderedDict\n]" + TWINS + b"K\1\x86a\x85R.",
        b"ctorch\nSize\n(" + TWINS + b"t\x85R.",
        b"cnumpy\ndtype\n" + TWINS + b"\x85R.",
        b"c_codecs\nencode\nX\1\0\0\0a" + TWINS + b"\x86R.",
        b"cbuiltins\nbytes\nX\1\0\0\0a" + TWINS + b"\x86R.",
        TWINS + b"Q.",
        b"(X\7\0\0\0storagectorch\nFloatStorage\n" + TWINS + b"NK\1tQ.",
        b"}(" + ONE_HASH + b"u.",
        b"(" + ONE_HASH + b"\x91.",
    ],
)
def test_values_that_hold_each_other_cost_no_time(data):
    start = time.perf_counter()
    with contextlib.suppress(WeightsError):
        assert not read(data, ROW)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("what", "tensor"),
    [
        ("float8", torch.zeros(2).to(torch.float8_e4m3fn)),
        ("integers without a sign", torch.ones(3, dtype=torch.uint16)),
        ("complex", torch.zeros(2, dtype=torch.complex64)),
        ("sparse", torch.eye(2).to_sparse()),
        ("sparse", torch.eye(2).to_sparse_csr()),
        ("quantised", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
        ("without numbers", torch.ones(2, device="meta")),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_tensors_of_other_kinds_are_named(what, tensor, old, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"a.weight": tensor}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(LstError, match=f"it holds .*{what}"):
        read_weights(str(path))


def test_a_tensor_that_was_expanded_is_read_and_not_to_more_than_its_file(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"a.weight": torch.arange(4.0).expand(5, 4)}, path)
    assert read_weights(str(path))[0]["a.weight"][4].tolist() == [0, 1, 2, 3]
    torch.save({"a.weight": torch.arange(4.0).expand(10**6, 4)}, path)
    with pytest.raises(LstError, match="far more memory"):
        read_weights(str(path))


def test_what_stands_beside_the_weights_is_left_out():
    content: dict[str, Any] = {
        "model": OrderedDict(a=np.ones(2)), "args": argparse.Namespace(lr=0.1, out=Path("x")),
        "epoch": 7, "best": np.float32(0.5), "seen": {1, 2},
        "by place": {(1, 2): 3.0, Path("x"): 4, 7: 5},
    }  # fmt: skip
    content["model"].kept = {"version": 1}
    found = read(pickle.dumps(content, 2))
    assert found["epoch"] == 7
    assert found["model"]["a"].tensor.tolist() == [1, 1]
    assert found["best"].tensor == 0.5
    assert found["args"] == {}
    assert found["by place"] == {7: 5}


def tensor_of(offset: Any, size: Any, stride: Any, count: Any = 6) -> bytes:
    """What torch.save writes of one tensor."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

    file = io.BytesIO()
    storage = ("storage", torch.FloatStorage, "0", "cpu", count)
    rebuild = torch._utils._rebuild_tensor_v2
    Pickler(file, 2).dump(Call(rebuild, storage, offset, size, stride, False, OrderedDict()))
    return file.getvalue()


def test_a_part_of_a_storage_is_read():
    assert read(tensor_of(1, (2, 2), (1, 2)), ROW).tensor.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (-1, (2,), (1,)), (5, (2,), (1,)), (0.0, (2,), (1,)), (2**64, (1,), (1,)),
        (0, (7,), (1,)), (0, (2, 2), (5, 1)), (0, (2,), (-1,)), (0, (-2,), (1,)),
        (0, (2, 2), (1,)), (0, (2**40,), (0,)), (0, (2**33, 2**33), (0, 0)),
        (0, (2**62, 4), (1, 1)), (0, "ab", (1, 1)),
    ],
)  # fmt: skip
def test_a_tensor_beyond_its_storage_is_refused(offset, size, stride):
    with pytest.raises(WeightsError):
        read(tensor_of(offset, size, stride), ROW)
