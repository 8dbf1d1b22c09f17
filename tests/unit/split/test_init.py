from __future__ import annotations

import pytest
from pydantic import BaseModel

from lst_cli.errors import LstError
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import read_toml
from lst_cli.settings.presets import PRESETS
from lst_cli.split.init import render_settings, write_settings

OVERRIDES = (
    (),
    ("seed=7", "base.lr=0.5", "step.decay_epochs=[]", "data.min_size=[100]"),
    ("eval.bins==1,<5", 'detectron2."MODEL.FPN.NORM"=GN', "detectron2.MODEL.PIXEL_STD=[1.0, 2]"),
    ("step.freeze=[]", "device=cpu", "base.amp=true", "step.replay=all", "model.config=ü\"'.yaml"),
)


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("words", OVERRIDES)
def test_a_written_file_reads_back_to_the_same_settings(tmp_path, preset, words):
    chosen = (f"preset={preset}", *words)
    write_settings(tmp_path / "lst.toml", chosen)
    assert load_settings(tmp_path / "lst.toml") == load_settings(None, chosen)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_file_shows_every_setting_with_what_it_means(preset):
    text = render_settings((f"preset={preset}",))
    lines = text.splitlines()
    model = Settings()
    for name, section in model:
        if name == "detectron2":
            continue
        keys = type(section).model_fields if isinstance(section, BaseModel) else {}
        for key in keys or [name]:
            places = [place for place, line in enumerate(lines) if f"{key} = " in line]
            assert places, key
            field = (keys or type(model).model_fields)[key]
            assert any(lines[place - 1] == f"# {field.description}" for place in places), key


def test_only_chosen_values_are_set_in_the_file(tmp_path):
    write_settings(tmp_path / "lst.toml", ("preset=lite", "base.lr=0.5"))
    assert read_toml(tmp_path / "lst.toml") == {
        "preset": "lite", "data": {}, "model": {}, "base": {"lr": 0.5}, "step": {},
        "extend": {}, "paste": {}, "mwg": {}, "eval": {}, "detectron2": {},
    }  # fmt: skip


def test_every_line_becomes_a_setting_when_its_mark_is_removed(tmp_path):
    file = tmp_path / "lst.toml"
    lines = [
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in render_settings(("preset=lite",)).splitlines()
    ]
    file.write_text("\n".join(lines))
    assert load_settings(file) == load_settings(None, ["preset=lite"])
    assert len(read_toml(file)["step"]) == len(type(Settings().step).model_fields)


def test_refused_values_write_no_file(tmp_path):
    with pytest.raises(LstError, match=r"base\.lr"):
        write_settings(tmp_path / "lst.toml", ("base.lr=-1",))
    assert list(tmp_path.iterdir()) == []
