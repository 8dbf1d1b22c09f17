"""`lst figure` of one run or several: balance, distill, replay, mwg, tail."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from lst_cli.cli.main import cli
from lst_cli.workspace.records import load_json, save_json
from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- balance ---------------------------------------------------------------------------------


def test_balance_needs_a_split_and_no_training(lst: Lst, workspace: Workspace) -> None:
    outcome = lst("figure", "balance", "-w", workspace.root)
    assert outcome.code == 0, outcome.err
    picture = workspace.layout.report / "figures" / "balance.png"
    assert outcome.out.splitlines()[-1] == str(picture)
    assert picture.with_suffix(".pdf").exists()
    rows = read_csv(picture.with_suffix(".csv"))
    assert len(rows) == 7 + 9 + 11
    first = {row["class"]: row for row in rows if row["phase"] == "1"}
    assert (first["class 7"]["all_data"], first["class 7"]["kind"]) == ("30", "old")
    assert (first["class 11"]["all_data"], first["class 11"]["D_t"]) == ("4", "4")
    # Phase 1 brings 3.5 instances a class: no old one keeps 30.
    assert 0 < float(first["class 7"]["D_t"]) < 12


def test_balance_shows_balanced_replay_and_says_if_that_is_not_the_runs_own(
    lst: Lst, workspace: Workspace
) -> None:
    plain = lst("figure", "balance", "--json", "-w", workspace.root)
    workspace.layout.settings.write_text('[step]\nreplay = "all"\n')
    outcome = lst("figure", "balance", "-w", workspace.root)
    assert "own setting is step.replay = all" in " ".join(outcome.err.split())
    again = lst("figure", "balance", "--json", "-w", workspace.root)
    assert again.json == plain.json
    assert [row["old"] for row in plain.json["balance"]["phases"]] == [5, 7, 9]


def test_joint_training_has_nothing_to_balance(lst: Lst, small_lvis: Any, tmp_path: Path) -> None:
    words = small_lvis.split_words()
    root = tmp_path / "joint"
    assert lst(*words[: words.index("--b")], "--joint", "-w", root).code == 0
    outcome = lst("figure", "balance", "-w", root)
    assert outcome.error == f"error: {root} has no phase after the base: nothing is replayed"


# --- runs that differ in a setting -----------------------------------------------------------


def test_two_runs_are_named_by_what_differs_and_drawn_phase_by_phase(
    lst: Lst, runs: Any, tmp_path: Path
) -> None:
    first, second = runs.train("first"), runs.train("second", "--no-distill")
    runs.evaluate(first, 0.5)
    runs.evaluate(second, 0.25)
    words = ("figure", "distill", "-w", first.root, "--with", second.root)
    outcome = lst(*words, "-o", tmp_path / "paper")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "paper" / "figures"
    assert outcome.out.splitlines()[-1] == str(folder / "distill.png")
    assert sorted(path.name for path in folder.iterdir()) == [
        "distill.csv", "distill.pdf", "distill.png",
    ]  # fmt: skip
    rows = read_csv(folder / "distill.csv")
    assert [(row["run"], row["phase"], row["all"], row["classes(all)"]) for row in rows] == [
        ("with distillation", "1", "50.0000", "7"),
        ("without distillation", "1", "25.0000", "7"),
        ("with distillation", "2", "50.0000", "8"),
        ("without distillation", "2", "25.0000", "8"),
    ]
    assert "do not share a base" not in outcome.err
    for workspace in (first, second):
        assert not workspace.layout.report.exists()
    figures = Workspace(first.root).layout.report / "figures"
    assert lst(*words).out.splitlines()[-1] == str(figures / "distill.png")


def test_three_runs_and_another_setting_that_differs_are_told_apart(lst: Lst, runs: Any) -> None:
    made = [runs.train("a"), runs.train("b", "--replay", "all"),
            runs.train("c", "--replay", "all", "--set", "step.lr=0.5")]  # fmt: skip
    for run in made:
        runs.evaluate(run, 0.5)
    more = [word for run in made[1:] for word in ("--with", run.root)]
    outcome = lst("figure", "replay", "--json", "-w", made[0].root, *more)
    assert outcome.code == 0, outcome.err
    assert [run["run"] for run in outcome.json["replay"]["runs"]] == [
        "balanced replay, step.lr = 0.002",
        "all old data, step.lr = 0.002",
        "all old data, step.lr = 0.5",
    ]


def test_runs_that_differ_in_nothing_else_are_told_apart_by_where_they_lie(
    lst: Lst, runs: Any
) -> None:
    made = [runs.train("a"), runs.train("b", "--replay", "all"), runs.train("c", "--replay", "all")]
    for run in made:
        runs.evaluate(run, 0.5)
    more = [word for run in made[1:] for word in ("--with", run.root)]
    outcome = lst("figure", "replay", "--json", "-w", made[0].root, *more)
    names = [run["run"] for run in outcome.json["replay"]["runs"]]
    assert names == ["balanced replay (a)", "all old data (b)", "all old data (c)"]


def test_mwg_shows_new_classes_before_the_first_iteration_and_the_few_shot_ones(
    lst: Lst, runs: Any
) -> None:
    first, second = runs.train("first"), runs.train("second", "--mwg")
    runs.evaluate(first, 0.25)
    runs.evaluate(second, 0.5)
    instant = {"format": 1, "phase": 2, "rows": {"generated": runs.record(second, 2, {1: 0.125})}}
    second.phase(2).instant.write_text(json.dumps(instant))
    words = ("figure", "mwg", "-w", first.root, "--with", second.root)
    outcome = lst(*words, "--json")
    assert outcome.code == 0, outcome.err
    shown = outcome.json["mwg"]["runs"]
    assert [run["run"] for run in shown] == ["without MWG", "with MWG"]
    assert shown[1]["phases"][1]["instant"] == {"generated": 0.125}
    assert shown[1]["phases"][0]["instant"] == shown[0]["phases"][1]["instant"] == {}
    # Classes 1 and 10 have two training instances each; 10 is in no validation image.
    assert [(point["few"], point["few_classes"]) for point in shown[0]["phases"]] == [
        (0.25, 2), (0.25, 1),
    ]  # fmt: skip
    told = " ".join(lst(*words).err.split())
    assert "(1 with ground truth): without MWG 25.0; with MWG 50.0." in told
    assert "no one trained (generated)" in told


def test_phases_that_were_not_evaluated_everywhere_are_named(lst: Lst, runs: Any) -> None:
    first, second = runs.train("first"), runs.train("second", "--no-distill")
    runs.evaluate(first, 0.5)
    runs.evaluate(second, 0.5, phases=(1,))
    words = ("figure", "distill", "-w", first.root, "--with", second.root)
    assert lst(*words, "--json").json["distill"]["notes"] == ["Not evaluated in second: phase 2."]


def test_base_phases_of_their_own_are_named(lst: Lst, runs: Any) -> None:
    first, second = runs.train("first"), runs.train("second", "--no-distill")
    for run in (first, second):
        runs.evaluate(run, 0.5)
    base, after = second.phase(0).manifest, second.phase(1).manifest
    other = load_json(base, "")
    chained = load_json(after, "")
    other["model_sha256"] = chained["previous_sha256"] = "0" * 64
    save_json(other, base)
    save_json(chained, after)
    words = ("figure", "distill", "-w", first.root, "--with", second.root)
    [note] = lst(*words, "--json").json["distill"]["notes"]
    assert "do not share a base phase" in note


@pytest.mark.parametrize(
    ("figure", "own", "needed"),
    [
        ("distill", (), "--no-distill"),
        ("distill", ("--no-distill",), "--all -w"),
        ("replay", (), "--replay all"),
        ("replay", ("--replay", "none"), "--replay balanced"),
        ("mwg", (), "--mwg"),
        ("mwg", ("--mwg",), "--no-mwg"),
    ],
)
def test_one_run_alone_hears_which_other_the_figure_needs(
    lst: Lst, runs: Any, figure: str, own: tuple[str, ...], needed: str
) -> None:
    run = runs.train("alone", *own)
    outcome = lst("figure", figure, "-w", run.root)
    assert f"figure {figure} takes two or more runs" in outcome.error
    assert needed in outcome.hint
    commands = [part for part in outcome.hint.split(": ", 1)[1].split(", ") if part]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "lst"
        called = cli.get_command(click.Context(cli), words[1])
        assert called is not None
        known = {name for one in called.params for name in (*one.opts, *one.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, command


def test_runs_trained_alike_are_refused(lst: Lst, runs: Any) -> None:
    first, second = runs.train("first"), runs.train("second", "--replay", "all")
    for run in (first, second):
        runs.evaluate(run, 0.5)
    outcome = lst("figure", "distill", "-w", first.root, "--with", second.root)
    assert outcome.error.endswith("were trained with step.distill_weight = 1.0")
    assert "lst step --all --no-distill -w OTHER" in outcome.hint


def test_a_run_that_was_not_evaluated_is_refused(lst: Lst, runs: Any) -> None:
    first, second = runs.train("first"), runs.train("second", "--no-distill")
    runs.evaluate(first, 0.5)
    runs.evaluate(second, 0.5, phases=(0,))
    outcome = lst("figure", "distill", "-w", first.root, "--with", second.root)
    assert f"no phase of {second.root} after the base has been evaluated" in outcome.error
    assert outcome.hint == f"lst eval -w {second.root} --all-phases"
    runs.evaluate(second, 0.5, phases=(1,))
    first.phase(1).metrics.unlink()
    outcome = lst("figure", "distill", "-w", first.root, "--with", second.root)
    assert outcome.error.startswith("error: no phase was evaluated in all of")


@pytest.mark.parametrize(
    ("words", "where"),
    [(["--b", "6", "--phases", "2"], "5 + 2 + 2 + 2 classes and 6 + 3 + 2"), ([], "in phase 0")],
)
def test_runs_of_other_splits_are_refused(
    lst: Lst, runs: Any, small_lvis: Any, tmp_path: Path, words: list[str], where: str
) -> None:
    first = runs.train("first")
    runs.evaluate(first, 0.5)
    given = small_lvis.split_words()
    if not words:  # another class order: class 9 more often than class 7
        for annotation in small_lvis.train["annotations"]:
            swap = {7: 9, 9: 7}
            annotation["category_id"] = swap.get(
                annotation["category_id"], annotation["category_id"]
            )
        small_lvis.save()
    root = tmp_path / "other-split"
    base = given.index("--b")
    assert lst(*given[:base], *(words or given[base:]), "-w", root).code == 0
    assert lst("train-base", "-w", root).code == 0
    assert lst("step", "--no-distill", "-w", root).code == 0
    other = Workspace(root)
    runs.evaluate(other, 0.5, phases=(1,))
    outcome = lst("figure", "distill", "-w", first.root, "--with", root)
    assert f"{first.root} and {root} have other splits" in outcome.error
    assert where in outcome.error


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["balance", "--with", "x"], "--with: figure balance shows one workspace",
         "leave --with out; it goes with distill, mwg, replay, tail"),
        (["distill", "--with", "x"], "x is no workspace: it holds no split",
         "--with DIR, a workspace"),
        (["distill", *["--with", "x"] * 6], "takes 6 runs at most, not 7",
         "leave some of --with out"),
        (["tail", *["--with", "x"] * 4], "takes 4 runs at most, not 5",
         "leave some of --with out"),
    ],
)  # fmt: skip
def test_slips_are_told(lst: Lst, runs: Any, words: list[str], error: str, hint: str) -> None:
    first = runs.train("first")
    runs.evaluate(first, 0.5)
    outcome = lst("figure", *words, "-w", first.root)
    assert error in outcome.error
    assert outcome.hint.replace(f" -w {first.root}", "") == hint


def test_a_workspace_given_twice_is_refused(lst: Lst, runs: Any) -> None:
    first = runs.train("first")
    runs.evaluate(first, 0.5)
    outcome = lst("figure", "mwg", "-w", first.root, "--with", first.root)
    assert outcome.error == f"error: {first.root} is given twice"
