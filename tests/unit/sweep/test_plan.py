from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.settings.load import load_settings
from lst_cli.settings.presets import JOINT_ROWS
from lst_cli.sweep.plan import SweepPlan, choose, parse_plan, read_plan, shipped_plans

LST: dict[str, Any] = {"name": "lst", "kind": "lst"}
JOINT: dict[str, Any] = {"name": "joint", "kind": "joint"}
FILES: dict[str, Any] = {"train": Path("t.json"), "val": Path("v.json")}


def parse(*runs: dict[str, Any], **table: Any) -> SweepPlan:
    return parse_plan({"run": list(runs), **table}, "few", "few.toml")


def refused(*runs: dict[str, Any], **table: Any) -> str:
    with pytest.raises(LstError) as caught:
        parse(*runs, **table)
    assert caught.value.message.startswith("few.toml: ")
    return caught.value.message.removeprefix("few.toml: ")


def test_what_a_run_says_counts_more_than_the_command_line_and_that_more_than_what_is_common():
    settings = {"preset": "lite", "step": {"lr": 0.1, "epochs": 25.0}, "base": {"lr": 0.1}}
    plan = parse({**LST, "step": {"lr": 0.3}}, JOINT, settings=settings)
    plan = choose(plan, **FILES, overrides=["step.lr=0.2", "base.lr=0.2"])
    own, other = (plan.settings_of(run, 7) for run in plan.runs)
    assert (own.step.lr, own.base.lr, own.step.epochs, own.seed) == (0.3, 0.2, 25.0, 7)
    assert other.step.lr == 0.2
    assert own.preset == "lite"


def test_the_words_of_a_run_stand_for_its_settings():
    run = {**LST, "detectron2": {"MODEL": {"FPN": {"OUT_CHANNELS": 16}}}, "eval": {"bins": "=1"}}
    plan = parse(run, settings={"preset": "lite", "data": {"min_size": [64, 96]}})
    words = plan.words_of(plan.runs[0], 3)
    assert load_settings(None, words) == plan.settings_of(plan.runs[0], 3)
    fewer = load_settings(None, plan.words_of(plan.runs[0], 3, without=["eval"]))
    assert fewer.eval.bins != "=1"


@pytest.mark.parametrize("row", JOINT_ROWS)
def test_a_row_is_short_for_its_settings_and_what_is_said_beside_it_counts_more(row):
    plan = parse({**JOINT, "row": row}, {**JOINT, "name": "own", "row": row, "head": "softmax"})
    settings = plan.settings_of(plan.runs[0], 0)
    assert settings.base.sampler == JOINT_ROWS[row]["base.sampler"]
    assert settings.model.head == JOINT_ROWS[row]["model.head"]
    assert plan.settings_of(plan.runs[1], 0).model.head == "softmax"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({**LST, "bugdet-of": "x"}, "run lst: unknown key 'bugdet-of'; did you mean budget-of?"),
        ({**LST, "stp": {}}, "run lst: unknown key 'stp'; did you mean step?"),
        ({**LST, "seed": 1}, "run lst: unknown key 'seed'; did you mean seeds?"),
        ({"kind": "lst"}, "run number 1: name is missing"),
        ({"name": "a b", "kind": "lst"}, "run a b: name: should be letters, digits"),
        (
            {**LST, "kind": "last"},
            "run lst: kind: should be 'lst', 'joint' or 'extend', got 'last'",
        ),
        ({**LST, "row": "class-aware"}, "run lst: row is for runs of kind joint, not lst"),
        ({**JOINT, "phases": 2}, "run joint: phases is for runs of kind lst, not joint"),
        ({**JOINT, "row": "rare"}, "run joint: row: 'rare' is not one of joint-softmax"),
        ({**LST, "b": 1.5}, "run lst: b: should be a number of classes, or a share"),
        ({**LST, "seeds": [1, 1]}, "run lst: seeds: should be one or more seeds, each once"),
        ({**LST, "budget-of": "lts"}, "there is no run 'lts'; did you mean lst?"),
        ({**JOINT, "budget-of": "a", "image-passes": 3}, "both set the budget"),
        ({**LST, "budget-of": "a", "share-of-base": 0.2}, "share-of-base both set the budget"),
        ({**JOINT, "share-of-base": 0.2}, "share-of-base is for runs of kind lst, not joint"),
        ({**LST, "weights-of": "a"}, "weights-of is for runs of kind joint, not lst"),
        ({**JOINT, "weights-of": "joint"}, "weights-of: there is no run 'joint' above"),
        ({**JOINT, "weights-of": "a", "budget-of": "a"}, "budget-of: with weights-of, give share-"),
        (
            {**JOINT, "weights-of": "a", "image-passes": 3, "share-of-base": 0.2},
            "image-passes and share-of-base both set the budget",
        ),
        ({"name": "b", "like": "a"}, "run b: kind is missing"),
        ({**LST, "like": "lst"}, "run lst: like: there is no run 'lst' above"),
        ({**LST, "step": {"lrr": 1}}, "run lst: step.lrr: unknown setting; did you mean step.lr?"),
        ({**LST, "step": {"lr": -1}}, "run lst: step.lr: should be greater than 0, got -1"),
    ],
)
def test_a_slip_is_told_with_its_run_and_key(run, message):
    assert message in refused(run)


