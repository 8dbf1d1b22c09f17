from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lst_cli.errors import LstError
from lst_cli.settings.diff import ChangedSetting, differences, roles_of, values
from lst_cli.settings.load import OWNED_DETECTRON2_KEYS, build_settings, load_settings
from lst_cli.settings.models import ExtendSettings, Settings, StepSettings
from lst_cli.settings.nested import flatten, leaves, merge, override_table
from lst_cli.settings.presets import PRESETS


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lst.toml"


def refusal(*words: str, file: Path | None = None) -> str:
    with pytest.raises(LstError) as caught:
        load_settings(file, words)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message


def value_of(found: Any, key: str) -> Any:
    for name in key.split("."):
        found = getattr(found, name)
    return found


# --- values --------------------------------------------------------------------------------------


def test_defaults_are_the_numbers_of_the_paper():
    ours = Settings()
    assert ours.preset == "paper-r50"
    assert (ours.base.lr, ours.base.decay_epochs, ours.base.epochs) == (0.01, (6.0, 8.0), 10.0)
    assert (ours.step.lr, ours.step.decay_epochs, ours.step.epochs) == (0.002, (6.0,), 10.0)
    assert (ours.base.rois_per_image, ours.step.rois_per_image) == (512, 100)
    assert (ours.base.batch_size, ours.base.momentum, ours.base.weight_decay) == (8, 0.9, 1e-4)
    assert (ours.data.min_size, ours.data.max_size, ours.data.flip) == ((800,), 1333, 0.5)
    assert (ours.eval.detections, ours.eval.score_threshold) == (300, 0.0)
    assert (ours.eval.nms_threshold, ours.model.cosine_scale) == (0.5, 10.0)
    assert (ours.step.replay, ours.step.ema) == ("balanced", 0.0)
    assert (ours.step.other_objects, ours.step.future_classes) == ("ignore", "background")
    assert ours.step.distill_regions == "new"
    assert build_settings({}) == ours
    with pytest.raises(ValidationError, match="frozen"):
        ours.base.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", list(PRESETS))
def test_each_preset_is_valid_plain_and_has_known_sections_only(name):
    assert load_settings(None, [f"preset={name}"]).preset == name
    assert json.dumps(PRESETS[name])
    assert PRESETS[name].keys() <= Settings.model_fields.keys() - {"preset", "seed", "device"}


@pytest.mark.engine
def test_detectron2_knows_every_key_of_every_preset_and_refuses_others_by_name():
    from lst_cli.modeling.build import detectron2_config

    for name in PRESETS:
        chosen = load_settings(None, [f"preset={name}"])
        node = detectron2_config(chosen, classes=3, rois_per_image=7)
        for dotted, value in chosen.detectron2.items():
            found = value_of(node, dotted)
            assert list(found) == list(value) if isinstance(value, list) else found == value
    wrong = load_settings(None, ["detectron2.MODEL.RPN.NO_SUCH_KEY=1"])
    with pytest.raises(LstError, match=r"MODEL\.RPN\.NO_SUCH_KEY"):
        detectron2_config(wrong, classes=3, rois_per_image=7)


