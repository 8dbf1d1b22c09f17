"""model.config: data only, named by file and key."""

from __future__ import annotations

import os

import pytest
import yaml
from detectron2.config import get_cfg

from lst_cli.errors import LstError
from lst_cli.modeling import build
from lst_cli.modeling.build import read_detectron2_config
from lst_cli.modeling.zoo_files import configs
from lst_cli.settings.load import load_settings

pytestmark = pytest.mark.engine

GOOD = "VERSION: 2\nMODEL:\n  RPN:\n    NMS_THRESH: 0.625\n"
SYSTEM = "!!python/object/apply:os.system ['touch {}']"


def refusal(name: object) -> str:
    with pytest.raises(LstError) as caught:
        read_detectron2_config(str(name))
    message = caught.value.message
    assert message.startswith("model.config: ")
    assert "\n" not in message
    assert len(message) < 800
    assert caught.value.hint
    return message


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_network_too_large_for_memory_is_not_blamed_on_the_batch(error, monkeypatch):
    def fail(_cfg: object) -> None:
        raise error

    monkeypatch.setattr(build, "build_from_registry", fail)
    settings = load_settings(None, ["preset=lite", "detectron2.MODEL.FPN.OUT_CHANNELS=99999999"])
    with pytest.raises(LstError, match="there is not enough memory for it") as caught:
        build.build_model(settings, 3)
    assert "MODEL.FPN.OUT_CHANNELS" in (caught.value.hint or "")


def test_what_this_detectron2_was_not_compiled_with_is_one_line(monkeypatch):
    def fail(_cfg: object) -> None:
        raise ImportError("Cannot import 'detectron2._C',\ntherefore 'DeformConv' is not available")

    monkeypatch.setattr(build, "build_from_registry", fail)
    with pytest.raises(LstError, match=r"network: Cannot import .* therefore 'DeformConv' is not"):
        build.build_model(load_settings(None), 3)


def test_an_alias_of_a_short_list_is_read_as_detectron2_writes_it(tmp_path):
    written = get_cfg().dump()
    assert "*id" in written
    (tmp_path / "config.yaml").write_text(written)
    read = read_detectron2_config(str(tmp_path / "config.yaml"))
    assert yaml.safe_load(read.dump()) == yaml.safe_load(written)


def test_every_mask_rcnn_of_the_zoo_is_read_as_detectron2_reads_it():
    folder = configs()
    assert folder is not None
    names = [str(p.relative_to(folder)) for p in folder.glob("*InstanceSegmentation/*.yaml")]
    assert len(names) > 5
    for name in [*names, "Base-RCNN-FPN.yaml"]:
        theirs = get_cfg()
        theirs.merge_from_file(str(folder / name), allow_unsafe=False)
        assert read_detectron2_config(name) == theirs


def test_a_file_of_ones_own_is_based_on_others(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nMODEL: {RPN: {IN_FEATURES: [p2]}}\n")
    (tmp_path / "c.yaml").write_text(
        "_BASE_: [a.yaml, b.yaml]\nMODEL: {RPN: {BATCH_SIZE_PER_IMAGE: 3}}\n"
    )
    rpn = read_detectron2_config(str(tmp_path / "c.yaml")).MODEL.RPN
    assert (rpn.NMS_THRESH, rpn.IN_FEATURES, rpn.BATCH_SIZE_PER_IMAGE) == (0.625, ["p2"], 3)


BAD = {
    "a call": (f"MODEL: {SYSTEM}", "line 1: not plain YAML"),
    "a call deep in a list": (f"MODEL:\n  A: [1, {{b: {SYSTEM}}}]", "line 2: not plain YAML"),
    "a tag of its own": ("MODEL: !mine 3", "not plain YAML"),
    "an alias of aliases": ("A: &a [1]\nB: &b [*a, *a]\nC: *b", "aliases"),
    "an alias of a table": ("A: &a {B: 1}\nC: *a", "aliases"),
    "an alias of itself": ("A: &a [*a]", "aliases"),
    "an alias of nothing": ("A: *a", "aliases"),
    "itself": ("_BASE_: bad.yaml", "is based on itself"),
    "a base that is not there": ("_BASE_: nowhere.yaml", "no such file"),
    "a base elsewhere": ("_BASE_: https://x/y.yaml", "is no file"),
    "a base that is a number": ("_BASE_: 3", "should be a file"),
    "a base that is a directory": ("_BASE_: .", "directory"),
    "a base that is no YAML": ("_BASE_: /etc/passwd", "model.config"),
    "an unknown key": ("MODEL: {NO_SUCH: 1}", "MODEL.NO_SUCH"),
    "an unknown table": ("NOPE: {SUCH: 1}", "NOPE"),
    "a wrong type": ("MODEL: {RPN: {NMS_THRESH: [1]}}", "NMS_THRESH"),
    "a value for a table": ("MODEL: 3", "MODEL"),
    "a date": ("MODEL: {WEIGHTS: 2020-01-01}", "WEIGHTS"),
    "another version": ("VERSION: 1", "VERSION 1"),
    "a version of text": ("VERSION: x", "VERSION"),
    "a list": ("- 1", "no table"),
    "nothing": ("", "no table"),
    "text": ("hello", "no table"),
    "numbers as keys": ("MODEL: {1: 2}", "no table"),
    "deep lists": ("MODEL: " + "[" * 50 + "]" * 50, "no table"),
    "deeper lists": ("MODEL: " + "[" * 5000, "nested"),
    "open brackets": ("MODEL: {", "not plain YAML"),
    "two documents": ("A: 1\n---\nB: 1", "not plain YAML"),
    "a control character": ("A: \x07", "not plain YAML"),
    "much": ("# " + "x" * 2**20, "larger"),
    "no day": ("A: 2020-99-99", "not plain YAML"),
}


@pytest.mark.parametrize("form", BAD)
def test_a_config_that_is_not_plain_settings_is_refused_and_runs_nothing(form, tmp_path):
    text, part = BAD[form]
    (tmp_path / "bad.yaml").write_text(text.replace("{}", str(tmp_path / "ran")))
    message = refusal(tmp_path / "bad.yaml")
    assert part in message
    assert "bad.yaml" in message
    assert not (tmp_path / "ran").exists()


def test_a_loop_over_several_files_ends(tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"_BASE_: {base}.yaml")
    assert "is based on itself" in refusal(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", [".", "/dev/zero", "a\0b", "x" * 300, "COCO/nothing.yaml"])
def test_what_is_no_file_is_named(name):
    refusal(name)


def test_bytes_pipes_and_the_zoos_retinanet_which_runs_python_are_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\0")
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("x.yaml", "pipe.yaml"):
        refusal(tmp_path / name)
    assert "not plain YAML" in refusal("Base-RetinaNet.yaml")
