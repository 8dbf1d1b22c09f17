"""`lst figure` of one run or several: balance, distill, replay, mwg, tail."""

from __future__ import annotations

import json

import pytest

from lst_cli.figures import tail_data
from lst_cli.workspace.records import load_json, save_json
from lst_cli.workspace.store import Workspace
from tests.fixtures.reports import detect, read_csv


@pytest.fixture
def draw(lst):
    """`draw("mwg", first, second, "--json")`: a figure of runs, and more words."""

    def call(name, first, *more):
        words = [("--with", one.root) if isinstance(one, Workspace) else (one,) for one in more]
        return lst("figure", name, "-w", first.root, *(word for pair in words for word in pair))

    return call


@pytest.fixture
def pair(runs):
    """Runs with distillation and without, evaluated."""
    first, second = runs.train("first"), runs.train("second", "--no-distill")
    runs.evaluate(first, 0.5)
    runs.evaluate(second, 0.25)
    return first, second


# --- balance ---------------------------------------------------------------------------------


def test_balance_needs_a_split_and_no_training(draw, workspace):
    outcome = draw("balance", workspace).ok()
    picture = workspace.layout.report / "figures" / "balance.png"
    assert outcome.out.splitlines()[-1] == str(picture)
    assert picture.with_suffix(".pdf").exists()
    rows = read_csv(picture.with_suffix(".csv"))
    assert len(rows) == 7 + 9 + 11
    first = {row["class"]: row for row in rows if row["phase"] == "1"}
    keys = ("rank", "category_id", "kind", "all_data", "D_t")
    assert [first["class 7"][key] for key in keys[:-1]] == ["1", "7", "old", "30"]
    assert [first["class 11"][key] for key in keys] == ["6", "11", "new", "4", "4"]
    # Phase 1 brings 3.5 instances a class: no old one keeps 30.
    assert 0 < float(first["class 7"]["D_t"]) < 12


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ('[step]\nreplay = "all"', "own settings are step.replay = all; "),
        ('[step]\nsampler = "uniform"\nother_objects = "count"',
         "own settings are step.sampler = uniform, step.other_objects = count; "),
        ("[step]\npaste_objects = 2", "own settings are step.paste_objects = 2; "),
        ("[base]\npaste_objects = 2", "left of the dashed line."),
    ],
)  # fmt: skip
def test_balance_shows_balanced_replay_and_says_if_that_is_not_the_runs_own(
    draw, workspace, changed, told
):
    plain = draw("balance", workspace, "--json")
    workspace.layout.settings.write_text(f"{changed}\n")
    assert told in " ".join(draw("balance", workspace).err.split())
    assert draw("balance", workspace, "--json").json == plain.json
    assert [row["old"] for row in plain.json["balance"]["phases"]] == [5, 7, 9]


def test_joint_training_has_nothing_to_balance(lst, small_lvis, tmp_path):
    root = tmp_path / "joint"
    assert lst(*small_lvis.joint_words(), "-w", root).code == 0
    outcome = lst("figure", "balance", "-w", root)
    assert outcome.error == f"error: {root} has no phase after the base: nothing is replayed"


# --- runs that differ in a setting -----------------------------------------------------------


def test_two_runs_are_named_by_what_differs_and_drawn_phase_by_phase(draw, pair, tmp_path):
    outcome = draw("distill", *pair, "-o", tmp_path).ok()
    folder = tmp_path / "figures"
    assert outcome.out.splitlines()[-1] == str(folder / "distill.png")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["distill.csv", "distill.pdf", "distill.png"]
    rows = read_csv(folder / "distill.csv")
    assert [(row["run"], row["phase"], row["all"], row["classes(all)"]) for row in rows] == [
        ("with distillation", "1", "50.0000", "7"),
        ("without distillation", "1", "25.0000", "7"),
        ("with distillation", "2", "50.0000", "8"),
        ("without distillation", "2", "25.0000", "8"),
    ]
    assert "do not share a base" not in outcome.err
    assert not any(workspace.layout.report.exists() for workspace in pair)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--set", "step.lr=0.5"],
         ["balanced replay, step.lr = 0.002", "all old data, step.lr = 0.002",
          "all old data, step.lr = 0.5"]),
        ([], ["balanced replay (a)", "all old data (b)", "all old data (c)"]),
    ],
)  # fmt: skip
def test_three_runs_are_told_apart_by_another_setting_or_by_where_they_lie(
    draw, runs, words, names
):
    made = [runs.train("a"), runs.train("b", "--replay", "all")]
    made.append(runs.train("c", "--replay", "all", *words))
    for run in made:
        runs.evaluate(run, 0.5)
    outcome = draw("replay", *made, "--json").ok()
    assert [run["run"] for run in outcome.json["replay"]["runs"]] == names


