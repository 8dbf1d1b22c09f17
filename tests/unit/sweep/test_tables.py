from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lst_cli.ap.metrics import Metrics
from lst_cli.compare.paired import Setting
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import MISSING
from lst_cli.sweep.tables import (
    Failure,
    RunResult,
    SeedResult,
    SweepResults,
    difference_lines,
    render_sweep_markdown,
    sweep_numbers,
    sweep_record,
    sweep_table,
)
from lst_cli.text import json_text
from tests.fixtures.reports import read_csv

Make = Callable[..., RunResult]


@pytest.fixture
def make_run(make_record: Callable[[int], dict[str, Any]]) -> Make:
    """Make a run whose seeds have the APs given."""

    def make(name: str, *ap: float, phase: int = 2, passes: int = 1000, **more: Any) -> RunResult:
        record = make_record(phase)
        seeds = []
        for seed, value in enumerate(ap):
            found = {**record, "segm": {**record["segm"], "AP": value}}
            metrics, seconds = Metrics.model_validate(found), 1800.0 * (seed + 1)
            one = SeedResult(
                seed=seed, workspace=f"{name}-seed{seed}", metrics=metrics, image_passes=passes,
                iterations=passes // 8, seconds=seconds, shares_base=phase > 0,
            )  # fmt: skip
            seeds.append(one)
        fields = {"label": f"the {name}", "kind": "lst", "planned": len(ap), **more}
        return RunResult(name=name, seeds=tuple(seeds), **fields)

    return make


def results(*runs: RunResult, **more: Any) -> SweepResults:
    return SweepResults(plan="few", title="A few runs", runs=runs, **more)


def cells(found: SweepResults, place: int, **options: bool) -> dict[str, str]:
    table = sweep_table(found, **options)
    return dict(zip([one.key for one in table.columns], table.texts()[place], strict=True))


def test_seeds_are_put_together_as_mean_and_deviation(make_run):
    found = results(make_run("a", 0.2, 0.3, 0.4), make_run("b", 0.25, passes=2400))
    first, second = cells(found, 0), cells(found, 1)
    assert first["AP"] == "30.0 ± 10.0"
    assert (first["image passes"], first["time"], first["seeds"]) == ("1,000", "1 h 00 min", "3")
    assert second["AP"] == "25.0"
    assert (second["image passes"], second["time"]) == ("2,400", "30 min 00 s")
    assert "The runs show 1,000 to 2,400 images." in sweep_table(found).remark


def test_columns_are_bins_then_means_then_old_and_new(make_run):
    table = sweep_table(results(make_run("a", 0.2)))
    assert [one.key for one in table.columns] == [
        "run", "AP(=1)", "AP(<5)", "AP(10-99)", "AP(>=100)",
        "AP", "AP50", "AP75", "APr", "APc", "APf", "box AP", "old", "new",
        "image passes", "time", "seeds",
    ]  # fmt: skip
    assert table.class_line()[1:5] == ["0", "1", "1", "2"]
    narrow = sweep_table(results(make_run("a", 0.2)), narrow=True)
    assert not {"AP75", "box AP"} & {one.key for one in narrow.columns}


def test_what_is_missing_shows(make_run):
    found = results(make_run("a", 0.2, planned=3), make_run("b", planned=2))
    assert cells(found, 0)["seeds"] == "1 of 3"
    row = [cells(found, 1)[key] for key in ("AP", "AP(<5)", "time", "seeds")]
    assert row == [MISSING, MISSING, MISSING, "0 of 2"]
    assert sweep_table(results(make_run("b", planned=2))).texts()[0][0] == "the b"
    assert "±" not in sweep_table(found).remark


def test_csv_has_every_number_with_its_deviation(make_run):
    found = results(make_run("a", 0.2, 0.4), make_run("b"))
    row, other = read_csv(render_csv(sweep_numbers(found)))
    assert (row["run"], row["kind"], row["seeds"], row["planned"]) == ("a", "lst", "2", "2")
    assert (row["AP"], row["AP sd"]) == ("30.0000", "14.1421")
    assert (row["image passes"], row["iterations"], row["hours"]) == ("1000", "125", "0.75")
    assert other["AP"] == ""


def test_json_has_every_seed_and_says_what_differs(make_run):
    differs = (Setting(key="step.mwg", first="false", this="true"),)
    run = make_run("a", 0.2, 0.4, differs=differs, differs_from="the lst")
    failed = (Failure(name="b-seed0", error="it broke", hint="mend it"),)
    record = json.loads(json_text(sweep_record(results(run, failed=failed))))
    (found,) = record["runs"]
    assert found["numbers"]["AP"] == pytest.approx({"mean": 0.3, "sd": 0.02**0.5, "seeds": 2})
    assert [one["metrics"]["segm"]["AP"] for one in found["seeds"]] == [0.2, 0.4]
    assert found["differs"] == [{"key": "step.mwg", "first": "false", "this": "true"}]
    assert record["failed"] == [{"name": "b-seed0", "error": "it broke", "hint": "mend it"}]


def test_markdown_names_what_differs_and_what_failed(make_run):
    differs = (Setting(key="step.mwg", first="false", this="true"),)
    found = results(
        make_run("a", 0.2),
        make_run("m", 0.3, differs=differs, differs_from="the a"),
        make_run("t", 0.2, same_as="the a"),
        failed=(Failure(name="b-seed0", error="it | broke"),),
    )
    assert difference_lines(found) == [
        "the t is the same run as the a",
        "the m differs from the a: step.mwg false -> true",
    ]
    page = render_sweep_markdown(found)
    assert page.startswith("# A few runs\n\n| run |")
    assert "## What differs\n\n- the t is the same run" in page
    assert "## What failed\n\n- b-seed0: it \\| broke\n" in page


def test_where_all_classes_are_learned_at_once_none_is_new(make_run):
    found = results(make_run("joint", 0.2, phase=0, kind="joint"), make_run("lst", 0.2))
    assert cells(found, 0)["new"] == MISSING
    assert cells(found, 1)["new"] != MISSING
    alone = cells(results(make_run("a", 0.2, phase=0)), 0)
    assert not {"old", "new"} & alone.keys()


def test_old_and_new_are_left_out_where_they_are_not_the_same_classes(make_run):
    assert "new" in cells(results(make_run("few", 0.2), make_run("lst", 0.2)), 0)
    unlike = results(make_run("few", 0.2, phase=1), make_run("lst", 0.2))
    assert not {"old", "new"} & set(cells(unlike, 0))
    assert "new" in render_csv(sweep_numbers(unlike)).splitlines()[0].split(",")