def test_a_network_of_timm_takes_the_place_of_the_preset_s_own():
    ours = load_settings(None, ["preset=lite", "model.config=timm/resnet18"])
    lite = load_settings(None, ["preset=lite"])
    own = ("MODEL.BACKBONE.NAME", "INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
    expected = {key: value for key, value in lite.detectron2.items() if key not in own}
    assert ours.detectron2 == {**expected, "MODEL.BACKBONE.FREEZE_AT": 3}
    assert ours.base == lite.base
    plain = load_settings(None, ["model.config=timm/resnet18"])
    assert plain.detectron2 == {}
    given = {"preset": "lite", "model": {"config": "timm/x"}, "detectron2": {own[2]: [1, 2, 3]}}
    assert build_settings(given).detectron2[own[2]] == [1, 2, 3]
    with pytest.raises(LstError, match=r"BACKBONE.NAME: is decided by model.config = 'timm/x'"):
        build_settings({**given, "detectron2": {own[0]: "build_resnet_fpn_backbone"}})


@pytest.mark.engine
def test_images_are_normalised_as_a_network_of_timm_was_pretrained():
    from lst_cli.modeling.build import detectron2_config, input_format

    for preset in ("lite", "paper-r50"):
        chosen = load_settings(None, [f"preset={preset}", "model.config=timm/resnet18"])
        model = detectron2_config(chosen, 3, 7).MODEL
        assert input_format(chosen) == "RGB"
        assert pytest.approx([123.675, 116.28, 103.53]) == model.PIXEL_MEAN
        assert pytest.approx([58.395, 57.12, 57.375]) == model.PIXEL_STD
        assert dict(model.ROI_BOX_HEAD)["FC_DIM"] == {"lite": 256, "paper-r50": 1024}[preset]


# --- where values come from ----------------------------------------------------------------------


def test_the_command_line_overrides_the_file_and_the_file_the_preset(file):
    file.write_text('preset = "lite"\nseed = 5\n[base]\nlr = 0.5\nbatch_size = 3\n')
    ours = load_settings(file, ["base.lr=0.25"])
    assert (ours.base.lr, ours.base.batch_size, ours.seed) == (0.25, 3, 5)
    assert ours.base.optimizer == PRESETS["lite"]["base"]["optimizer"]
    file.write_text('preset = "lite"\n')
    assert load_settings(file, ["preset=paper-r50"]) == Settings()


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("base.lr=0.02", "base.lr", 0.02),
        ("base.lr=1e-3", "base.lr", 0.001),
        ("base.lr=.5", "base.lr", 0.5),  # not a number in TOML, but understood by everybody
        ("base.amp=true", "base.amp", True),
        ("base.amp=True", "base.amp", True),
        ("data.min_size=[640, 672]", "data.min_size", (640, 672)),
        ("step.decay_epochs=[]", "step.decay_epochs", ()),
        ("step.replay=none", "step.replay", "none"),
        ('step.replay="all"', "step.replay", "all"),
        ("eval.bins==1,<5,>=5", "eval.bins", "=1,<5,>=5"),
        ("model.config=a/b=c.yaml", "model.config", "a/b=c.yaml"),
        (" seed =7", "seed", 7),
        ("detectron2.MODEL.RPN.NMS_THRESH=0.6", "detectron2", {"MODEL.RPN.NMS_THRESH": 0.6}),
        ('detectron2."MODEL.FPN.NORM"=GN', "detectron2", {"MODEL.FPN.NORM": "GN"}),
        ("detectron2.INPUT.FORMAT=RGB", "detectron2", {"INPUT.FORMAT": "RGB"}),
        ("detectron2.MODEL.X.SIZES=[[32], [64]]", "detectron2", {"MODEL.X.SIZES": [[32], [64]]}),
    ],
)
def test_a_word_of_set_is_read(word, key, value):
    found = value_of(load_settings(None, [word]), key)
    assert found == value
    assert type(found) is type(value)


def test_detectron2_keys_may_stand_in_the_file_without_quotes(file):
    file.write_text('[detectron2]\nMODEL.RPN.NMS_THRESH = 0.6\n"MODEL.FPN.NORM" = "GN"\n')
    assert load_settings(file).detectron2 == {"MODEL.RPN.NMS_THRESH": 0.6, "MODEL.FPN.NORM": "GN"}


def test_an_empty_table_of_set_is_a_value_too(file):
    file.write_text('[detectron2]\n"MODEL.FPN.NORM" = "GN"\n')
    assert load_settings(file, ["detectron2={}"]).detectron2 == {}
    for word, part in (("data.min_size={}", "data.min_size"), ("bogus={}", "unknown setting")):
        with pytest.raises(LstError, match=part):
            load_settings(None, [word])


def test_later_words_win():
    assert override_table([]) == {}
    words = ["base.lr=1", "base.lr=2", "step.lr=3"]
    assert override_table(words) == {"base": {"lr": 2}, "step": {"lr": 3}}


tables = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(tables, tables)
@settings(deadline=None)
def test_what_lies_above_wins_and_neither_table_changes(low, high):
    kept = (repr(low), repr(high))
    merged = merge(low, high)
    assert (repr(low), repr(high)) == kept
    assert merge(merged, high) == merged
    assert merged.keys() == low.keys() | high.keys()
    assert all(merged[key] == value for key, value in high.items() if not isinstance(value, dict))


# --- what is refused -----------------------------------------------------------------------------


