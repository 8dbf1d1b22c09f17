from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from lst_cli.errors import LstError
from lst_cli.samples.bank import ObjectBank, read_bank
from lst_cli.samples.paste import CutOut


def cut_out(number: int, height: int, width: int) -> CutOut:
    ramp = np.linspace(0, 250, height * width).reshape(height, width, 1)
    mask = np.zeros((height, width), dtype=bool)
    mask[: height // 2 + 1] = True
    return CutOut(number, np.repeat(ramp, 3, axis=2).astype(np.uint8), mask)


OBJECTS = [cut_out(7, 5, 9), cut_out(3, 31, 17), cut_out(7, 1, 1)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bank.safetensors"
    path.write_bytes(ObjectBank.of(OBJECTS).to_bytes())
    return path


def test_a_bank_gives_back_what_was_put_into_it(file):
    bank = read_bank(file, [3, 7, 9], "")
    assert bank.category_ids.tolist() == [7, 3, 7]
    for row, one in enumerate(OBJECTS):
        found = bank.cut_out(row, 2)
        assert found.label == 2
        assert (found.mask == one.mask).all()
        assert np.abs(found.pixels.astype(int) - one.pixels).max() < 12  # JPEG
    assert ObjectBank.of(OBJECTS).to_bytes() == file.read_bytes()


def test_a_bank_keeps_no_object_as_it_was_cut_out():
    alive: list[weakref.ref[CutOut]] = []

    def objects() -> Iterator[CutOut]:
        for number in range(5):
            assert sum(one() is not None for one in alive) <= 1
            made = cut_out(number, 4, 4)
            alive.append(weakref.ref(made))
            yield made

    assert len(ObjectBank.of(objects())) == 5


def test_a_bank_may_be_empty(tmp_path):
    path = tmp_path / "empty"
    path.write_bytes(ObjectBank.of([]).to_bytes())
    assert len(read_bank(path, [], "")) == 0


def changed(name: str, change: Any) -> Any:
    def damage(file: Path) -> None:
        tensors = load(file.read_bytes())
        tensors[name] = change(tensors[name].copy())
        file.write_bytes(save({key: np.ascontiguousarray(one) for key, one in tensors.items()}))

    return damage


def put(place: Any, value: int) -> Any:
    def change(tensor: Any) -> Any:
        tensor[place] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), ""),
        (lambda file: file.write_bytes(b"PK not a bank"), ""),
        (lambda file: file.write_bytes(save({"category_ids": np.zeros(3)})), "other tensors"),
        (changed("category_ids", lambda one: one[:2]), "different lengths"),
        (changed("category_ids", lambda one: one.astype(np.float64)), "other tensors"),
        (changed("category_ids", put(0, 8)), "category 8, which is not of the phase"),
        (changed("sizes", put((0, 0), 0)), "impossible size"),
        (changed("sizes", put((1, 0), 2**40)), "impossible size"),
        (changed("sizes", put((1, 0), 32)), "masks do not fill"),
        (changed("sizes", lambda one: one[:, ::-1]), "object 0: its picture is not 5x9"),
        (changed("masks", lambda one: one[:-1]), "masks do not fill"),
        (changed("masks", lambda one: one * 0), "object 0: its mask is empty"),
        (changed("jpeg_ends", put(0, 0)), "pictures do not fill"),
        (changed("jpeg_ends", put(2, 10**9)), "pictures do not fill"),
        (changed("jpeg", lambda one: one * 0), "object 0: "),
        (changed("jpeg", put(slice(60, 500), 0)), "object 0: "),
    ],
)
def test_a_bank_that_is_none_is_refused_in_one_line(file, damage, reason):
    damage(file)
    with pytest.raises(LstError, match=f"not a whole bank: .*{reason}") as caught:
        read_bank(file, [3, 7], "make it again")
    assert caught.value.hint == "make it again"
    assert "\n" not in str(caught.value)


def test_a_missing_bank_is_named(tmp_path):
    with pytest.raises(LstError, match="gone: missing"):
        read_bank(tmp_path / "gone", [], "")