def test_mwg_shows_new_classes_before_the_first_iteration_and_the_few_shot_ones(draw, runs):
    first, second = runs.train("first"), runs.train("second", "--mwg")
    runs.evaluate(first, 0.25)
    runs.evaluate(second, 0.5)
    instant = {"format": 1, "phase": 2, "rows": {"generated": runs.record(second, 2, {1: 0.125})}}
    second.phase(2).instant.write_text(json.dumps(instant))
    outcome = draw("mwg", first, second, "--json").ok()
    shown = outcome.json["mwg"]["runs"]
    assert [run["run"] for run in shown] == ["without MWG", "with MWG"]
    assert shown[1]["phases"][1]["instant"] == {"generated": 0.125}
    assert shown[1]["phases"][0]["instant"] == shown[0]["phases"][1]["instant"] == {}
    # Classes 1 and 10 have two training instances each; 10 is in no validation image.
    few = [(point["few"], point["few_classes"]) for point in shown[0]["phases"]]
    assert few == [(0.25, 2), (0.25, 1)]
    told = " ".join(draw("mwg", first, second).err.split())
    assert "(1 with ground truth): without MWG 25.0; with MWG 50.0." in told
    assert "no one trained (generated)" in told


def test_phases_that_were_not_evaluated_everywhere_are_named(draw, pair):
    pair[1].phase(2).metrics.unlink()
    notes = draw("distill", *pair, "--json").json["distill"]["notes"]
    assert notes == ["Not evaluated in second: phase 2."]


def test_base_phases_of_their_own_are_named(draw, pair):
    for phase, key in ((0, "model_sha256"), (1, "previous_sha256")):
        path = pair[1].phase(phase).manifest
        save_json({**load_json(path, ""), key: "0" * 64}, path)
    [note] = draw("distill", *pair, "--json").json["distill"]["notes"]
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
def test_one_run_alone_hears_which_other_the_figure_needs(draw, runs, figure, own, needed):
    outcome = draw(figure, runs.train("alone", *own))
    assert f"figure {figure} needs two or more runs" in outcome.error
    assert needed in outcome.hint


def test_runs_trained_alike_are_refused(draw, runs):
    first, second = runs.train("first"), runs.train("second", "--replay", "all")
    for run in (first, second):
        runs.evaluate(run, 0.5)
    outcome = draw("distill", first, second)
    assert outcome.error.endswith("were trained with step.distill_weight = 1.0")
    assert "lst step --all --no-distill -w OTHER" in outcome.hint


def test_a_run_that_was_not_evaluated_is_refused(draw, runs, pair):
    first, second = pair
    for phase in (1, 2):
        second.phase(phase).metrics.unlink()
    outcome = draw("distill", *pair)
    assert f"no phase of {second.root} after the base has been evaluated" in outcome.error
    assert outcome.hint == f"lst eval -w {second.root} --all-phases"
    runs.evaluate(second, 0.5, phases=(1,))
    first.phase(1).metrics.unlink()
    assert draw("distill", *pair).error.startswith("error: no phase was evaluated in all of")


@pytest.mark.parametrize(
    ("words", "where"),
    [(["--b", "6", "--phases", "2"], "5 + 2 + 2 + 2 classes and 6 + 3 + 2"), ([], "in phase 0")],
)
def test_runs_of_other_splits_are_refused(draw, lst, runs, small_lvis, tmp_path, words, where):
    first = runs.train("first")
    runs.evaluate(first, 0.5)
    given = small_lvis.split_words()
    if not words:  # another class order: class 9 more often than class 7
        swap = {7: 9, 9: 7}
        for annotation in small_lvis.train["annotations"]:
            category_id = annotation["category_id"]
            annotation["category_id"] = swap.get(category_id, category_id)
        small_lvis.save()
    other = Workspace(tmp_path / "other-split")
    base = given.index("--b")
    assert lst(*given[:base], *(words or given[base:]), "-w", other.root).code == 0
    assert lst("train-base", "-w", other.root).code == 0
    assert lst("step", "--no-distill", "-w", other.root).code == 0
    runs.evaluate(other, 0.5, phases=(1,))
    outcome = draw("distill", first, other)
    assert f"{first.root} and {other.root} have other splits" in outcome.error
    assert where in outcome.error


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["balance", "--with", "x"], "--with: figure balance shows one workspace",
         "leave --with out; it goes with distill, mwg, replay, tail"),
        (["distill", "--with", "x"], "x is not a workspace: it has no split",
         "--with DIR, a workspace"),
        (["distill", *["--with", "x"] * 6], "takes 6 runs at most, not 7",
         "leave some of --with out"),
        (["tail", *["--with", "x"] * 4], "takes 4 runs at most, not 5",
         "leave some of --with out"),
        (["mwg", "--with", "FIRST"], "FIRST is given twice", "--with DIR, another workspace"),
    ],
)  # fmt: skip
def test_slips_are_told(lst, runs, words, error, hint):
    first = runs.train("first")
    runs.evaluate(first, 0.5)
    given = [str(first.root) if word == "FIRST" else word for word in words]
    outcome = lst("figure", *given, "-w", first.root)
    assert error in outcome.error.replace(str(first.root), "FIRST")
    assert outcome.hint.replace(f" -w {first.root}", "") == hint


