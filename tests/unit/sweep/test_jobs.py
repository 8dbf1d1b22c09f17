from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.split.split import read_datasets
from lst_cli.sweep.jobs import Job, Sweep, plan_jobs, run_differences
from lst_cli.sweep.plan import choose, parse_plan

LST: dict[str, Any] = {"name": "lst", "kind": "lst"}
JOINT: dict[str, Any] = {"name": "joint", "kind": "joint", "budget-of": "lst"}
COMMON: dict[str, Any] = {"b": 5, "phases": 3}
Plan = Callable[..., Sweep]


@pytest.fixture
def plan(small_lvis: Any) -> Plan:
    """Plan a sweep over the small set: 11 classes, 24 images with all of them."""
    train, val = read_datasets(small_lvis.train_json, small_lvis.val_json)

    def make(
        *runs: dict[str, Any],
        only: tuple[str, ...] = (),
        weights: str | None = None,
        **common: Any,
    ) -> Sweep:
        table = {"run": list(runs), "settings": {**COMMON, **common}}
        found = choose(
            parse_plan(table, "few", "few.toml"),
            train=small_lvis.train_json,
            val=small_lvis.val_json,
            images=[small_lvis.images],
            weights=weights,
        )
        return plan_jobs(found, train, val, Path("sweep"), only)

    return make


def named(sweep: Sweep) -> dict[str, Job]:
    return {job.name: job for job in sweep.jobs}


def bases(sweep: Sweep) -> list[Job]:
    return [job for job in sweep.jobs if job.kind == "base"]


def test_runs_that_differ_after_the_base_phase_share_one(plan):
    sweep = plan(
        LST,
        {**LST, "name": "mwg", "step": {"mwg": True}},
        {**LST, "name": "two", "phases": 2},
        {**LST, "name": "bins", "eval": {"detections": 7}},
    )
    (base,) = bases(sweep)
    assert base.users == ("lst-seed0", "mwg-seed0", "two-seed0", "bins-seed0")
    assert sweep.jobs[0] is base
    assert len(base.split.groups[0]) == 5
    assert {job.base.root for job in sweep.jobs if job.base} == {base.root}


@pytest.mark.parametrize(
    "other",
    [
        {"b": 4},
        {"base": {"lr": 0.5}},
        {"data": {"flip": 0.0}},
        {"model": {"cosine_scale": 5.0}},
        {"detectron2": {"MODEL.RPN.NMS_THRESH": 0.6}},
        {"seeds": [1]},
    ],
)
def test_runs_whose_base_phase_would_differ_share_none(plan, other):
    assert len(bases(plan(LST, {**LST, "name": "other", **other}))) == 2


@pytest.mark.parametrize(
    "change", [{"step": {"lr": 0.5}}, {"b": 4}, {"phases": 1}, {"weights": "w.pkl"}]
)
def test_what_is_trained_on_something_else_is_another_workspace(plan, change):
    runs, others = plan(LST), plan(LST, **change)
    assert named(runs)["lst-seed0"].root != named(others)["lst-seed0"].root
    if "weights" in change:
        assert bases(runs)[0].root != bases(others)[0].root


def test_where_a_base_phase_lies_does_not_depend_on_the_plan(plan):
    alone = bases(plan({**LST, "phases": 1, "step": {"lr": 0.5}}))[0]
    assert alone.root == bases(plan(JOINT, LST, {**LST, "name": "b", "b": 3}))[0].root


def test_the_first_seed_of_all_runs_comes_before_the_second(plan):
    sweep = plan(LST, {**JOINT, "seeds": [4]}, seeds=[0, 1])
    names = [job.name for job in sweep.jobs if job.run]
    assert names == ["lst-seed0", "joint-seed4", "lst-seed1"]
    assert [job.settings.seed for job in sweep.jobs if job.run] == [0, 4, 1]
    assert [job.seed for job in bases(sweep)] == [0, 1]


