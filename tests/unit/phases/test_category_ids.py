from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.phases.category_ids import assign_category_ids


def test_a_class_that_another_file_names_has_its_id_there() -> None:
    found = assign_category_ids(
        ["emu", "yak"], [1, 2], taken=[1, 2], used=[1, 2, 5], named=[{"emu": 5, "owl": 2}]
    )
    assert found == [5, 6]


def test_the_file_that_matters_most_comes_first() -> None:
    named = [{"emu": 5}, {"emu": 7, "yak": 8}]
    assert assign_category_ids(["emu", "yak"], [1, 2], taken=[], used=[5, 7, 8], named=named) == [
        5,
        8,
    ]


def test_a_named_id_that_another_class_took_is_passed_over() -> None:
    named = [{"emu": 5}, {"emu": 7}]
    assert assign_category_ids(["emu"], [1], taken=[5], used=[1], named=named) == [7]
    assert assign_category_ids(["emu"], [1], taken=[5, 7], used=[1], named=named) == [8]


def test_an_own_id_is_kept_if_nobody_else_has_it() -> None:
    assert assign_category_ids(["emu", "yak"], [40, 3], taken=[1, 2], used=[3]) == [40, 41]


def test_no_classes_get_no_ids() -> None:
    assert assign_category_ids([], [], taken=[1], used=[1]) == []


IDS = st.lists(st.integers(1, 12), max_size=8, unique=True)


@settings(deadline=None)
@given(own=IDS, taken=IDS, used=IDS, told=IDS)
def test_no_id_is_given_twice(
    own: list[int], taken: list[int], used: list[int], told: list[int]
) -> None:
    names = [f"class {number}" for number in own]
    named = dict(zip(names, told, strict=False))
    found = assign_category_ids(names, own, taken=taken, used=[*used, *told], named=[named])
    assert len({*found, *taken}) == len(found) + len(set(taken))