def test_a_run_says_what_the_one_says_that_it_is_like_but_for_the_label():
    first = {**LST, "label": "LST", "phases": 2, "step": {"lr": 0.3, "replay": "few"}}
    second = {"name": "b", "like": "lst", "phases": 3, "step": {"lr": 0.1}}
    plan = parse(first, second, {"name": "c", "like": "b", "label": "C"})
    assert [(run.title, run.kind, run.phases) for run in plan.runs] == [
        ("LST", "lst", 2), ("b", "lst", 3), ("C", "lst", 3),
    ]  # fmt: skip
    steps = [plan.settings_of(run, 0).step for run in plan.runs]
    assert [(step.lr, step.replay) for step in steps] == [(0.3, "few"), (0.1, "few"), (0.1, "few")]


def test_slips_beside_the_runs_are_told_too():
    assert refused() == "[[run]]: a plan lists one run or more"
    assert "unknown key 'titel'; did you mean title?" in refused(LST, titel="x")
    assert "[data]: unknown key 'image'; did you mean images?" in refused(LST, data={"image": "x"})
    assert refused(LST, {**LST, "name": "b"}, settings={"step": {"lr": 0}}) == (
        "[settings]: step.lr: should be greater than 0, got 0"
    ), "once, and not for every run"
    assert "the name comes 2 times" in refused(LST, LST)


def test_a_budget_that_cannot_be_known_is_refused():
    message = refused(
        {**LST, "budget-of": "joint"}, {**JOINT, "budget-of": "a"}, {**JOINT, "name": "a"},
        {**LST, "name": "b", "budget-of": "a"},
    )  # fmt: skip
    assert "run lst: budget-of: run joint takes its own budget from another run" in message
    assert "run b: budget-of: run a has no phases whose budgets could be taken" in message


def test_all_problems_are_told_at_once():
    message = refused({**LST, "b": "x", "stp": 1}, {**JOINT, "row": "rare"})
    assert message.startswith("3 problems: ")


def test_paths_of_a_plan_are_relative_to_its_file(tmp_path):
    file = tmp_path / "mine.toml"
    text = '[data]\ntrain="t.json"\nval="/v.json"\nimages=["i"]\nweights="{}"\n{}'
    run = '[[run]]\nname="a"\nkind="lst"\n'
    file.write_text(text.format("zoo/w.pkl", run))
    plan = read_plan(str(file))
    assert (plan.name, plan.source) == ("mine", "mine.toml")
    assert plan.data.train == tmp_path / "t.json"
    assert plan.data.val == Path("/v.json")
    assert plan.data.images == (tmp_path / "i",)
    assert plan.data.weights == str(tmp_path / "zoo" / "w.pkl")
    for elsewhere in ("detectron2://zoo/w.pkl", "/zoo/w.pkl"):
        file.write_text(text.format(elsewhere, run))
        assert read_plan(str(file)).data.weights == elsewhere
    assert choose(plan, val=Path("w.json")).data.val == Path("w.json")


def test_the_command_line_fills_what_runs_leave_open():
    plan = parse({**LST, "seeds": [9], "phases": 2}, JOINT)
    plan = choose(plan, **FILES, b=0.25, phases=4, seeds=[1, 2], preset="lite")
    assert plan.common.b == 0.25
    assert [plan.seeds_of(run) for run in plan.runs] == [(9,), (1, 2)]
    assert plan.settings_of(plan.runs[1], 1).preset == "lite"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"overrides": ["step.lrr=1"]}, "--set: step.lrr: unknown setting"),
        ({"b": 0}, "--b: should be a number of classes"),
        ({"overrides": ["seed=1"]}, "--set seed: a sweep has a list of seeds"),
        ({"b": 2.0}, "--b: should be a number of classes"),
        ({"seeds": [1, 1]}, "--seed: should be one or more seeds, each once"),
        ({"train": None}, "few.toml does not say what to learn: no train annotations"),
    ],
)
def test_what_the_command_line_says_is_checked(more, message):
    with pytest.raises(LstError, match=message):
        choose(parse(LST), **{**FILES, **more})


def test_every_plan_that_comes_with_the_package_can_be_read():
    plans = shipped_plans()
    assert list(plans) == ["ablations", "extend", "figures", "successors", "table1",
        "table1-strong", "table2", "table3", "tail",
    ]  # fmt: skip
    assert all(plans.values())
    assert [run.name for run in read_plan("table1").runs] == [*JOINT_ROWS, "lst", "lst-mwg"]


def test_shares_of_a_plan_give_the_paper_s_numbers_for_its_set():
    shares = {run.b or read_plan("table3").common.b for run in read_plan("table3").runs}
    assert sorted(round(share * 1230) for share in shares) == [110, 270, 590]


def test_a_plan_that_is_not_there_is_told_with_one_like_it():
    with pytest.raises(LstError, match=r"tabel1: no such plan; did you mean table1\?"):
        read_plan("tabel1")