def test_only_some_runs_are_made_and_no_base_phase_that_nobody_needs(plan):
    runs = (LST, JOINT, {**LST, "name": "b4", "b": 4})
    assert [job.kind for job in plan(*runs, only=("joint",)).jobs] == ["joint"]
    assert len(plan(*runs, only=("joint",)).every) == 3
    assert bases(plan(*runs, only=("b4",)))[0].users == ("b4-seed0",)
    with pytest.raises(LstError, match="--only lts: no such run"):
        plan(*runs, only=("lts",))


def test_joint_training_shows_as_many_images_as_all_phases_together(plan):
    jobs = named(plan(LST, {**JOINT, "base": {"batch_size": 1}}))
    assert jobs["joint-seed0"].image_passes == jobs["lst-seed0"].image_passes
    assert len(jobs["joint-seed0"].phases) == 1
    assert jobs["joint-seed0"].phases[0].image_passes == jobs["lst-seed0"].image_passes


def test_other_replay_shows_as_many_images_in_each_phase(plan):
    other = {**LST, "name": "all", "step": {"replay": "all"}}
    jobs = named(plan(LST, {**other, "budget-of": "lst"}, {**other, "name": "free"}))
    shown = {name: [phase.shown for phase in job.phases] for name, job in jobs.items()}
    assert shown["all-seed0"] == shown["lst-seed0"] != shown["free-seed0"]
    assert jobs["all-seed0"].phases[0].image_passes is None, "the base phase is shared"
    assert jobs["all-seed0"].base is not None


def test_a_budget_can_be_a_share_of_the_base(plan):
    run = {**LST, "phases": 2, "share-of-base": 0.5, "base": {"image_passes": 64}}
    job = named(plan(run))["lst-seed0"]
    assert [phase.shown for phase in job.phases] == [64, 32, 32]