def test_all_problems_are_told_at_once_each_with_its_file_and_key(file):
    file.write_text(
        "seed = -1\ncolour = 3\n[base]\nlr = -0.5\nlearning_rate = 1\n"
        '[detectron2]\n"MODEL.DEVICE" = "cpu"\n"SOLVER.BASE_LR" = 1.0\n'
    )
    message = refusal("step.epochs=0", "data.min_size=[0]", file=file)
    assert message.startswith("8 settings refused: ")
    for part in (
        "lst.toml: seed: should be greater than or equal to 0, got -1",
        "lst.toml: colour: unknown setting",
        "lst.toml: base.lr: should be greater than 0, got -0.5",
        "lst.toml: base.learning_rate: unknown setting",
        "--set: step.epochs: should be greater than 0, got 0",
        "--set: data.min_size, value 1: should be greater than 0, got 0",
        "lst.toml: detectron2.MODEL.DEVICE: is decided by device",
        "lst.toml: detectron2.SOLVER.BASE_LR: has no effect",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("word", "section"),
    [
        ("base.decay_epochs=[1e308]", "base"),
        ("base.epochs=0.5", "base"),
        ("data.max_size=700", "data"),
        ("data.min_size=[2000]", "data"),
        ("mwg.shots=9", "mwg"),
    ],
)
def test_values_that_do_not_go_together_are_told_by_who_gave_the_last(word, section, file):
    file.write_text("[base]\nlr = 0.01\nepochs = 10.0\n[data]\nflip = 0.0\nmin_size = [800]\n")
    assert refusal(word, file=file).startswith(f"--set: {section}: ")
    key, value = word.split("=", 1)
    file.write_text(f"[{section}]\n{key.partition('.')[2]} = {value}\n")
    message = refusal("base.lr=0.02", "data.flip=0.1", file=file)
    assert message.startswith(f"lst.toml: {section}: ")


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("step.epoch=3", "--set: step.epoch: unknown setting; did you mean step.epochs?"),
        ("base.other_objects=count", "base.other_objects: unknown setting"),
        ("base.distill_regions=new", "base.distill_regions: unknown setting"),
        ("base.future_classes=count", "base.future_classes: "),
        ("base.ema=1", "base.ema: "),
        ("step.ema=-0.1", "step.ema: "),
        ("step.ema=true", "step.ema: "),
        ("seed=2147483648", "seed: should be less than 2147483648"),
        ("seed=1.5", "seed: should be a valid integer"),
        ("device=gpu", "device: should be 'auto', 'cpu' or 'cuda', got 'gpu'"),
        ("base.lr=nan", "base.lr: should be a finite number, got nan"),
        ("base.lr=fast", "base.lr: should be a valid number"),
        ("base=3", "base: should be a table of settings, got 3"),
        ("base.lr.x=3", "base.lr: should be a valid number"),
        ("detectron2=3", "detectron2: should be a table of settings, got 3"),
        ("eval.bins=5", "eval.bins: should be a valid string, got 5"),
        ('data.min_size=[800, "x"]', "--set: data.min_size, value 2: should be a valid integer"),
        ("base.decay_epochs=[8, 6]", "base: decay_epochs [8.0, 6.0] must rise and lie between 0"),
        ("paste.scale=[2, 1]", "paste.scale: [2.0, 1.0] must rise"),
        ("data.scale_jitter=[2, 1]", "data.scale_jitter: [2.0, 1.0] must rise"),
        ("base.decay_epochs=[10]", "decay_epochs [10.0] must rise and lie between 0 and epochs"),
        ("data.max_size=700", "data: max_size is smaller than min_size"),
        ("data.min_size=[]", "data: min_size needs one or more sizes"),
        ("detectron2.MODEL.X=nan", "detectron2.MODEL.X: should be a number, text"),
        ("detectron2.MODEL.X=2020-01-01", "detectron2.MODEL.X: should be a number, text"),
        ("preset=papr", "--set: preset: 'papr' is not one of paper-r50, paper-x101, lite"),
        ("preset=3", "preset: 3 is not one of"),
        ("base.lr", "--set base.lr: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        *(
            (f"detectron2.{key}=1", f"detectron2.{key}: is decided by {owner}")
            for key, owner in OWNED_DETECTRON2_KEYS.items()
        ),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(word, part):
    assert part in refusal(word)


def test_more_shots_than_the_bank_holds_are_refused_unless_support_is_exact():
    message = "--set: mwg: shots = 5 boxes of a class cannot be drawn from bank_size = 4"
    assert refusal("mwg.shots=5") == message
    assert "shots = 3 boxes" in refusal("mwg.shots=3", "mwg.bank_size=2")
    for words in (["4"], ["5", "mwg.bank_size=5"], ["5", "mwg.support=exact"]):
        assert load_settings(None, [f"mwg.shots={words[0]}", *words[1:]])


def test_a_file_that_is_missing_or_a_directory_is_named(file):
    assert f"{file}: no such file" in refusal(file=file)
    file.mkdir()
    assert f"{file}: cannot be read" in refusal(file=file)


