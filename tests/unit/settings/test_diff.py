from __future__ import annotations

import pytest

from lst_cli.settings.diff import ChangedSetting, differences, roles_of, values
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import leaves


@pytest.mark.parametrize(
    ("keys", "roles"),
    [
        ({"device", "data.workers", "base.save_every", "step.save_every"}, {"speed"}),
        ({"eval.bins", "eval.fixed_detections"}, {"display"}),
        ({"eval.detections", "eval.score_threshold", "eval.nms_threshold"}, {"detections"}),
        ({"data.min_size_test", "data.max_size_test", "detectron2.MODEL.X.Y", "model.head"},
         {"weights", "detections"}),
        ({"preset", "seed", "data.flip", "step.mwg", "mwg.shots", "step.previous_share"},
         {"weights"}),
    ],
)  # fmt: skip
def test_each_setting_says_what_it_decides(keys, roles):
    assert all(set(roles_of(key)) == roles for key in keys)


def test_detections_are_decided_by_the_network_and_the_test_setting():
    names = set(values(Settings(), "detections"))
    network = {name for name in leaves(Settings().model_dump()) if name.startswith("model.")}
    assert names == network | {
        "data.min_size_test", "data.max_size_test",
        "eval.detections", "eval.score_threshold", "eval.nms_threshold",
    }  # fmt: skip


def test_differences_are_of_what_is_asked_for_and_say_how():
    words = ["base.lr=0.5", "device=cpu", "eval.bins=<5", "eval.detections=7",
             "detectron2.MODEL.X=3"]  # fmt: skip
    before, now = Settings(), load_settings(None, words)
    found = differences(before.model_dump(mode="json"), now, "weights")
    assert found == [
        ChangedSetting("base.lr", 0.01, 0.5), ChangedSetting("detectron2.MODEL.X", None, 3),
    ]  # fmt: skip
    assert list(map(str, found)) == [
        "base.lr was 0.01, is now 0.5", "detectron2.MODEL.X was not given, is now 3",
    ]  # fmt: skip
    rest = differences(before, now, "speed", "display")
    assert [one.key for one in rest] == ["device", "eval.bins"]
    assert differences(now, now, "weights", "detections", "display", "speed") == []
