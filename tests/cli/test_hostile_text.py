"""Names of other people on the way through whole commands."""

from __future__ import annotations

import copy
import json
import unicodedata
from itertools import cycle
from typing import Any

import pytest

NAMES = [
    '=HYPERLINK("http://x","y")',
    "\x1b[31mred\x1b]0;title\x07",
    "a\u202eb",
    "[red]markup[/red]",
    "c\nd\u2028e",
]


def shown(outcome: Any) -> str:
    text = str(outcome.out + outcome.err)
    assert not [c for c in text if c not in "\n" and unicodedata.category(c) in {"Cc", "Cs", "Cf"}]
    return text


def test_class_and_file_names_reach_the_terminal_in_plain_letters(lst, small_lvis, tmp_path):
    content = copy.deepcopy(small_lvis.train)
    for name, image in zip(cycle(NAMES), content["images"], strict=False):
        image["file_name"] = f"{name}{image['id']}.jpg"
        image.pop("coco_url", None)
    for name, category in zip(cycle(NAMES), content["categories"], strict=False):
        category["name"] = f"{name}{category['id']}"
    bad = tmp_path / "train.json"
    bad.write_text(json.dumps(content), encoding="utf-8")
    words = ("--train", bad, "--val", bad, "--images", tmp_path)
    checked = lst("check", *words)
    assert checked.code != 0
    shown(checked)
    as_json = lst("check", *words, "--json")
    assert json.loads(as_json.out)
    shown(as_json)
    shown(lst("split", *words, "--b", 2, "--phases", 1, "-w", tmp_path / "w"))
    shown(lst("hold-out", "--train", bad, "--out", tmp_path / "out"))


@pytest.mark.parametrize(
    "words",
    [
        ("status", "-w", "no\x1b[31m"),
        ("x\x1b[31m",),
        ("split", "--\x1b[31m"),
        ("split", "--b", "\x1b[31m"),
        ("init", "--print", "--set", "base.lr=\x1b[31m"),
        ("init", "--print", "--set", "\u202e=1"),
        ("init", "--print", "--set", 'model.config="\\u202e\\u009b"'),
        ("sweep", "\x9b31m.toml"),
        ("check", "--train", "\x1b[31m.json", "--val", "b.json"),
        ("check", "--train", "byte\udcff.json", "--val", "b.json"),
        ("init", "-w", "byte\udcff"),
    ],
    ids=lambda words: words[0],
)
def test_words_of_the_command_line_reach_the_terminal_in_plain_letters(
    words, lst, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    outcome = lst(*words)
    assert "Traceback" not in shown(outcome)
    if any("\udcff" in word for word in words):
        assert "not UTF-8 text" in outcome.err
        assert outcome.code == 1
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("row", "part"),
    [("1," + "9" * 5000, "line 2"), ("1," + "9" * 20, "line 2"), ("1\0,3", "line"),
     ("=1+1,3", "line 2"), ("1,nan", "line 2"), ("1,1e400", "line 2"), ("\ud83d", "not UTF-8")],
    ids=range(7),
)  # fmt: skip
def test_counts_of_any_size_are_refused_by_line(row, part, lst, small_lvis, tmp_path):
    counts, results = tmp_path / "counts.csv", tmp_path / "r.json"
    content = f"category_id,train_instance_count\n{row}"
    counts.write_bytes(content.encode("utf-8", "surrogatepass"))
    results.write_text("[]", encoding="utf-8")
    words = ("--annotations", small_lvis.val_json, "--train-counts", counts)
    outcome = lst("score", results, *words)
    assert outcome.code == 1
    assert "counts.csv" in shown(outcome)
    assert part in outcome.err
    assert len(outcome.err) < 1000


@pytest.mark.parametrize("command", ["train-base", "train-joint"])
def test_weights_that_are_no_file_are_refused_before_anything_is_read(
    command, lst, small_lvis, tmp_path
):
    work = ("-w", tmp_path / "work")
    words = small_lvis.split_words()
    words = [*words[:-4], "--joint"] if command == "train-joint" else words
    assert lst(*words, *work).code == 0
    small_lvis.train_json.unlink()
    for weights in ("nothing.pth", "s3://b/w.pth", "~/w", __file__, "/dev/zero", "x" * 300):
        for more in ((), ("--dry-run",)):
            outcome = lst(command, *work, "--weights", weights, *more)
            assert outcome.code == 1
            assert f"error: --weights {weights}: " in shown(outcome)
