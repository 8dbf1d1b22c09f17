from __future__ import annotations

from lst_cli.progress import Progress, stage, within

Calls = list[tuple[str, int, "int | None"]]


def recorder() -> tuple[Progress, Calls]:
    calls: Calls = []
    return lambda *call: calls.append(call), calls


def test_a_stage_gives_all_work_its_name():
    progress, calls = recorder()
    named = stage(progress, "masks of val.json")
    named("reading val.json", 1, 2)
    named("", 2, None)
    assert calls == [("masks of val.json", 1, 2), ("masks of val.json", 2, None)]


def test_what_work_is_part_of_stands_before_its_name():
    progress, calls = recorder()
    within(within(progress, "phase 1 of 3: "), "mask AP, ")("intervals", 5, None)
    assert calls == [("phase 1 of 3: mask AP, intervals", 5, None)]