def test_python_310_reads_toml_with_tomli(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomli", pytest.importorskip("tomllib"))
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    file.write_text("seed = 4\n")
    assert load_settings(file).seed == 4


# --- values of any size --------------------------------------------------------------------------

NUMBERS = [key for key, value in flatten(Settings().model_dump()) if type(value) in (int, float)]


@pytest.mark.parametrize("value", ["1e308", "99999999999999999999", "0x" + "f" * 6000, "-1e308"])
def test_every_number_has_bounds(value):
    assert len(NUMBERS) > 40
    for key in NUMBERS:
        message = refusal(f"{key}={value}")
        assert f"--set: {key}: " in message
        assert len(message) < 300


@pytest.mark.parametrize(
    "word",
    [
        "data.min_size=[1000000]",
        "data.min_size=" + str([1] * 2000),
        "base.decay_epochs=" + str([0.1] * 2000),
        "step.freeze=" + str(["a"] * 2000),
        "eval.bins=" + "=1," * 3000,
        "model.config=" + "x" * 5000,
        "seed=" + "9" * 5000,
        "base.lr=" + "[" * 3000,
        "base.lr=" + "[" * 100 + "]" * 100,
        "base.lr=" + "{a=" * 2000,
        "a." * 3000 + "b=1",
        "base." + "x" * 50_000 + "=1",
        "detectron2.MODEL.RPN.NMS_THRESH=0x" + "f" * 6000,
        "detectron2.MODEL.RPN.NMS_THRESH=1e300",
        "detectron2.MODEL.RPN.NMS_THRESH=" + "x" * 6000,
        "preset=" + "x" * 6000,
        "x" * 6000,
    ],
    ids=lambda word: word[:30],
)
def test_a_value_or_a_key_of_any_size_is_refused_in_a_short_line(word):
    assert len(refusal(word)) < 300


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"seed = ", "not valid TOML"),
        (b"seed = 1\nseed = 2\n", "not valid TOML"),
        (b"a = " + b"[" * 10_000, "nested"),
        (b"a = " + b"[" * 50 + b"]" * 50, "nested"),
        (b"[" + b".".join([b"a"] * 3000) + b"]", "nested"),
        (b".".join([b"a"] * 3000) + b" = 1", "nested"),
        (b"a = " + b"{b = " * 3000 + b"1" + b"}" * 3000, "nested"),
        (b"a = 1\0", "not valid TOML"),
        (b"\x89PNG\r\n", "not UTF-8 text"),
        ("seed = 1".encode("utf-16"), "not UTF-8 text"),
        (b"# " + b"x" * 2**20, "larger than"),
        (b"".join(b"k%d = 1\n" % n for n in range(300)), "and 290 more"),
        (b"seed = 1\rdevice = 2", "not valid TOML"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_is_no_toml_or_of_any_size_is_refused_in_a_short_line(file, content, part):
    file.write_bytes(content)
    message = refusal(file=file)
    assert part in message
    assert "lst.toml" in message
    assert len(message) < 1500


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfseed = 3\n", b"seed = 3\r\n[base]\r\nlr = 0.1\r\n"]
)
def test_a_file_of_another_editor_is_read(file, content):
    file.write_bytes(content)
    assert load_settings(file).seed == 3


# --- what a setting decides, and what differs ----------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "roles"),
    [
        ({"device", "data.workers", "base.save_every", "step.save_every"}, {"speed"}),
        ({"eval.bins", "eval.fixed_detections"}, {"display"}),
        ({"eval.detections", "eval.score_threshold", "eval.nms_threshold"}, {"detections"}),
        ({"data.min_size_test", "data.max_size_test", "detectron2.MODEL.X.Y", "model.head"},
         {"weights", "detections"}),
        ({"preset", "seed", "data.flip", "step.mwg", "mwg.shots", "step.previous_share",
          "model.federated_classes", "model.pretrained"}, {"weights"}),
    ],
)  # fmt: skip
def test_each_setting_says_what_it_decides(keys, roles):
    assert all(set(roles_of(key)) == roles for key in keys)


def test_detections_are_decided_by_the_network_and_the_test_setting():
    names = set(values(Settings(), "detections"))
    network = {name for name in leaves(Settings().model_dump()) if name.startswith("model.")}
    network -= {"model.federated_classes", "model.pretrained"}
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


def test_a_phase_of_lst_extend_is_sampled_in_its_own_way():
    settings = Settings(step=StepSettings(sampler="repeat-factor"))
    assert settings.for_extension().step.sampler == "samples"
    whole = settings.model_copy(update={"extend": ExtendSettings(image_passes=0)})
    assert whole.for_extension() == whole