# --- tail ------------------------------------------------------------------------------------


@pytest.fixture
def tail_pair(runs, small_lvis):
    """One run finds class 1, the other takes it for class 7 and finds class 6."""
    first, second = runs.train("first"), runs.train("second", "--no-distill")
    for run, ap, labels in (
        (first, 0.5, {1: (1, 0.75)}),
        (second, 0.25, {1: (7, 0.5), 6: (6, 0.25)}),
    ):
        runs.evaluate(run, ap)
        for phase in (1, 2):
            run.phase(phase).detections.write_text(json.dumps(detect(small_lvis.val, labels)))
    return first, second


def test_tail_shows_the_rarest_classes_of_all_runs_and_what_they_make_of_an_object(
    draw, tail_pair, tmp_path
):
    outcome = draw("tail", *tail_pair, "-o", tmp_path / "paper").ok()
    picture = tmp_path / "paper" / "figures" / "tail.png"
    assert outcome.out.splitlines()[-1] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = read_csv(picture.with_suffix(".csv"))
    # Fewer than ten training instances and ground truth, the rarest first.
    assert [(row["class"], row["training_instances"]) for row in rows[::2]] == [
        ("class 1", "2"), ("class 6", "3"), ("class 11", "4"), ("class 5", "5"), ("class 2", "9"),
    ]  # fmt: skip
    right, wrong = rows[:2]
    assert [row["run"] for row in (right, wrong)] == ["first", "second"]
    assert [row["AP"] for row in (right, wrong)] == ["50.0000", "25.0000"]
    assert (right["answer"], right["score"], right["IoU"]) == ("class 1", "0.75", "1")
    assert (wrong["answer"], wrong["answer_score"], wrong["score"]) == ("class 7", "0.5", "")
    assert right["image"] == wrong["image"] != rows[2]["image"]
    nothing, found = rows[2:4]
    assert (nothing["answer"], found["answer"], found["score"]) == ("", "class 6", "0.25")
    assert "The 5 rarest classes with ground truth (2 to 9 training instances)" in " ".join(
        outcome.err.split()
    )


def test_tail_takes_classes_that_all_runs_have_seen(draw, tail_pair):
    tail_pair[1].phase(2).metrics.unlink()  # its newest evaluation is of phase 1
    rows = draw("tail", *tail_pair, "--json").json["tail"]["rows"]
    assert [row["class"] for row in rows[::2]] == ["class 6", "class 11", "class 5", "class 2"]


def test_tail_without_rare_classes_shows_the_rarest_there_are(draw, tail_pair, monkeypatch):
    first, second = tail_pair
    rows = draw("tail", second, "--json").json["tail"]["rows"]
    # Class 5 has no object in an image that shows none of these.
    shown = [row["class"] for row in rows if row.get("image")]
    assert shown == ["class 1", "class 6", "class 11", "class 2"]
    monkeypatch.setattr(tail_data, "TAIL", 2)
    monkeypatch.setattr(tail_data, "FALLBACK_CLASSES", 2)
    outcome = draw("tail", first).ok()
    told = " ".join(outcome.err.split())
    assert "The 2 rarest classes" in told
    assert "None has fewer than 2 training instances." in told


def test_tail_with_a_results_file_is_refused(draw, tail_pair):
    first, second = tail_pair
    file = second.phase(2).detections
    outcome = draw("tail", first, "--with", file)
    assert outcome.error == f"error: {file} is not a workspace"


def test_tail_of_other_validation_files_is_refused(draw, runs, tail_pair):
    runs.change_split(tail_pair[1], lambda split: split["val"].update(sha256="0" * 64))
    for figure in ("tail", "distill"):
        error = draw(figure, *tail_pair).error
        assert "evaluated on different validation files" in error
