from __future__ import annotations

import pytest

from lst_cli.figures.ablation_data import _without_unused, name_runs


@pytest.mark.parametrize(
    ("figure", "values", "others", "names"),
    [
        ("distill", [1.0, 0.0], [{}, {}], ["with distillation", "without distillation"]),
        ("distill", [1.0, 0.0, 0.5], [{}, {}, {}],
         ["distillation, weight 1", "without distillation", "distillation, weight 0.5"]),
        ("distill", [1.0, 2.0], [{}, {}], ["distillation, weight 1", "distillation, weight 2"]),
        ("replay", ["balanced", "all", "none"], [{}, {}, {}],
         ["balanced replay", "all old data", "no replay"]),
        # What else differs is named; what does not, or only one run uses, is not.
        ("mwg", [True, False, True],
         [{"mwg.shots": "1", "seed": "0"}, {"seed": "0"}, {"mwg.shots": "2", "seed": "0"}],
         ["with MWG, mwg.shots = 1", "without MWG", "with MWG, mwg.shots = 2"]),
        ("mwg", [True, False], [{"mwg.shots": "1", "seed": "0"}, {"seed": "1"}],
         ["with MWG, seed = 0", "without MWG, seed = 1"]),
    ],
)  # fmt: skip
def test_runs_are_named_by_what_differs(figure, values, others, names):
    assert name_runs(figure, values, others) == names


@pytest.mark.parametrize(
    ("mwg", "sampler", "used"),
    [
        (False, "uniform", ["step.new_rows", "seed"]),
        (True, "repeat-factor", ["mwg.shots", "base.repeat_threshold", "seed"]),
    ],
)
def test_settings_without_effect_are_ignored(mwg, sampler, used):
    keys = ("mwg.shots", "step.new_rows", "base.repeat_threshold", "seed")
    settings = {"step.mwg": mwg, "base.sampler": sampler}
    assert list(_without_unused(dict.fromkeys(keys, "1"), settings)) == used