def test_a_run_that_goes_on_from_another_counts_its_images_too_and_needs_it_first(plan):
    lst = {**LST, "phases": 1, "share-of-base": 0.5, "base": {"image_passes": 64}}
    tuned = {"kind": "joint", "share-of-base": 0.25, "base": {"sampler": "few"}}
    runs = (
        lst,
        {**tuned, "name": "a", "weights-of": "lst"},
        {**tuned, "name": "b", "weights-of": "a"},
    )
    sweep = plan(*runs, only=("b",), seeds=[0, 1])
    jobs = named(sweep)
    assert [job.name for job in sweep.jobs if job.run] == [
        f"{name}-seed{seed}" for seed in (0, 1) for name in ("lst", "a", "b")
    ]
    assert bases(sweep)[0].users == ("lst-seed0",)
    last = jobs["b-seed0"]
    assert [phase.shown for phase in last.phases] == [16]
    assert (last.image_passes, last.iterations) == (64 + 32 + 16 + 16, 8 + 4 + 2 + 2)
    start = jobs["a-seed0"]
    assert (last.start, last.initial) == (start, f"{start.root}/phases/00-base/model.safetensors")
    assert start.initial == f"{jobs['lst-seed0'].root}/phases/01/model.safetensors"
    others = named(plan({**lst, "step": {"lr": 0.5}}, *runs[1:]))
    assert others["b-seed0"].root != last.root
    found = run_differences(sweep)["b"]
    assert [(one.key, one.first, one.this) for one in found[1]] == [("goes on from", "lst", "a")]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"weights-of": "lst", "model": {"head": "softmax"}}, "run of: weights-of: it needs the "
         "network of run lst: model.head was 'cosine', is now 'softmax'"),
        ({"base": {"distill_weight": 1.0}}, "run of: base.distill_weight: the initial weights are"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_go_on_from_another_is_refused(plan, run, message):
    plan(LST, {"name": "of", "kind": "joint", "weights-of": "lst", "base": {"distill_weight": 1.0}})
    with pytest.raises(LstError, match=message):
        plan(LST, {"name": "of", "kind": "joint", **run})


def test_budgets_of_unlike_phases_are_refused(plan):
    with pytest.raises(LstError, match=r"run lst has 3 phase.* after the base phase, this one 2"):
        plan(LST, {**LST, "name": "two", "phases": 2, "budget-of": "lst"})


def test_counts_are_those_of_training(plan, small_lvis):
    job = named(plan(LST))["lst-seed0"]
    # 10 epochs of 24 images, then of 7 new and 19 replayed entries, in batches of 8.
    assert [phase.iterations for phase in job.phases][:2] == [30, 32]
    assert job.phases[0].shown == 240
    assert [plan.iterations for plan in job.split.phases] == [
        phase.iterations for phase in job.phases[1:]
    ]


def test_a_share_of_the_classes_is_rounded(plan):
    jobs = named(plan({**LST, "b": 0.5}, {**LST, "name": "few", "b": 0.01, "phases": 1}))
    assert [len(group) for group in jobs["lst-seed0"].split.groups] == [6, 2, 2, 1]
    assert len(jobs["few-seed0"].split.groups[0]) == 1


def test_runs_that_would_be_the_same_are_made_once(plan):
    again = {**LST, "name": "again", "step": {"distill_weight": 1.0}, "mwg": {"bank_size": 2}}
    sweep = plan(LST, again)
    assert [job.name for job in sweep.jobs if job.run] == ["lst-seed0"]
    assert [(job.name, job.same_as) for job in sweep.every] == [
        ("lst-seed0", ""), ("again-seed0", "lst-seed0"),
    ]  # fmt: skip
    only = plan(LST, again, only=("again",))
    assert only.jobs[-1].root == sweep.every[0].root


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({**LST, "b": 11}, "few.toml: run lst: --b 11: the base needs"),
        ({**LST, "phases": 7}, "few.toml: run lst: --phases 7: 6 class"),
        ({**LST, "model": {"head": "softmax"}}, "run lst: model.head = softmax: new classes need"),
        ({**LST, "eval": {"bins": "few"}}, "run lst: .*few"),
    ],
)
def test_a_run_that_does_not_fit_the_data_is_named(plan, run, message):
    with pytest.raises(LstError, match=message):
        plan(run)


def test_another_budget_makes_another_workspace(plan):
    roots = [
        named(plan({**LST, "step": step}, JOINT))["joint-seed0"].root
        for step in ({}, {"lr": 0.5}, {"epochs": 30.0})
    ]
    assert roots[0] == roots[1] != roots[2]


@pytest.mark.parametrize(
    ("word", "twins"),
    [({"device": "cpu"}, True), ({"eval": {"detections": 7}}, False), ({"seeds": [3]}, False)],
)
def test_the_digest_of_a_run_does_not_depend_on_what_trains_nothing(plan, word, twins):
    first, other = plan(LST, {**LST, "name": "two", **word}).every
    assert first.digest == other.digest
    # Runs that are evaluated differently or have other seeds have a workspace each.
    assert (other.root == first.root) == (other.same_as == first.name) == twins


def test_what_differs_is_told_against_the_first_of_its_kind(plan):
    sweep = plan(
        {**JOINT, "row": "joint-cosine"},
        LST,
        {**JOINT, "name": "rfs", "row": "repeat-factor"},
        {**LST, "name": "other", "phases": 2, "step": {"mwg": True}},
        seeds=[0, 1],
    )
    told = {
        name: (first, [(one.key, one.first, one.this) for one in found])
        for name, (first, found) in run_differences(sweep).items()
    }
    assert told["rfs"] == ("joint", [("base.sampler", "uniform", "repeat-factor")])
    assert told["other"] == (
        "lst",
        [("classes of the phases", "5 + 2 + 2 + 2", "5 + 3 + 3"), ("step.mwg", "false", "true")],
    )
    assert len(told) == 2
